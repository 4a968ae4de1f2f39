"""How well maps find lesions, against masks and beside baselines.

    python benchmarks/localisation.py --data DATA --work WORK

``DATA`` holds ``plantvillage-mini/<class>`` and, for photos of its class ``Potato___Late_blight``,
``lesions-potato-late-blight/lesion_masks`` and ``leaf_masks``; and ``lesions-coffee/images`` and
``lesion_masks``, large photos of a plant that is not trained on. The patch head is trained with the
shipped config, from class labels alone, once a seed, and so it is on drawn leaves, whose lesions
are known. Scored are photos of val and test that are diagnosed correctly. What lies in ``WORK``
is not made again.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import torch
from report import report
from scipy.stats import spearmanr

from lazarus_pl.cache.feature_cache import FeatureCache
from lazarus_pl.cli import main as lazarus
from lazarus_pl.data.decode import open_photo, read_bytes
from lazarus_pl.data.procedural.procedural_leaves import LEAVES, ProceduralLeaves
from lazarus_pl.encoder.windows_spec import WindowsSpec
from lazarus_pl.explain.localisation_score import LocalisationScore, localisation_score
from lazarus_pl.explain.photo_maps import PhotoMaps
from lazarus_pl.heads.patch_head import PatchHead
from lazarus_pl.leaf.find_leaf import find_leaf
from lazarus_pl.pipeline.classifier import Classifier
from lazarus_pl.pipeline.explain import explain_batch
from lazarus_pl.shipped_config import shipped_config

Floats = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]
Case = tuple[Path, str, Bools, Bools]
Row = dict[str, str | int | float]
_METHODS = ("attention", "evidence", "ig", "gradcam")
_POTATO = "Potato___Late_blight"
# as many photos as the real ones are, or there is little to learn from
_DRAWN = 6
# of each drawn class, so that attributions take minutes
_SCORED = 40


def main() -> None:
    """Prints the table and writes the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="the folder of real photos and masks")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--skip-drawn", action="store_true")
    options = parser.parse_args()
    rows: list[Row] = []
    facts: list[Row] = []
    if options.data:
        photos = options.data / "plantvillage-mini"
        cache = _extracted(photos, options.work / "cache")
        for seed in range(options.seeds):
            classifier = Classifier(_trained(cache, options.work / f"potato-{seed}", seed))
            cases = list(_potatoes(cache, photos, options.data / "lesions-potato-late-blight"))
            _score("potato late blight", seed, classifier, cases, rows, facts)
            _score_coffee(seed, classifier, options.data / "lesions-coffee", rows, facts)
    if not options.skip_drawn:
        leaves = ProceduralLeaves({label: _DRAWN * count for label, count in LEAVES.items()})
        photos = leaves.write(options.work / "drawn")
        cache = _extracted(photos, options.work / "drawn-cache")
        classifier = Classifier(_trained(cache, options.work / "drawn-0", 0))
        for label in classifier.class_names:
            if label != "healthy":
                cases = list(islice(_drawn(leaves, cache, label), _SCORED))
                _score(f"drawn {label}", 0, classifier, cases, rows, facts)
    about: Row = {"scored": "photos of val and test that are diagnosed correctly"}
    report("localisation", rows, about)
    report("severity", facts, about)


def _extracted(photos: Path, cache: Path) -> Path:
    _run("extract", "--data", photos, "--out", cache)
    return cache


def _trained(cache: Path, folder: Path, seed: int) -> Path:
    checkpoint = folder / "lightning_logs" / "version_0" / "checkpoints" / "best.ckpt"
    if not checkpoint.exists():
        words = ["fit", "-c", shipped_config("patches/patches.yaml"), "--seed_everything", seed]
        words += ["--data.init_args.cache", cache, "--data.init_args.seed", seed]
        _run(*words, "--trainer.default_root_dir", folder)
    return checkpoint


def _run(*words: object) -> None:
    if lazarus([str(word) for word in words]):
        raise SystemExit(f"lazarus {words[0]} failed")


def _potatoes(cache: Path, photos: Path, masks: Path) -> Iterator[Case]:
    for photo in FeatureCache(cache).manifest.photos:
        files = [
            masks / kind / f"{Path(photo.path).stem}.png" for kind in ("lesion_masks", "leaf_masks")
        ]
        if photo.label == _POTATO and photo.split != "train" and files[0].exists():
            lesions, leaf = map(read_mask, files)
            yield photos / photo.path, photo.label, lesions, leaf


def _drawn(leaves: ProceduralLeaves, cache: Path, label: str) -> Iterator[Case]:
    places = {f"{shot.stem}.jpg": index for index, shot in enumerate(leaves.shots)}
    root = Path(cache).parent / "drawn"
    for photo in FeatureCache(cache).manifest.photos:
        if photo.label == label and photo.split != "train":
            drawn = leaves.draw(places[photo.path])
            yield root / "photos" / photo.path, label, drawn.lesions, drawn.leaf


def read_mask(file: Path) -> Bools:
    """A mask of 0 and 255, ``(H, W)``."""
    return np.asarray(cv2.imread(str(file), cv2.IMREAD_GRAYSCALE)) > 127


def _score(
    data: str,
    seed: int,
    classifier: Classifier,
    cases: list[Case],
    rows: list[Row],
    facts: list[Row],
) -> None:
    shuffled = _shuffled(classifier)
    scores: dict[str, list[LocalisationScore]] = {}
    numbers: list[tuple[float, ...]] = []
    for path, label, lesions, leaf in cases:
        content = read_bytes(path)
        pixels = classifier.read(content)[None]
        maps = explain_batch(classifier, pixels, None, _METHODS)[0]
        if classifier.class_names[maps.target] != label or not are_told_apart(lesions, leaf):
            continue
        photo = np.asarray(open_photo(content).resize(lesions.shape[::-1])).astype(np.float32)
        for name, values in (_own(classifier, pixels, maps) | _baselines(photo)).items():
            scores.setdefault(name, []).append(localisation_score(values, lesions, leaf))
        truth = float(lesions.sum() / (leaf | lesions).sum())
        random = _head_alone(shuffled, pixels, maps.target)
        same = _rank_correlation(_head_alone(classifier, pixels, maps.target), random)
        numbers.append((maps.severity, truth, same, bool(maps.weak)))
    _add({"data": data, "seed": seed}, scores, numbers, rows, facts)


def _add(
    first: Row,
    scores: dict[str, list[LocalisationScore]],
    numbers: list[tuple[float, ...]],
    rows: list[Row],
    facts: list[Row],
) -> None:
    for name, found in scores.items():
        means: Row = {field: _mean(found, field) for field in LocalisationScore._fields}
        rows.append(first | {"map": name} | means)
    if numbers:
        facts.append(first | _facts(np.array(numbers)))


def _facts(numbers: npt.NDArray[np.float64]) -> Row:
    marked, truth, same, weak = numbers.T
    return {
        "scored": len(numbers),
        "severity": round(float(marked.mean()), 3),
        "true": round(float(truth.mean()), 3),
        "error": round(float(np.abs(marked - truth).mean()), 3),
        "rank_correlation": round(_rank_correlation(marked, truth), 3),
        "correlation_with_shuffled_weights": (
            round(float(same.mean()), 3) if np.isfinite(same).all() else "not measured"
        ),
        "weak": round(float(weak.mean()), 3),
    }


def _score_coffee(
    seed: int, classifier: Classifier, folder: Path, rows: list[Row], facts: list[Row]
) -> None:
    """A plant that was not trained on, in large photos: the map of late blight in potatoes."""
    target = classifier.class_names.index(_POTATO)
    for windows in (1, 2):
        reader = copy.copy(classifier)
        reader.windows = WindowsSpec(windows)
        scores: dict[str, list[LocalisationScore]] = {}
        numbers: list[tuple[float, ...]] = []
        for path in sorted((folder / "images").glob("*.jpg")):
            lesions = read_mask(folder / "lesion_masks" / f"{path.stem}.png")
            content = read_bytes(path)
            photo = np.asarray(open_photo(content).resize(lesions.shape[::-1]))
            found = find_leaf(photo, 0)
            leaf = lesions if found is None else found.mask | lesions
            if not are_told_apart(lesions, leaf):
                continue
            pixels = reader.read(content)[None]
            maps = explain_batch(reader, pixels, target, ("attention", "evidence"))[0]
            own = {
                "lesions": maps.lesions,
                "evidence": maps.evidence,
                "the head's evidence, without colours": _head_alone(reader, pixels, target),
            }
            for name, values in (own | _baselines(photo.astype(np.float32))).items():
                scores.setdefault(name, []).append(localisation_score(values, lesions, leaf))
            truth = float(lesions.sum() / leaf.sum())
            numbers.append((maps.severity, truth, np.nan, bool(maps.weak)))
        first: Row = {"data": f"coffee, {windows} windows", "seed": seed}
        _add(first, scores, numbers, rows, facts)


def are_told_apart(lesions: Bools, leaf: Bools) -> bool:
    """Whether some pixels of the leaf are in lesions and some are not."""
    return bool(lesions.any() and not lesions[leaf | lesions].all())


def _mean(scores: list[LocalisationScore], field: str) -> float:
    return round(float(np.mean([getattr(score, field) for score in scores])), 3)


def _own(
    classifier: Classifier, pixels: npt.NDArray[np.uint8], maps: PhotoMaps
) -> dict[str, Floats]:
    return {
        "lesions": maps.lesions,
        "evidence": maps.evidence,
        "the head's evidence, without colours": _head_alone(classifier, pixels, maps.target),
        "attention": maps.attention,
        "Integrated Gradients": maps.attribution,
        "Grad-CAM": maps.grad_cam,
    }


@torch.no_grad()
def _head_alone(classifier: Classifier, pixels: npt.NDArray[np.uint8], target: int) -> Floats:
    head = classifier.task.head
    assert isinstance(head, PatchHead)
    reading = head.look(classifier.task.standardised(classifier.features(pixels)))
    evidence: Floats = head.evidence(reading, torch.tensor([target]))[0].numpy()
    return evidence


def _baselines(photo: Floats) -> dict[str, Floats]:
    rows, columns = photo.shape[:2]
    y, x = np.mgrid[-1 : 1 : rows * 1j, -1 : 1 : columns * 1j]
    return {
        "uniform": np.zeros((16, 16), dtype=np.float32),
        "centre prior": -np.hypot(x, y).astype(np.float32),
        "colour prior (red minus green)": photo[..., 0] - photo[..., 1],
        "darkest": -photo.sum(axis=-1),
    }


def _shuffled(classifier: Classifier) -> Classifier:
    """Sanity check (Adebayo et al. 2018, arXiv:1810.03292): a map must depend on the weights."""
    other = copy.copy(classifier)
    other.task = copy.deepcopy(classifier.task)
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in other.task.head.parameters():
            values = parameter.flatten()
            parameter.copy_(values[torch.randperm(len(values))].view_as(parameter))
    return other


def _rank_correlation(first: npt.NDArray[np.floating], second: npt.NDArray[np.floating]) -> float:
    return float(spearmanr(first.ravel(), second.ravel()).statistic)


if __name__ == "__main__":
    main()
