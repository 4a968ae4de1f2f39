"""What runs an encoder on this machine."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from lazarus_pl.encoder.encoder_spec import EncoderSpec
from lazarus_pl.encoder.engine_options import EngineOptions
from lazarus_pl.errors import LazarusError

if TYPE_CHECKING:
    from lazarus_pl.encoder.encoder import Encoder
    from lazarus_pl.encoder.engine import Engine
    from lazarus_pl.encoder.measured_engine import Candidate

# to start OpenVINO with the encoder to convert, and with it converted
_CONVERTING, _STARTING = 5.0, 0.5
_OPTIONS = EngineOptions()


def make_engine(
    spec: EncoderSpec,
    options: EngineOptions = _OPTIONS,
    photos: int | None = None,
    folder: Path | None = None,
) -> Engine:
    """Builds the encoder and what runs it; torch is imported here, not before.

    On a CPU with OpenVINO installed the engine measures both on the first photos that it is given,
    see :class:`~lazarus_pl.encoder.measured_engine.MeasuredEngine`. ``auto`` never takes a lower
    precision than float32 there: bf16 on either engine keeps cosines of 0.999 but changes one
    prediction of a hundred.

    Args:
        spec: The encoder.
        options: How it is to be run.
        photos: How many will be encoded, if that is known: for a few, OpenVINO is not started.
        folder: Where OpenVINO keeps the converted encoder; None to convert it anew each time.

    Raises:
        LazarusError: If the weights, the device, the precision or the engine cannot be used.
    """
    from lazarus_pl.encoder.encoder import Encoder
    from lazarus_pl.encoder.find_device import find_device
    from lazarus_pl.encoder.measured_engine import Candidate, MeasuredEngine
    from lazarus_pl.encoder.torch_engine import TorchEngine

    engine, batch_size = options.engine, options.batch_size
    encoder = Encoder.from_spec(spec)
    if engine == "openvino" and options.device == "auto":
        options = replace(options, device="cpu")
    place = find_device(options.device)
    several = place.type == "cpu" and options.precision != "16"
    if engine == "openvino" and not several:
        raise LazarusError(
            f"OpenVINO runs here on the CPU in precision 32 or bf16, not on {place} in "
            f"{options.precision}: add --device cpu --precision 32, or use --engine torch"
        )
    on_torch = TorchEngine(encoder, options.device, options.precision, batch_size)
    if not several or engine == "torch" or (engine == "auto" and not _openvino_is_installed()):
        return on_torch
    exact = on_torch
    if on_torch.precision != "32":
        exact = TorchEngine(encoder, options.device, "32", batch_size)
    other = _openvino(encoder, batch_size, on_torch.precision, folder, photos)
    candidates = [Candidate("torch", lambda: on_torch), other]
    if engine == "openvino":
        # what hinders it is told now
        started = other.start()
        candidates = [Candidate("openvino", lambda: started)]
    return MeasuredEngine(exact, candidates, on_torch.precision, photos)


def _openvino(
    encoder: Encoder, batch_size: int, precision: str, folder: Path | None, photos: int | None
) -> Candidate:
    from lazarus_pl.encoder.measured_engine import Candidate
    from lazarus_pl.encoder.openvino_engine import OpenVinoEngine
    from lazarus_pl.encoder.openvino_graph import OpenVinoGraph

    is_kept = OpenVinoGraph(encoder, batch_size, folder).is_kept
    return Candidate(
        "openvino",
        lambda: OpenVinoEngine(encoder, batch_size, precision, folder, photos),
        _STARTING if is_kept else _CONVERTING,
    )


def _openvino_is_installed() -> bool:
    return importlib.util.find_spec("openvino") is not None
