"""An NVIDIA card as the system knows it."""

from __future__ import annotations

import re
from dataclasses import dataclass

Capability = tuple[int, int]

# GP10x; the P100 and Quadro GP100 are others
_PASCAL = re.compile(
    r"GTX 10[5-8]0|GT 10[13]0|MX1[135]0|MX[23][35]0|TITAN Xp|Quadro P\d|Tesla P(4|40)\b"
)


@dataclass(frozen=True)
class Card:
    """A card that was found without torch.

    Attributes:
        name: As the driver calls it.
        capability: Compute capability; None if the driver does not tell.
        memory: In bytes; None if the driver does not tell.
        driver: The driver's version; empty if no driver answers for the card.
    """

    name: str
    capability: Capability | None = None
    memory: int | None = None
    driver: str = ""


def guess_capability(name: str) -> Capability | None:
    """6.1 for names of Pascal cards, which old drivers leave to be guessed."""
    return (6, 1) if _PASCAL.search(name) else None
