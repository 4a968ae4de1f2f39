"""The verb ``lazarus classify``."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from lazarus_pl.data.decode import PhotoError, read_bytes
from lazarus_pl.data.listing import LabelFrom, Listed, list_photos
from lazarus_pl.data.ordered_map import ordered_map
from lazarus_pl.data.table import write_table
from lazarus_pl.encoder.engine_options import EngineName, EngineOptions
from lazarus_pl.encoder.precision import Precision
from lazarus_pl.errors import LazarusError
from lazarus_pl.progress import Progress
from lazarus_pl.views.views_spec import ViewsSpec

if TYPE_CHECKING:
    from lazarus_pl.doubt.verdict import Verdict
    from lazarus_pl.pipeline.classifier import Classifier

# so few are told on the screen one by one
_TOLD = 5
_COLUMNS = ("file", "predicted", "probability")
_BEGINNING = ",".join(_COLUMNS).encode()
_DOUBT = ("answer", "candidates", "distance")


@dataclass(frozen=True)
class Prediction:
    """What is said of one file.

    Attributes:
        file: Path relative to the data's folder.
        label: The class that its folder or table names, or nothing.
        probability: Of each class, ``(classes,)``; None where the file cannot be used.
        reason: Why it cannot be used.
        verdict: What is answered; None where it cannot be used, or the checkpoint has no doubt.
    """

    file: str
    label: str
    probability: npt.NDArray[np.float32] | None
    reason: str = ""
    verdict: Verdict | None = None


def classify(
    ckpt: Path,
    data: Path,
    out: Path = Path("predictions.csv"),
    weights: str | None = None,
    label_from: LabelFrom = "path",
    device: str = "auto",
    precision: Precision = "auto",
    batch_size: int = 8,
    tta: int = 0,
    tta_policy: str = "light",
    engine: EngineName = "auto",
) -> None:
    """Classifies photos with a checkpoint: its own encoder, statistics and class names.

    A checkpoint that lazarus calibrate or lazarus grid taught to doubt answers ``unsure`` or ``not
    a known leaf`` where a class would be a guess. Where folders or a table name known classes,
    accuracy and macro-F1 are printed too. Files that cannot be used stand in the table with their
    reason. Of up to five files, what is said of each is printed as well.

    Args:
        ckpt: A checkpoint of lazarus fit or lazarus grid.
        data: A photo, a folder of photos or of class folders, or a table.
        out: The CSV file to write.
        weights: File of the encoder's weights, where the extraction was given a file.
        label_from: In a folder, the label is the whole path of folders, the top one, or the parent.
        device: auto, cpu, cuda, cuda:1, mps.
        precision: Of the encoder; auto takes 32 on a CPU, 16 on a GPU from Volta on. Where a cache
            was extracted in bf16, a run that reads it may name a doubtful photo otherwise.
        batch_size: Photos that the encoder takes at once.
        tta: Views that are looked at beside each photo; probabilities are averaged, and the time is
            1 + tta times as long.
        tta_policy: Policy of these views, as --views.policy of lazarus extract.
        engine: What runs the encoder, as of lazarus extract.
    """
    if tta < 0:
        raise LazarusError(f"--tta {tta} is negative: give a number of views, or 0 for none")
    root, listed = list_photos(data, label_from)
    _check_out(out)
    from lazarus_pl.pipeline.classifier import Classifier

    views = ViewsSpec(tta, tta_policy)
    classifier = Classifier(
        ckpt,
        weights,
        EngineOptions(device, precision, batch_size, engine),
        views,
        photos=len(listed),
    )
    predictions: list[Prediction] = []
    try:
        for prediction in predict(classifier, root, listed):
            predictions.append(prediction)
    except BaseException:
        part = _part(out)
        if predictions:
            # what it ended of is what is told
            with contextlib.suppress(LazarusError):
                _write(predictions, classifier.class_names, part)
                print(f"{len(predictions)} of {len(listed)} photos stand in '{part}'")
        raise
    _write(predictions, classifier.class_names, out)
    few = len(predictions) <= _TOLD
    usable = sum(p.probability is not None for p in predictions)
    unusable = len(predictions) - usable
    print(f"{usable} photos in '{out}'" + (f", {unusable} with a reason" if unusable else ""))
    for line in (
        *(said_of(item, classifier.class_names) for item in predictions if few),
        score_line(predictions, classifier.class_names),
        answer_line(predictions, classifier.class_names),
        classifier.doubt.no_promise if classifier.doubt else "",
    ):
        if line:
            print(line)
    if not usable:
        raise LazarusError(f"nothing of '{data}' can be used: '{out}' says why")


def _write(predictions: Sequence[Prediction], class_names: Sequence[str], out: Path) -> None:
    try:
        write_predictions(predictions, class_names, out)
    except OSError as error:
        raise LazarusError(
            f"'{out}' cannot be written ({error.strerror}): name another file with --out"
        ) from error


def _check_out(out: Path) -> None:
    """Photos are not classified for a file that cannot be."""
    if out.is_dir():
        raise LazarusError(f"'{out}' is a folder: name a file with --out")
    there = next(folder for folder in out.absolute().parents if folder.exists())
    if not there.is_dir():
        raise LazarusError(f"'{out}' cannot be: '{there}' is a file, name another with --out")
    for file in (out, _part(out)):
        if not _may_be_written_over(file):
            raise LazarusError(
                f"'{file}' is there and holds something else than predictions: name another file "
                "with --out"
            )
    if not os.access(there, os.W_OK):
        raise LazarusError(
            f"'{out}' cannot be written: '{there}' is read-only, name another file with --out"
        )


def _part(out: Path) -> Path:
    """Where predictions stand that are not all."""
    return out.with_name(f"{out.stem}.partial{out.suffix}")


def _may_be_written_over(file: Path) -> bool:
    """Whether a file is not there, empty or a table of predictions: no photo, model or data."""
    try:
        with file.open("rb") as content:
            return content.read(len(_BEGINNING)) in (b"", _BEGINNING)
    except OSError as error:
        return isinstance(error, FileNotFoundError)


def predict(classifier: Classifier, root: Path, listed: Sequence[Listed]) -> Iterator[Prediction]:
    """Classifies files one batch after the other, while threads decode the next ones.

    Args:
        classifier: What predicts.
        root: What the files' paths are relative to.
        listed: The files.

    Yields:
        One prediction a file, in their order.
    """

    def decode(item: Listed) -> npt.NDArray[np.uint8] | str:
        if item.refusal:
            return item.refusal
        try:
            return classifier.look(read_bytes(root / item.path))
        except PhotoError as error:
            return str(error)

    with Progress("classifying", len(listed), "photos") as progress:
        waiting: list[tuple[Listed, npt.NDArray[np.uint8] | str]] = []
        for item, pixels in zip(
            listed, ordered_map(decode, listed, ahead=classifier.ahead), strict=True
        ):
            waiting.append((item, pixels))
            if len(waiting) == classifier.batch_size:
                yield from _predict_batch(classifier, waiting)
                progress.advance(len(waiting))
                waiting = []
        yield from _predict_batch(classifier, waiting)
        progress.advance(len(waiting))


def write_predictions(
    predictions: Sequence[Prediction], class_names: Sequence[str], out: Path
) -> None:
    """Writes file, predicted, probability, answer, candidates, distance, one a class, and reason.

    Answer, candidates and distance are empty where the checkpoint has no doubt.

    Raises:
        OSError: If the file cannot be written.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    columns = [*_COLUMNS, *_DOUBT, *class_names, "reason"]
    write_table(out, columns, (_row(item, class_names) for item in predictions))


def said_of(item: Prediction, class_names: Sequence[str]) -> str:
    """What is said of one file, as a line."""
    if item.probability is None:
        return f"{item.file}: {item.reason}"
    best = int(item.probability.argmax())
    likeliest = f"{class_names[best]}, probability {item.probability[best]:.3f}"
    if item.verdict is None or item.verdict.label is not None:
        return f"{item.file}: {likeliest}"
    note = f" (most likely {likeliest})" if item.verdict.is_known else ""
    return f"{item.file}: {item.verdict.answer(class_names)}{note}"


def answer_line(predictions: Sequence[Prediction], class_names: Sequence[str]) -> str:
    """How many photos are answered, and how many of these rightly; nothing without doubt."""
    judged = [(item.label, item.verdict) for item in predictions if item.verdict is not None]
    if not judged:
        return ""
    given = [(label, verdict.label) for label, verdict in judged if verdict.label is not None]
    unknown = sum(not verdict.is_known for _, verdict in judged)
    known = [class_names[answer] == label for label, answer in given if label in set(class_names)]
    right = f" (accuracy {sum(known) / len(known):.4f})" if known else ""
    return (
        f"answered {len(given)} of {len(judged)} photos{right}, "
        f"{len(judged) - len(given) - unknown} unsure, {unknown} not a known leaf"
    )


def score_line(predictions: Sequence[Prediction], class_names: Sequence[str]) -> str:
    """Accuracy and macro-F1 of the files whose class is known, as one line; nothing without any.

    Macro-F1 is over the classes that occur as label or as prediction.
    """
    index = {name: number for number, name in enumerate(class_names)}
    scored = [
        (index[item.label], item.probability)
        for item in predictions
        if item.label in index and item.probability is not None
    ]
    others = sorted({item.label for item in predictions if item.label and item.label not in index})
    unknown = f"classes unknown to the checkpoint: {', '.join(others)}" if others else ""
    if not scored:
        return unknown
    import torch
    from torchmetrics.functional.classification import multiclass_accuracy, multiclass_f1_score

    target = torch.tensor([label for label, _ in scored])
    probability = torch.from_numpy(np.stack([values for _, values in scored]))
    accuracy = multiclass_accuracy(probability, target, len(class_names), average="micro")
    macro_f1 = multiclass_f1_score(probability, target, len(class_names), average="macro")
    note = f"; {unknown}" if unknown else ""
    return (
        f"accuracy {accuracy:.4f}, macro-F1 {macro_f1:.4f} on {len(scored)} photos "
        f"of known class{note}"
    )


def _row(item: Prediction, class_names: Sequence[str]) -> list[str]:
    if item.probability is None:
        return [item.file, "", "", *("" for _ in (*_DOUBT, *class_names)), item.reason]
    best = int(item.probability.argmax())
    values = (f"{value:.6f}" for value in item.probability)
    said = [item.file, class_names[best], f"{item.probability[best]:.6f}"]
    return [*said, *_doubt_cells(item.verdict, class_names), *values, ""]


def _doubt_cells(verdict: Verdict | None, class_names: Sequence[str]) -> tuple[str, str, str]:
    if verdict is None:
        return "", "", ""
    candidates = "; ".join(class_names[number] for number in verdict.candidates)
    return verdict.answer(class_names), candidates, f"{verdict.distance:.4f}"


def _predict_batch(
    classifier: Classifier, batch: Sequence[tuple[Listed, npt.NDArray[np.uint8] | str]]
) -> Iterator[Prediction]:
    usable = [pixels for _, pixels in batch if not isinstance(pixels, str)]
    judged = iter(classifier.judged(usable) if usable else ())
    for item, pixels in batch:
        if isinstance(pixels, str):
            yield Prediction(item.path, item.label, None, pixels)
        else:
            probability, verdict = next(judged)
            yield Prediction(item.path, item.label, probability, verdict=verdict)
