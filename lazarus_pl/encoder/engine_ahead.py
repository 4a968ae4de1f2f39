"""An engine that works while its next photos are collected."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt

from lazarus_pl.encoder.encode_photos import Features
from lazarus_pl.encoder.engine import Engine


class EngineAhead:
    """Has an engine encode in a thread of its own, in a ``with`` statement.

    Whoever asks for features waits until they are there; what fails is raised then. Leaving the
    statement waits for the batch that is being encoded, and leaves out those after it.

    Args:
        engine: Runs the encoder.

    Attributes:
        batch_size: As of the engine.
        identity: As of the engine.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.batch_size = engine.batch_size
        self.identity: dict[str, Any] = engine.identity
        self._thread = ThreadPoolExecutor(1)

    def __enter__(self) -> EngineAhead:
        """Is ready as it is."""
        return self

    def __exit__(self, *_: object) -> None:
        """Ends the thread."""
        self._thread.shutdown(cancel_futures=True)

    def encode(self, photos: npt.NDArray[np.uint8]) -> Features:
        """As :meth:`Engine.encode`, but returns at once."""
        return _Coming(self._thread.submit(self._engine.encode, photos))


class _Coming(Mapping[str, npt.NDArray[np.float16]]):
    """Features that are there when they are asked for."""

    def __init__(self, future: Future[dict[str, npt.NDArray[np.float16]]]) -> None:
        self._future = future

    def __getitem__(self, layer: str) -> npt.NDArray[np.float16]:
        return self._future.result()[layer]

    def __iter__(self) -> Iterator[str]:
        return iter(self._future.result())

    def __len__(self) -> int:
        return len(self._future.result())
