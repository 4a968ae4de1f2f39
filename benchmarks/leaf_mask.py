"""Leaf masks: how good, how often confident, how fast, on one core.

    python benchmarks/leaf_mask.py --data PHOTOS

The folder has ``plantvillage-mini/<class>``, masks of late blight potato leaves drawn by hand in
``lesions-potato-late-blight/leaf_masks``, and may have ``field-tomato/<class>`` and ``background``,
photos without a leaf. Without it, only drawn leaves and speed are measured. Seconds are those of
the processor, so that other work on the machine counts little.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from report import report

from lazarus_pl.data.decode import SUFFIXES, PhotoError, open_photo, read_bytes
from lazarus_pl.data.procedural.procedural_leaves import ProceduralLeaves
from lazarus_pl.leaf.background_swap import swap_background
from lazarus_pl.leaf.backgrounds.procedural_backgrounds import KINDS, ProceduralBackgrounds
from lazarus_pl.leaf.find_leaf import find_leaf
from lazarus_pl.leaf.leaf_mask import LeafMask

Pixels = npt.NDArray[np.uint8]
Row = dict[str, str | int | float]


def main() -> None:
    """Runs the measurements."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="the folder of real photos")
    parser.add_argument("--drawn", type=int, default=200, help="how many drawn leaves")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    drawn = [_drawn.draw(i) for i in range(0, len(_drawn), max(1, len(_drawn) // options.drawn))]
    rows = [_quality("drawn leaves", [(photo.pixels, photo.leaf) for photo in drawn])]
    if options.data is not None:
        rows.append(_quality("potato masks drawn by hand", _by_hand(options.data)))
        rows += [_share(folder.name, folder) for folder in _classes(options.data)]
        rows += [
            _share(f"{name} (all)", options.data / name)
            for name in ("field-tomato", "background")
            if (options.data / name).is_dir()
        ]
    real = None if options.data is None else options.data / "plantvillage-mini"
    report("leaf_mask", rows, {"at_least": 0.5, "cores_used": 1, **_speed(real)})


_drawn = ProceduralLeaves(seed=5)


def _quality(name: str, photos: Iterable[tuple[Pixels, npt.NDArray[np.bool_]]]) -> Row:
    """IoU with the truth; a photo without a confident mask counts by itself, not as 0."""
    scores, count = [], 0
    for pixels, truth in photos:
        count += 1
        leaf = find_leaf(pixels)
        if leaf is not None:
            scores.append(float((leaf.mask & truth).sum() / (leaf.mask | truth).sum()))
    return {
        "photos": name,
        "count": count,
        "confident": len(scores) / count,
        "iou_mean": float(np.mean(scores)),
        "iou_p10": float(np.percentile(scores, 10)),
        "iou_worst": min(scores),
    }


def _share(name: str, folder: Path) -> Row:
    found = [find_leaf(pixels) is not None for pixels in _photos(folder)]
    row: Row = {"photos": name, "count": len(found), "confident": sum(found) / len(found)}
    return row | {"iou_mean": "", "iou_p10": "", "iou_worst": ""}


def _by_hand(data: Path) -> Iterable[tuple[Pixels, npt.NDArray[np.bool_]]]:
    photos = {path.stem: path for path in data.glob("plantvillage-mini/Potato*/*")}
    for path in sorted(data.glob("lesions-potato-late-blight/leaf_masks/*.png")):
        truth = open_photo(read_bytes(path)).convert("L")
        yield _pixels(photos[path.stem]), np.asarray(truth) > 127


def _classes(data: Path) -> list[Path]:
    return sorted(path for path in (data / "plantvillage-mini").iterdir() if path.is_dir())


def _photos(folder: Path) -> Iterable[Pixels]:
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() not in SUFFIXES:
            continue
        try:
            yield _pixels(path)
        except PhotoError:
            continue


def _pixels(path: Path) -> Pixels:
    return np.asarray(open_photo(read_bytes(path)), dtype=np.uint8)


def _speed(folder: Path | None) -> dict[str, str | int | float]:
    if folder is None:
        photos = [_drawn.draw(index).pixels for index in range(100)]
        decode = 0.0
    else:
        files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
        files = files[:: max(1, len(files) // 300)]
        data = [read_bytes(path) for path in files]
        photos = [np.asarray(open_photo(part), dtype=np.uint8) for part in data]
        decode = _rate(lambda i: open_photo(data[i]), len(data))
    find = _rate(lambda i: find_leaf(photos[i]), len(photos))
    leaves = [(pixels, leaf) for pixels in photos if (leaf := find_leaf(pixels)) is not None]
    swap = _rate(lambda i: _swapped(*leaves[i]), len(leaves))
    speed: dict[str, str | int | float] = {
        "masks_per_second": find,
        "swaps_per_second": swap,
    }
    if decode:
        speed |= {"decoded_per_second": decode, "masks_per_decoded": find / decode}
    for kind in KINDS:
        speed[f"{kind}_per_second"] = _rate(
            partial(_background, ProceduralBackgrounds({kind: 1})), 60
        )
    for name, value in speed.items():
        print(f"{name}: {value:.4g}")
    return speed


def _swapped(pixels: Pixels, leaf: LeafMask) -> Pixels:
    return swap_background(pixels, leaf, pixels[::-1], np.random.default_rng(0))


def _background(source: ProceduralBackgrounds, number: int) -> Pixels:
    return source.draw(np.random.default_rng(number), (256, 256))


def _rate(work: Callable[[int], object], count: int, repeats: int = 3) -> float:
    """Calls a second of processor time; the best of the repeats."""
    best = 0.0
    for _ in range(repeats):
        started = time.thread_time()
        for index in range(count):
            work(index)
        best = max(best, count / (time.thread_time() - started))
    return best


if __name__ == "__main__":
    main()
