"""The stage ``deploy``."""

from __future__ import annotations

from pathlib import Path

from lazarus_pl.pipeline.run.refit_options import ALL_PHOTOS
from lazarus_pl.pipeline.run.stages.refit_stage import RefitStage


class DeployStage(RefitStage):
    """The same once more on all photos, after test has been read: for photos to come."""

    name = "deploy"
    title = "train the chosen model again, on all photos"
    requires = ("choose", "test")
    sides = ALL_PHOTOS
    doing = "training on all photos"

    @staticmethod
    def checkpoint_of(out: Path) -> Path:
        """What it gives, in the folder of a run."""
        return out / "deploy.ckpt"
