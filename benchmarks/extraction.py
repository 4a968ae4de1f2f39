"""Photos a second: ``lazarus extract`` against the plain loop, and against the encoder alone.

    python benchmarks/extraction.py --data PHOTOS --photos 512 --engine auto

The plain loop is what one writes first: timm's model and its evaluation transform, PIL, a
DataLoader with two workers, batch 64, float32, pooled features only. ``lazarus extract`` is timed
as a whole: listing, hashing, scanning, decoding, encoding, three layers written to disk with their
digests. Both start with their model built and warm. The limit is the time of decoding alone and of
the encoder alone, on ready pixels, one after the other: they share the same cores.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import numpy as np
import numpy.typing as npt
import timm
import torch
from PIL import Image
from report import report
from subset import subset
from timm.data import create_transform, resolve_model_data_config
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from turns import best_of_turns

from lazarus_pl.cache.extraction import Extraction
from lazarus_pl.data.decode import read_pixels
from lazarus_pl.data.ordered_map import ordered_map
from lazarus_pl.data.procedural.procedural_leaves import ProceduralLeaves
from lazarus_pl.data.split.split_spec import SplitSpec
from lazarus_pl.encoder.encoder_spec import EncoderSpec
from lazarus_pl.encoder.engine_options import EngineName, EngineOptions
from lazarus_pl.encoder.make_engine import make_engine

_DECODING, _ENCODING = "decode alone, in threads", "encoder alone, on ready pixels"


class _Files(Dataset[Tensor]):
    def __init__(self, paths: list[Path], transform: Callable[[Image.Image], Tensor]) -> None:
        self.paths = paths
        self.transform = transform

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Tensor:
        return self.transform(Image.open(self.paths[index]).convert("RGB"))


def plain_loop(paths: list[Path], model: torch.nn.Module) -> None:
    """timm, its transform, a DataLoader: pooled features in float32."""
    config: dict[str, Any] = resolve_model_data_config(model)
    config.update(input_size=(3, 256, 256), crop_pct=1.0)
    loader = DataLoader(_Files(paths, create_transform(**config)), batch_size=64, num_workers=2)
    with torch.no_grad():
        features = [model(batch).numpy() for batch in loader]
    np.concatenate(features)


def main() -> None:
    """Runs the comparison."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="class folders; drawn leaves by default")
    parser.add_argument("--photos", type=int, default=512)
    parser.add_argument("--engine", choices=get_args(EngineName), default="auto")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        data = options.data or ProceduralLeaves().write(work / "drawn")
        photos = subset(data, work / "photos", options.photos)
        paths = sorted(path for path in photos.rglob("*") if path.is_file())
        engine = make_engine(EncoderSpec(), EngineOptions(engine=options.engine))
        plain = timm.create_model("tf_efficientnet_lite0", pretrained=False, num_classes=0).eval()
        pixels = np.stack([read_pixels(path.read_bytes(), 256) for path in paths])
        # takes an engine, and warms it up
        engine.encode(pixels[:16])
        plain_loop(paths[:64], plain)

        def extract() -> None:
            shutil.rmtree(work / "cache", ignore_errors=True)
            Extraction(photos, work / "cache", EncoderSpec(), SplitSpec(), lambda _: engine).run()

        steps: dict[str, Callable[[], Any]] = {
            "plain loop (fp32, pooled)": lambda: plain_loop(paths, plain),
            "lazarus extract (three layers, on disk)": extract,
            _DECODING: lambda: list(ordered_map(_read, paths)),
            _ENCODING: lambda: engine.encode(pixels),
        }
        taken = best_of_turns(steps, options.repeats)
    best = {name: each.seconds for name, each in taken.items()}
    best["the limit"] = limit = best[_DECODING] + best[_ENCODING]
    slowest = best["plain loop (fp32, pooled)"]
    report(
        "extraction",
        [
            {
                "what": name,
                "photos_per_second": len(paths) / seconds,
                "ratio_to_plain": slowest / seconds,
                "share_of_the_limit": limit / seconds,
            }
            for name, seconds in best.items()
        ],
        {
            "photos": len(paths),
            "repeats": options.repeats,
            "taken": "the best of the repeats",
            "engine": engine.name,
            "precision": engine.precision,
        },
    )


def _read(path: Path) -> npt.NDArray[np.uint8]:
    return read_pixels(path.read_bytes(), 256)


if __name__ == "__main__":
    main()
