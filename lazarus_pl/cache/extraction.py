"""Photos to a feature cache in micro-jobs, continued at the next call after any interruption."""

from __future__ import annotations

import json
import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping, Set
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from lazarus_pl.cache.bound_engine import BoundEngine
from lazarus_pl.cache.cache_header import CacheHeader
from lazarus_pl.cache.job_folder import JobFolder
from lazarus_pl.cache.photo_extraction import PhotoExtraction
from lazarus_pl.cache.seal import Seal
from lazarus_pl.cache.view_extraction import ViewExtraction
from lazarus_pl.data.atomic import DISK_FULL, is_temporary
from lazarus_pl.data.build_manifest import build_manifest
from lazarus_pl.data.check_outside import check_outside
from lazarus_pl.data.corrections import Corrections
from lazarus_pl.data.listing import LabelFrom
from lazarus_pl.data.manifest import Manifest
from lazarus_pl.data.photo import Photo
from lazarus_pl.data.rejected import Rejected
from lazarus_pl.data.split.split_spec import SplitSpec
from lazarus_pl.encoder.encoder_spec import EncoderSpec
from lazarus_pl.encoder.engine_options import EngineOptions
from lazarus_pl.encoder.weights import find_weights
from lazarus_pl.encoder.windows_spec import WindowsSpec
from lazarus_pl.errors import LazarusError
from lazarus_pl.views.views_spec import ViewsSpec

if TYPE_CHECKING:
    from lazarus_pl.encoder.engine import Engine

_LOG = logging.getLogger(__name__)
_GONE = "vanished, changed or could not be read while it was extracted"
# reasons that the next call may not find again: such files are looked at every time
_MAY_PASS = (_GONE, "cannot be read", "needs more memory")
# what a killed first call leaves
_OURS = {"engine", "jobs", "locks", "scan", "manifest.csv", "quarantine.csv"}


@dataclass(frozen=True)
class ExtractionSummary:
    """What an extraction did.

    Attributes:
        photos: Photos that have features now.
        quarantined: Files that cannot be used.
        classes: Number of classes.
        sides: Photos of each side.
        seconds: Time of the whole call.
        extracted: Photos whose features this call computed.
        views: Views whose features this call computed.
    """

    photos: int
    quarantined: int
    classes: int
    sides: Mapping[str, int]
    seconds: float
    extracted: int = 0
    views: int = 0


def may_extract_into(folder: Path) -> bool:
    """Whether a folder is a cache, what a killed first call left of one, empty, or not there."""
    if not folder.exists() or CacheHeader.exists(folder):
        return True
    if not folder.is_dir():
        return False
    return {entry.name for entry in folder.iterdir() if not is_temporary(entry)} <= _OURS


class _Done(NamedTuple):
    """What a call did: the photos that have features, how many photos and views, whether all."""

    manifest: Manifest
    extracted: int
    views: int
    is_whole: bool


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
        views: Augmented views of the training photos.
        say: Told what windows and views will cost, before they are made.
        windows: How large photos are read.
        options: How the user wants the encoder to be run, to compare with what a cache was made
            with before an engine is built.

    Raises:
        LazarusError: If views are asked for of photos that are read in windows.
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
        views: ViewsSpec | None = None,
        say: Callable[[str], None] = lambda _: None,
        windows: WindowsSpec | None = None,
        options: EngineOptions | None = None,
    ) -> None:
        self._data = data
        self._out = out
        self._spec = encoder
        self._split = split
        self._engine = BoundEngine(out, lambda: make_engine(encoder), options or EngineOptions())
        self._label_from: LabelFrom = label_from
        self._corrections = corrections
        self._views = views or ViewsSpec()
        self._say = say
        self._windows = windows or WindowsSpec()
        if self._windows.count > 1 and self._views.count:
            raise LazarusError(
                "views show photos as a whole, and do not go with photos in windows: leave out "
                "--views.count or --windows.count"
            )

    def run(self, verify: bool = False) -> ExtractionSummary:
        """Does what is left to do.

        Args:
            verify: Read all job files and compare their digests first, not only those that
                changed since they were last read.

        Raises:
            LazarusError: If the data cannot be read or split, the folder holds a cache of another
                encoder, precision or engine or something else, or the disk is full.
        """
        started = time.monotonic()
        if not self._data.exists():
            raise LazarusError(
                f"'{self._data}' does not exist: give a folder of class folders or a table"
            )
        views = ViewExtraction(self._views, self._out, self._say) if self._views.count else None
        try:
            self._check_folder()
            check_outside(self._out, self._data)
            self._engine.check()
            seal = Seal(self._data, self._out)
            extracted = made = 0
            told = seal.read(self._asked(views)) if seal.is_there and not verify else None
            if told is None:
                done = self._do(views, verify)
                extracted, made, told = done.extracted, done.views, _told(done.manifest)
                with JobFolder.lock_of(self._out):
                    if done.is_whole and self._may_be_sealed(done.manifest):
                        seal.write(self._asked(views), told)
        except OSError as error:
            raise self._explained(error) from error
        finally:
            self._engine.release()
        seconds = time.monotonic() - started
        return ExtractionSummary(**told, extracted=extracted, views=made, seconds=seconds)

    def _do(self, views: ViewExtraction | None, verify: bool) -> _Done:
        """Looks at everything and does what is left."""
        lock = JobFolder.lock_of(self._out)
        with lock:
            header, root, manifest = self._prepare()
            jobs = JobFolder(self._out, header.key)
            if verify:
                jobs.index.forget()
            size = int(header.encoder["image_size"])
            photos = PhotoExtraction(jobs, root, manifest, self._windows, size)
            photos.plan()
        # before the photos are encoded: a mistake in the policy should not cost an hour
        maker = views.maker(header, root, manifest) if views else None
        later = len(views.photos(manifest)) * self._views.count if views else 0
        extracted = photos.run(partial(self._engine.bind, root, manifest), later, self._say)
        with lock:
            manifest, is_ours = self._finished(manifest, jobs)
        if not views or not maker:
            return _Done(manifest, extracted, 0, is_ours)
        left = len(views.photos(manifest)) * self._views.count
        engine = partial(self._engine.bind, root, manifest, left)
        made = views.run(header, root, manifest, maker, engine, verify)
        return _Done(manifest, extracted, made, is_ours and views.is_complete)

    def _finished(self, prepared: Manifest, jobs: JobFolder) -> tuple[Manifest, bool]:
        """Writes the manifest without what has no features, unless it is no longer this call's."""
        there = Manifest.read(self._out)
        if not set(map(_place, there.photos)) <= set(map(_place, prepared.photos)):
            _LOG.warning(
                "another process has listed or divided the photos of '%s' otherwise meanwhile: "
                "what it wrote stays",
                self._out,
            )
            return there, False
        manifest = _complete(prepared, *jobs.outcome())
        manifest.write(self._out)
        return manifest, True

    def _may_be_sealed(self, manifest: Manifest) -> bool:
        """Whether the cache is what this call made of it, and the next one need not look again."""
        if any(item.reason.startswith(_MAY_PASS) for item in manifest.quarantine):
            return False
        # another process may have been told another split meanwhile
        return Manifest.read(self._out) == manifest

    def _asked(self, views: ViewExtraction | None) -> list[Any]:
        """All that determines what is to be done, beside photos and cache."""
        corrections = self._corrections or Corrections()
        return [
            _as_json(self._spec),
            find_weights(self._spec).sha256,
            _as_json(self._split),
            self._label_from,
            [dict(corrections.labels), dict(corrections.excluded)],
            [self._views.count, self._views.sides, views.digest] if views else [],
            _as_json(self._windows),
        ]

    def _check_folder(self) -> None:
        if may_extract_into(self._out):
            return
        if not self._out.is_dir():
            raise LazarusError(f"'{self._out}' is a file: name a folder with --out")
        raise LazarusError(
            f"'{self._out}' holds other files and no feature cache: name an empty or a new folder "
            "with --out"
        )

    def _prepare(self) -> tuple[CacheHeader, Path, Manifest]:
        old = CacheHeader.read(self._out) if CacheHeader.exists(self._out) else None
        header = self._header(old)
        keep_sides = old is not None and (old.split, old.label_from) == (
            header.split,
            header.label_from,
        )

        def unsettle() -> None:
            # if this is interrupted, nobody takes the sides of one split for those of another
            if old is not None and not keep_sides:
                replace(old, split={}).write(self._out)

        root, manifest = build_manifest(
            self._data,
            self._out,
            self._split,
            self._label_from,
            keep_sides,
            self._corrections,
            unsettle,
        )
        header.write(self._out)
        return header, root, manifest

    def _header(self, old: CacheHeader | None) -> CacheHeader:
        # what has not begun binds nobody
        begun = old if old is not None and self._engine.has_begun else None
        request = _as_json(self._spec)
        encoder, layers, precision = self._encoder_of(begun, request)
        header = CacheHeader(
            encoder=encoder,
            layers=layers,
            request=request,
            precision=begun.precision if begun else precision,
            data=str(self._data.resolve()),
            label_from=self._label_from,
            split=_as_json(self._split),
            windows=self._windows,
            engines=begun.engines if begun else (),
        )
        if old is not None and old.key != header.key:
            raise LazarusError(
                f"the cache '{self._out}' was made by {_describe(old)}, not by "
                f"{_describe(header)}: name another folder with --out"
            )
        if begun:
            self._engine.check_precision(begun.precision, precision)
        return header

    def _encoder_of(
        self, old: CacheHeader | None, request: dict[str, Any]
    ) -> tuple[dict[str, Any], dict[str, tuple[int, ...]], str]:
        """Identity, layers and precision; from the header when the same is asked for again."""
        if old is not None and old.request == request:
            weights = find_weights(self._spec)
            if weights.sha256 == old.encoder["weights"]["sha256"]:
                return old.encoder, old.layers, old.precision
        engine = self._engine.engine
        return engine.identity, dict(engine.layer_shapes), engine.precision

    def _explained(self, error: OSError) -> LazarusError:
        if error.errno in DISK_FULL:
            return LazarusError(
                f"the disk of '{self._out}' is full: free some room and run the same command "
                "again; the jobs that are done are kept"
            )
        return LazarusError(
            f"'{error.filename or self._out}' cannot be read or written ({error.strerror}): "
            "check its permissions, or name another folder with --out"
        )


def _place(photo: Photo) -> tuple[str, str, str, str]:
    """Where a photo stands in a dataset."""
    return photo.path, photo.sha256, photo.label, photo.split


def _complete(manifest: Manifest, done: Set[str], reasons: Mapping[str, str]) -> Manifest:
    """Only photos that have features; the others go to the quarantine with their reasons."""
    rejected = [
        Rejected(photo.path, photo.label, reasons.get(photo.sha256, _GONE))
        for photo in manifest.photos
        if photo.sha256 not in done
    ]
    if rejected and len(rejected) == len(manifest.photos):
        raise LazarusError(
            f"none of the {len(rejected)} photos gave features (the first one, "
            f"'{rejected[0].path}': {rejected[0].reason}): check that the data are still there, "
            "and run the same command again"
        )
    passing = [item for item in rejected if item.reason.startswith(_MAY_PASS)]
    if passing:
        _LOG.warning(
            "%d photos cannot be used now, such as '%s' (%s): the same command tries again",
            len(passing),
            passing[0].path,
            passing[0].reason,
        )
    return Manifest(
        tuple(photo for photo in manifest.photos if photo.sha256 in done),
        tuple(sorted((*manifest.quarantine, *rejected), key=lambda item: item.path)),
    )


def _told(manifest: Manifest) -> dict[str, Any]:
    """What is told of a finished cache."""
    return {
        "photos": len(manifest.photos),
        "quarantined": len(manifest.quarantine),
        "classes": manifest.num_classes,
        "sides": dict(Counter(manifest.column("split"))),
    }


def _as_json(spec: EncoderSpec | SplitSpec | WindowsSpec) -> dict[str, Any]:
    """A spec as it is read back from ``cache.json``."""
    content: dict[str, Any] = json.loads(json.dumps(asdict(spec)))
    return content


def _describe(header: CacheHeader) -> str:
    encoder = header.encoder
    return (
        f"encoder '{encoder['name']}' at {encoder['image_size']} px (digest "
        f"{encoder['digest'][:12]}, layers {', '.join(header.layers)}) {header.windows}"
    )
