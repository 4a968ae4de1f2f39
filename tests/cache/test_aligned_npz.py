from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lazarus_pl.cache.aligned_npz import ALIGNMENT, NpzError, map_npz, write_npz
from lazarus_pl.cache.job_file import JobFile, rows_digest
from lazarus_pl.cache.job_plan import Row

ROWS = [Row(f"{number:064x}") for number in range(5)]

ARRAYS = st.dictionaries(
    st.text("abcdefgh_0123é", min_size=1, max_size=20),
    hnp.arrays(
        st.sampled_from([np.float16, np.float32, np.uint8, np.int64]),
        hnp.array_shapes(max_dims=4, min_side=0, max_side=5),
        elements=st.integers(0, 100),
    ),
    max_size=4,
)


def write(path: Path, arrays: dict[str, np.ndarray]) -> None:
    with path.open("wb") as file:
        write_npz(file, arrays)


@settings(max_examples=100, deadline=None)
@given(ARRAYS)
def test_numpy_reads_it_and_the_map_is_aligned_and_equal(
    tmp_path_factory: pytest.TempPathFactory, arrays: dict[str, np.ndarray]
) -> None:
    path = tmp_path_factory.mktemp("npz") / "a.npz"
    write(path, arrays)
    with np.load(path) as theirs:
        assert set(theirs.files) == set(arrays)
        for name, array in arrays.items():
            assert np.array_equal(theirs[name], array)
            assert theirs[name].dtype == array.dtype
    mapped = map_npz(path)
    for name, array in arrays.items():
        assert np.array_equal(mapped[name], array)
        assert mapped[name].shape == array.shape
        assert not mapped[name].flags.writeable
        if array.size:
            assert mapped[name].ctypes.data % ALIGNMENT == 0
            assert not mapped[name].flags.owndata


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_any_cut_is_noticed(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    path = tmp_path_factory.mktemp("npz") / "a.npz"
    write(path, {"x": np.arange(50, dtype=np.float16), "y": np.ones((3, 4), np.float16)})
    whole = path.read_bytes()
    path.write_bytes(whole[: data.draw(st.integers(0, len(whole) - 1))])
    with pytest.raises(NpzError):
        map_npz(path)


def test_the_same_arrays_give_the_same_bytes() -> None:
    first, second = io.BytesIO(), io.BytesIO()
    for file in (first, second):
        write_npz(file, {"x": np.arange(9, dtype=np.float16)})
    assert first.getvalue() == second.getvalue()


def test_numpys_own_files_are_refused_with_the_reason(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "deflated.npz", x=np.zeros(99, np.float16))
    with pytest.raises(NpzError, match="compressed"):
        map_npz(tmp_path / "deflated.npz")
    np.savez(tmp_path / "objects.npz", x=np.array([{}], dtype=object))
    with pytest.raises(NpzError):
        map_npz(tmp_path / "objects.npz")


@settings(max_examples=60, deadline=None)
@given(place=st.integers(0, 2**31), flip=st.integers(1, 255))
def test_any_flipped_byte_of_a_job_is_noticed_or_harmless(
    tmp_path_factory: pytest.TempPathFactory, place: int, flip: int
) -> None:
    path = tmp_path_factory.mktemp("job") / "00000.npz"
    features = {"pooled": np.arange(60, dtype=np.float16).reshape(5, 12)}
    JobFile("key", rows_digest(ROWS), features, {2: "why"}, (3,)).write(path)
    damaged = bytearray(path.read_bytes())
    damaged[place % len(damaged)] ^= flip
    path.write_bytes(damaged)
    try:
        job = JobFile.map(path, "key", ROWS, verify=True)
    except NpzError:
        return
    assert np.array_equal(job.features["pooled"], features["pooled"])


def test_a_job_of_another_key_is_refused(tmp_path: Path) -> None:
    JobFile("key", rows_digest(ROWS[:1]), {"pooled": np.zeros((1, 2), np.float16)}).write(
        tmp_path / "a.npz"
    )
    with pytest.raises(NpzError, match="another encoder"):
        JobFile.map(tmp_path / "a.npz", "other", ROWS[:1])
