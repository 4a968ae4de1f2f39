"""From a folder of leaf photographs to an honest, explained plant-disease classifier.

The command ``lazarus`` does it; its verbs are in :mod:`lazarus_pl.pipeline`. Each room below can be
imported by itself:

- ``data``: photos, splits that keep a leaf together, decoding, drawn leaves.
- ``encoder``: the frozen timm backbone and the engines that run it.
- ``leaf``, ``views``: masks of leaves; augmented views that are the same on every machine.
- ``cache``: features in resumable micro-jobs, mapped from the disk.
- ``datamodules``, ``heads``, ``tasks``: LightningDataModules, classifiers on features,
  LightningModules.
- ``grid``: many trainings of one config file, and their leaderboard.
- ``explain``: heat-maps, and scores that check them.
- ``doubt``, ``export``: calibration, prediction sets, unknown photos; ONNX.
- ``audit``: what is wrong with the data, what each step will cost.

What a notebook needs most is here as well: ``from lazarus_pl import CachedFeatureDataModule``.
Callbacks for any Lightning project are in the package ``callbacks`` beside this one.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lazarus_pl.cache.feature_cache import FeatureCache
    from lazarus_pl.datamodules.cached_feature_data_module import CachedFeatureDataModule
    from lazarus_pl.datamodules.patch_grid_data_module import PatchGridDataModule
    from lazarus_pl.pipeline.classifier import Classifier
    from lazarus_pl.tasks.classification_task import ClassificationTask
    from lazarus_pl.tasks.finetune_task import FinetuneTask
    from lazarus_pl.tasks.load_task import load_task
    from lazarus_pl.tasks.patch_task import PatchTask

__version__ = "0.1.0"

__all__ = [
    "CachedFeatureDataModule",
    "ClassificationTask",
    "Classifier",
    "FeatureCache",
    "FinetuneTask",
    "PatchGridDataModule",
    "PatchTask",
    "load_task",
]

if not TYPE_CHECKING:
    _ROOMS = {
        "CachedFeatureDataModule": "datamodules.cached_feature_data_module",
        "ClassificationTask": "tasks.classification_task",
        "Classifier": "pipeline.classifier",
        "FeatureCache": "cache.feature_cache",
        "FinetuneTask": "tasks.finetune_task",
        "PatchGridDataModule": "datamodules.patch_grid_data_module",
        "PatchTask": "tasks.patch_task",
        "load_task": "tasks.load_task",
    }

    def __getattr__(name: str) -> object:
        """Imports what is asked for, and torch with it, only then (PEP 562)."""
        if name not in _ROOMS:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(importlib.import_module(f"{__name__}.{_ROOMS[name]}"), name)

    def __dir__() -> list[str]:
        """What is public."""
        return sorted([*__all__, "__version__"])
