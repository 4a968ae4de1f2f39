"""What happened in a fine-tuning, from the files that its callbacks wrote."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from lazarus_pl.pipeline.run.report.curves import Curve, read_curves
from lazarus_pl.pipeline.run.report.line_chart import LineChart

_GUARDED = "val/guarded_macro_f1"
_TAGS = ("val/macro_f1", _GUARDED, "train/loss", "val/loss", "amp/skipped")


@dataclass(frozen=True)
class FinetuneStory:
    """A timeline.

    Attributes:
        curves: Values by epoch.
        phases: Epoch (from 1) in which a phase began after the first, and what it thawed.
        rollbacks: Records of ``rollbacks.jsonl``.
        gradients: Records of ``gradients.jsonl``.
        skipped: Steps that the loss scaler skipped; None where it was not in use.
    """

    curves: dict[str, Curve]
    phases: list[tuple[int, str]]
    rollbacks: list[dict[str, Any]]
    gradients: list[dict[str, Any]]
    skipped: int | None

    @classmethod
    def read(cls, folder: Path) -> FinetuneStory | None:
        """Reads a fine-tuning's folder; None where none was trained."""
        curves = read_curves(folder, _TAGS)
        if not curves:
            return None
        skipped = curves.pop("amp/skipped", None)
        return cls(
            curves=curves,
            phases=_phases(folder / "config.yaml", len(curves.get("val/macro_f1", ()))),
            rollbacks=_lines(folder / "rollbacks.jsonl"),
            gradients=_lines(folder / "gradients.jsonl"),
            skipped=round(skipped[-1][1]) if skipped else None,
        )

    @property
    def scores(self) -> LineChart:
        """Macro-F1 by epoch, with phases and rollbacks."""
        marks = [(float(epoch), f"thaws {names}") for epoch, names in self.phases]
        marks += [(float(r["epoch"] + 1), "rolled back") for r in self.rollbacks]
        names = {"val/macro_f1": "macro-F1", _GUARDED: "less the fall of the worst class"}
        lines = {names[tag]: self.curves[tag] for tag in names if tag in self.curves}
        if self.curves.get(_GUARDED) == self.curves.get("val/macro_f1"):
            lines.pop(names[_GUARDED], None)
        return LineChart(lines, "epoch", "macro-F1 on val", marks)

    @property
    def norms(self) -> LineChart:
        """Norms of the gradients by step and part of the model."""
        stages: dict[str, list[tuple[float, float]]] = {}
        for record in self.gradients:
            for stage, norm in (record.get("stages") or {}).items():
                if norm is not None:
                    stages.setdefault(stage, []).append((float(record["global_step"]), norm))
        return LineChart(dict(sorted(stages.items())), "step", "norm of the gradients", log=True)

    @property
    def alarms(self) -> dict[str, int]:
        """How often gradients vanished, exploded or were not finite."""
        counts: dict[str, int] = {}
        for record in self.gradients:
            for alarm in record.get("alarms") or ():
                counts[alarm["kind"]] = counts.get(alarm["kind"], 0) + 1
        return counts


def _phases(config: Path, epochs: int) -> list[tuple[int, str]]:
    """When each phase after the first began, where the config says it beforehand."""
    try:
        content = yaml.safe_load(config.read_text(encoding="utf-8"))
        callbacks = content["trainer"]["callbacks"]
        phases = [
            phase for c in callbacks for phase in (c.get("init_args") or {}).get("phases") or ()
        ]
        begun = [p for p in phases if isinstance(p["at"], int) and 0 < p["at"] < epochs]
        return [(phase["at"] + 1, ", ".join(phase["patterns"])) for phase in begun]
    except (OSError, ValueError, yaml.YAMLError, KeyError, TypeError, AttributeError):
        return []


def _lines(path: Path) -> list[dict[str, Any]]:
    if not path.is_file():
        return []
    records = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            records.append(json.loads(line))
        # a line that a kill cut short
        except ValueError:
            continue
    return [record for record in records if isinstance(record, dict)]
