"""The encoder on OpenVINO."""

from __future__ import annotations

import contextlib
import io
import logging
import sys
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from lazarus_pl.encoder.encoder import Encoder
from lazarus_pl.errors import LazarusError

if TYPE_CHECKING:
    from openvino import CompiledModel


class OpenVinoEngine:
    """Runs an encoder in float32 on the CPU with OpenVINO, about twice as fast as torch.

    OpenVINO compiles the graph for one batch size; fewer photos are filled up. Chips that compute
    in bf16 would be given bf16 by default: float32 is asked for, see
    https://docs.openvino.ai/2025/openvino-workflow/running-inference/optimize-inference/precision-control.html

    Args:
        encoder: The frozen backbone.
        batch_size: Photos at once; 8 is faster than 64, since it fits the processor's cache.

    Raises:
        LazarusError: If OpenVINO is not installed, or cannot run this backbone.
    """

    precision = "32"

    def __init__(self, encoder: Encoder, batch_size: int = 8) -> None:
        if batch_size < 1:
            raise LazarusError(f"batch_size {batch_size} must be at least 1")
        self.batch_size = batch_size
        self.device = torch.device("cpu")
        self.identity: dict[str, Any] = encoder.identity
        self.layer_shapes = encoder.layer_shapes
        self._request = _compiled(encoder, batch_size).create_infer_request()

    def encode(self, photos: npt.NDArray[np.uint8]) -> dict[str, npt.NDArray[np.float16]]:
        """Features of pixels.

        Args:
            photos: ``(B, S, S, 3)``; any B, run in batches of ``batch_size``.

        Returns:
            float16 by layer: ``(B, C)`` or ``(B, H, W, C)``.
        """
        features = {
            layer: np.empty((len(photos), *shape), np.float16)
            for layer, shape in self.layer_shapes.items()
        }
        for start in range(0, len(photos), self.batch_size):
            batch = photos[start : start + self.batch_size]
            outputs = self._request.infer([self._filled(batch)], share_inputs=True)
            with np.errstate(over="ignore"):
                for number, values in enumerate(features.values()):
                    values[start : start + len(batch)] = outputs[number][: len(batch)]
        return features

    def _filled(self, photos: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        if len(photos) == self.batch_size:
            return np.ascontiguousarray(photos)
        filled = np.zeros((self.batch_size, *photos.shape[1:]), np.uint8)
        filled[: len(photos)] = photos
        return filled


class _Pixels(nn.Module):
    """From pixels to what the cache keeps, so that all of it runs in one graph."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self._encoder = encoder

    def forward(self, photos: Tensor) -> tuple[Tensor, ...]:
        features = self._encoder(self._encoder.normalise(photos))
        # not float16 in the graph: OpenVINO would clip what overflows, and the cache must see it
        return tuple(features[layer] for layer in self._encoder.layer_shapes)


def _compiled(encoder: Encoder, batch_size: int) -> CompiledModel:
    # it would tell its maker of every import and conversion; without it OpenVINO has a stub
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    size = encoder.spec.image_size
    pixels = torch.zeros(batch_size, size, size, 3, dtype=torch.uint8)
    options = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
    try:
        import openvino

        with _quiet(), torch.no_grad():
            program = torch.export.export(_Pixels(encoder).eval(), (pixels,), strict=False)
            model = openvino.convert_model(program)
        return openvino.Core().compile_model(model, "CPU", options)
    except ImportError as error:
        raise LazarusError(
            "OpenVINO is not installed: pip install 'lazarus-pl[openvino]', or use --engine torch"
        ) from error
    # none of them says what it raises, and each operation that they do not know has its own error
    except Exception as error:
        # OpenVINO tells what went wrong after where, and what in it
        reason = (str(error).strip() or type(error).__name__).splitlines()[-1].strip(" -")
        raise LazarusError(f"OpenVINO cannot run '{encoder.spec.name}' here ({reason})") from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the notes of exporter and converter, which also takes over the root logger."""
    root, disabled = logging.root, logging.root.manager.disable
    level, handlers = root.level, list(root.handlers)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(disabled)
            root.setLevel(level)
            root.handlers[:] = handlers
