"""The fastest of several engines on this machine."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from functools import cache
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
# what rounds more has to be so much faster
_LEAST_GAIN = 1.25
_TURNS = 3
_PHOTOS = 16


class Candidate(NamedTuple):
    """An engine that has not been started.

    Attributes:
        name: Of the engine.
        start: Builds it; raises LazarusError where it cannot run.
        seconds: What that takes, about.
        precision: In which it computes.
        otherwise: What is tried where it cannot run, or its features are not those of float32.
    """

    name: str
    start: Callable[[], Engine]
    seconds: float = 0.0
    precision: str = "32"
    otherwise: Candidate | None = None

    def in_turn(self) -> Iterator[Candidate]:
        """Itself and what is tried after it, each as one of its own."""
        yield self._replace(otherwise=None)
        if self.otherwise:
            yield from self.otherwise.in_turn()


class _Trial(NamedTuple):
    engine: Engine
    agreement: Agreement
    rate: float = 0.0

    @property
    def suffices(self) -> bool:
        return self.agreement.suffices(self.engine.precision)

    @property
    def worth(self) -> float:
        return self.rate / (1.0 if self.engine.precision == "32" else _LEAST_GAIN)


class MeasuredEngine:
    """Takes the fastest candidate whose features agree with float32 on torch.

    It measures on the first photos that it is given, for about a second. What takes long to start
    is left out where so few photos come that it would not pay.

    Args:
        exact: float32 on torch: what others are compared with.
        candidates: The engines to choose from; ``exact`` may be one of them.
        photos: How many photos will come; None for many.
    """

    def __init__(
        self,
        exact: Engine,
        candidates: Sequence[Candidate],
        photos: int | None = None,
    ) -> None:
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
    def precision(self) -> str:
        """In which it computes; ``auto`` before that is known."""
        if self._taken:
            return self._taken.precision
        precisions = {each.precision for each in self._all()}
        return precisions.pop() if len(precisions) == 1 else "auto"

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
        rows = {_label(trial.engine): _row(trial) for trial in self._tried}
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
        precision: str | None = None,
    ) -> None:
        """Chooses, unless that was done.

        Args:
            photos: ``(B, S, S, 3)``, some of those that will be encoded; nothing is chosen on none.
            left: How many will come; as the constructor was told by default.
            name: The engine to keep to, if it is one of them.
            precision: The precision to keep to, if one of them computes in it.

        Raises:
            LazarusError: If no candidate can run, or none agrees.
        """
        if self._taken is not None or not len(photos):
            return
        sample = photos[:_PHOTOS]
        fitting = self._worth_starting(self._kept_to(name, precision), sample, left)
        trials, problems = self._trials(fitting, sample)
        if [trial.engine for trial in trials] != [self._exact]:
            rates = _rates([trial.engine for trial in trials], sample)
            pairs = zip(trials, rates, strict=True)
            trials = self._tried = [trial._replace(rate=rate) for trial, rate in pairs]
        sound = [trial for trial in trials if trial.suffices]
        if not sound:
            raise LazarusError(problems[-1])
        self._taken = max(sound, key=lambda trial: trial.worth).engine
        for problem in dict.fromkeys(problems):
            _LOG.warning("%s: using %s", problem, _label(self._taken))

    def _all(self) -> list[Candidate]:
        return [each for candidate in self._candidates for each in candidate.in_turn()]

    def _kept_to(self, name: str | None, precision: str | None) -> Sequence[Candidate]:
        if name is None and precision is None:
            return self._candidates
        kept = [
            each
            for each in self._all()
            if name in (None, each.name) and precision in (None, each.precision)
        ]
        return kept or self._candidates

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

    def _trials(
        self, candidates: Sequence[Candidate], sample: npt.NDArray[np.uint8]
    ) -> tuple[list[_Trial], list[str]]:
        """What starts, and what is wrong with the others."""
        trials: list[_Trial] = []
        problems: list[str] = []
        exact = cache(lambda: self._exact.encode(sample))
        for candidate in candidates:
            for each in candidate.in_turn():
                try:
                    engine = each.start()
                except LazarusError as error:
                    problems.append(str(error))
                    continue
                if engine is self._exact:
                    trial = _Trial(engine, Agreement(len(sample), 1.0, 1.0))
                else:
                    trial = _Trial(engine, Agreement.of(exact(), engine.encode(sample)))
                trials.append(trial)
                if trial.suffices:
                    break
                problems.append(_disagreement(trial))
        return trials, problems

    @property
    def _engine(self) -> Engine:
        return self._taken or self._exact


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


def _label(engine: Engine) -> str:
    return engine.name if engine.precision == "32" else f"{engine.name} {engine.precision}"


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
