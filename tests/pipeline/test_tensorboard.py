"""What TensorBoard shows of trainings, without being set up."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

from lazarus_pl.cli import main
from lazarus_pl.shipped_config import shipped_config
from tests.pipeline.browser import find_browser, look_at

SHORT = ("--trainer.max_epochs=3", "--trainer.enable_progress_bar=false")
GROUPS = {"epoch", "train", "val", "val_best", "val_recall"}
TIMELINE = (
    *("what is monitored", "loss", "learning rate", "phase", "rollbacks", "gradient norm"),
    "update to weight",
)


@pytest.fixture(scope="module")
def logs(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The log folder of a head, of a patch head and of a fine-tuning."""
    root = tmp_path_factory.mktemp("board")
    head = root / "lightning_logs" / "version_0" / "checkpoints" / "best.ckpt"
    for name, words in {
        "heads/mlp.yaml": (),
        "patches/patches.yaml": ("--model.init_args.head_options.maps_every=1",),
        "finetune/progressive.yaml": (f"--model.init_args.start={head}",),
    }.items():
        config = shipped_config(name).resolve()
        more = (*words, f"--data.init_args.cache={cache}", *SHORT)
        assert main(["fit", f"-c={config}", f"--trainer.default_root_dir={root}", *more]) == 0
    return root / "lightning_logs"


def events_of(folder: Path) -> EventAccumulator:
    events = EventAccumulator(str(folder))
    events.Reload()
    return events


def test_scalars_have_groups_and_every_run_a_row_of_hyperparameters(logs: Path) -> None:
    rows = []
    for number in range(3):
        events = events_of(logs / f"version_{number}")
        tags = events.Tags()
        groups = {tag.partition("/")[0] for tag in tags["scalars"]}
        more = {"lr", "unfreezing", "rollback", "grad_norm", "update_ratio"}
        assert groups == GROUPS | (more if number == 2 else set())
        assert "confusion/val" in tags["images"]
        assert ("evidence/val" in tags["images"]) == (number == 1)
        content = events.PluginTagToContent("hparams")["_hparams_/session_start_info"]
        start = HParamsPluginData.FromString(content).session_start_info.hparams
        rows.append(
            {name: value.string_value or value.number_value for name, value in start.items()}
        )
        macro_f1 = [event.value for event in events.Scalars("val/macro_f1")]
        (best,) = events.Scalars("val_best/macro_f1")
        assert best.value in macro_f1
    assert all(len(row) == 5 for row in rows), "TensorBoard shows no more without being asked to"
    assert [(row["head"], row["lr"]) for row in rows] == [
        *(("mlp", 1e-3), ("patches", 2e-3), ("mlp", 3e-4)),
    ]


@pytest.fixture(scope="module")
def board(logs: Path) -> Iterator[str]:
    """The address of a TensorBoard that shows the logs."""
    words = ["--logdir", str(logs), "--host", "127.0.0.1", "--port", "0", "--load_fast=false"]
    process = subprocess.Popen(
        [sys.executable, "-m", "tensorboard.main", *words], stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    try:
        found = (re.search(r"(http://[\w.:]+)/", line) for line in process.stderr)
        yield next(match[1] for match in found if match)
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


@pytest.mark.slow
@pytest.mark.skipif(find_browser() is None, reason="no browser is installed")
@pytest.mark.parametrize(
    ("tab", "there", "said"),
    [
        ("timeseries", "CARD-VIEW", ("confusion", "val_recall", "version_2")),
        ("custom_scalars", "TF-LINE-CHART-DATA-LOADER", ("fine-tuning", *TIMELINE)),
        ("hparams", "VAADIN-GRID", ("head", "lr", "seed", "val_best/macro_f1", "patches")),
        ("images", "IMG", ("confusion/val", "evidence/val")),
    ],
)
def test_every_tab_in_a_browser(
    tab: str, there: str, said: tuple[str, ...], board: str, tmp_path: Path
) -> None:
    # the server reads the events while it answers
    shown = f"""[...every(document)].some(node => node.tagName == "{there}")
        && {json.dumps(said)}.every(word =>
            [...every(document)].some(node => (node.textContent || "").includes(word)))"""
    look = look_at(f"{board}/#{tab}", 1400, False, tmp_path, mobile=False, until=shown)
    errors = [text for text in look.complaints if re.search(r'"(type|level)": "error"', text)]
    assert errors == []
    assert look.broken == 0
    assert look.width <= 1400
