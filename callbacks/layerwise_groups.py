"""Parameter groups whose learning rates fall towards the input."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Any

from torch import nn

from callbacks.phase import with_parents


def layerwise_groups(
    module: nn.Module, stages: Sequence[str], lr: float, decay: float
) -> list[dict[str, Any]]:
    """Splits all parameters of a module into groups for an optimizer, frozen ones included.

    The last stage gets ``lr`` and each stage before it ``decay`` times the rate of the next.
    What no stage names is one more step down. Each parameter is once in a group, by identity:
    where stages overlap, or share a parameter, the one nearest the output has it. Discriminative
    rates are from Howard and Ruder, 2018 (arXiv 1801.06146).

    Args:
        module: Whose parameters.
        stages: Patterns of module or parameter names with ``*`` and ``?``, from input to output.
        lr: Learning rate of the last stage.
        decay: Factor in (0, 1] from a stage to the one before it.

    Returns:
        Groups with ``params``, ``lr`` and ``name``, from input to output.

    Raises:
        ValueError: If a stage matches nothing that is left, or a number makes no sense.

    Example:
        >>> model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
        >>> [(g["name"], g["lr"]) for g in layerwise_groups(model, ["0", "1"], 0.1, 0.5)]
        [('0', 0.05), ('1', 0.1)]
    """
    if lr <= 0 or not 0 < decay <= 1:
        raise ValueError(f"lr is above 0 and decay in (0, 1]: they are {lr} and {decay}")
    left = list(module.named_parameters())
    groups: list[dict[str, Any]] = []
    for steps, stage in enumerate(reversed(stages)):
        mine = [(name, p) for name, p in left if _matches(name, stage)]
        if not mine:
            raise ValueError(f"the stage {stage!r} names no parameter that a later one has not")
        left = [(name, p) for name, p in left if not _matches(name, stage)]
        groups.append({"params": [p for _, p in mine], "lr": lr * decay**steps, "name": stage})
    if left:
        rest = lr * decay ** len(stages)
        groups.append({"params": [p for _, p in left], "lr": rest, "name": "rest"})
    return groups[::-1]


def _matches(name: str, pattern: str) -> bool:
    return any(fnmatchcase(part, pattern) for part in with_parents(name))
