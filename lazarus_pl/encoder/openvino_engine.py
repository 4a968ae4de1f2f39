"""The encoder on OpenVINO."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from lazarus_pl.encoder.encoder import Encoder
from lazarus_pl.encoder.engine import MOST_AT_ONCE
from lazarus_pl.encoder.openvino_graph import OpenVinoGraph, without_telemetry
from lazarus_pl.encoder.round_to_float16 import round_to_float16
from lazarus_pl.errors import LazarusError

if TYPE_CHECKING:
    from openvino import AsyncInferQueue, CompiledModel, InferRequest


_HINTS = {"32": "f32", "bf16": "bf16"}
_Features = dict[str, npt.NDArray[np.float16]]


class _Batch(NamedTuple):
    """What a request works on; it shares the pixels, which must outlive it."""

    pixels: npt.NDArray[np.uint8]
    start: int
    features: _Features


class OpenVinoEngine:
    """Runs an encoder on the CPU with OpenVINO, more than twice as fast as torch.

    Batches run side by side, each on cores of its own: cores that share one batch wait for each
    other, which took a fifth of their time. There are no more such groups of cores than batches
    come at once, so that a single photo has all cores to itself, see
    https://docs.openvino.ai/2025/openvino-workflow/running-inference/optimize-inference/high-level-performance-hints.html
    OpenVINO compiles the graph for one batch size; fewer photos are filled up. Chips that compute
    in bf16 would be given bf16 by default: the precision is asked for, see
    https://docs.openvino.ai/2025/openvino-workflow/running-inference/optimize-inference/precision-control.html

    Args:
        encoder: The frozen backbone.
        batch_size: Photos of a batch; 8 is faster than 64, since it fits the processor's cache.
        precision: ``32`` or ``bf16``.
        folder: Where the converted encoder is kept, for a quick start the next time.
        photos: How many will be encoded, if that is known.

    Raises:
        LazarusError: If OpenVINO is not installed, or cannot run this backbone.

    Attributes:
        precision: The precision in use.
        batch_size: Photos that all batches together hold.
    """

    name = "openvino"

    def __init__(
        self,
        encoder: Encoder,
        batch_size: int = 8,
        precision: str = "32",
        folder: Path | None = None,
        photos: int | None = None,
    ) -> None:
        if batch_size < 1:
            raise LazarusError(f"batch_size {batch_size} must be at least 1")
        self.precision = precision
        self.device = torch.device("cpu")
        self.identity: dict[str, Any] = encoder.identity
        self.layer_shapes = encoder.layer_shapes
        graph = OpenVinoGraph(encoder, batch_size, folder, precision)
        model = _compiled(graph, encoder, precision, _most_beside(batch_size, photos))
        self._requests = _requests(model)
        self._batch = batch_size
        self.batch_size = batch_size * len(self._requests)

    def encode(self, photos: npt.NDArray[np.uint8]) -> _Features:
        """Features of pixels.

        Args:
            photos: ``(B, S, S, 3)``; any B, best a multiple of ``batch_size``.

        Returns:
            float16 by layer: ``(B, C)`` or ``(B, H, W, C)``.
        """
        features = {
            layer: np.empty((len(photos), *shape), np.float16)
            for layer, shape in self.layer_shapes.items()
        }
        for start in range(0, len(photos), self._batch):
            batch = _Batch(self._filled(photos[start : start + self._batch]), start, features)
            # waits until a request is free
            self._requests.start_async([batch.pixels], batch, share_inputs=True)
        self._requests.wait_all()
        return features

    def _filled(self, photos: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        if len(photos) == self._batch:
            return np.ascontiguousarray(photos)
        filled = np.zeros((self._batch, *photos.shape[1:]), np.uint8)
        filled[: len(photos)] = photos
        return filled


def _most_beside(batch_size: int, photos: int | None) -> int:
    """Batches that come at once."""
    most = max(1, MOST_AT_ONCE // batch_size)
    return most if photos is None else max(1, min(most, -(-photos // batch_size)))


def _requests(model: CompiledModel) -> AsyncInferQueue:
    """As many as the cores run side by side."""
    from openvino import AsyncInferQueue

    requests = AsyncInferQueue(model)
    requests.set_callback(_take)
    return requests


def _take(request: InferRequest, batch: _Batch) -> None:
    for number, values in enumerate(batch.features.values()):
        rows = values[batch.start : batch.start + len(batch.pixels)]
        round_to_float16(request.get_output_tensor(number).data[: len(rows)], rows)


def _compiled(graph: OpenVinoGraph, encoder: Encoder, precision: str, beside: int) -> CompiledModel:
    options = {
        "INFERENCE_PRECISION_HINT": _HINTS[precision],
        "PERFORMANCE_HINT": "THROUGHPUT",
        "PERFORMANCE_HINT_NUM_REQUESTS": beside,
    }
    without_telemetry()
    try:
        import openvino

        core = openvino.Core()
        return core.compile_model(graph.model(core), "CPU", options)
    except ImportError as error:
        raise LazarusError(
            "OpenVINO is not installed: pip install 'lazarus-pl[openvino]', or use --engine torch"
        ) from error
    # none of them says what it raises, and each operation that they do not know has its own error
    except Exception as error:
        # OpenVINO tells what went wrong after where, and what in it
        reason = (str(error).strip() or type(error).__name__).splitlines()[-1].strip(" -")
        raise LazarusError(f"OpenVINO cannot run '{encoder.spec.name}' here ({reason})") from error
