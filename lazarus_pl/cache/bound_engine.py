"""The one engine whose features a cache holds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from lazarus_pl.cache.active_workers import ActiveWorkers
from lazarus_pl.cache.cache_header import CacheHeader
from lazarus_pl.cache.job_folder import JobFolder
from lazarus_pl.data.decode import PhotoError, read_bytes, read_pixels
from lazarus_pl.data.manifest import Manifest
from lazarus_pl.encoder.engine_options import EngineOptions
from lazarus_pl.encoder.measured_engine import MeasuredEngine
from lazarus_pl.errors import LazarusError

if TYPE_CHECKING:
    from lazarus_pl.encoder.engine import Engine

_SAMPLE = 16
# they are there whatever the machine
_ALWAYS_THERE = ("auto", "cpu")


class BoundEngine:
    """Builds an engine when it is needed and binds a cache to it in ``cache.json``.

    In reduced precision engines do not give the same features: the first process to come chooses
    one for all of them. As long as nothing was written and nobody is at work, the choice is free.

    Args:
        out: The cache's folder.
        make: Builds the engine.
        asked: How the user wants it.
    """

    def __init__(self, out: Path, make: Callable[[], Engine], asked: EngineOptions) -> None:
        self._out = out
        self._make = make
        self._asked = asked
        self._workers = ActiveWorkers(out / "locks")

    @cached_property
    def engine(self) -> Engine:
        """What was built; of several, none is chosen before :meth:`bind`."""
        return self._make()

    @property
    def has_features(self) -> bool:
        """Whether anything was written."""
        jobs = (self._out / "jobs", *self._out.glob("views/*/jobs"))
        return any(any(folder.glob("*.npz")) for folder in jobs)

    @property
    def has_begun(self) -> bool:
        """Whether there is something to keep to: features, or a process that will write some.

        To be asked with the folder's lock held.
        """
        return self.has_features or self._workers.anyone()

    def check(self) -> None:
        """Makes sure that what is asked for is possible and what the cache was made with.

        Nothing is built, and torch is imported for a device that the cache does not know.

        Raises:
            LazarusError: If it is not.
        """
        header = CacheHeader.read(self._out) if CacheHeader.exists(self._out) else None
        known = [each["device"] for each in header.engines] if header else []
        if self._asked.device not in (*_ALWAYS_THERE, *known):
            from lazarus_pl.encoder.find_device import find_device

            find_device(self._asked.device)
        if header is None or not self.has_features:
            return
        if self._asked.precision != "auto":
            self.check_precision(header.precision, self._asked.precision)
        if self._asked.engine != "auto":
            self._check_name(self._begun_by(header), self._asked.engine, header.precision)

    def check_precision(self, made_in: str, precision: str) -> None:
        """Makes sure that two precisions are one, as far as both are known.

        Raises:
            LazarusError: If they are not.
        """
        if precision != made_in and "auto" not in (precision, made_in):
            raise LazarusError(
                f"the cache '{self._out}' was made in precision {made_in}, this call would go on "
                f"in {precision}: add --precision {made_in}, or name another folder with --out"
            )

    def bind(self, root: Path, manifest: Manifest, left: int) -> Engine:
        """The engine, if its features may lie beside those that are there.

        Args:
            root: What the photos' paths are relative to.
            manifest: The photos; several engines are measured on some of them.
            left: How often the encoder will be asked.

        Raises:
            LazarusError: If the cache is bound to another precision or engine, or none can run.
        """
        with JobFolder.lock_of(self._out):
            header = CacheHeader.read(self._out)
            self.check_precision(header.precision, self.engine.precision)
            begun_by = self._begun_by(header)
            if isinstance(self.engine, MeasuredEngine):
                begun_in = None if header.precision == "auto" else header.precision
                sample = _sample(root, manifest, self.engine)
                self.engine.settle(sample, left, begun_by, begun_in)
            self.check_precision(header.precision, self.engine.precision)
            self._check_name(begun_by, self.engine.name, header.precision)
            self._write_down(header)
            self._workers.begin()
        return self.engine

    def release(self) -> None:
        """Says that this process writes no more."""
        self._workers.end()

    def _begun_by(self, header: CacheHeader) -> str | None:
        """The engine whose features must stay among themselves, if there are any.

        In float32 all engines agree but for rounding.
        """
        if header.precision == "32":
            return None
        if header.engines:
            return str(header.engines[0]["name"])
        # before engines were written down, torch alone reduced the precision
        return "torch" if self.has_features else None

    def _check_name(self, begun_by: str | None, name: str, precision: str) -> None:
        if begun_by is not None and name != begun_by:
            raise LazarusError(
                f"the cache '{self._out}' was made by {begun_by} in precision {precision}, this "
                f"call would go on with {name}: add --engine {begun_by}, or name another folder "
                "with --out"
            )

    def _write_down(self, header: CacheHeader) -> None:
        bound = replace(header, precision=self.engine.precision)
        if self.engine.name not in [each["name"] for each in header.engines]:
            bound = replace(bound, engines=(*header.engines, _record(self.engine)))
        if bound != header:
            bound.write(self._out)


def _record(engine: Engine) -> dict[str, Any]:
    """What the header says of an engine."""
    measured = engine.measured if isinstance(engine, MeasuredEngine) else {}
    return {"name": engine.name, "device": str(engine.device), "measured": measured}


def _sample(root: Path, manifest: Manifest, engine: Engine) -> npt.NDArray[np.uint8]:
    """Pixels of a few photos from all over the manifest, to measure engines on.

    A black one where none can be read now, since one of the engines has to be bound.
    """
    size, kind = engine.identity["image_size"], engine.identity["interpolation"]
    pixels: list[npt.NDArray[np.uint8]] = []
    for photo in manifest.photos[:: max(1, len(manifest.photos) // _SAMPLE)][:_SAMPLE]:
        try:
            pixels.append(read_pixels(read_bytes(root / photo.path), size, kind))
        except PhotoError:
            continue
    return np.stack(pixels or [np.zeros((size, size, 3), np.uint8)])
