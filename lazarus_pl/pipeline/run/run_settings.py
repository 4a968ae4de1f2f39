"""All that a run was asked for, and where it writes."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from lazarus_pl.data.corrections import Corrections
from lazarus_pl.data.listing import LabelFrom
from lazarus_pl.data.split.split_spec import SplitSpec
from lazarus_pl.encoder.encoder_spec import EncoderSpec
from lazarus_pl.encoder.engine_options import EngineName, EngineOptions
from lazarus_pl.encoder.precision import Precision
from lazarus_pl.encoder.weights import find_weights
from lazarus_pl.pipeline.run.audit_options import AuditOptions
from lazarus_pl.pipeline.run.budget import Budget
from lazarus_pl.pipeline.run.digests import listing_digest
from lazarus_pl.pipeline.run.grid_options import GridOptions
from lazarus_pl.pipeline.run.refit_options import RefitOptions
from lazarus_pl.pipeline.run.stage_options import StageOptions
from lazarus_pl.views.views_spec import ViewsSpec


@dataclass(frozen=True)
class RunSettings:
    """The options of ``lazarus run``, which its help explains.

    Attributes:
        command: The command line, for who wants to repeat it; the shortest one if it is not given.
    """

    data: Path
    out: Path
    encoder: EncoderSpec = field(default_factory=EncoderSpec)
    split: SplitSpec = field(default_factory=SplitSpec)
    label_from: LabelFrom = "path"
    corrections: Path | None = None
    views: ViewsSpec = field(default_factory=ViewsSpec)
    device: str = "auto"
    precision: Precision = "auto"
    batch_size: int = 8
    engine: EngineName = "auto"
    audit: AuditOptions = field(default_factory=AuditOptions)
    grid: GridOptions = field(default_factory=GridOptions)
    patches: StageOptions = field(default_factory=StageOptions)
    views_head: StageOptions = field(default_factory=StageOptions)
    finetune: StageOptions = field(default_factory=StageOptions)
    refit: RefitOptions = field(default_factory=RefitOptions)
    budget: Budget = field(default_factory=Budget)
    gallery: int = 6
    seed: int | None = None
    command: str = ""

    def __post_init__(self) -> None:
        """Fills in the command."""
        if not self.command:
            words = ["lazarus", "run", "--data", str(self.data), "--out", str(self.out)]
            object.__setattr__(self, "command", shlex.join(words))

    @property
    def has_views_head(self) -> bool:
        """Whether a head is to learn from views."""
        return self.views.count > 0 and not self.views_head.skip

    @property
    def refit_share(self) -> float:
        """Time of the trainings after the choice, as a share of the chosen one's."""
        return sum(map(self.split.share, self.refit.trainings)) / self.split.share(("train",))

    @property
    def cache(self) -> Path:
        """The feature cache."""
        return self.out / "cache"

    @property
    def engines(self) -> Path:
        """Where ``lazarus extract`` keeps the encoder in the form that an engine runs."""
        return self.cache / "engine"

    @property
    def engine_options(self) -> EngineOptions:
        """How the encoder is run."""
        return EngineOptions(self.device, self.precision, self.batch_size, self.engine)

    @property
    def best(self) -> Path:
        """The chosen model, as test was read for it."""
        return self.out / "best.ckpt"

    @property
    def deploy(self) -> Path:
        """The same trained on all photos, where it was asked for."""
        return self.out / "deploy.ckpt"

    @property
    def weights_file(self) -> str | None:
        """The file that the encoder's weights were given as, if they were."""
        weights = self.encoder.weights
        return weights if Path(weights).is_file() else None

    @cached_property
    def decisions(self) -> Corrections | None:
        """What the corrections say, if there are any.

        Raises:
            LazarusError: If they cannot be read.
        """
        return Corrections.read(self.corrections) if self.corrections else None

    @cached_property
    def listing(self) -> str:
        """Digest of what the dataset lists; looked at once a call.

        Raises:
            LazarusError: If there is no such data.
        """
        return listing_digest(self.data, self.label_from)

    @cached_property
    def weights_digest(self) -> str:
        """Of that file, which may be replaced under its name."""
        return find_weights(self.encoder).sha256 if self.weights_file else ""

    @property
    def root(self) -> Path:
        """What the photos' paths are relative to."""
        return self.data if self.data.is_dir() else self.data.parent
