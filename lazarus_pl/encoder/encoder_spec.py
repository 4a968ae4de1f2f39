"""What a user asks of an encoder."""

from __future__ import annotations

from dataclasses import dataclass

from lazarus_pl.errors import LazarusError

LAYERS = ("pooled", "grid32", "grid16")
_STRIDE = 32


@dataclass(frozen=True)
class EncoderSpec:
    """A backbone, its weights, and what is kept of its forward pass.

    Attributes:
        name: Any timm model, as ``name`` or ``name.tag``.
        weights: ``auto``: packaged weights for ``tf_efficientnet_lite0``, timm's hub for all
            others; ``packaged``; ``hub``; ``random``: seeded noise, for trying things out; or the
            path of a ``.safetensors`` or ``.pth`` file with timm's names, or of the checkpoint of a
            fine-tuning.
        image_size: Side in pixels of the square that a whole photo is resized to.
        layers: ``pooled``: one vector a photo; ``grid32`` and ``grid16``: one vector for every
            32 and 16 pixels.
    """

    name: str = "tf_efficientnet_lite0"
    weights: str = "auto"
    image_size: int = 256
    layers: tuple[str, ...] = LAYERS

    def __post_init__(self) -> None:
        """Checks the values.

        Raises:
            LazarusError: If the size or a layer cannot be.
        """
        if self.image_size < _STRIDE or self.image_size % _STRIDE:
            raise LazarusError(
                f"encoder.image_size {self.image_size} is not a multiple of {_STRIDE} pixels: "
                "use 256, or another multiple"
            )
        unknown = [layer for layer in self.layers if layer not in LAYERS]
        if unknown or not self.layers:
            raise LazarusError(
                f"there is no encoder layer '{(*unknown, '')[0]}': choose from {', '.join(LAYERS)}"
            )
