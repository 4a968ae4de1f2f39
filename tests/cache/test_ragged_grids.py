from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lazarus_pl.cache.aligned_npz import ALIGNMENT, NpzError, map_npz
from lazarus_pl.cache.job_file import JobFile, rows_digest
from lazarus_pl.cache.job_plan import Row
from lazarus_pl.cache.ragged_grids import Layer, RaggedGrids, as_members

CHANNELS = 3
GRIDS = st.lists(
    st.one_of(
        st.none(),
        hnp.arrays(
            np.float16,
            st.tuples(st.integers(1, 5), st.integers(1, 5), st.just(CHANNELS)),
            elements=st.integers(-100, 100),
        ),
    ),
    min_size=1,
    max_size=6,
)


def job_of(grids: list[np.ndarray | None]) -> tuple[JobFile, list[Row]]:
    """A job of photos, some of which could not be decoded."""
    rows = [Row(f"{number:064x}") for number in range(len(grids))]
    there = {number: grid for number, grid in enumerate(grids) if grid is not None}
    pooled = np.arange(2 * len(grids), dtype=np.float16).reshape(len(grids), 2)
    features: dict[str, Layer] = {
        "pooled": pooled,
        "grid16": RaggedGrids.of(len(grids), CHANNELS, there),
    }
    failed = {number: "why" for number in range(len(grids)) if number not in there}
    return JobFile("key", rows_digest(rows), features, failed), rows


@settings(max_examples=100, deadline=None)
@given(GRIDS)
def test_grids_of_all_sizes_come_back_mapped_and_aligned(
    tmp_path_factory: pytest.TempPathFactory, grids: list[np.ndarray | None]
) -> None:
    path = tmp_path_factory.mktemp("job") / "00000.npz"
    job, rows = job_of(grids)
    job.write(path)
    read = JobFile.map(path, "key", rows, verify=True)
    layer = read.features["grid16"]
    assert isinstance(layer, RaggedGrids)
    assert len(layer) == len(grids)
    for number, grid in enumerate(grids):
        if grid is None:
            assert layer[number].size == 0
        else:
            np.testing.assert_array_equal(layer[number], grid)
            assert not layer[number].flags.owndata
    assert np.array_equal(read.features["pooled"], job.features["pooled"])
    assert read.failed == job.failed
    members = map_npz(path)
    for array in members.values():
        assert not array.size or array.ctypes.data % ALIGNMENT == 0
    with np.load(path) as theirs:
        assert set(theirs.files) == {"pooled", "grid16", "grid16.shapes", "meta"}
        for name, array in as_members(job.features).items():
            np.testing.assert_array_equal(theirs[name], array)


@settings(max_examples=60, deadline=None)
@given(place=st.integers(0, 2**31), flip=st.integers(1, 255))
def test_any_flipped_byte_is_noticed_or_harmless(
    tmp_path_factory: pytest.TempPathFactory, place: int, flip: int
) -> None:
    path = tmp_path_factory.mktemp("job") / "00000.npz"
    grids = [np.full((size, 2, CHANNELS), size, np.float16) for size in (1, 3, 2)]
    job, rows = job_of([*grids, None])
    job.write(path)
    damaged = bytearray(path.read_bytes())
    damaged[place % len(damaged)] ^= flip
    path.write_bytes(damaged)
    try:
        read = JobFile.map(path, "key", rows, verify=True)
    except NpzError:
        return
    for number, grid in enumerate(grids):
        np.testing.assert_array_equal(read.features["grid16"][number], grid)


@pytest.mark.parametrize(
    "shapes", [[[2, 2]], [[2, 3], [1, 1]], [[-1, -5]], [[5]], [[2, 2], [1, 2]]]
)
def test_cells_that_are_not_those_of_the_shapes(shapes: list[list[int]]) -> None:
    with pytest.raises(ValueError, match="not those of its shapes"):
        RaggedGrids(np.zeros((5, CHANNELS), np.float16), np.array(shapes, np.int32))


def test_fewer_shapes_than_rows_are_other_photos(tmp_path: Path) -> None:
    job, rows = job_of([np.zeros((1, 2, CHANNELS), np.float16)] * 2)
    job.write(tmp_path / "a.npz")
    broken = RaggedGrids(np.zeros((2, CHANNELS), np.float16), np.array([[1, 2]], np.int32))
    JobFile(job.key, job.rows, {**job.features, "grid16": broken}).write(tmp_path / "b.npz")
    JobFile.map(tmp_path / "a.npz", "key", rows)
    with pytest.raises(NpzError, match="other photos"):
        JobFile.map(tmp_path / "b.npz", "key", rows)
