from __future__ import annotations

import pytest

from lazarus_pl.did_you_mean import did_you_mean, nearest

OPTIONS = ["--trainer.max_steps", "--trainer.max_epochs", "--trainer.devices"]


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("--trainer.max_ep", ["--trainer.max_epochs"]),
        ("--Trainer.Max_Epocs", ["--trainer.max_epochs"]),
        ("--trainer.max_step", ["--trainer.max_steps"]),
        ("plain", []),
    ],
)
def test_an_abbreviation_is_nearer_than_likeness(word: str, meant: list[str]) -> None:
    assert nearest(word, OPTIONS) == meant


def test_several_are_joined() -> None:
    said = did_you_mean("late_blght", ["early_blight", "late_blight", "rust"], most=2)
    assert said == ", did you mean 'late_blight' or 'early_blight'?"
    assert did_you_mean("mildew", ["early_blight", "rust"]) == ""
