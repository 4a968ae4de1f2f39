"""How well maps find lesions, against masks and beside baselines.

    python benchmarks/localisation.py CKPT --cache CACHE --photos PHOTOS --masks MASKS

``MASKS`` holds ``lesion_masks/<stem>.png`` and ``leaf_masks/<stem>.png``. Only photos that the
cache does not list under train are scored, and only those that are diagnosed correctly.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import torch

from lazarus_pl.cache.feature_cache import FeatureCache
from lazarus_pl.data.decode import open_photo, read_bytes
from lazarus_pl.explain.localisation_score import LocalisationScore, localisation_score
from lazarus_pl.explain.photo_maps import PhotoMaps
from lazarus_pl.pipeline.classifier import Classifier
from lazarus_pl.pipeline.explain import explain_batch

Floats = npt.NDArray[np.float32]
_METHODS = ("attention", "evidence", "ig", "gradcam")


def main() -> None:
    """Prints the table and writes the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("ckpt", type=Path)
    for name in ("cache", "photos", "masks"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    classifier = Classifier(options.ckpt)
    shuffled = Classifier(options.ckpt)
    _shuffle(shuffled)
    scores: dict[str, list[LocalisationScore]] = {}
    same, severity, seen = [], [], 0
    for path, label, lesions, leaf in _held_back(options.cache, options.photos, options.masks):
        content = read_bytes(path)
        pixels = classifier.read(content)[None]
        maps = explain_batch(classifier, pixels, None, _METHODS)[0]
        seen += 1
        if classifier.class_names[maps.target] != label:
            continue
        size = (lesions.shape[1], lesions.shape[0])
        photo = np.asarray(open_photo(content).resize(size)).astype(np.float32)
        for name, values in {**_own(maps), **_baselines(photo)}.items():
            scores.setdefault(name, []).append(localisation_score(values, lesions, leaf))
        random = explain_batch(shuffled, pixels, maps.target, ("evidence",))[0]
        same.append(_rank_correlation(maps.evidence, random.evidence))
        severity.append((_marked(maps.evidence, leaf), lesions.sum() / (leaf | lesions).sum()))
    table = {
        name: {
            field: round(float(np.mean([getattr(s, field) for s in rows])), 3)
            for field in LocalisationScore._fields
        }
        for name, rows in scores.items()
    }
    result = {
        "photos": seen,
        "correct": len(same),
        "maps": table,
        "rank_correlation_with_shuffled_weights": round(float(np.mean(same)), 3),
        "rank_correlation_of_severity": round(
            _rank_correlation(*map(np.array, zip(*severity, strict=True))), 3
        ),
    }
    print(f"{len(same)} of {seen} held-back photos are diagnosed correctly\n")
    print("| map | pointing game | AUROC in the leaf | AP | best IoU |\n|---|---|---|---|---|")
    for name, row in table.items():
        print(f"| {name} | " + " | ".join(f"{value:.3f}" for value in row.values()) + " |")
    print(f"\n{ {key: value for key, value in result.items() if key != 'maps'} }")
    if options.out:
        options.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


def _held_back(
    cache: Path, photos: Path, masks: Path
) -> Iterator[tuple[Path, str, npt.NDArray[np.bool_], npt.NDArray[np.bool_]]]:
    for photo in FeatureCache(cache).manifest.photos:
        files = [
            masks / kind / f"{Path(photo.path).stem}.png" for kind in ("lesion_masks", "leaf_masks")
        ]
        if photo.split == "train" or not all(file.exists() for file in files):
            continue
        lesions, leaf = _mask(files[0]), _mask(files[1])
        yield photos / photo.path, photo.label, lesions, leaf


def _mask(file: Path) -> npt.NDArray[np.bool_]:
    return np.asarray(cv2.imread(str(file), cv2.IMREAD_GRAYSCALE)) > 127


def _own(maps: PhotoMaps) -> dict[str, Floats]:
    return {
        "evidence": maps.evidence,
        "attention": maps.attention,
        "Integrated Gradients": maps.attribution,
        "Grad-CAM": maps.grad_cam,
    }


def _baselines(photo: Floats) -> dict[str, Floats]:
    rows, columns = photo.shape[:2]
    y, x = np.mgrid[-1 : 1 : rows * 1j, -1 : 1 : columns * 1j]
    return {
        "uniform": np.zeros((16, 16), dtype=np.float32),
        "centre prior": -np.hypot(x, y).astype(np.float32),
        "colour prior (red minus green)": photo[..., 0] - photo[..., 1],
        "darkest": -photo.sum(axis=-1),
    }


def _marked(evidence: Floats, leaf: npt.NDArray[np.bool_]) -> float:
    full = cv2.resize(evidence, leaf.shape[::-1], interpolation=cv2.INTER_LINEAR)
    return float((full[leaf] > 0).mean())


def _shuffle(classifier: Classifier) -> None:
    """Sanity check (Adebayo et al. 2018, arXiv:1810.03292): a map must depend on the weights."""
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in classifier.task.head.parameters():
            values = parameter.flatten()
            parameter.copy_(values[torch.randperm(len(values))].view_as(parameter))


def _rank_correlation(first: npt.NDArray[np.floating], second: npt.NDArray[np.floating]) -> float:
    ranks = [values.ravel().argsort().argsort() for values in (first, second)]
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1])


if __name__ == "__main__":
    main()
