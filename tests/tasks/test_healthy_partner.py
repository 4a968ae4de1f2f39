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
        (["healthy", "not_healthy"], [0, 0]),
        (["Healthy", "Non-Healthy"], [0, 0]),
        (["NotHealthy", "PotatoHealthy", "PotatoBlight"], [3, 1, 1]),
        (["Bacterial Leaf Blight", "Brown Spot", "Healthy Rice Leaf", "Leaf Blast"], [2] * 4),
        (["Healthy leaf", "Rust", "Scab"], [0, 0, 0]),
        (["Late_blight_Potato", "Healthy_Potato"], [1, 1]),
        (["Healthy_Rice", "Rice_blast", "Wheat_rust"], [0, 0, 3]),
        (["Peach___Bacterial_spot", "Pea___healthy", "Pea___rust"], [3, 1, 1]),
        (["healthy", "normal", "rust"], [0, 1, 0]),
        (["no disease", "rust", "no-disease potato", "potato rust"], [0, 0, 2, 2]),
        (["tomato/healthy", "tomato/rust", "tomato/normal"], [0, 0, 2]),
        (["Pepper,_bell___healthy", "Pepper,_bell___Bacterial_spot"], [0, 0]),
        (["Corn_(maize)___healthy", "Corn_(maize)___Common_rust_"], [0, 0]),
        (["Болезнь", "healthy"], [1, 1]),
        ([], []),
    ],
)
def test_partner(names: list[str], partners: list[int]) -> None:
    assert healthy_partner(names) == partners
