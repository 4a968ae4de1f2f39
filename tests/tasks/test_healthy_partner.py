from __future__ import annotations

import pytest

from lazarus_pl.tasks.healthy_partner import healthy_partner


@pytest.mark.parametrize(
    ("names", "partners"),
    [
        (["Corn___rust", "Corn___healthy", "Potato___rust", "Potato___healthy"], [1, 1, 3, 3]),
        (["healthy", "late_blight", "rust"], [0, 0, 0]),
        (["late_blight", "rust"], [2, 2]),
        (["Corn___healthy", "Squash___mildew"], [0, 2]),
        (["unhealthy", "rust"], [2, 2]),
    ],
)
def test_partner(names: list[str], partners: list[int]) -> None:
    assert healthy_partner(names) == partners
