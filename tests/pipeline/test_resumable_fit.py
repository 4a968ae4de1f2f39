"""A training of a run that goes on where it was."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from lazarus_pl.pipeline.run.resumable_fit import ResumableFit
from lazarus_pl.pipeline.run.schedule import Schedule
from lazarus_pl.shipped_config import shipped_config

EPOCHS = 4


def fit(out: Path, cache: Path, head: str, budget: float | None = None) -> ResumableFit:
    config = shipped_config(f"heads/{head}.yaml").resolve()
    return ResumableFit(
        "head", "training", config, {"trainer.max_epochs": EPOCHS}, cache, out, budget
    )


@pytest.mark.parametrize("head", ["linear", "attention"])
def test_a_config_that_keeps_only_the_best_goes_on_all_the_same(
    head: str, cache: Path, tmp_path: Path
) -> None:
    whole = fit(tmp_path / "whole", cache, head).run("digest", None, None, Schedule())
    assert (whole.state, whole.note) == ("done", "")
    # no time for a second epoch
    cut = fit(tmp_path / "cut", cache, head, 1e-3).run("digest", None, 1e-3, Schedule())
    assert cut.state == "shortened"
    assert cut.note == f"ended after 1 of {EPOCHS} epochs, to keep within the budget of time"
    state = torch.load(cut.checkpoint.with_name("last.ckpt"), weights_only=True)["callbacks"]
    known = [each["best_model_path"] for name, each in state.items() if "ModelCheckpoint" in name]
    assert [Path(path) for path in known] == [cut.checkpoint.resolve()], "it forgets the best"
    after = fit(tmp_path / "cut", cache, head).run("digest", None, None, Schedule())
    assert (after.state, after.note) == ("done", "")
    ours, theirs = (torch.load(end.checkpoint, weights_only=True) for end in (after, whole))
    # attention draws dropout, and no checkpoint keeps the state of that generator
    if head == "linear":
        assert ours["epoch"] == theirs["epoch"]
        for name, value in ours["state_dict"].items():
            assert torch.equal(value, theirs["state_dict"][name]), name
    last = torch.load(after.checkpoint.with_name("last.ckpt"), weights_only=True)
    assert last["epoch"] == EPOCHS - 1
    assert not list(tmp_path.rglob("*.part"))
