"""Photos to a feature cache in micro-jobs, continued at the next call after any interruption."""

from __future__ import annotations

import errno
import json
import logging
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from lazarus_pl.cache.aligned_npz import NpzError
from lazarus_pl.cache.cache_header import JOB_SIZE, CacheHeader
from lazarus_pl.cache.job_index import JobIndex, JobState
from lazarus_pl.cache.job_plan import JobPlan, Row
from lazarus_pl.cache.job_runner import JobRunner
from lazarus_pl.data.atomic import is_temporary, sweep_temporary
from lazarus_pl.data.build_manifest import build_manifest
from lazarus_pl.data.corrections import Corrections
from lazarus_pl.data.listing import LabelFrom
from lazarus_pl.data.manifest import Manifest
from lazarus_pl.data.rejected import Rejected
from lazarus_pl.data.split.split_spec import SplitSpec
from lazarus_pl.encoder.encoder_spec import EncoderSpec
from lazarus_pl.encoder.weights import find_weights
from lazarus_pl.errors import LazarusError

if TYPE_CHECKING:
    from lazarus_pl.encoder.engine import Engine

_LOG = logging.getLogger(__name__)
_SECONDS_BETWEEN_LOOKS = 0.5
_GONE = "vanished or changed while it was extracted, extract again"
# Windows has no EDQUOT
_DISK_FULL = {errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)}


@dataclass(frozen=True)
class ExtractionSummary:
    """What an extraction did.

    Attributes:
        photos: Photos that have features now.
        quarantined: Files that cannot be used.
        classes: Number of classes.
        extracted: Photos whose features this call computed.
        seconds: Time of the whole call.
    """

    photos: int
    quarantined: int
    classes: int
    extracted: int
    seconds: float


class Extraction:
    """Extracts the features of a dataset into a cache, or continues to.

    Several processes may work on one cache at the same time: they share the jobs.

    Args:
        data: Folder of class folders, or table.
        out: The cache's folder; made if it is not there.
        encoder: Which backbone and layers.
        split: How photos are divided.
        make_engine: Builds what runs the encoder; not called when a cache has nothing left to do.
        label_from: How labels are read off folders.
        corrections: Other labels and exclusions than the data's.
    """

    def __init__(
        self,
        data: Path,
        out: Path,
        encoder: EncoderSpec,
        split: SplitSpec,
        make_engine: Callable[[EncoderSpec], Engine],
        label_from: LabelFrom = "path",
        corrections: Corrections | None = None,
    ) -> None:
        self._data = data
        self._out = out
        self._spec = encoder
        self._split = split
        self._make_engine = make_engine
        self._label_from: LabelFrom = label_from
        self._corrections = corrections
        self._engine: Engine | None = None

    def run(self, verify: bool = False) -> ExtractionSummary:
        """Does what is left to do.

        Args:
            verify: Read all job files and compare their digests first, not only those that
                changed since they were last read.

        Raises:
            LazarusError: If the data cannot be read or split, the folder holds a cache of another
                encoder or something else, or the disk is full.
        """
        started = time.monotonic()
        if not self._data.exists():
            raise LazarusError(
                f"'{self._data}' does not exist: give a folder of class folders or a table"
            )
        try:
            self._make_folders()
            with self._plan_lock():
                header, root, manifest = self._prepare()
                index = JobIndex(self._out, header.key)
                if verify:
                    index.forget()
                plan = self._extend_plan(index, manifest)
            try:
                extracted = self._extract(root, manifest, plan, index)
            finally:
                index.write()
            with self._plan_lock():
                manifest = _complete(manifest, plan, index)
                manifest.write(self._out)
        except OSError as error:
            raise self._explained(error) from error
        return ExtractionSummary(
            photos=len(manifest.photos),
            quarantined=len(manifest.quarantine),
            classes=manifest.num_classes,
            extracted=extracted,
            seconds=time.monotonic() - started,
        )

    def _make_folders(self) -> None:
        ours = {"jobs", "locks", "scan", "manifest.csv", "quarantine.csv"}
        if self._out.exists() and not CacheHeader.exists(self._out):
            if not self._out.is_dir():
                raise LazarusError(f"'{self._out}' is a file: name a folder with --out")
            names = {entry.name for entry in self._out.iterdir() if not is_temporary(entry)}
            if names - ours:
                raise LazarusError(
                    f"'{self._out}' holds other files and no feature cache: name an empty or a "
                    "new folder with --out"
                )
        for name in ("jobs", "locks"):
            (self._out / name).mkdir(parents=True, exist_ok=True)
        for folder in (self._out, self._out / "jobs"):
            sweep_temporary(folder)

    def _plan_lock(self) -> FileLock:
        return FileLock(self._out / "locks" / "plan.lock")

    def _prepare(self) -> tuple[CacheHeader, Path, Manifest]:
        old = CacheHeader.read(self._out) if CacheHeader.exists(self._out) else None
        header = self._header(old)
        keep_sides = old is not None and (old.split, old.label_from) == (
            header.split,
            header.label_from,
        )
        root, manifest = build_manifest(
            self._data,
            self._out,
            self._split,
            self._label_from,
            keep_sides,
            self._corrections,
        )
        header.write(self._out)
        return header, root, manifest

    def _header(self, old: CacheHeader | None) -> CacheHeader:
        request = _as_json(self._spec)
        encoder, layers, precision = self._encoder_of(old, request)
        header = CacheHeader(
            encoder=encoder,
            layers=layers,
            request=request,
            precision=precision,
            data=str(self._data.resolve()),
            label_from=self._label_from,
            split=_as_json(self._split),
        )
        if old is not None and old.key != header.key:
            raise LazarusError(
                f"the cache '{self._out}' was made by {_describe(old)}, not by "
                f"{_describe(header)}: name another folder with --out"
            )
        if old is not None:
            self._check_precision(old.precision, header.precision)
        return header

    def _encoder_of(
        self, old: CacheHeader | None, request: dict[str, Any]
    ) -> tuple[dict[str, Any], dict[str, tuple[int, ...]], str]:
        """Identity, layers and precision; from the header when the same is asked for again."""
        if old is not None and old.request == request:
            weights = find_weights(self._spec)
            if weights.sha256 == old.encoder["weights"]["sha256"]:
                return old.encoder, old.layers, old.precision
        engine = self._running_engine()
        return engine.identity, dict(engine.layer_shapes), engine.precision

    def _running_engine(self) -> Engine:
        if self._engine is None:
            self._engine = self._make_engine(self._spec)
        return self._engine

    def _extend_plan(self, index: JobIndex, manifest: Manifest) -> JobPlan:
        path = self._out / "jobs.csv"
        plan = JobPlan.read(path)
        planned: set[Row] = set()
        for number, job in enumerate(plan.jobs):
            state = _look(index, plan, number)
            gone = state.gone if state else ()
            planned.update(row for place, row in enumerate(job) if place not in gone)
        wanted = dict.fromkeys(Row(photo.sha256) for photo in manifest.photos)
        missing = [row for row in wanted if row not in planned]
        if missing:
            plan = plan.extended(missing, JOB_SIZE)
            plan.write(path)
        return plan

    def _extract(self, root: Path, manifest: Manifest, plan: JobPlan, index: JobIndex) -> int:
        photos = {photo.sha256: photo for photo in reversed(manifest.photos)}
        extracted = 0
        while pending := [n for n in range(len(plan.jobs)) if _look(index, plan, n) is None]:
            locks = self._out / "locks"
            engine = self._running_engine()
            self._check_precision(CacheHeader.read(self._out).precision, engine.precision)
            runner = JobRunner(root, photos, plan, index, locks, engine)
            done = runner.run(pending)
            extracted += done
            if not done:
                time.sleep(_SECONDS_BETWEEN_LOOKS)
        return extracted

    def _check_precision(self, made_in: str, precision: str) -> None:
        if precision != made_in:
            raise LazarusError(
                f"the cache '{self._out}' was made in precision {made_in}, this call would go on "
                f"in {precision}: add --precision {made_in}, or name another folder with --out"
            )

    def _explained(self, error: OSError) -> LazarusError:
        if error.errno in _DISK_FULL:
            return LazarusError(
                f"the disk of '{self._out}' is full: free some room and run the same command "
                "again; the jobs that are done are kept"
            )
        return LazarusError(
            f"'{error.filename or self._out}' cannot be read or written ({error.strerror}): "
            "check its permissions, or name another folder with --out"
        )


def _look(index: JobIndex, plan: JobPlan, number: int) -> JobState | None:
    """The state of a job; a damaged file is taken away, so that its job is done again."""
    try:
        return index.state(number, plan.jobs[number])
    except NpzError as error:
        _LOG.warning("job %d is damaged (%s): it is extracted again", number, error)
        index.path(number).unlink(missing_ok=True)
        return None


def _complete(manifest: Manifest, plan: JobPlan, index: JobIndex) -> Manifest:
    """Only photos that have features; the others go to the quarantine with their reasons."""
    reasons: dict[str, str] = {}
    done: set[str] = set()
    for number, job in enumerate(plan.jobs):
        state = _look(index, plan, number)
        if state is None:
            continue
        for place, row in enumerate(job):
            if place in state.failed:
                reasons[row.sha256] = state.failed[place]
            elif place not in state.gone:
                done.add(row.sha256)
    done -= reasons.keys()
    rejected = [
        Rejected(photo.path, photo.label, reasons.get(photo.sha256, _GONE))
        for photo in manifest.photos
        if photo.sha256 not in done
    ]
    gone = [item.path for item in rejected if item.reason == _GONE]
    if gone:
        _LOG.warning("%d photos cannot be used, such as '%s': %s", len(gone), gone[0], _GONE)
    return Manifest(
        tuple(photo for photo in manifest.photos if photo.sha256 in done),
        tuple(sorted((*manifest.quarantine, *rejected), key=lambda item: item.path)),
    )


def _as_json(spec: EncoderSpec | SplitSpec) -> dict[str, Any]:
    """A spec as it is read back from ``cache.json``."""
    content: dict[str, Any] = json.loads(json.dumps(asdict(spec)))
    return content


def _describe(header: CacheHeader) -> str:
    encoder = header.encoder
    return (
        f"encoder '{encoder['name']}' at {encoder['image_size']} px (digest "
        f"{encoder['digest'][:12]}, layers {', '.join(header.layers)})"
    )
