"""The verb ``lazarus explain``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from lazarus_pl.data.check_outside import check_outside
from lazarus_pl.data.decode import PhotoError, read_bytes
from lazarus_pl.data.listing import Listed, list_photos
from lazarus_pl.data.ordered_map import ordered_map
from lazarus_pl.did_you_mean import did_you_mean
from lazarus_pl.encoder.engine_options import EngineName, EngineOptions
from lazarus_pl.encoder.precision import Precision
from lazarus_pl.errors import LazarusError
from lazarus_pl.progress import Progress

if TYPE_CHECKING:
    from lazarus_pl.explain.explanation_writer import ExplanationWriter
    from lazarus_pl.explain.photo_maps import PhotoMaps
    from lazarus_pl.pipeline.classifier import Classifier

Method = Literal["attention", "evidence", "ig", "gradcam"]
Pixels = npt.NDArray[np.uint8]
# probabilities of all classes, by file
Diagnoses = Mapping[str, npt.NDArray[np.float32]]

_PATCH = 16
_SHOWN_SIDE = 512
_MEANINGS = {
    "PatchHead": "log-odds against sound tissue, where green is lost",
    "AttentionHead": "attention times the patch's score: an unproven map",
}


def explain(
    ckpt: Path,
    data: Path,
    out: Path = Path("explanations"),
    target: str | None = None,
    methods: tuple[Method, ...] | None = None,
    weights: str | None = None,
    device: str = "auto",
    precision: Precision = "auto",
    batch_size: int = 8,
    windows: int | None = None,
    engine: EngineName = "auto",
) -> None:
    """Shows where a checkpoint reads its diagnosis in photos, and how far to trust each map.

    A checkpoint with patches gives attention, evidence, Integrated Gradients and Grad-CAM; one on
    pooled features gives Grad-CAM alone. Maps come from the same tensor as the prediction and lie
    over the whole photo.

    Args:
        ckpt: A checkpoint of lazarus fit or lazarus grid.
        data: A photo, a folder of photos or of class folders, or a table.
        out: Folder for pictures, maps, explanations.csv, sheets and index.html.
        target: Class to explain; by default the predicted one.
        methods: Some of attention, evidence, ig, gradcam; by default all that the checkpoint has.
            Only ig and gradcam take time, and only they are left out where they are not named.
        weights: File of the encoder's weights, where the extraction was given a file.
        device: auto, cpu, cuda, cuda:1, mps.
        precision: Of the encoder; auto takes 32 on a CPU, 16 on a GPU from Volta on.
        batch_size: Photos that the encoder takes at once.
        windows: Read photos in sliding windows, as many as this along the short side; maps are as
            much finer. 1 reads photos as a whole; by default they are read as in the training.
        engine: What runs the encoder, as of lazarus extract.
    """
    root, listed = list_photos(data, "path")
    if out.exists() and not out.is_dir():
        raise LazarusError(f"'{out}' is a file: name a folder with --out")
    check_outside(out, data)
    from lazarus_pl.pipeline.classifier import Classifier

    classifier = Classifier(
        ckpt,
        weights,
        EngineOptions(device, precision, batch_size, engine),
        windows=windows,
        photos=len(listed),
    )
    number = None if target is None else _class_number(target, classifier.class_names)
    chosen = _methods(classifier, ckpt, methods)
    _check_windows(classifier, ckpt)
    writer = open_writer(out, classifier)
    explain_into(writer, classifier, root, listed, number, chosen)
    rows = writer.rows
    refused, weak = (sum(bool(row[name]) for row in rows) for name in ("reason", "weak"))
    note = f", {refused} with a reason" if refused else ""
    print(f"{len(rows) - refused} photos in '{out / 'index.html'}'{note}; {weak} maps are weak")
    if refused == len(rows):
        table = out / "explanations.csv"
        raise LazarusError(f"nothing of '{data}' can be used: '{table}' says why")


def open_writer(out: Path, classifier: Classifier) -> ExplanationWriter:
    """What writes a classifier's maps into a folder.

    Raises:
        LazarusError: If the folder cannot be written.
    """
    from lazarus_pl.explain.explanation_writer import ExplanationWriter

    head = type(classifier.task.head).__name__
    meaning = _MEANINGS.get(head, "Grad-CAM on the backbone's last map")
    try:
        return ExplanationWriter(out, classifier.class_names, meaning)
    except OSError as error:
        raise _cannot_be_written(out, error) from error


def explain_into(
    writer: ExplanationWriter,
    classifier: Classifier,
    root: Path,
    listed: Sequence[Listed],
    target: int | None,
    methods: Sequence[str],
    told: Diagnoses | None = None,
) -> None:
    """Explains files, and writes all that is known of them into a folder.

    What was explained before an error is written all the same.

    Args:
        writer: Of :func:`open_writer`; knows a row of each file afterwards.
        classifier: As in :func:`explain_all`.
        root: As in :func:`explain_all`.
        listed: As in :func:`explain_all`.
        target: As in :func:`explain_all`.
        methods: As in :func:`explain_all`.
        told: As in :func:`explain_all`.

    Raises:
        LazarusError: If the folder cannot be written.
    """
    try:
        try:
            explain_all(classifier, writer, root, listed, target, methods, told)
        finally:
            writer.finish()
    except OSError as error:
        raise _cannot_be_written(writer.out, error) from error


def explain_batch(
    classifier: Classifier,
    pixels: Pixels,
    target: int | Sequence[int] | None,
    methods: Sequence[str],
) -> list[PhotoMaps]:
    """Explains photos ``(B, S, S, 3)``: one class, one class a photo, or the predicted ones."""
    import torch

    from lazarus_pl.explain.attribution import grad_cam_of_pooled
    from lazarus_pl.explain.explain_photos import explain_photos

    features = classifier.features(pixels)
    cam = None
    if not _has_patches(classifier):
        with torch.no_grad():
            best = classifier.task(features).argmax(dim=-1)
        wanted = best if target is None else torch.as_tensor(target).expand_as(best)
        cam = grad_cam_of_pooled(
            classifier.task, classifier.last_map(pixels), classifier.pool, wanted
        )
    temperature = classifier.doubt.temperature if classifier.doubt else 1.0
    return explain_photos(classifier.task, features, target, methods, cam, pixels, temperature)


def explain_all(
    classifier: Classifier,
    writer: ExplanationWriter,
    root: Path,
    listed: Sequence[Listed],
    target: int | None,
    methods: Sequence[str],
    told: Diagnoses | None = None,
) -> None:
    """Explains files one batch after the other, while threads decode the next and write the last.

    Args:
        classifier: What draws the maps.
        writer: Is given every photo.
        root: What the files' paths are relative to.
        listed: The files.
        target: The class to explain; None for the one that is told.
        methods: As in :func:`explain`.
        told: Probabilities of the same classes by file, as another model gives them: its diagnoses
            are told. None for those of the classifier.
    """
    with Progress("explaining", len(listed), "photos") as progress:
        for batch in _batches(classifier, root, listed):
            usable = [(item.path, seen[0]) for item, seen in batch if not isinstance(seen, str)]
            wanted = _wanted([file for file, _ in usable], target, told)
            drawn = _drawn(classifier, [read for _, read in usable], wanted, methods)
            for item, seen in batch:
                if isinstance(seen, str):
                    writer.refuse(item.path, seen)
                else:
                    writer.add(item.path, seen[1], next(drawn), told[item.path] if told else None)
            progress.advance(len(batch))


def _wanted(files: Sequence[str], target: int | None, told: Diagnoses | None) -> list[int] | None:
    """The class that each file is explained for; None for what the classifier predicts."""
    if target is not None:
        return [target] * len(files)
    return [int(told[file].argmax()) for file in files] if told else None


def _drawn(
    classifier: Classifier,
    pixels: Sequence[Pixels],
    wanted: Sequence[int] | None,
    methods: Sequence[str],
) -> Iterator[PhotoMaps]:
    done = 0
    for alike in classifier.batches(pixels):
        some = None if wanted is None else wanted[done : done + len(alike)]
        yield from explain_batch(classifier, alike, some, methods)
        done += len(alike)


def _batches(
    classifier: Classifier, root: Path, listed: Sequence[Listed]
) -> Iterator[list[tuple[Listed, tuple[Pixels, Pixels] | str]]]:
    """What the encoder reads of each photo and what a person sees, or why there is neither."""

    def decode(item: Listed) -> tuple[Pixels, Pixels] | str:
        if item.refusal:
            return item.refusal
        try:
            read, image = classifier.read_and_open(read_bytes(root / item.path), _SHOWN_SIDE)
        except PhotoError as error:
            return str(error)
        if min(image.size) < _PATCH:
            return f"{image.width}x{image.height} pixels are less than one patch of {_PATCH}"
        image.thumbnail((_SHOWN_SIDE, _SHOWN_SIDE))
        return read, np.asarray(image)

    batch: list[tuple[Listed, tuple[Pixels, Pixels] | str]] = []
    for item, seen in zip(listed, ordered_map(decode, listed, ahead=classifier.ahead), strict=True):
        batch.append((item, seen))
        if len(batch) == classifier.batch_size:
            yield batch
            batch = []
    if batch:
        yield batch


def _methods(
    classifier: Classifier, ckpt: Path, asked: tuple[Method, ...] | None
) -> tuple[Method, ...]:
    if _has_patches(classifier):
        return asked or ("attention", "evidence", "ig", "gradcam")
    missing = [method for method in asked or () if method != "gradcam"]
    if missing:
        raise LazarusError(
            f"the checkpoint '{ckpt}' has no patches, so no {missing[0]}: train one with "
            "configs/patches/patches.yaml, or ask for --methods [gradcam]"
        )
    return ("gradcam",)


def _check_windows(classifier: Classifier, ckpt: Path) -> None:
    if classifier.windows.count == 1:
        return
    if not _has_patches(classifier):
        raise LazarusError(
            f"the checkpoint '{ckpt}' has no patches, so no maps of photos in windows: train one "
            "with configs/patches/windows.yaml, or give --windows 1"
        )


def _has_patches(classifier: Classifier) -> bool:
    from lazarus_pl.heads.attention_head import AttentionHead
    from lazarus_pl.heads.patch_head import PatchHead

    return isinstance(classifier.task.head, AttentionHead | PatchHead)


def _cannot_be_written(out: Path, error: OSError) -> LazarusError:
    return LazarusError(
        f"'{out}' cannot be written ({error.strerror}): name another folder with --out"
    )


def _class_number(name: str, known: Sequence[str]) -> int:
    if name in known:
        return list(known).index(name)
    # names of classes are longer than what people type
    hint = did_you_mean(name, known, most=3, alike=0.4) or f": there are {', '.join(known)}"
    raise LazarusError(f"the checkpoint knows no class '{name}'{hint}")
