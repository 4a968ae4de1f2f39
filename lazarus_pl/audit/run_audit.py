"""The verb ``lazarus audit``."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lazarus_pl import __version__
from lazarus_pl.audit.audit_data import AuditData
from lazarus_pl.audit.class_balance import class_balance
from lazarus_pl.audit.file_report import file_report, quarantine_report
from lazarus_pl.audit.findings import findings
from lazarus_pl.audit.label_doubts import label_doubts, write_doubts
from lazarus_pl.audit.leak import leak_report
from lazarus_pl.audit.load_audit_data import load_audit_data
from lazarus_pl.audit.near_copies import duplicate_report, find_near_copies
from lazarus_pl.audit.reach import reach_report
from lazarus_pl.audit.shortcuts import shortcut_report
from lazarus_pl.audit.unseen_sessions import unseen_sessions
from lazarus_pl.data.atomic import replace_file
from lazarus_pl.data.check_outside import check_outside
from lazarus_pl.data.corrections import Corrections
from lazarus_pl.data.listing import LabelFrom
from lazarus_pl.data.split.split_spec import SplitSpec
from lazarus_pl.encoder.encoder_spec import EncoderSpec
from lazarus_pl.encoder.engine_options import EngineOptions
from lazarus_pl.errors import LazarusError
from lazarus_pl.progress import Progress

_LOG = logging.getLogger(__name__)
_ENCODER = EncoderSpec()
_MARKS = {"fault": "FAULT", "warning": "note", "ok": "ok"}


def audit(
    data: Path,
    out: Path,
    cache: Path | None = None,
    split: SplitSpec | None = None,
    label_from: LabelFrom = "path",
    encoder: EncoderSpec = _ENCODER,
    device: str = "auto",
    costs: bool = True,
    corrections: Path | None = None,
) -> None:
    """Says what is wrong with a dataset and what each later step will cost, before any training.

    Decodes every photo once on all cores; a killed audit continues, a second one opens only what
    changed. With a feature cache it also measures what leaks are worth, how far scores carry, how
    photos of unseen sessions score, and which labels are doubtful.

    Args:
        data: Folder of class folders, or a CSV or Parquet table.
        out: Folder for audit.html, audit.md, audit.json and label_doubts.csv.
        cache: Feature cache of the same photos; its split and labels are taken.
        split: How photos are divided; by default that of the cache, or of lazarus extract.
        label_from: In a folder, the label is the whole path of folders, the top one, or the parent.
        encoder: The backbone whose costs are estimated.
        device: auto, cpu, cuda, cuda:1, mps.
        costs: Try the later steps for a few seconds and estimate what they take.
        corrections: CSV of relabelled and excluded photos, as of lazarus extract.
    """
    report = run_audit(
        data,
        out,
        cache,
        split,
        label_from,
        encoder if costs else None,
        EngineOptions(device),
        corrections=Corrections.read(corrections) if corrections else None,
    )
    for finding in report["findings"]:
        print(f"{_MARKS[finding['severity']]:5}  {finding['text']}")
    print(
        f"\n{report['classes']['total']} photos of {report['classes']['number']} classes, "
        f"{report['quarantine']['total']} in quarantine, {report['about']['seconds']:.0f} s; "
        f"read '{out / 'audit.html'}'"
    )


def run_audit(
    data: Path,
    out: Path,
    cache: Path | None = None,
    split: SplitSpec | None = None,
    label_from: LabelFrom = "path",
    encoder: EncoderSpec | None = None,
    options: EngineOptions | None = None,
    costs: Mapping[str, Any] | None = None,
    engines: Path | None = None,
    corrections: Corrections | None = None,
) -> dict[str, Any]:
    """Audits a dataset and writes the report.

    Args:
        data: Folder of class folders, or table.
        out: Where everything is written.
        cache: Feature cache of the same photos.
        split: How photos are divided.
        label_from: How labels are read off folders.
        encoder: Estimate the costs of later steps with this encoder; None leaves them out.
        options: How the encoder is run when the costs are tried.
        costs: ``costs``, ``costs_4gb`` and ``rates`` of an earlier audit, where they are known.
        engines: Where a converted encoder is kept for the extraction; None to keep none.
        corrections: Other labels and exclusions than the data's.

    Returns:
        What stands in ``audit.json``; ``audit.schema.json`` beside the report's templates says what
        each key means.

    Raises:
        LazarusError: If the data or the cache cannot be used, or ``label_doubts.csv`` is there and
            no such table.
        OSError: If the report cannot be written.
    """
    from lazarus_pl.audit.report.write_report import write_report

    started = time.monotonic()
    if out.is_file():
        raise LazarusError(f"'{out}' is a file: name a folder with --out")
    check_outside(out, data)
    found = load_audit_data(data, out, cache, split, label_from, corrections)
    report = {**_sections(found, encoder, options or EngineOptions(), engines), **(costs or {})}
    report["about"] = {
        "version": __version__,
        "data": str(data),
        "cache": str(cache) if cache else None,
        "encoder": dict(found.encoder) if found.encoder else None,
        "split": asdict(found.split),
        "split_problem": found.split_problem,
        "seconds": round(time.monotonic() - started, 1),
    }
    report["findings"] = [asdict(finding) for finding in findings(report)]
    with replace_file(out / "audit.json") as file:
        file.write(json.dumps(report, indent=1).encode("utf-8", "surrogateescape"))
    write_report(report, found, out)
    if report["label_doubts"]:
        write_doubts(report["label_doubts"]["doubts"], out / "label_doubts.csv")
    return report


def _sections(
    data: AuditData, encoder: EncoderSpec | None, options: EngineOptions, engines: Path | None
) -> dict[str, Any]:
    report: dict[str, Any] = {"costs": [], "costs_4gb": [], "rates": {}}
    near = find_near_copies(data)

    def leak() -> dict[str, Any]:
        return {**leak_report(data, near), "reach": reach_report(data)}

    steps: dict[str, Callable[[], Any]] = {
        "classes": lambda: class_balance(data),
        "files": lambda: file_report(data),
        "quarantine": lambda: quarantine_report(data),
        "duplicates": lambda: duplicate_report(data, near),
        "leak": leak,
        "sessions": lambda: unseen_sessions(data, near),
        "shortcuts": lambda: shortcut_report(data),
        "label_doubts": lambda: label_doubts(data),
    }
    with Progress("analysing", len(steps) + 1, "parts") as progress:
        for name, step in steps.items():
            progress.advance(0, note=name)
            report[name] = step()
            progress.advance()
        if encoder is not None and not data.split_problem:
            progress.advance(0, note="costs")
            report.update(_costs(data, encoder, options, engines))
        progress.advance()
    return report


def _costs(
    data: AuditData, encoder: EncoderSpec, options: EngineOptions, engines: Path | None
) -> dict[str, Any]:
    from lazarus_pl.audit.costs.cost_report import cost_report

    try:
        return cost_report(data, encoder, options, engines)
    except LazarusError as error:
        _LOG.warning("costs cannot be estimated: %s", error)
        return {}
