"""Curves of a training, read from its TensorBoard events."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

Curve = list[tuple[float, float]]


def read_curves(folder: Path, tags: Iterable[str]) -> dict[str, Curve]:
    """Values by epoch, the first epoch being 1.

    Where a killed training was continued, the later value of an epoch counts.

    Args:
        folder: Of one run, with its event files.
        tags: Names of scalars; those that are not there are left out.
    """
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    if not any(folder.glob("events.out.tfevents*")):
        return {}
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    events.Reload()
    there = set(events.Tags()["scalars"])
    curves: dict[str, Curve] = {}
    for tag in there.intersection(tags):
        by_step = {event.step: float(event.value) for event in events.Scalars(tag)}
        ordered = (by_step[step] for step in sorted(by_step))
        curves[tag] = [(float(epoch), value) for epoch, value in enumerate(ordered, start=1)]
    return curves
