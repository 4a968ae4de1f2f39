"""Views a second: making them, encoding them, and both at once as ``lazarus extract`` does.

    python benchmarks/views.py --data PHOTOS --photos 96

Decoding and augmenting alone runs in a thread for each core, with OpenCV (lazarus) and with
torchvision's own transforms, in no more threads than lazarus takes, and in processes, their start
included; the encoder alone runs on ready pixels. Both at once share the cores:
the limit is the time of the one and the other, one after the other. All take turns. The processor's
time a view, of all cores together, tells more than the clock where other programs are at work.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args
from unittest import mock

import numpy as np
from report import report
from turns import Taken, best_of_turns

from lazarus_pl.cache.extraction import Extraction
from lazarus_pl.cache.view_workers import ViewWorkers
from lazarus_pl.data.decode import read_pixels
from lazarus_pl.data.listing import list_photos
from lazarus_pl.data.manifest import Manifest
from lazarus_pl.data.ordered_map import ordered_map
from lazarus_pl.data.procedural.procedural_leaves import ProceduralLeaves
from lazarus_pl.data.split.split_spec import SplitSpec
from lazarus_pl.encoder.encoder_spec import EncoderSpec
from lazarus_pl.encoder.engine_options import EngineName, EngineOptions
from lazarus_pl.encoder.make_engine import make_engine
from lazarus_pl.views import policy_builder
from lazarus_pl.views.view_maker import Pixels, ViewMaker
from lazarus_pl.views.view_policy import ViewPolicy
from lazarus_pl.views.views_spec import ViewsSpec

_TRIED = 16
_DEFAULT = "light"
_MAKING, _BEFORE = "decode and augment alone", "the same with torchvision's own transforms"
_FEW, _PROCESSES = "the same in at most four threads", "the same in processes"
_ENCODING, _BOTH = "encoder alone, on ready pixels", "lazarus extract, views alone"


def main() -> None:
    """Runs the comparison."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="class folders; drawn leaves by default")
    parser.add_argument("--photos", type=int, default=96)
    parser.add_argument("--views", type=int, default=6)
    parser.add_argument("--policy", default=_DEFAULT)
    parser.add_argument("--engine", choices=get_args(EngineName), default="auto")
    parser.add_argument("--repeats", type=int, default=2)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        data = options.data or ProceduralLeaves().write(work / "drawn")
        photos = _two_classes(data, work / "photos", options.photos)
        spec, numbers = EncoderSpec(), range(1, options.views + 1)
        engine = make_engine(spec, EngineOptions(engine=options.engine))
        first = sorted(path for path in photos.rglob("*") if path.is_file())[:_TRIED]
        # takes an engine as for many photos, and warms it up
        engine.encode(np.stack([read_pixels(each.read_bytes(), spec.image_size) for each in first]))

        def extract(views: int) -> None:
            cache = work / "cache"
            split = SplitSpec(strategy="random")
            asked = ViewsSpec(views, options.policy)
            Extraction(photos, cache, spec, split, lambda _: engine, views=asked).run()

        extract(0)
        paths = [photos / photo.path for photo in Manifest.read(work / "cache").side("train")]
        policy = ViewPolicy.find(options.policy)
        maker = ViewMaker(policy, 0, spec.image_size, donors=paths)
        with mock.patch.object(policy_builder, "KERNELS", {}):
            before = ViewMaker(policy, 0, spec.image_size, donors=paths)
        processes = ViewWorkers(min(os.cpu_count() or 1, 6), processes=True)
        ready = np.concatenate(_made(maker, paths, numbers))

        def extract_views() -> None:
            shutil.rmtree(work / "cache" / "views", ignore_errors=True)
            extract(options.views)

        steps: dict[str, Callable[[], object]] = {
            _BEFORE: lambda: _made(before, paths, numbers),
            _MAKING: lambda: _made(maker, paths, numbers),
            _FEW: lambda: _made(maker, paths, numbers, ViewWorkers.of(1)),
            _PROCESSES: lambda: _made(maker, paths, numbers, processes),
            _ENCODING: lambda: engine.encode(ready),
            _BOTH: extract_views,
        }
        best = best_of_turns(steps, options.repeats)
        pairs = zip(best[_MAKING], best[_ENCODING], strict=True)
        best["the limit"] = Taken(*map(sum, pairs))
        report(
            "views" if options.policy == _DEFAULT else f"views_{options.policy}",
            [
                {
                    "what": name,
                    "views_per_second": len(ready) / taken.seconds,
                    "ratio_to_torchvision": best[_BEFORE].seconds / taken.seconds,
                    "share_of_the_limit": best["the limit"].seconds / taken.seconds,
                    "processor_ms_a_view": 1000 * taken.processor / len(ready),
                }
                for name, taken in best.items()
            ],
            {
                "photos": len(paths),
                "views_of_each": options.views,
                "policy": options.policy,
                "engine": engine.name,
                "precision": engine.precision,
                "repeats": options.repeats,
                "taken": "the best of the repeats",
            },
        )


@dataclass(frozen=True)
class _Make:
    """Makes views in a thread or a process."""

    maker: ViewMaker
    numbers: Sequence[int]

    def __call__(self, path: Path) -> Pixels:
        data = path.read_bytes()
        return np.stack(self.maker.views(data, hashlib.sha256(data).hexdigest(), self.numbers))


def _made(
    maker: ViewMaker,
    paths: Sequence[Path],
    numbers: Sequence[int],
    workers: ViewWorkers | None = None,
) -> list[Pixels]:
    workers = workers or ViewWorkers(os.cpu_count() or 1, processes=False)
    make = _Make(maker, numbers)
    return list(ordered_map(make, paths, workers.count, processes=workers.processes))


def _two_classes(data: Path, folder: Path, count: int) -> Path:
    """Copies photos from all over the data; a few of each class could not be divided."""
    root, listed = list_photos(data)
    usable = [item for item in listed if item.looks_like_a_photo]
    step = max(1, len(usable) // count)
    for number, item in enumerate(usable[::step][:count]):
        target = folder / "ab"[number % 2] / f"{number:05d}{Path(item.path).suffix}"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(root / item.path, target)
    return folder


if __name__ == "__main__":
    main()
