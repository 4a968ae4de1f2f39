"""Which classes a config file may name."""

from __future__ import annotations

import os

from jsonargparse import set_parsing_settings

from lazarus_pl.errors import LazarusError

VARIABLE = "LAZARUS_CLASSES"
_ALLOWED = (
    "callbacks",
    # jsonargparse writes the shortest path that leads to a class
    "lazarus_pl.CachedFeatureDataModule",
    "lazarus_pl.ClassificationTask",
    "lazarus_pl.FinetuneTask",
    "lazarus_pl.PatchGridDataModule",
    "lazarus_pl.PatchTask",
    "lazarus_pl.data.split.split_spec",
    "lazarus_pl.datamodules",
    "lazarus_pl.tasks",
    "lightning.fabric.plugins.environments",
    "lightning.fabric.plugins.io",
    "lightning.pytorch.accelerators",
    "lightning.pytorch.callbacks",
    "lightning.pytorch.cli.ReduceLROnPlateau",
    "lightning.pytorch.loggers",
    "lightning.pytorch.plugins",
    "lightning.pytorch.profilers",
    "lightning.pytorch.strategies",
    "torch.optim",
)
# it calls whatever function a config names
_DENIED = ("lightning.pytorch.callbacks.lambda_function",)


def allow_classes() -> None:
    """Lets configs name classes of ours, and what Lightning and torch make a training of.

    To name a class is to import its module, which executes it; a config may come from a stranger.
    Further packages stand in the environment variable ``LAZARUS_CLASSES``, separated by commas: it
    is the user's own. The setting is that of jsonargparse, and holds for the process.

    Raises:
        LazarusError: If the variable names what is no package.
    """
    value = os.environ.get(VARIABLE, "")
    own = [name.strip() for name in value.split(",") if name.strip()]
    try:
        set_parsing_settings(
            import_path_denylist=["*", *_DENIED],
            import_path_allowlist=[*_ALLOWED, *own],
            instantiate_subclass_spec_in_any=False,
        )
    except ValueError as error:
        raise LazarusError(
            f"the environment variable {VARIABLE} cannot be '{value}': name packages that are "
            "installed or on PYTHONPATH, such as my_package.callbacks, separated by commas"
        ) from error
