"""What runs an encoder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import torch

MOST_AT_ONCE = 64


class Engine(Protocol):
    """Turns pixels into features; the cache knows nothing else of encoders."""

    @property
    def name(self) -> str:
        """What runs it, such as ``torch`` or ``openvino``."""
        ...

    @property
    def identity(self) -> dict[str, Any]:
        """The encoder's identity in plain types, with ``digest``, ``image_size`` and others."""
        ...

    @property
    def precision(self) -> str:
        """``32``, ``bf16`` or ``16``."""
        ...

    @property
    def device(self) -> torch.device:
        """Where it runs."""
        ...

    @property
    def layer_shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of one photo's features by layer."""
        ...

    @property
    def batch_size(self) -> int:
        """Photos that are best encoded at once; at most 64, unless a user asked for more."""
        ...

    def encode(self, photos: npt.NDArray[np.uint8]) -> dict[str, npt.NDArray[np.float16]]:
        """Features by layer, one row a photo, of pixels ``(B, S, S, 3)``.

        B may be any number: what is too much at once is run in batches of ``batch_size``.
        """
        ...
