"""What runs an encoder on this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lazarus_pl.encoder.encoder_spec import EncoderSpec
from lazarus_pl.encoder.precision import Precision

if TYPE_CHECKING:
    from lazarus_pl.encoder.engine import Engine


def make_engine(
    spec: EncoderSpec, device: str = "auto", precision: Precision = "auto", batch_size: int = 8
) -> Engine:
    """Builds the encoder and what runs it; torch is imported here, not before.

    Raises:
        LazarusError: If the weights, the device or the precision cannot be used.
    """
    from lazarus_pl.encoder.encoder import Encoder
    from lazarus_pl.encoder.torch_engine import TorchEngine

    return TorchEngine(Encoder.from_spec(spec), device, precision, batch_size)
