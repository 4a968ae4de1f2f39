"""What rounding an encoder to bfloat16 does to its features, and to what heads say of them.

    python benchmarks/rounding.py --cache CACHE --run RUN

CACHE was extracted with ``--precision 32``, RUN is a grid on it. Its photos are encoded in float32,
in bfloat16 with every weight rounded to the nearest, and in bfloat16 as ``lazarus extract`` does
it, with biases that make up for the rounding. Changed are predictions of a head that was trained on
features in float32, of all photos and of those of val and test, which are scored. Cosines are of
the layer where they are lowest.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path
from unittest.mock import patch

import numpy as np
from report import report
from scored_photos import Photos, macro_f1, named

from lazarus_pl.cache.feature_cache import FeatureCache
from lazarus_pl.data.decode import read_pixels
from lazarus_pl.encoder import openvino_graph, torch_engine
from lazarus_pl.encoder.agreement import Agreement
from lazarus_pl.encoder.encoder import Encoder
from lazarus_pl.encoder.encoder_spec import EncoderSpec
from lazarus_pl.encoder.engine import Engine
from lazarus_pl.encoder.openvino_engine import OpenVinoEngine
from lazarus_pl.encoder.torch_engine import TorchEngine

_WAYS = ("float32", "bf16, to the nearest", "bf16, corrected")


def engines(name: str) -> dict[str, Engine]:
    """One for each way."""
    encoder = Encoder.from_spec(EncoderSpec())

    def made(precision: str) -> Engine:
        if name == "openvino":
            return OpenVinoEngine(encoder, precision=precision)
        return TorchEngine(encoder, "cpu", precision)  # type: ignore[arg-type]

    module = openvino_graph if name == "openvino" else torch_engine
    with patch.object(module, "round_to_bfloat16", lambda *_: None):
        plain = made("bf16")
    return dict(zip(_WAYS, (made("32"), plain, made("bf16")), strict=True))


def main() -> None:
    """Runs the comparison."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cache", type=Path, required=True, help="in float32")
    parser.add_argument("--run", type=Path, required=True, help="of lazarus grid on that cache")
    parser.add_argument("--engine", choices=("openvino", "torch"), default="openvino")
    options = parser.parse_args()
    cache = FeatureCache(options.cache)
    photos = cache.manifest.photos
    scored = np.concatenate([cache.indices("val"), cache.indices("test")])
    root, size = Path(cache.header.data), int(cache.header.encoder["image_size"])
    kind = cache.header.encoder["interpolation"]
    pixels = [read_pixels((root / photo.path).read_bytes(), size, kind) for photo in photos]
    truth = [photo.label for photo in photos]
    ways = engines(options.engine)
    seen: dict[str, Photos] = {
        way: (engine.encode(np.stack(pixels)), truth) for way, engine in ways.items()
    }
    exact = seen["float32"]
    cosines = {}
    for way, (features, _) in seen.items():
        agreement = Agreement.of(exact[0], features)
        cosines[f"{way}: mean cosine"] = agreement.mean
        cosines[f"{way}: worst cosine"] = agreement.worst
    with (options.run / "leaderboard.csv").open(newline="", encoding="utf-8") as file:
        board = list(csv.DictReader(file))
    rows = []
    for line in board:
        before, names = named(options.run / line["checkpoint"], exact)
        row: dict[str, str | float] = {"what": f"{line['head']}, {line['lr']}"}
        for way, given in seen.items():
            told, _ = named(options.run / line["checkpoint"], given)
            row[f"{way}: macro-F1"] = macro_f1(
                [truth[index] for index in scored], told[scored], names
            )
            row[f"{way}: changed"] = float((told != before).mean())
            row[f"{way}: changed of val and test"] = float((told != before)[scored].mean())
        rows.append(row)
    report("rounding", rows, {"photos": len(photos), "engine": options.engine, **cosines})


if __name__ == "__main__":
    main()
