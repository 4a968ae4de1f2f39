"""The verb ``lazarus export``."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from lazarus_pl import __version__
from lazarus_pl.data.atomic import replace_file
from lazarus_pl.data.decode import PhotoError, open_photo, read_bytes
from lazarus_pl.data.listing import list_photos
from lazarus_pl.data.sha256_of_file import sha256_of_file
from lazarus_pl.encoder.engine_options import EngineOptions
from lazarus_pl.errors import LazarusError
from lazarus_pl.progress import Progress

if TYPE_CHECKING:
    from lazarus_pl.export.onnx_graph import OnnxGraph
    from lazarus_pl.pipeline.classifier import Classifier

Format = Literal["onnx"]
Pixels = npt.NDArray[np.uint8]

_MODEL = "model.onnx"
_LABELS = "labels.json"
_FORMAT = 1
# more than rounding can do, less than anyone would notice
_MAX_DIFFERENCE = 0.01


def export(
    ckpt: Path,
    out: Path,
    format: Format = "onnx",
    data: Path | None = None,
    photos: int = 32,
    weights: str | None = None,
) -> None:
    """Writes a checkpoint as one graph that needs neither this package nor torch.

    The graph takes photos of any size, and resizes, encodes and judges them as the checkpoint
    does; labels.json holds the class names, the thresholds and how well the two agree. A graph that
    does not agree is not written.

    Args:
        ckpt: A checkpoint of lazarus fit or lazarus grid, best after lazarus calibrate.
        out: Folder for model.onnx and labels.json.
        format: onnx.
        data: Photos to compare graph and checkpoint on; by default drawn leaves.
        photos: How many of them.
        weights: File of the encoder's weights, where the extraction was given a file.
    """
    if photos < 1:
        raise LazarusError(f"--photos {photos} must be at least 1")
    if out.exists() and not out.is_dir():
        raise LazarusError(f"'{out}' is a file: name a folder with --out")
    if data is not None:
        list_photos(data)
    from lazarus_pl.export.onnx_graph import OnnxGraph
    from lazarus_pl.export.photo_model import PhotoModel
    from lazarus_pl.pipeline.classifier import Classifier

    classifier = Classifier(ckpt, weights, EngineOptions("cpu", "32"), photos=photos)
    if classifier.windows.count > 1:
        raise LazarusError(
            f"'{ckpt}' reads features {classifier.windows}, a graph takes them as a whole: give a "
            "checkpoint that was trained on a cache without --windows.count"
        )
    graph = OnnxGraph(PhotoModel(classifier.encoder, classifier.task, classifier.doubt))
    agreement = compare(classifier, graph, data, photos)
    labels = _labels(classifier, ckpt, graph.outputs, agreement)
    model = graph.serialised({"lazarus": json.dumps(labels)})
    labels["model"] = {"file": _MODEL, "sha256": hashlib.sha256(model).hexdigest()}
    out.mkdir(parents=True, exist_ok=True)
    for name, content in ((_MODEL, model), (_LABELS, json.dumps(labels, indent=2).encode())):
        with replace_file(out / name) as file:
            file.write(content)
    print(
        f"'{out / _MODEL}' ({len(model) / 1e6:.1f} MB) agrees with the checkpoint on "
        f"{agreement['photos']} photos: the same class on {agreement['same_class']}, "
        f"probabilities differ by {agreement['max_probability_difference']:.2g} at most"
    )
    if classifier.doubt is None:
        print("the checkpoint is not calibrated, so it never doubts: see lazarus calibrate")


def compare(
    classifier: Classifier, graph: OnnxGraph, data: Path | None, photos: int
) -> dict[str, Any]:
    """Judges photos both ways.

    Args:
        classifier: The checkpoint.
        graph: What was made of it.
        data: Photos, taken evenly; None for drawn leaves.
        photos: How many.

    Returns:
        ``photos``, ``source``, ``same_class``, ``max_probability_difference`` and, with doubt,
        ``max_distance_difference``.

    Raises:
        LazarusError: If none of the photos can be used, or the two disagree.
    """
    if data is None:
        with tempfile.TemporaryDirectory() as folder:
            return _compared(classifier, graph, _drawn(Path(folder), photos), "drawn", photos)
    return _compared(classifier, graph, data, data.name, photos)


class _Seen(NamedTuple):
    """A photo: whole, as the graph takes it, and as the checkpoint does."""

    path: str
    whole: Pixels
    look: Pixels


def _compared(
    classifier: Classifier, graph: OnnxGraph, data: Path, source: str, photos: int
) -> dict[str, Any]:
    differences, names, distances, same = [], [], [], 0
    for batch in _read(classifier, data, photos):
        judged = classifier.judged([item.look for item in batch])
        for item, (probabilities, verdict) in zip(batch, judged, strict=True):
            theirs = graph.run(item.whole[None])
            names.append(item.path)
            differences.append(float(np.abs(theirs["probabilities"][0] - probabilities).max()))
            same += int(theirs["probabilities"][0].argmax() == probabilities.argmax())
            if verdict is not None:
                distances.append(abs(float(theirs["distance"][0]) - verdict.distance))
    if not differences:
        raise LazarusError(f"none of the photos in '{data}' can be used: give others with --data")
    # NaN is the worst
    worst = int(np.argmax(differences))
    if not differences[worst] <= _MAX_DIFFERENCE:
        raise LazarusError(
            f"the graph's probabilities for '{names[worst]}' differ from the checkpoint's by "
            f"{differences[worst]:.3f}, so it is not written: compare it on other photos with "
            "--data, or use other versions of torch and onnxruntime"
        )
    return {
        "photos": len(differences),
        "source": source,
        "same_class": same,
        "max_probability_difference": differences[worst],
        **({"max_distance_difference": max(distances)} if distances else {}),
    }


def _read(classifier: Classifier, data: Path, photos: int) -> Iterator[list[_Seen]]:
    """Photos in batches."""
    root, listed = list_photos(data)
    found = [item.path for item in listed if item.looks_like_a_photo]
    chosen = found[:: -(-len(found) // photos)]
    with Progress("comparing", len(chosen), "photos") as progress:
        for start in range(0, len(chosen), classifier.batch_size):
            batch = []
            for path in chosen[start : start + classifier.batch_size]:
                progress.advance()
                try:
                    content = read_bytes(root / path)
                    # as the README says: a large JPEG is decoded at a fraction of its size
                    image = open_photo(content, 2 * classifier.encoder.spec.image_size)
                    look = classifier.look(content)
                except PhotoError:
                    continue
                batch.append(_Seen(path, np.asarray(image, dtype=np.uint8), look))
            if batch:
                yield batch


def _drawn(folder: Path, photos: int) -> Path:
    from lazarus_pl.data.procedural.procedural_leaves import LEAVES, ProceduralLeaves

    leaves = dict.fromkeys(LEAVES, -(-photos // len(LEAVES)))
    return ProceduralLeaves(leaves, photos_per_leaf=(1, 1), size=300).write(folder)


def _labels(
    classifier: Classifier, ckpt: Path, outputs: tuple[str, ...], agreement: dict[str, Any]
) -> dict[str, Any]:
    doubt = classifier.doubt
    import onnx
    import onnxruntime
    import torch

    return {
        "format": _FORMAT,
        "class_names": classifier.class_names,
        "input": {
            "photos": "uint8 (batch, height, width, 3), RGB, upright, any size; transparency laid "
            "on white, 16-bit greyscale scaled to 8 bits, a JPEG decoded at a fraction of its size "
            "that is at least twice image_size"
        },
        "outputs": list(outputs),
        "image_size": classifier.encoder.spec.image_size,
        "temperature": None if doubt is None else doubt.temperature,
        "coverage": None if doubt is None else doubt.coverage,
        "set_threshold": None if doubt is None else doubt.set_threshold,
        "distance_limit": None if doubt is None else 1.0,
        "false_alarm": None if doubt is None else doubt.false_alarm,
        "encoder": classifier.encoder.identity,
        "checkpoint": {"file": ckpt.name, "sha256": sha256_of_file(ckpt)},
        "versions": {
            "lazarus-pl": __version__,
            # not those of the distributions, which have other names for GPUs
            **{module.__name__: module.__version__ for module in (torch, onnx, onnxruntime)},
        },
        "agreement": agreement,
    }
