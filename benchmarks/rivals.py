"""Photos a second: ``lazarus extract`` against other libraries' own ways to features.

    python -m venv RIVALS && RIVALS/bin/pip install -e ".[openvino]" fastai lightly-train
    RIVALS/bin/python benchmarks/rivals.py --data PHOTOS --photos 256

All run EfficientNet-Lite0 at 256 px in float32, with weights that do not matter here, as their
documentation shows it: fastai's ``Learner.get_preds`` and lightly-train's ``embed`` with their own
loaders, batches and numbers of workers. They give pooled features alone; lazarus writes three
layers to the disk. What is not installed is left out. All start with their model built, and
lazarus with its engine chosen; they take turns.
"""

from __future__ import annotations

import argparse
import importlib.util
import logging
import os
import shutil
import tempfile
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any, get_args

import numpy as np
import timm
import torch
from report import report
from subset import subset
from turns import best_of_turns

from lazarus_pl.cache.extraction import Extraction
from lazarus_pl.data.decode import read_pixels
from lazarus_pl.data.procedural.procedural_leaves import ProceduralLeaves
from lazarus_pl.data.split.split_spec import SplitSpec
from lazarus_pl.encoder.encoder_spec import EncoderSpec
from lazarus_pl.encoder.engine_options import EngineName, EngineOptions
from lazarus_pl.encoder.make_engine import make_engine

_MODEL = "tf_efficientnet_lite0"
_SIZE = 256
_OURS = "lazarus extract (three layers, on disk)"
_TRIED = 16


def main() -> None:
    """Runs the comparison."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="class folders; drawn leaves by default")
    parser.add_argument("--photos", type=int, default=256)
    parser.add_argument("--engine", choices=get_args(EngineName), default="auto")
    parser.add_argument("--repeats", type=int, default=2)
    options = parser.parse_args()
    # no telemetry
    os.environ["LIGHTLY_TRAIN_EVENTS_DISABLED"] = "1"
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        data = options.data or ProceduralLeaves().write(work / "drawn")
        photos = subset(data, work / "photos", options.photos)
        paths = sorted(path for path in photos.rglob("*") if path.is_file())
        engine = make_engine(EncoderSpec(), EngineOptions(engine=options.engine))
        first = [read_pixels(path.read_bytes(), _SIZE) for path in paths[:_TRIED]]
        engine.encode(np.stack(first))

        def extract() -> None:
            shutil.rmtree(work / "cache", ignore_errors=True)
            Extraction(photos, work / "cache", EncoderSpec(), SplitSpec(), lambda _: engine).run()

        steps: dict[str, Callable[[], object]] = {_OURS: extract}
        if importlib.util.find_spec("fastai"):
            steps[f"fastai {version('fastai')}, get_preds"] = _fastai(paths)
        if importlib.util.find_spec("lightly_train"):
            name = f"lightly-train {version('lightly-train')}, embed"
            steps[name] = _lightly(photos, work)
        best = best_of_turns(steps, options.repeats)
    report(
        "rivals",
        [
            {
                "what": name,
                "photos_per_second": len(paths) / taken.seconds,
                "lazarus_is_faster_by": taken.seconds / best[_OURS].seconds,
            }
            for name, taken in best.items()
        ],
        {
            "photos": len(paths),
            "repeats": options.repeats,
            "taken": "the best of the repeats",
            "engine": engine.name,
            "precision": engine.precision,
        },
    )


def _model() -> torch.nn.Module:
    model: torch.nn.Module = timm.create_model(_MODEL, pretrained=False, num_classes=0).eval()
    return model


def _fastai(paths: list[Path]) -> Callable[[], object]:
    vision: Any = importlib.import_module("fastai.vision.all")
    loaders = vision.ImageDataLoaders.from_path_func(
        paths[0].parent,
        paths,
        lambda path: path.parent.name,
        item_tfms=vision.Resize(_SIZE, method="squish"),
        batch_tfms=vision.Normalize.from_stats(*vision.imagenet_stats),
    )
    learner = vision.Learner(loaders, _model(), loss_func=vision.CrossEntropyLossFlat())

    def features() -> object:
        with learner.no_bar(), learner.no_logging():
            return learner.get_preds(dl=loaders.test_dl(paths), act=vision.noop)

    return features


def _lightly(photos: Path, work: Path) -> Callable[[], object]:
    train: Any = importlib.import_module("lightly_train")
    checkpoint = _lightly_checkpoint(work / "lightly.ckpt")

    def features() -> None:
        train.embed(
            out=work / "embeddings.pt",
            data=photos,
            checkpoint=checkpoint,
            image_size=_SIZE,
            overwrite=True,
        )

    logging.getLogger("lightly_train").setLevel(logging.ERROR)
    return features


def _lightly_checkpoint(path: Path) -> Path:
    """What a training would leave; embed takes nothing else."""
    parts: Any = importlib.import_module("lightly_train._checkpoint")
    helpers: Any = importlib.import_module("lightly_train._models.package_helpers")
    wrapped = helpers.get_wrapped_model(_model(), num_input_channels=3)
    models = parts.CheckpointLightlyTrainModels(
        model=wrapped.get_model(),
        wrapped_model=wrapped,
        embedding_model=parts.EmbeddingModel(wrapped),
    )
    about = parts.CheckpointLightlyTrain.from_now(models, parts.NormalizeArgs())
    torch.save(parts.Checkpoint(state_dict={}, lightly_train=about).to_dict(), path)
    return path


if __name__ == "__main__":
    main()
