"""Which model of a chain is chosen."""

from __future__ import annotations

import pytest

from lazarus_pl.pipeline.run.candidate import Candidate
from lazarus_pl.pipeline.run.choose import choose, why_not_the_best

_ON_VIEWS = ("views_head", "finetune", "last epoch")


def _candidate(stage: str, score: float, error: float | None = 0.01) -> Candidate:
    return Candidate(stage, stage, f"{stage}.ckpt", score, score, error, stage in _ON_VIEWS)


@pytest.mark.parametrize(
    ("scores", "chosen"),
    [
        ({"grid": 0.90, "patches": 0.89, "finetune": 0.95}, "finetune"),
        # val cannot tell them apart
        ({"grid": 0.900, "patches": 0.89, "finetune": 0.893}, "finetune"),
        ({"grid": 0.90, "patches": 0.89, "finetune": 0.88}, "grid"),
        ({"grid": 0.90, "views_head": 0.893, "finetune": 0.94}, "finetune"),
        ({"grid": 0.90, "views_head": 0.893, "finetune": 0.892}, "finetune"),
        ({"grid": 0.90, "views_head": 0.893, "finetune": 0.88}, "views_head"),
        ({"grid": 0.90, "finetune": 0.95, "last epoch": 0.945}, "last epoch"),
        ({"grid": 0.90, "finetune": 0.95, "last epoch": 0.935}, "finetune"),
        # no rule for what did not learn from views
        ({"grid": 0.895, "patches": 0.90}, "patches"),
        ({"grid": 0.90, "patches": 0.90}, "grid"),
    ],
)
def test_the_best_or_of_equals_what_learnt_from_views(
    scores: dict[str, float], chosen: str
) -> None:
    candidates = [_candidate(*item) for item in scores.items()]
    assert choose(candidates).stage == chosen


def test_without_views_the_best_is_the_best() -> None:
    candidates = [Candidate(n, n, n, f, f, 0.01) for n, f in (("grid", 0.9), ("finetune", 0.899))]
    assert choose(candidates).stage == "grid"


def test_the_larger_of_two_errors_counts() -> None:
    """A head that is right about all of val has none."""
    perfect, tuned = _candidate("grid", 1.0, 0.0), _candidate("finetune", 0.999, 0.002)
    assert choose([perfect, tuned]) is tuned


def test_without_a_standard_error_the_best_is_the_best() -> None:
    candidates = [_candidate("grid", 0.9, None), _candidate("finetune", 0.899, None)]
    assert choose(candidates).stage == "grid"


@pytest.mark.parametrize(
    ("scores", "told"),
    [
        ({"grid": 0.90, "finetune": 0.95}, ""),
        (
            {"grid": 0.90, "finetune": 0.893},
            "val cannot tell it from 'grid' (0.900), and it learnt from views",
        ),
        (
            {"finetune": 1.0, "last epoch": 1.0},
            "val cannot tell it from 'finetune' (1.000), and it learnt longer",
        ),
    ],
)
def test_why_another_than_the_best_is_taken_is_told(scores: dict[str, float], told: str) -> None:
    candidates = [_candidate(*item) for item in scores.items()]
    assert why_not_the_best(choose(candidates), candidates) == told
