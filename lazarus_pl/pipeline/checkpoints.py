"""The verb ``lazarus checkpoints``."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from lazarus_pl.errors import LazarusError

Action = Literal["list", "show", "diff", "promote"]
Entry = dict[str, Any]

_COLUMNS = ("version", "epoch", "phase", "metric", "parent", "why", "file")
_INDEX = "versions.json"
# statistics, whose numbers are so much larger than weights that no change of these would show
_NO_WEIGHTS = (".running_mean", ".running_var", ".mean", ".scale")


def checkpoints(
    action: Action, run: Path, version: int | None = None, against: int | None = None
) -> None:
    """Looks at the versions that a run kept, or makes one of them the best.

    Args:
        action: ``list`` all; ``show`` all that is known of one; ``diff``: what changed
            from another version to this one, in what is known of them and in the weights;
            ``promote``: make it ``best.ckpt`` and keep it, whatever its score.
        run: Folder of a fine-tuning, of its checkpoints, or of a lazarus run with one.
        version: Number of a version; by default the latest.
        against: For ``diff``: the other version; by default the version's parent, or
            the latest before it where the parent is not kept.
    """
    folder = _folder(run)
    entries = _entries(folder)
    if action == "list":
        print(_table(entries))
        return
    entry = _find(entries, version) if version is not None else entries[-1]
    if action == "show":
        print(_described(folder, entry))
    elif action == "diff":
        print(_difference(folder, _other(entries, entry, against), entry))
    else:
        print(_promote(folder, entries, entry))


def _folder(run: Path) -> Path:
    for folder in (run, run / "checkpoints", run / "finetune" / "checkpoints"):
        if (folder / _INDEX).is_file():
            return folder
    what = "has no versions.json" if run.is_dir() else "is no folder"
    raise LazarusError(
        f"'{run}' {what}: give the folder of a training with the callback CheckpointVersions, "
        "such as lightning_logs/version_0, or of a lazarus run that fine-tuned"
    )


def _entries(folder: Path) -> list[Entry]:
    from lightning.fabric.utilities.exceptions import MisconfigurationException

    from callbacks.version_files import read_versions

    try:
        entries = read_versions(folder)
    except MisconfigurationException as error:
        raise LazarusError(str(error)) from error
    if not entries:
        raise LazarusError(f"'{folder}' keeps no version: its files are gone, train again")
    return entries


def _find(entries: Sequence[Entry], version: int) -> Entry:
    for entry in entries:
        if entry["version"] == version:
            return entry
    there = ", ".join(str(entry["version"]) for entry in entries)
    raise LazarusError(f"there is no version {version}: there are {there}")


def _other(entries: Sequence[Entry], entry: Entry, against: int | None) -> Entry:
    """The version that is named, the parent, or the latest before where that is not kept."""
    if against is not None:
        return _find(entries, against)
    before = [each for each in entries if each["version"] < entry["version"]]
    parents = [each for each in before if each["version"] == entry["parent"]]
    if not before:
        raise LazarusError(
            f"version {entry['version']} is the first that is kept: name a version with --against"
        )
    return (parents or before)[-1]


def _table(entries: Sequence[Entry]) -> str:
    rows = [_COLUMNS, *(tuple(_cell(entry[name]) for name in _COLUMNS) for entry in entries)]
    widths = [max(len(row[place]) for row in rows) for place in range(len(_COLUMNS))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


def _described(folder: Path, entry: Entry) -> str:
    known = {**entry, **_scores(_content(folder, entry))}
    width = max(map(len, known))
    return "\n".join(f"{name.ljust(width)}  {_cell(value)}" for name, value in known.items())


def _difference(folder: Path, before: Entry, after: Entry) -> str:
    old, new = _content(folder, before), _content(folder, after)
    then, now = {**before, **_scores(old)}, {**after, **_scores(new)}
    lines = [f"version {before['version']} -> {after['version']}"]
    for name in now:
        if name not in ("version", "file", "time") and then.get(name) != now[name]:
            lines.append(f"{name}: {_cell(then.get(name))} -> {_cell(now[name])}")
    moved = _moved(old["state_dict"], new["state_dict"])
    for stage, share in moved.items():
        lines.append(f"weights of {stage}: {f'changed by {100 * share:.3g}%' if share else 'same'}")
    return "\n".join(lines)


def _moved(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, float]:
    """Length of the change by the length of the weights, for each part of the model."""
    change: dict[str, float] = defaultdict(float)
    length: dict[str, float] = defaultdict(float)
    for name, value in new.items():
        if (
            "." not in name
            or name.endswith(_NO_WEIGHTS)
            or not value.is_floating_point()
            or name not in old
            or old[name].shape != value.shape
        ):
            continue
        stage = ".".join(name.split(".")[:2])
        change[stage] += float((value.double() - old[name].double()).square().sum())
        length[stage] += float(old[name].double().square().sum())
    return {stage: (change[stage] / length[stage]) ** 0.5 for stage in change if length[stage] > 0}


def _promote(folder: Path, entries: list[Entry], entry: Entry) -> str:
    """Makes a version the best, and says so."""
    from callbacks.version_files import link_or_copy, write_versions

    content = _content(folder, entry)
    for each in entries:
        each["promoted"] = each is entry
        each["why"] = [reason for reason in each["why"] if reason != "promoted"]
    entry["why"].append("promoted")
    # what points to the file first: at no moment does the index name a best that is not there
    best = folder / "best.ckpt"
    before = None if "doubt" in content["lazarus"] else _calibrated(best)
    said = f"version {entry['version']} is '{best}' now"
    if before is None or not _same_weights(before, content):
        link_or_copy(best, folder / entry["file"])
        if before is not None:
            said += f"\nit is not calibrated as the one before: lazarus calibrate --ckpt '{best}'"
    write_versions(folder, entries)
    return said


def _calibrated(best: Path) -> dict[str, Any] | None:
    """The best checkpoint, if it can be read and was calibrated."""
    from lazarus_pl.tasks.read_checkpoint import read_checkpoint

    try:
        content = read_checkpoint(best)
    except LazarusError:
        return None
    return content if "doubt" in content["lazarus"] else None


def _same_weights(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    import torch

    old, new = one["state_dict"], other["state_dict"]
    return old.keys() == new.keys() and all(torch.equal(old[name], new[name]) for name in new)


def _content(folder: Path, entry: Entry) -> dict[str, Any]:
    from lazarus_pl.tasks.read_checkpoint import read_checkpoint

    return read_checkpoint(folder / entry["file"])


def _scores(content: Mapping[str, Any]) -> dict[str, float]:
    scores: dict[str, float] = content["lazarus"].get("scores", {})
    return scores


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4f}"
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return "-" if value is None else str(value)
