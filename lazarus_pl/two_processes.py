"""When a grid of heads is trained in two processes: asked by the grid and by its estimate."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch

# seconds of one core that an epoch takes beside its steps
_EPOCH = 0.06
# float16 values of features that a core trains on in a second; of the order is enough
_VALUES = 1e8
# less is not worth a process, nor a pass over the data of its own
_LEAST = 20.0


def training_cost(epochs: int, photos: int, values: int) -> float:
    """Seconds of one core that a run takes, about; enough to compare runs.

    Args:
        epochs: As many as it is allowed.
        photos: Of one epoch.
        values: Features of a photo.
    """
    return epochs * (_EPOCH + photos * values / _VALUES)


def part_count(cost: float, runs: int) -> int:
    """Parts that runs which share a pass over the data are cut into.

    Args:
        cost: Of all of them.
        runs: How many there are.
    """
    return max(1, min(runs, int(cost / _LEAST)))


def pays(parts: Sequence[float], devices: Iterable[torch.device], threads: int) -> bool:
    """Whether a second process pays.

    Args:
        parts: Their costs.
        devices: What the runs are trained on: no two processes share a GPU.
        threads: Cores that there are.
    """
    if threads < 2 or any(device.type != "cpu" for device in devices):
        return False
    # the largest is for one process: is there enough for the other
    return sum(sorted(parts)[:-1]) >= _LEAST
