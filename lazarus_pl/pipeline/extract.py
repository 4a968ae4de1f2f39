"""The verb ``lazarus extract``."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

from lazarus_pl.cache.cache_header import CacheHeader
from lazarus_pl.cache.extraction import Extraction
from lazarus_pl.data.corrections import Corrections
from lazarus_pl.data.listing import LabelFrom
from lazarus_pl.data.split.split_spec import SplitSpec
from lazarus_pl.encoder.encoder_spec import EncoderSpec
from lazarus_pl.encoder.engine_options import EngineName, EngineOptions
from lazarus_pl.encoder.make_engine import make_engine
from lazarus_pl.encoder.precision import Precision, best_training_precision
from lazarus_pl.encoder.windows_spec import WindowsSpec
from lazarus_pl.views.views_spec import ViewsSpec

_LOG = logging.getLogger(__name__)
_SIDES = ("train", "val", "test", "unused")
_ENCODER = EncoderSpec()
_SPLIT = SplitSpec()
_VIEWS = ViewsSpec()
_WINDOWS = WindowsSpec()


def extract(
    data: Path,
    out: Path,
    encoder: EncoderSpec = _ENCODER,
    split: SplitSpec = _SPLIT,
    label_from: LabelFrom = "path",
    corrections: Path | None = None,
    views: ViewsSpec = _VIEWS,
    windows: WindowsSpec = _WINDOWS,
    device: str = "auto",
    precision: Precision = "auto",
    batch_size: int = 8,
    engine: EngineName = "auto",
    verify: bool = False,
) -> None:
    """Extracts the features of photos into a cache, in micro-jobs of 64.

    Ctrl-C or a crash loses the job in work; the same command continues. On a finished cache it
    does nothing, after photos were added it extracts those.

    Args:
        data: Folder of class folders, or a CSV or Parquet table with the columns path and label
            (and optionally group and split).
        out: Folder of the cache.
        encoder: The backbone.
        split: How photos are divided into train, val and test.
        label_from: In a folder, the label is the whole path of folders, the top one, or the parent.
        corrections: CSV of relabelled and excluded photos: label_doubts.csv of lazarus audit with
            its actions filled in.
        views: Augmented views of the training photos, cached beside the plain photos.
        windows: Photos larger than the encoder's input in sliding windows, whose grids are put
            together; pooled is then the mean over a photo's windows. --windows 2 is short for
            --windows.count 2.
        device: auto, cpu, cuda, cuda:1, mps.
        precision: Of the encoder; auto takes 16 on a GPU from Volta on, bf16 on a CPU that computes
            in it where that is faster, else 32.
        batch_size: Photos that the encoder takes at once.
        engine: What runs the encoder: torch, openvino (on a CPU), or auto, which measures and takes
            the faster one whose features are those of torch.
        verify: Read every finished job again and compare its digest.
    """
    options = EngineOptions(device, precision, batch_size, engine)
    extraction = Extraction(
        data,
        out,
        encoder,
        split,
        lambda spec: make_engine(spec, _as_begun(options, out), folder=out / "engine"),
        label_from,
        Corrections.read(corrections) if corrections else None,
        views,
        say=_say,
        windows=windows,
        options=options,
    )
    summary = extraction.run(verify)
    made = f"{summary.views} views made, " if views.count else ""
    print(
        f"{summary.photos} photos of {summary.classes} classes in '{out}' "
        f"({summary.extracted} extracted now, {made}{summary.quarantined} in quarantine), "
        f"{summary.seconds:.1f} s"
    )
    print(", ".join(f"{side} {summary.sides[side]}" for side in _SIDES if side in summary.sides))


def _as_begun(options: EngineOptions, out: Path) -> EngineOptions:
    """Goes on in the precision in which the cache was begun, where nothing else is asked for.

    Not in fp16: a CPU may compute in it at a twentieth of its speed, so that one is asked.
    """
    if options.precision != "auto" or not any(out.glob("jobs/*.npz")):
        return options
    begun_in = CacheHeader.read(out).precision
    if begun_in == "32":
        return replace(options, precision="32")
    if begun_in != "bf16":
        return options
    from lazarus_pl.encoder.find_device import find_device

    if best_training_precision(find_device(options.device)) != "bf16":
        _LOG.warning(
            "'%s' was begun in bf16, which this device does not compute in: going on slowly; for "
            "float32 name another folder with --out",
            out,
        )
    return replace(options, precision="bf16")


def _say(text: str) -> None:
    print(text, flush=True)
