from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from lazarus_pl.data.decode import read_large
from lazarus_pl.encoder.encode_photos import encode_photos
from lazarus_pl.encoder.sliding_windows import STRIDE
from lazarus_pl.encoder.windows_spec import WindowsSpec
from tests.cache.test_windows import WindowEngine

SIDES = st.integers(1, 6000)


@given(SIDES, SIDES, st.integers(1, 9), st.floats(0, 0.9))
def test_any_photo_can_be_covered(width: int, height: int, count: int, overlap: float) -> None:
    windows = WindowsSpec(count, overlap).over(width, height, 256)
    down, across = windows.shape
    assert min(down, across) <= 256 * count
    if count == 1 or max(width, height) <= 256:
        assert windows.places == [(0, 0)]
        return
    assert not down % STRIDE
    assert not across % STRIDE
    covered = np.zeros((down // STRIDE, across // STRIDE), dtype=bool)
    for top, left in windows.places:
        covered[top // STRIDE : top // STRIDE + 8, left // STRIDE : left // STRIDE + 8] = True
    assert covered.all()
    assert across <= max(256, width + 16), "nothing is enlarged but a side of less than a window"
    assert down <= max(256, height + 16)
    if min(width, height) >= 256:
        assert across / down == pytest.approx(width / height, rel=32 / min(down, across))


def test_a_strip_does_not_become_more_than_any_photo() -> None:
    assert WindowsSpec(2).over(1, 60_000, 256).shape == (60_000, 256)
    assert WindowsSpec(2).over(1, 90_000_000, 256).shape == (256, 256)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 400), st.integers(1, 400), st.integers(1, 4))
def test_photos_are_read_at_the_size_that_is_announced(width: int, height: int, count: int) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), "green").save(buffer, "PNG")
    pixels = read_large(buffer.getvalue(), 64, count, STRIDE)
    assert pixels.shape[:2] == WindowsSpec(count).over(width, height, 64).shape


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 4), st.integers(1, 4)), max_size=6))
def test_photos_that_share_batches_are_encoded_as_alone(shapes: list[tuple[int, int]]) -> None:
    rng = np.random.default_rng(0)
    photos = [rng.integers(0, 256, (32 * h, 32 * w, 3), dtype=np.uint8) for h, w in shapes]
    engine = WindowEngine()
    together = list(encode_photos(engine, photos))
    assert len(together) == len(photos)
    assert engine.most <= 64
    for photo, features in zip(photos, together, strict=True):
        (alone,) = encode_photos(WindowEngine(), [photo])
        assert alone.keys() == features.keys()
        for name, values in alone.items():
            np.testing.assert_array_equal(values, features[name])
