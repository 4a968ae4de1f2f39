"""The table of costs."""

from __future__ import annotations

import tempfile
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lazarus_pl.audit.audit_data import AuditData
from lazarus_pl.audit.costs.extraction_cost import probe_extraction
from lazarus_pl.audit.costs.finetune_cost import FinetuneProbe, probe_finetuning
from lazarus_pl.audit.costs.heads_cost import probe_heads
from lazarus_pl.audit.costs.sample import sample_photos
from lazarus_pl.audit.costs.stage_cost import StageCost
from lazarus_pl.encoder.encoder_spec import EncoderSpec
from lazarus_pl.encoder.engine_options import EngineOptions
from lazarus_pl.encoder.find_device import find_device

_SMALL_GPU_MB = 4000.0
_EFFECTIVE_BATCH = 64


def cost_report(
    data: AuditData, spec: EncoderSpec, options: EngineOptions, engines: Path | None = None
) -> dict[str, Any]:
    """Tries every later step for a moment and reckons what it takes for the whole dataset.

    Args:
        data: The dataset, with a split.
        spec: Encoder and layers of the extraction.
        options: How the encoder is run in the extraction.
        engines: Where a converted encoder is kept; None to keep none.

    Returns:
        ``costs``: a row a stage, as :class:`StageCost`; ``costs_4gb``: for each stage whether it
        fits a GPU of 4 GB, the batch that does, and what to set; ``rates``: photos a second of
        decoding, encoder and disk alone.

    Raises:
        LazarusError: If the encoder cannot be had or the disk is full.
    """
    sample = sample_photos(data.photos)
    counts = Counter(photo.split for photo in data.photos)
    photos = len({photo.sha256 for photo in data.photos})
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as text:
        folder = Path(text)
        extraction = probe_extraction(data.root, sample, photos, spec, options, folder, engines)
        costs = [extraction.cost]
        if "pooled" in spec.layers:
            costs += probe_heads(extraction.cache, counts, folder)
    device = find_device(options.device)
    finetuning = probe_finetuning(data.root, sample, counts["train"], spec, device)
    costs += [probe.cost for probe in finetuning.values()]
    return {
        "costs": [_rounded(cost) for cost in costs],
        "costs_4gb": [*map(_fits, costs[: -len(finetuning)]), *map(_batch, finetuning.values())],
        "rates": {name: round(rate, 1) for name, rate in extraction.rates.items()},
    }


def _rounded(cost: StageCost) -> dict[str, Any]:
    return {
        name: round(value, 1) if isinstance(value, float) else value
        for name, value in asdict(cost).items()
    }


def _fits(cost: StageCost) -> dict[str, Any]:
    fits = cost.gpu_mb <= _SMALL_GPU_MB
    return {
        "stage": cost.stage,
        "fits": fits,
        "gpu_mb": round(cost.gpu_mb, 1),
        "batch_size": None,
        "advice": "fits as it is" if fits else "a smaller batch_size",
    }


def _batch(probe: FinetuneProbe) -> dict[str, Any]:
    batch = probe.largest_batch(_SMALL_GPU_MB)
    steps = max(1, _EFFECTIVE_BATCH // max(batch, 1))
    advice = f"batch_size {batch}"
    if steps > 1:
        advice += f" with trainer.accumulate_grad_batches {steps}"
    return {
        "stage": probe.cost.stage,
        "fits": batch > 0,
        "gpu_mb": round(probe.fixed_mb + batch * probe.photo_mb, 1),
        "batch_size": batch,
        "advice": advice if batch else "a smaller encoder or image_size: not one photo fits",
    }
