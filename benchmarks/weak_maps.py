"""Whether a reason to distrust a map tells maps that find lesions from maps that miss them.

    python benchmarks/weak_maps.py --run RUN --data DATA --demo DEMO

``RUN`` is a folder of ``lazarus run`` on ``DATA/plantvillage-mini``, ``DEMO`` one of ``lazarus
demo``, whose drawn leaves have masks in every class. Where there are masks, photos that are
diagnosed correctly are scored, a row a reason; and a row a reason over all photos of val, with the
share that is diagnosed correctly. The threshold of the reasons was chosen on train and val.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from localisation import Bools, are_told_apart, read_mask
from report import report

from lazarus_pl.cache.feature_cache import FeatureCache
from lazarus_pl.data.decode import read_bytes
from lazarus_pl.data.photo import Photo
from lazarus_pl.data.procedural.procedural_leaves import ProceduralLeaves
from lazarus_pl.explain.localisation_score import LocalisationScore, localisation_score
from lazarus_pl.explain.photo_maps import PhotoMaps
from lazarus_pl.pipeline.classifier import Classifier
from lazarus_pl.pipeline.explain import explain_batch

# lesions and leaf of a photo that has masks
MasksOf = Callable[[Photo], tuple[Bools, Bools] | None]
Row = dict[str, str | int | float]
_POTATO = "Potato___Late_blight"
_SIDES = {"train, val": ("train", "val"), "test": ("test",)}
# a reason that was dropped: areas further apart than seeds of the training make them
_CLEARLY = 0.1


@dataclass(frozen=True)
class Seen:
    """What came of one photo."""

    maps: PhotoMaps
    right: bool
    score: LocalisationScore | None


def main() -> None:
    """Prints the table and writes the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True, help="photos and masks")
    parser.add_argument("--demo", type=Path, required=True)
    options = parser.parse_args()
    real, drawn = options.data / "plantvillage-mini", options.demo / "leaves" / "photos"
    masks = options.data / "lesions-potato-late-blight"
    rows: list[Row] = []
    for name, run, root, masks_of in (
        ("potato late blight", options.run, real, lambda photo: _potato(masks, photo)),
        ("drawn leaves", options.demo / "run", drawn, _drawn()),
    ):
        classifier = Classifier(run / "patches" / "checkpoints" / "best.ckpt")
        photos = FeatureCache(run / "cache").manifest.photos
        for side, splits in _SIDES.items():
            some = [photo for photo in photos if photo.split in splits]
            seen = [one for one in _seen(classifier, root, some, masks_of) if one.score]
            rows += _rows({"data": name, "side": side}, [one for one in seen if one.right])
        if root == real:
            val = [photo for photo in photos if photo.split == "val"]
            everything = list(_seen(classifier, root, val, lambda _: None, needs_masks=False))
            rows += _rows({"data": "PlantVillage, 19 classes", "side": "val"}, everything)
    report("weak_maps", rows, {"scored": "with masks, photos that are diagnosed correctly"})


def _seen(
    classifier: Classifier,
    root: Path,
    photos: Sequence[Photo],
    masks_of: MasksOf,
    needs_masks: bool = True,
) -> Iterator[Seen]:
    for photo in photos:
        masks = masks_of(photo)
        if needs_masks and masks is None:
            continue
        pixels = classifier.read(read_bytes(root / photo.path))[None]
        maps = explain_batch(classifier, pixels, None, ("attention", "evidence"))[0]
        score = None if masks is None else localisation_score(maps.lesions, *masks)
        yield Seen(maps, classifier.class_names[maps.target] == photo.label, score)


def _potato(masks: Path, photo: Photo) -> tuple[Bools, Bools] | None:
    files = [
        masks / kind / f"{Path(photo.path).stem}.png" for kind in ("lesion_masks", "leaf_masks")
    ]
    if photo.label != _POTATO or not files[0].exists():
        return None
    lesions, leaf = map(read_mask, files)
    return (lesions, leaf) if are_told_apart(lesions, leaf) else None


def _drawn() -> MasksOf:
    leaves = ProceduralLeaves()
    places = {f"{shot.stem}.jpg": index for index, shot in enumerate(leaves.shots)}

    def masks_of(photo: Photo) -> tuple[Bools, Bools] | None:
        if photo.label == "healthy":
            return None
        leaf = leaves.draw(places[photo.path])
        return (leaf.lesions, leaf.leaf) if are_told_apart(leaf.lesions, leaf.leaf) else None

    return masks_of


def _rows(first: Row, seen: Sequence[Seen]) -> Iterator[Row]:
    reasons = sorted({one.maps.weak for one in seen})
    for reason in reasons:
        yield _row(first, reason or "none", [one for one in seen if one.maps.weak == reason])
    against = [one for one in seen if one.maps.insertion + _CLEARLY < one.maps.deletion]
    yield _row(first, "deletion above insertion (dropped)", against)


def _row(first: Row, reason: str, seen: Sequence[Seen]) -> Row:
    scores = [one.score for one in seen if one.score]
    return first | {
        "reason": reason,
        "photos": len(seen),
        "right": _mean([one.right for one in seen]),
        "pointing": _mean([score.pointing for score in scores]),
        "auroc": _mean([score.auroc for score in scores]),
    }


def _mean(values: Sequence[float]) -> str | float:
    return round(float(np.mean(values)), 3) if values else ""


if __name__ == "__main__":
    main()
