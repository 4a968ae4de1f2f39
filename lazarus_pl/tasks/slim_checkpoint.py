"""A checkpoint to use, not to go on with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# of Lightning's: what fit alone reads
_TO_GO_ON = {"callbacks", "loops", "lr_schedulers", "optimizer_states"}


def slim_checkpoint(content: Mapping[str, Any]) -> dict[str, Any]:
    """A checkpoint's content without what only going on with its training takes.

    A fine-tuned one is a fifth of what it was: the optimizer holds two values for each weight, and
    a callback the best weights so far. It classifies, and is scored, as before.

    Args:
        content: As :func:`~lazarus_pl.tasks.read_checkpoint.read_checkpoint` gives it.
    """
    return {name: value for name, value in content.items() if name not in _TO_GO_ON}
