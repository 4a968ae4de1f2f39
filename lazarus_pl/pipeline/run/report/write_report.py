"""Writes ``report.html`` and ``summary.json``."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lazarus_pl.data.atomic import replace_file
from lazarus_pl.data.manifest import Manifest
from lazarus_pl.duration import say_duration
from lazarus_pl.pipeline.run.digests import file_digest
from lazarus_pl.pipeline.run.gallery import read_gallery
from lazarus_pl.pipeline.run.report.conclusion import Conclusion
from lazarus_pl.pipeline.run.report.curves import Curve, read_curves
from lazarus_pl.pipeline.run.report.finetune_story import FinetuneStory
from lazarus_pl.pipeline.run.report.line_chart import LineChart
from lazarus_pl.pipeline.run.report.pictures import inline_picture
from lazarus_pl.pipeline.run.report.reliability_chart import ReliabilityChart
from lazarus_pl.pipeline.run.report.versions import package_versions
from lazarus_pl.pipeline.run.run_settings import RunSettings
from lazarus_pl.pipeline.run.stage import is_done
from lazarus_pl.pipeline.run.stage_record import StageRecord
from lazarus_pl.plain_name import plain_name
from lazarus_pl.templates import templates

Json = dict[str, Any]

_MB = 1e6
_SCORE = "val/macro_f1"
_LOSSES = {"train/loss": "train", "val/loss": "val"}


def write_report(settings: RunSettings, records: Mapping[str, StageRecord]) -> list[Path]:
    """Writes what came of a run, from the files that its stages left.

    Args:
        settings: Of the run.
        records: Of its stages so far.

    Returns:
        What was written.

    Raises:
        OSError: If it cannot be written.
    """
    out = settings.out
    result = _read(out / "test" / "result.json") if is_done(records, "test") else None
    summary = _summary(settings, records, result)
    here = Path(__file__).parent
    pages = templates(here, duration=say_duration, plain=plain_name, percent=_percent)
    page = pages.get_template("run.html.jinja")
    # a file name need not be text
    text = page.render(_context(settings, records, result, summary)).encode("utf-8", "replace")
    with replace_file(out / "report.html") as file:
        file.write(text)
    with replace_file(out / "summary.json") as file:
        file.write(json.dumps(summary, indent=2).encode("utf-8", "replace"))
    return [out / "report.html", out / "summary.json"]


def _context(
    settings: RunSettings,
    records: Mapping[str, StageRecord],
    result: Json | None,
    summary: Json,
) -> Json:
    """What the page is told."""
    out = settings.out
    audit = _read(out / "audit" / "audit.json") if is_done(records, "findings") else None
    return {
        "settings": settings,
        "summary": summary,
        "result": result,
        "audit": audit,
        "conclusion": Conclusion.of(result, audit) if result else None,
        "records": list(records.values()),
        "left_out": _skipped(settings),
        "leaderboard": _leaderboard(out) if is_done(records, "grid") else [],
        **_charts(out, records, result),
        "galleries": _galleries(out, records),
        "versions": package_versions(),
        "digests": _digests(settings, records),
        "encoder": (_read(settings.cache / "cache.json") or {}).get("encoder", {}),
    }


def _summary(
    settings: RunSettings, records: Mapping[str, StageRecord], result: Json | None
) -> Json:
    manifest = Manifest.read(settings.cache)
    chosen, test, interval = (
        (result or {}).get(name) or {} for name in ("chosen", "test", "interval")
    )
    gpu = settings.budget.gpu_bytes
    return {
        "model": chosen.get("name"),
        "stage": chosen.get("stage"),
        "checkpoint": settings.best.name if chosen else None,
        "deploy": settings.deploy.name if is_done(records, "deploy") else None,
        "trained_on": (result or {}).get("trained_on", []),
        "val_macro_f1": chosen.get("val_macro_f1"),
        "test_macro_f1": test.get("macro_f1"),
        "test_macro_f1_interval": interval.get("macro_f1"),
        "test_accuracy": test.get("accuracy"),
        "test_accuracy_interval": interval.get("accuracy"),
        "test_calibration_error": test.get("calibration_error"),
        "test_readings": (result or {}).get("readings", 0),
        "candidates": (result or {}).get("candidates", []),
        "images": len(manifest.photos),
        "classes": manifest.num_classes,
        "quarantined": len(manifest.quarantine),
        "seconds": round(sum(record.seconds for record in records.values()), 1),
        "budget_seconds": settings.budget.seconds,
        "budget_gpu_mb": None if gpu is None else round(gpu / _MB, 1),
        "stages": {
            record.stage: {
                "state": record.state,
                "seconds": record.seconds,
                "estimate": record.estimate,
                "peak_rss_mb": record.peak_rss_mb,
                "peak_gpu_mb": record.peak_gpu_mb,
                "note": record.note,
            }
            for record in records.values()
        },
    }


def _charts(out: Path, records: Mapping[str, StageRecord], result: Json | None) -> Json:
    """Learning curves, reliability, and the story of the fine-tuning."""
    tags = (_SCORE, *_LOSSES)
    folders = {"best head": _best_of_grid(out)} if is_done(records, "grid") else {}
    folders |= {
        name: out / name for name in ("patches", "views_head", "finetune") if is_done(records, name)
    }
    curves = {name: read_curves(folder, tags) for name, folder in folders.items() if folder}
    chosen = result["chosen"]["stage"] if result else ""
    losses = curves.get("best head" if chosen == "grid" else chosen, {})
    side = (result or {}).get("test") or (result or {}).get("val")
    return {
        "scores": LineChart(_lines(curves, _SCORE), "epoch", "macro-F1 on val"),
        "losses": LineChart(
            {name: losses[tag] for tag, name in _LOSSES.items() if tag in losses}, "epoch", "loss"
        ),
        "reliability": ReliabilityChart(side["reliability"]) if side else None,
        "story": FinetuneStory.read(out / "finetune") if is_done(records, "finetune") else None,
    }


def _lines(curves: Mapping[str, Mapping[str, Curve]], tag: str) -> dict[str, Curve]:
    return {name: found[tag] for name, found in curves.items() if tag in found}


def _best_of_grid(out: Path) -> Path | None:
    summary = _read(out / "grid" / "summary.json")
    return out / "grid" / "runs" / summary["run"] if summary else None


def _leaderboard(out: Path) -> list[dict[str, str]]:
    with (out / "grid" / "leaderboard.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _galleries(out: Path, records: Mapping[str, StageRecord]) -> dict[str, list[Json]]:
    """Photos with their maps by kind; a photo whose picture is gone is left out."""
    found: dict[str, list[Json]] = {}
    for stage in ("test", "patches"):
        folder = out / stage / "gallery"
        for item in read_gallery(folder) if is_done(records, stage) else ():
            if picture := inline_picture(folder / item.picture):
                told = {"shown": item, "picture": picture, "stage": stage}
                found.setdefault(item.kind, []).append(told)
    return found


def _digests(settings: RunSettings, records: Mapping[str, StageRecord]) -> dict[str, str]:
    cache = _read(settings.cache / "cache.json") or {}
    found = {
        "encoder": str(cache.get("encoder", {}).get("digest", "")),
        "features": records["extract"].output if "extract" in records else "",
        "best.ckpt": file_digest(settings.best) if is_done(records, "test") else "",
    }
    return {name: digest for name, digest in found.items() if digest}


def _skipped(settings: RunSettings) -> list[str]:
    asked = {
        "audit": settings.audit.skip,
        "patches": settings.patches.skip,
        "views_head": settings.views_head.skip,
        "finetune": settings.finetune.skip,
        "refit": settings.refit.skip,
    }
    return [name for name, skip in asked.items() if skip]


def _read(path: Path) -> Json | None:
    try:
        content: Json = json.loads(path.read_bytes())
        return content
    except (OSError, ValueError):
        return None


def _percent(share: float) -> str:
    """Without a line's end before the sign."""
    return f"{100 * share:.0f}\N{NO-BREAK SPACE}%"
