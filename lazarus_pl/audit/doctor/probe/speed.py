"""How fast photos are decoded and encoded."""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from itertools import repeat, takewhile

from lazarus_pl.audit.doctor.probe.stage import Facts

# to measure for: hundreds of photos are decoded in half a second, few batches encoded in one
_DECODING, _ENCODING = 0.5, 1.0
_SIZE = 256


def decode() -> Facts:
    """Photos a second, by one core and by all, of a drawn leaf's JPEG of 256 px."""
    from lazarus_pl.data.decode import read_pixels
    from lazarus_pl.data.ordered_map import ordered_map

    photo = _photo()
    one = _rate(lambda: read_pixels(photo, _SIZE), _DECODING)
    started = time.perf_counter()
    photos = takewhile(lambda _: time.perf_counter() - started < _DECODING, repeat(photo))
    decoded = ordered_map(lambda data: read_pixels(data, _SIZE), photos)
    count = sum(1 for _ in decoded)
    return {
        "decode_rate": one,
        "decode_rate_all": count / (time.perf_counter() - started),
    }


def encoder() -> Facts:
    """Photos a second, with the settings that ``lazarus extract`` has by default."""
    import numpy as np

    from lazarus_pl.data.decode import read_pixels
    from lazarus_pl.encoder.encoder_spec import EncoderSpec
    from lazarus_pl.encoder.make_engine import make_engine

    spec = EncoderSpec()
    engine = make_engine(spec)
    photo = np.stack([read_pixels(_photo(), spec.image_size)])
    # chooses among engines, if there are several
    engine.encode(photo)
    photos = photo.repeat(engine.batch_size, axis=0)
    return {
        "encoder_rate": len(photos) * _rate(lambda: engine.encode(photos), _ENCODING),
        "encoder_engine": engine.name,
        "encoder_device": str(engine.device),
        "encoder_precision": engine.precision,
    }


def _photo() -> bytes:
    from PIL import Image

    from lazarus_pl.data.procedural.procedural_leaves import ProceduralLeaves

    drawn = ProceduralLeaves({"rust": 1}, photos_per_leaf=(1, 1), size=_SIZE).draw(0)
    file = io.BytesIO()
    Image.fromarray(drawn.pixels).save(file, "JPEG", quality=92)
    return file.getvalue()


def _rate(work: Callable[[], object], seconds: float) -> float:
    """Calls a second, after a first one that is not counted."""
    work()
    started, calls = time.perf_counter(), 0
    while (passed := time.perf_counter() - started) < seconds:
        work()
        calls += 1
    return calls / passed
