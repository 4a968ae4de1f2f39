"""The encoder on PyTorch."""

from __future__ import annotations

import logging
from typing import Any, get_args

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lazarus_pl.encoder.encoder import Encoder
from lazarus_pl.encoder.precision import Precision, best_precision
from lazarus_pl.errors import LazarusError

_LOG = logging.getLogger(__name__)
_DTYPES = {"bf16": torch.bfloat16, "16": torch.float16}
# what bf16 and fp16 give on sound hardware is above these by far
_MIN_COSINE = 0.995
_SAME = 0.999_999


class TorchEngine:
    """Runs an encoder in inference mode, ``channels_last``, under autocast where that helps.

    ``auto`` takes float32 on a CPU, with batch normalisation folded into the convolutions: nearly
    as fast there as bf16, which changes about one prediction in a hundred. On a GPU it takes
    :func:`~lazarus_pl.encoder.precision.best_precision`. Reduced precision is compared with
    float32 on a first batch, since some GPUs (GTX 16xx) give NaN in fp16.

    Args:
        encoder: The frozen backbone.
        device: ``auto``, or a device as torch names it.
        precision: ``auto``, ``32``, ``bf16`` or ``16``.
        batch_size: Photos at once; 8 is faster than 64 on a CPU, where it fits the cache.

    Raises:
        LazarusError: If the device or the precision cannot be used.

    Attributes:
        precision: The precision in use: ``32``, ``bf16`` or ``16``.
        device: The device in use.
    """

    def __init__(
        self,
        encoder: Encoder,
        device: str = "auto",
        precision: Precision = "auto",
        batch_size: int = 8,
    ) -> None:
        if precision not in get_args(Precision):
            raise LazarusError(
                f"there is no precision '{precision}': use one of {', '.join(get_args(Precision))}"
            )
        if batch_size < 1:
            raise LazarusError(f"batch_size {batch_size} must be at least 1")
        self.device = _device(device)
        self.batch_size = batch_size
        self._encoder = self._placed(encoder)
        self.precision = self._checked(precision)
        if self.precision == "32":
            self._fold(encoder)

    @property
    def identity(self) -> dict[str, Any]:
        """The encoder's identity."""
        return self._encoder.identity

    @property
    def layer_shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of one photo's features by layer."""
        return self._encoder.layer_shapes

    def encode(self, photos: npt.NDArray[np.uint8]) -> dict[str, npt.NDArray[np.float16]]:
        """Features of pixels.

        Args:
            photos: ``(B, S, S, 3)``; any B, run in batches of ``batch_size``.

        Returns:
            float16 by layer: ``(B, C)`` or ``(B, H, W, C)``.
        """
        batches = [
            self._run(torch.from_numpy(photos[start : start + self.batch_size]), self.precision)
            for start in range(0, len(photos), self.batch_size)
        ]
        return {
            layer: np.concatenate([batch[layer].half().cpu().numpy() for batch in batches])
            for layer in self.layer_shapes
        }

    @torch.inference_mode()
    def _run(self, photos: Tensor, precision: str) -> dict[str, Tensor]:
        if self.device.type == "cuda":
            photos = photos.pin_memory().to(self.device, non_blocking=True)
        else:
            photos = photos.to(self.device)
        dtype = _DTYPES.get(precision)
        with torch.autocast(self.device.type, dtype=dtype, enabled=dtype is not None):
            features: dict[str, Tensor] = self._encoder(self._encoder.normalise(photos))
        return features

    def _placed(self, encoder: Encoder) -> Encoder:
        return encoder.to(self.device).to(memory_format=torch.channels_last)

    def _fold(self, encoder: Encoder) -> None:
        """Takes the folded encoder if it gives the same values."""
        photos = self._noise()
        plain = self._run(photos, "32")
        self._encoder = self._placed(encoder.folded())
        if _worst_cosine(plain, self._run(photos, "32")) < _SAME:
            self._encoder = encoder

    def _checked(self, asked: str) -> str:
        precision = _automatic(self.device) if asked == "auto" else asked
        if precision == "32":
            return precision
        worst = self._agreement(precision)
        if worst >= _MIN_COSINE:
            return precision
        if asked != "auto":
            raise LazarusError(
                f"precision {precision} is unusable on {self.device} (cosine to float32 "
                f"{worst:.4f}): use --precision 32"
            )
        _LOG.warning(
            "precision %s disagrees with float32 on %s (cosine %.4f): using 32",
            precision,
            self.device,
            worst,
        )
        return "32"

    def _agreement(self, precision: str) -> float:
        """Lowest cosine over layers and photos of a noise batch; -1 if a value is not finite."""
        photos = self._noise()
        return _worst_cosine(self._run(photos, "32"), self._run(photos, precision))

    def _noise(self) -> Tensor:
        size = self._encoder.spec.image_size
        noise = np.random.default_rng(0).integers(0, 256, (8, size, size, 3), dtype=np.uint8)
        return torch.from_numpy(noise)


def _worst_cosine(exact: dict[str, Tensor], other: dict[str, Tensor]) -> float:
    cosines = [
        torch.cosine_similarity(values.double().flatten(1), other[layer].double().flatten(1)).min()
        for layer, values in exact.items()
    ]
    worst = torch.stack(cosines).min().item()
    return worst if np.isfinite(worst) else -1.0


def _automatic(device: torch.device) -> str:
    return "32" if device.type == "cpu" else best_precision(device)


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if _cuda_works() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise LazarusError(
            f"the device '{name}' cannot be used ({reason}): use --device auto or cpu"
        ) from error
    return device


def _cuda_works() -> bool:
    """Whether a kernel runs: a driver and a card are not enough, the build must know the card."""
    if not torch.cuda.is_available():
        return False
    try:
        return bool((torch.ones(2, device="cuda") * 2).sum().item() == 4)
    except RuntimeError as error:
        _LOG.warning("the GPU cannot be used (%s): using the CPU", str(error).splitlines()[0])
        return False
