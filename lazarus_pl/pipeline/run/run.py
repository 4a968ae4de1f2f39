"""The verb ``lazarus run``."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import time
from pathlib import Path

from lazarus_pl.data.check_outside import check_outside
from lazarus_pl.data.check_same_data import check_same_data
from lazarus_pl.data.folder_lock import FolderLock
from lazarus_pl.data.listing import LabelFrom, check_classes, check_sides, list_photos
from lazarus_pl.data.split.check_listed import check_listed
from lazarus_pl.data.split.split_spec import SplitSpec
from lazarus_pl.duration import say_duration
from lazarus_pl.encoder.encoder_spec import EncoderSpec
from lazarus_pl.encoder.engine_options import EngineName
from lazarus_pl.encoder.precision import Precision
from lazarus_pl.errors import LazarusError
from lazarus_pl.pipeline.run.audit_options import AuditOptions
from lazarus_pl.pipeline.run.budget import Budget
from lazarus_pl.pipeline.run.chain import Chain
from lazarus_pl.pipeline.run.grid_options import GridOptions
from lazarus_pl.pipeline.run.refit_options import RefitOptions
from lazarus_pl.pipeline.run.run_settings import RunSettings
from lazarus_pl.pipeline.run.stage import Stage
from lazarus_pl.pipeline.run.stage_options import StageOptions
from lazarus_pl.pipeline.run.stages.audit_stage import AuditStage
from lazarus_pl.pipeline.run.stages.choose_stage import ChooseStage
from lazarus_pl.pipeline.run.stages.deploy_stage import DeployStage
from lazarus_pl.pipeline.run.stages.extract_stage import ExtractStage
from lazarus_pl.pipeline.run.stages.findings_stage import FindingsStage
from lazarus_pl.pipeline.run.stages.finetune_stage import FinetuneStage
from lazarus_pl.pipeline.run.stages.grid_stage import GridStage
from lazarus_pl.pipeline.run.stages.patches_stage import PatchesStage
from lazarus_pl.pipeline.run.stages.refit_stage import RefitStage
from lazarus_pl.pipeline.run.stages.report_stage import ReportStage
from lazarus_pl.pipeline.run.stages.test_stage import TestStage
from lazarus_pl.pipeline.run.stages.views_head_stage import ViewsHeadStage
from lazarus_pl.pipeline.run.stages.views_stage import ViewsStage
from lazarus_pl.views.views_spec import ViewsSpec

_ENCODER = EncoderSpec()
_SPLIT = SplitSpec()
_VIEWS = ViewsSpec()
_AUDIT = AuditOptions()
_GRID = GridOptions()
_STAGE = StageOptions()
_REFIT = RefitOptions()
_BUDGET = Budget()


def run(
    data: Path,
    out: Path,
    encoder: EncoderSpec = _ENCODER,
    split: SplitSpec = _SPLIT,
    label_from: LabelFrom = "path",
    corrections: Path | None = None,
    views: ViewsSpec = _VIEWS,
    device: str = "auto",
    precision: Precision = "auto",
    batch_size: int = 8,
    engine: EngineName = "auto",
    audit: AuditOptions = _AUDIT,
    grid: GridOptions = _GRID,
    patches: StageOptions = _STAGE,
    views_head: StageOptions = _STAGE,
    finetune: StageOptions = _STAGE,
    refit: RefitOptions = _REFIT,
    budget: Budget = _BUDGET,
    gallery: int = 6,
    seed: int | None = None,
) -> int:
    """Does the whole chain: audit, features, heads, views, fine-tuning, test, report.

    Each stage says beforehand how long it will take. Ctrl-C or a crash loses little: the same
    command goes on. What has not changed is not done again. The model is chosen on val and trained
    again on train and val together; test is read once, for that one.

    Args:
        data: Folder of class folders, or a CSV or Parquet table with the columns path and label
            (and optionally group and split).
        out: Folder for report.html, summary.json, best.ckpt and all that leads to them.
        encoder: The backbone.
        split: How photos are divided into train, val and test.
        label_from: In a folder, the label is the whole path of folders, the top one, or the parent.
        corrections: CSV of relabelled and excluded photos, as of lazarus extract.
        views: Augmented views of what is trained on, for one of the heads and for fine-tuning.
        device: auto, cpu, cuda, cuda:1, mps: of the audit, the extraction and the report's maps.
        precision: Of the encoder in the extraction and for the maps.
        batch_size: Photos that the encoder takes at once there.
        engine: What runs the encoder there.
        audit: Findings about the data, and estimates of time.
        grid: The heads.
        patches: The head that scores every patch.
        views_head: The head that learns from the views.
        finetune: The encoder's last blocks, from a head on.
        refit: The training of the chosen model once more, on val's photos too, and, where it is
            asked for, on all photos when test has been read.
        budget: What all of it may take: time, for which late stages are shortened or left out, and
            memory of the GPU, for which training takes its batches in parts.
        gallery: Hits, and as many misses, that the report shows with their heat-maps.
        seed: Of every training; by default the configs' own.
    """
    if gallery < 0:
        raise LazarusError(f"--gallery {gallery} is negative: give a number of photos, or 0")
    if seed is not None and not 0 <= seed < 2**32:
        raise LazarusError(f"--seed {seed} cannot be: give a whole number from 0 to 4294967295")
    settings = RunSettings(
        data=data,
        out=out,
        encoder=encoder,
        split=split,
        label_from=label_from,
        corrections=corrections,
        views=views,
        device=device,
        precision=precision,
        batch_size=batch_size,
        engine=engine,
        audit=audit,
        grid=grid,
        patches=patches,
        views_head=views_head,
        finetune=finetune,
        refit=refit,
        budget=budget,
        gallery=gallery,
        seed=seed,
        command=_command(),
    )
    return run_chain(settings)


def _command() -> str:
    """The command line of this process; nothing where it is another program's."""
    ours = Path(sys.argv[0]).stem in ("lazarus", "__main__")
    join = subprocess.list2cmdline if os.name == "nt" else shlex.join
    return join(["lazarus", *sys.argv[1:]]) if ours else ""


def run_chain(settings: RunSettings) -> int:
    """Runs what is left of a chain.

    Returns:
        0, or 1 if a stage failed and the report tells of it.

    Raises:
        LazarusError: If the data, a config or the folder cannot be used, or another run has it.
        OSError: If the disk is full or read-only.
    """
    started = time.monotonic()
    if settings.out.exists() and not settings.out.is_dir():
        raise LazarusError(f"'{settings.out}' is a file: name a folder with --out")
    check_outside(settings.out, settings.data)
    root, listed = list_photos(settings.data, settings.label_from)
    check_sides(listed)
    right = settings.decisions.apply(listed)[0] if settings.decisions else listed
    check_classes(settings.data, right)
    check_listed(root, right, settings.split)
    # a mistake is told before the folder is made
    stages = _stages(settings)
    stages[0].digest({})
    check_same_data(settings.data, root, listed, settings.cache)
    with FolderLock(settings.out, "run"):
        print(f"lazarus run: '{settings.data}' to '{settings.out}'")
        try:
            records = Chain(stages, settings.out, settings.budget).run()
        except OSError as error:
            error.filename = error.filename or str(settings.out)
            raise
    failed = [record.stage for record in records.values() if record.state == "failed"]
    print(_answer(settings.out))
    if failed:
        print(f"failed: {', '.join(failed)}; the same command tries again")
    print(f"read '{settings.out / 'report.html'}' ({say_duration(time.monotonic() - started)})")
    return 1 if failed else 0


def _stages(settings: RunSettings) -> list[Stage]:
    looks: list[Stage] = [] if settings.audit.skip else [AuditStage(settings)]
    again: list[Stage] = [] if settings.audit.skip else [FindingsStage(settings)]
    patches: list[Stage] = [] if settings.patches.skip else [PatchesStage(settings)]
    finetune: list[Stage] = [] if settings.finetune.skip else [FinetuneStage(settings)]
    refit: list[Stage] = [] if settings.refit.skip else [RefitStage(settings)]
    deploy: list[Stage] = [DeployStage(settings)] if settings.refit.all_photos else []
    return [
        *looks,
        ExtractStage(settings),
        *again,
        GridStage(settings),
        *patches,
        *_on_views(settings),
        *finetune,
        ChooseStage(settings),
        *refit,
        TestStage(settings),
        *deploy,
        ReportStage(settings),
    ]


def _on_views(settings: RunSettings) -> list[Stage]:
    """The views and the head that learns from them, where anything trains on views."""
    if settings.has_views_head:
        return [ViewsStage(settings), ViewsHeadStage(settings)]
    wanted = settings.views.count and not settings.finetune.skip
    return [ViewsStage(settings)] if wanted else []


def _answer(out: Path) -> str:
    summary = json.loads((out / "summary.json").read_bytes())
    if summary["model"] is None:
        return "there is no model"
    if summary["test_macro_f1"] is None:
        return f"{summary['model']}: val macro-F1 {summary['val_macro_f1']:.3f}, no test photos"
    interval = summary["test_macro_f1_interval"]
    missing = "no mistake" if summary["test_accuracy"] == 1 else "no interval"
    width = "{:.3f} to {:.3f}".format(*interval) if interval else missing
    return (
        f"{summary['model']}: test macro-F1 {summary['test_macro_f1']:.3f} ({width}), "
        f"accuracy {summary['test_accuracy']:.3f}"
    )
