"""What runs an encoder on this machine."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from lazarus_pl.encoder.encoder_spec import EncoderSpec
from lazarus_pl.encoder.engine_options import EngineOptions
from lazarus_pl.encoder.precision import Precision, best_precision
from lazarus_pl.errors import LazarusError

if TYPE_CHECKING:
    from lazarus_pl.encoder.encoder import Encoder
    from lazarus_pl.encoder.engine import Engine
    from lazarus_pl.encoder.measured_engine import Candidate

# to start OpenVINO with the encoder to convert, and with it converted
_CONVERTING, _STARTING = 5.0, 0.5
# to round the weights, and to see what that does
_LOWERING = 1.0
_OPTIONS = EngineOptions()


def make_engine(
    spec: EncoderSpec,
    options: EngineOptions = _OPTIONS,
    photos: int | None = None,
    folder: Path | None = None,
    may_round: bool = True,
) -> Engine:
    """Builds the encoder and what runs it; torch is imported here, not before.

    On a CPU there may be several: OpenVINO where it is installed, and bf16 where the processor
    computes in it and the precision is ``auto``. Then the engine measures them on the first photos
    that it is given, see :class:`~lazarus_pl.encoder.measured_engine.MeasuredEngine`. Of OpenVINO
    it starts float32 only where bf16 cannot be taken, for to convert an encoder takes seconds.

    Args:
        spec: The encoder.
        options: How it is to be run.
        photos: How many will be encoded, if that is known: for a few, OpenVINO is not started.
        folder: Where OpenVINO keeps the converted encoder; None to convert it anew each time.
        may_round: Whether ``auto`` may take bf16 on a CPU.

    Raises:
        LazarusError: If the weights, the device, the precision or the engine cannot be used.
    """
    from lazarus_pl.encoder.encoder import Encoder
    from lazarus_pl.encoder.find_device import find_device
    from lazarus_pl.encoder.torch_engine import TorchEngine

    encoder = Encoder.from_spec(spec)
    if options.engine == "openvino" and options.device == "auto":
        options = replace(options, device="cpu")
    place = find_device(options.device)
    if place.type == "cpu" and options.precision == "auto" and not may_round:
        options = replace(options, precision="32")
    if place.type == "cpu" and options.precision != "16":
        return _on_cpu(encoder, options, photos, folder)
    if options.engine == "openvino":
        raise LazarusError(
            f"OpenVINO runs here on the CPU in precision 32 or bf16, not on {place} in "
            f"{options.precision}: add --device cpu --precision 32, or use --engine torch"
        )
    return TorchEngine(encoder, options.device, options.precision, options.batch_size)


def _on_cpu(
    encoder: Encoder, options: EngineOptions, photos: int | None, folder: Path | None
) -> Engine:
    from lazarus_pl.encoder.measured_engine import Candidate, MeasuredEngine
    from lazarus_pl.encoder.torch_engine import TorchEngine

    def on_torch(precision: Precision) -> TorchEngine:
        return TorchEngine(encoder, "cpu", precision, options.batch_size)

    precisions = _precisions(options.precision)
    if options.engine == "openvino":
        other = _openvino(encoder, options.batch_size, precisions, folder, photos)
        # what hinders it is told now
        started = other.start()
        return MeasuredEngine(on_torch("32"), [other._replace(start=lambda: started)], photos)
    first = on_torch(precisions[-1])
    candidates = [Candidate("torch", lambda: first, precision=first.precision)]
    lower = Candidate("torch", lambda: on_torch("bf16"), _LOWERING, "bf16")
    if options.engine == "auto" and _openvino_is_installed():
        candidates.append(_openvino(encoder, options.batch_size, precisions, folder, photos))
        if len(precisions) > 1:
            # slower than OpenVINO: to go on with what another call began
            candidates[0] = candidates[0]._replace(otherwise=lower)
    elif len(precisions) > 1:
        candidates.append(lower)
    if len(candidates) == 1:
        return first
    return MeasuredEngine(first if "32" in precisions else on_torch("32"), candidates, photos)


def _precisions(asked: Precision) -> list[Precision]:
    """Those to be tried, the most exact one last."""
    import torch

    if asked != "auto":
        return [asked]
    return ["bf16", "32"] if best_precision(torch.device("cpu")) == "bf16" else ["32"]


def _openvino(
    encoder: Encoder,
    batch_size: int,
    precisions: Sequence[Precision],
    folder: Path | None,
    photos: int | None,
) -> Candidate:
    from lazarus_pl.encoder.measured_engine import Candidate
    from lazarus_pl.encoder.openvino_engine import OpenVinoEngine
    from lazarus_pl.encoder.openvino_graph import OpenVinoGraph

    precision, *others = precisions
    is_kept = OpenVinoGraph(encoder, batch_size, folder, precision).is_kept
    return Candidate(
        "openvino",
        lambda: OpenVinoEngine(encoder, batch_size, precision, folder, photos),
        _STARTING if is_kept else _CONVERTING,
        precision,
        _openvino(encoder, batch_size, others, folder, photos) if others else None,
    )


def _openvino_is_installed() -> bool:
    return importlib.util.find_spec("openvino") is not None
