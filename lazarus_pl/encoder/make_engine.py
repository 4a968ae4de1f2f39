"""What runs an encoder on this machine."""

from __future__ import annotations

import importlib.util
import logging
from typing import TYPE_CHECKING, Literal, get_args

from lazarus_pl.encoder.encoder_spec import EncoderSpec
from lazarus_pl.encoder.precision import MIN_SAME, Precision
from lazarus_pl.errors import LazarusError

if TYPE_CHECKING:
    from lazarus_pl.encoder.encoder import Encoder
    from lazarus_pl.encoder.engine import Engine
    from lazarus_pl.encoder.openvino_engine import OpenVinoEngine

EngineName = Literal["auto", "torch", "openvino"]

_LOG = logging.getLogger(__name__)


def make_engine(
    spec: EncoderSpec,
    device: str = "auto",
    precision: Precision = "auto",
    batch_size: int = 8,
    engine: EngineName = "auto",
) -> Engine:
    """Builds the encoder and what runs it; torch is imported here, not before.

    ``auto`` takes OpenVINO where it is installed, the device is the CPU and the precision float32,
    as long as its features are those of torch.

    Raises:
        LazarusError: If the weights, the device, the precision or the engine cannot be used.
    """
    from lazarus_pl.encoder.encoder import Encoder
    from lazarus_pl.encoder.torch_engine import TorchEngine

    if engine not in get_args(EngineName):
        raise LazarusError(
            f"there is no engine '{engine}': use one of {', '.join(get_args(EngineName))}"
        )
    encoder = Encoder.from_spec(spec)
    on_torch = TorchEngine(encoder, device, precision, batch_size)
    fits = on_torch.device.type == "cpu" and on_torch.precision == "32"
    if engine == "openvino" and not fits:
        raise LazarusError(
            f"OpenVINO runs here on the CPU in precision 32, not on {on_torch.device} in "
            f"{on_torch.precision}: add --device cpu --precision 32, or use --engine torch"
        )
    if engine == "openvino" or (engine == "auto" and fits and _openvino_is_installed()):
        return _agreeing(encoder, on_torch, batch_size, asked=engine == "openvino")
    return on_torch


def _openvino_is_installed() -> bool:
    return importlib.util.find_spec("openvino") is not None


def _agreeing(encoder: Encoder, on_torch: Engine, batch_size: int, asked: bool) -> Engine:
    """OpenVINO if it computes what torch does; torch if not, and an error if it was asked for."""
    from lazarus_pl.encoder.openvino_engine import OpenVinoEngine

    try:
        other = OpenVinoEngine(encoder, batch_size)
        _check_same(on_torch, other)
    except LazarusError as error:
        if asked:
            raise
        _LOG.warning("%s: using torch", error)
        return on_torch
    return other


def _check_same(on_torch: Engine, other: OpenVinoEngine) -> None:
    from lazarus_pl.encoder.torch_engine import noise_photos, worst_cosine

    photos = noise_photos(on_torch.identity["image_size"])
    worst = worst_cosine(on_torch.encode(photos), other.encode(photos))
    if worst < MIN_SAME:
        raise LazarusError(f"OpenVINO's features are not those of torch (cosine {worst:.6f})")
