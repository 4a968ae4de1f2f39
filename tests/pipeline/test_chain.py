"""What a chain announces and does again, with stages that only say that they were done."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from lazarus_pl.errors import LazarusError
from lazarus_pl.pipeline.run.budget import Budget
from lazarus_pl.pipeline.run.chain import Chain
from lazarus_pl.pipeline.run.run_settings import RunSettings
from lazarus_pl.pipeline.run.schedule import Schedule
from lazarus_pl.pipeline.run.stage import Records, Stage
from lazarus_pl.pipeline.run.stage_outcome import StageOutcome


class Said(Stage):
    """Gives what it is told to."""

    outcome = StageOutcome(output="same")
    seconds = 0.0

    def __init__(self, settings: RunSettings) -> None:
        super().__init__(settings)
        self.allowed: list[float | None] = []

    def inputs(self) -> str:
        return ""

    def estimate(self, costs: Mapping[str, float]) -> float:
        return self.seconds

    def run(self, before: Records, allowed: float | None, schedule: Schedule) -> StageOutcome:
        self.allowed.append(allowed)
        return self.outcome


class Heads(Said):
    name, title, seconds = "grid", "heads", 60.0


class Late(Said):
    name, title, needs, seconds, can_be_cut = "finetune", "late", ("grid",), 600.0, True


class Last(Said):
    name, title, needs, seconds = "test", "last", ("grid", "finetune"), 1200.0


@pytest.fixture
def stages(tmp_path: Path) -> tuple[Said, Said, Said]:
    """Of which the first one failed in part, in a run that is over."""
    settings = RunSettings(tmp_path, tmp_path)
    heads, late, last = Heads(settings), Late(settings), Last(settings)
    heads.outcome = StageOutcome(output="two of three", retry=True)
    Chain([heads, late, last], tmp_path, Budget()).run()
    for stage in (heads, late, last):
        stage.allowed.clear()
    return heads, late, last


def test_what_depends_on_a_retried_stage_is_announced_with_an_if(
    stages: tuple[Said, Said, Said], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    Chain(stages, tmp_path, Budget()).run()
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith("about 60 s")
    assert [line.split()[1] for line in lines if line.endswith("only if grid changes")] == [
        *("finetune", "test"),
    ]
    assert "  in all about 60 s" in lines
    assert [len(stage.allowed) for stage in stages] == [1, 0, 0]


def test_what_a_retried_stage_changes_is_done_again_within_the_budget(
    stages: tuple[Said, Said, Said], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    heads, late, last = stages
    heads.outcome = StageOutcome(output="three of three")
    Chain(stages, tmp_path, Budget("1h")).run()
    assert [len(stage.allowed) for stage in stages] == [1, 1, 1]
    # time for the last one is kept
    assert late.allowed == [pytest.approx(3600 - last.seconds, abs=5)]
    capsys.readouterr()
    Chain(stages, tmp_path, Budget("1h")).run()
    assert "nothing has changed" in capsys.readouterr().out


class Broken(Heads):
    def run(self, before: Records, allowed: float | None, schedule: Schedule) -> StageOutcome:
        raise LazarusError("no luck")


def test_what_cannot_be_done_after_a_failure_is_neither_begun_nor_waited_for(
    stages: tuple[Said, Said, Said], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    heads, late, last = stages
    late.requires = ("grid",)  # type: ignore[misc]
    capsys.readouterr()
    broken = Broken(heads.settings)
    records = Chain([broken, late, last], tmp_path / "other", Budget()).run()
    lines = capsys.readouterr().out.splitlines()
    assert [len(stage.allowed) for stage in (late, last)] == [0, 1]
    assert "      finetune cannot be done without grid, which failed" in lines
    assert not [line for line in lines if "late" in line and line.startswith("[")]
    assert [record.state for record in records.values()] == ["failed", "failed", "done"]
    assert (
        Chain([heads, late, last], tmp_path / "other", Budget()).run()["finetune"].state == "done"
    )


class Between(Last):
    """Comes before the late one, and notes what is thought to be left of the whole."""

    needs = ("grid",)

    def run(self, before: Records, allowed: float | None, schedule: Schedule) -> StageOutcome:
        self.left = schedule.left
        return super().run(before, allowed, schedule)


def test_a_retried_stage_that_fails_whole_takes_what_requires_it_out_of_the_time_left(
    stages: tuple[Said, Said, Said], tmp_path: Path
) -> None:
    heads, late, last = stages
    late.requires = ("grid",)  # type: ignore[misc]
    between = Between(last.settings)
    Chain([Broken(heads.settings), between, late], tmp_path, Budget()).run()
    assert [len(stage.allowed) for stage in (between, late)] == [1, 0]
    # 10 min of the late one are not waited for
    assert between.left == pytest.approx(last.seconds, abs=5)


def test_what_changes_for_another_reason_is_announced_whole(
    stages: tuple[Said, Said, Said], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "stages" / "finetune.json").unlink()
    capsys.readouterr()
    Chain(stages, tmp_path, Budget()).run()
    lines = capsys.readouterr().out.splitlines()
    assert not [line for line in lines if "only if" in line]
    assert "  in all about 31 min" in lines
