"""The fastest of several engines on this machine."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from lazarus_pl.encoder.agreement import Agreement
from lazarus_pl.encoder.engine import MOST_AT_ONCE, Engine
from lazarus_pl.errors import LazarusError

if TYPE_CHECKING:
    import torch

_LOG = logging.getLogger(__name__)
# at twice the speed, an engine that takes a second to start pays after two
_PAYS_AFTER = 2.0
_TURNS = 3
_PHOTOS = 16


class Candidate(NamedTuple):
    """An engine that has not been started.

    Attributes:
        name: Of the engine.
        start: Builds it; raises LazarusError where it cannot run.
        seconds: What that takes, about.
    """

    name: str
    start: Callable[[], Engine]
    seconds: float = 0.0


class _Trial(NamedTuple):
    engine: Engine
    agreement: Agreement
    rate: float

    @property
    def suffices(self) -> bool:
        return self.agreement.suffices(self.engine.precision)


class MeasuredEngine:
    """Takes the fastest candidate whose features agree with float32 on torch.

    It measures on the first photos that it is given, for about a second. What takes long to start
    is left out where so few photos come that it would not pay.

    Args:
        exact: float32 on torch: what others are compared with.
        candidates: The engines to choose from; ``exact`` may be one of them.
        precision: In which all of them compute.
        photos: How many photos will come; None for many.

    Attributes:
        precision: In which it computes, whatever it takes.
    """

    def __init__(
        self,
        exact: Engine,
        candidates: Sequence[Candidate],
        precision: str,
        photos: int | None = None,
    ) -> None:
        self.precision = precision
        self._exact = exact
        self._candidates = tuple(candidates)
        self._photos = photos
        self._taken: Engine | None = None
        self._tried: list[_Trial] = []

    @property
    def name(self) -> str:
        """Of the engine that was taken; ``auto`` before."""
        return self._taken.name if self._taken else "auto"

    @property
    def identity(self) -> dict[str, Any]:
        """The encoder's identity."""
        return self._exact.identity

    @property
    def device(self) -> torch.device:
        """Where it runs."""
        return self._engine.device

    @property
    def layer_shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of one photo's features by layer."""
        return self._exact.layer_shapes

    @property
    def batch_size(self) -> int:
        """Photos that are best encoded at once; before one is chosen, what fills any of them."""
        if self._taken:
            return self._taken.batch_size
        coming = MOST_AT_ONCE if self._photos is None else min(self._photos, MOST_AT_ONCE)
        return max(coming, self._exact.batch_size)

    @property
    def measured(self) -> dict[str, Any]:
        """What was measured, in plain types: the photos, and of each engine rate and agreement.

        Empty where nothing had to be measured.
        """
        if not self._tried:
            return {}
        rows = {trial.engine.name: _row(trial) for trial in self._tried}
        return {"photos": self._tried[0].agreement.photos, "engines": rows}

    def encode(self, photos: npt.NDArray[np.uint8]) -> dict[str, npt.NDArray[np.float16]]:
        """Features of pixels, as :meth:`Engine.encode`; chooses first if that was not done."""
        self.settle(photos)
        return self._engine.encode(photos)

    def settle(
        self,
        photos: npt.NDArray[np.uint8],
        left: int | None = None,
        name: str | None = None,
    ) -> None:
        """Chooses, unless that was done.

        Args:
            photos: ``(B, S, S, 3)``, some of those that will be encoded; nothing is chosen on none.
            left: How many will come; as the constructor was told by default.
            name: The engine to keep to, if it is one of them.

        Raises:
            LazarusError: If no candidate can run, or none agrees.
        """
        if self._taken is not None or not len(photos):
            return
        sample = photos[:_PHOTOS]
        named = [each for each in self._candidates if each.name == name]
        fitting = self._worth_starting(named or self._candidates, sample, left)
        engines, problems = _started(fitting)
        if engines != [self._exact]:
            self._tried = self._trials(engines, sample)
            problems += [_disagreement(trial) for trial in self._tried if not trial.suffices]
            sound = [trial for trial in self._tried if trial.suffices]
            engines = [trial.engine for trial in sorted(sound, key=lambda trial: -trial.rate)]
        if not engines:
            raise LazarusError(problems[-1])
        self._taken = engines[0]
        for problem in problems:
            _LOG.warning("%s: using %s", problem, self._taken.name)

    def _worth_starting(
        self, candidates: Sequence[Candidate], sample: npt.NDArray[np.uint8], left: int | None
    ) -> Sequence[Candidate]:
        left = self._photos if left is None else left
        if left is None or not any(each.seconds for each in candidates):
            return candidates
        # so few that measuring would take longer than they do
        few = left <= _PHOTOS
        ahead = 0.0 if few else left / _rates([self._exact], sample)[0]
        pay = [each for each in candidates if ahead >= _PAYS_AFTER * each.seconds]
        return pay or candidates

    def _trials(self, engines: Sequence[Engine], sample: npt.NDArray[np.uint8]) -> list[_Trial]:
        exact = self._exact.encode(sample)
        seen = [exact if one is self._exact else one.encode(sample) for one in engines]
        agreements = [Agreement.of(exact, each) for each in seen]
        rates = _rates(engines, sample)
        return [_Trial(*each) for each in zip(engines, agreements, rates, strict=True)]

    @property
    def _engine(self) -> Engine:
        return self._taken or self._exact


def _started(candidates: Sequence[Candidate]) -> tuple[list[Engine], list[str]]:
    """Those that start, and what is wrong with the others."""
    engines: list[Engine] = []
    problems: list[str] = []
    for candidate in candidates:
        try:
            engines.append(candidate.start())
        except LazarusError as error:
            problems.append(str(error))
    return engines, problems


def _rates(engines: Sequence[Engine], sample: npt.NDArray[np.uint8]) -> list[float]:
    """Photos a second of engines that are warm, each at as many as it takes at once.

    They take turns and the best turn counts, since other programs may be at work.
    """
    batches = [np.resize(sample, (each.batch_size, *sample.shape[1:])) for each in engines]
    pairs = list(zip(engines, batches, strict=True))
    seconds = [[_seconds(*pair) for pair in pairs] for _ in range(_TURNS)]
    best = map(min, zip(*seconds, strict=True))
    return [len(batch) / each for batch, each in zip(batches, best, strict=True)]


def _seconds(engine: Engine, batch: npt.NDArray[np.uint8]) -> float:
    started = time.perf_counter()
    engine.encode(batch)
    return time.perf_counter() - started


def _row(trial: _Trial) -> dict[str, Any]:
    return {
        "photos_per_second": round(trial.rate, 1),
        "mean_cosine": round(trial.agreement.mean, 6),
        "worst_cosine": round(trial.agreement.worst, 6),
    }


def _disagreement(trial: _Trial) -> str:
    engine, agreement = trial.engine, trial.agreement
    return (
        f"the features of {engine.name} in precision {engine.precision} are not those of torch "
        f"(cosine {agreement.mean:.4f} in the mean, {agreement.worst:.4f} at worst)"
    )
