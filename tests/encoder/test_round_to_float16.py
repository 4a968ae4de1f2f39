"""Single precision to half is NumPy's, bit for bit."""

from __future__ import annotations

import numpy as np
import pytest

from lazarus_pl.encoder.round_to_float16 import round_to_float16


def rounded(values: np.ndarray) -> np.ndarray:
    out = np.full(values.shape, 7, np.float16)
    round_to_float16(values, out)
    return out


@pytest.mark.parametrize("seed", range(3))
def test_any_bits_are_rounded_as_numpy_does(seed: int) -> None:
    bits = np.random.default_rng(seed).integers(0, 2**32, (7, 5000), dtype=np.uint32)
    values = bits.view(np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        expected = values.astype(np.float16)
    out = rounded(values)
    numbers = ~np.isnan(expected)
    np.testing.assert_array_equal(np.isnan(out), ~numbers)
    np.testing.assert_array_equal(out.view(np.uint16)[numbers], expected.view(np.uint16)[numbers])


def test_ties_borders_and_the_smallest_numbers() -> None:
    halves = np.arange(2**16, dtype=np.uint16).view(np.float16)
    halves = np.sort(halves[np.isfinite(halves)]).astype(np.float32)
    ties = (halves[1:] + halves[:-1]) / 2
    values = np.concatenate([halves, ties, np.nextafter(ties, np.float32(np.inf))])
    values = np.concatenate([values, np.float32([65519.99, 65520, -65520, 1e30, -0.0, 1e-45])])
    with np.errstate(over="ignore"):
        expected = values.astype(np.float16)
    np.testing.assert_array_equal(rounded(values).view(np.uint16), expected.view(np.uint16))


def test_shapes_and_slices() -> None:
    values = np.random.default_rng(0).standard_normal((6, 9, 9, 33)).astype(np.float32)
    out = np.zeros((9, 9, 9, 33), np.float16)
    round_to_float16(values[:4], out[3:7])
    np.testing.assert_array_equal(out[3:7], values[:4].astype(np.float16))
    assert not out[:3].any()
    assert not out[7:].any()


def test_values_that_lie_apart_are_refused() -> None:
    out = np.zeros((4, 6), np.float16)
    with pytest.raises(RuntimeError):
        round_to_float16(np.zeros((4, 3), np.float32), out[:, :3])
