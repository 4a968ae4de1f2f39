from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lazarus_pl.encoder.sliding_windows import SlidingWindows

_SIDES = st.integers(2, 9).map(lambda cells: 32 * cells)


@given(_SIDES, _SIDES, st.sampled_from([0.0, 0.25, 0.5, 0.9]), st.sampled_from([16, 32]))
def test_cells_of_cut_windows_are_stitched_where_they_were(
    height: int, width: int, overlap: float, cell: int
) -> None:
    windows = SlidingWindows((height, width), 64, overlap)
    rng = np.random.default_rng(height * width)
    pixels = rng.integers(0, 255, (height, width, 3), dtype=np.uint8)
    cut = np.stack(list(windows.cut(pixels)))
    assert cut.shape == (len(windows.places), 64, 64, 3)
    grids = _cells(cut, cell)
    whole = windows.stitch(grids)
    np.testing.assert_array_equal(whole, _cells(pixels[None], cell)[0])


def test_what_overlaps_is_averaged() -> None:
    windows = SlidingWindows((64, 96), 64, overlap=0.5)
    assert windows.places == [(0, 0), (0, 32)]
    grids = np.stack([np.full((2, 2, 1), value, dtype=np.float16) for value in (1, 3)])
    assert windows.stitch(grids)[..., 0].tolist() == [[1, 2, 3]] * 2


def test_windows_overlap_as_much_as_asked() -> None:
    starts = sorted({left for _, left in SlidingWindows((256, 1024), 256, 0.25).places})
    assert starts[0] == 0
    assert starts[-1] == 1024 - 256
    assert max(np.diff(starts)) <= 0.75 * 256


@pytest.mark.parametrize(("shape", "overlap"), [((64, 100), 0.25), ((32, 96), 0.25), ((64, 64), 1)])
def test_what_cannot_be_covered(shape: tuple[int, int], overlap: float) -> None:
    with pytest.raises(ValueError, match="cannot be"):
        SlidingWindows(shape, 64, overlap)


def _cells(pixels: npt.NDArray[np.uint8], cell: int) -> npt.NDArray[np.float16]:
    """The first value of each cell stands for an encoder's."""
    return pixels[:, ::cell, ::cell].astype(np.float16)
