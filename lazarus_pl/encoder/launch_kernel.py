"""Whether the GPU computes."""

from __future__ import annotations


def launch_kernel() -> str:
    """Runs one small kernel on the current GPU and checks what it gives.

    A build that lacks the card's architecture fails here and not before.

    Returns:
        Why it failed; nothing if the GPU computes.
    """
    import torch

    try:
        right = (torch.ones(2, device="cuda") * 2).sum().item() == 4
    except RuntimeError as error:
        return str(error).splitlines()[0]
    return "" if right else "two ones, doubled, do not sum to 4"
