"""A checkpoint as an ONNX graph, and how well the two agree."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from lazarus_pl.errors import LazarusError
from lazarus_pl.export.photo_model import PhotoModel

_INPUT = "photos"
_AXES = ("batch", "height", "width")
_OPSET = 18


class OnnxGraph:
    """A :class:`PhotoModel` in ONNX, run by ONNX Runtime on the CPU.

    Args:
        model: What is written as a graph.

    Raises:
        LazarusError: If a package is missing, or the model cannot be written as a graph.

    Attributes:
        outputs: Names of what :meth:`run` gives.
    """

    def __init__(self, model: PhotoModel) -> None:
        try:
            import onnx  # noqa: F401
            import onnxruntime
            import onnxscript  # noqa: F401
        except ImportError as error:
            raise LazarusError(
                f"export needs the package '{error.name}': pip install 'lazarus-pl[export]'"
            ) from error
        self.outputs = model.outputs
        self._proto = _exported(model)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(
            self._proto.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )

    def run(self, photos: npt.NDArray[np.uint8]) -> dict[str, npt.NDArray[np.float32]]:
        """Outputs by name, one row a photo, of photos ``(B, H, W, 3)``."""
        values: Sequence[Any] = self._session.run(list(self.outputs), {_INPUT: photos})
        return dict(zip(self.outputs, values, strict=True))

    def serialised(self, about: Mapping[str, str]) -> bytes:
        """The file's bytes.

        Args:
            about: Is kept in the file as its ``metadata_props``.
        """
        del self._proto.metadata_props[:]
        for key, value in about.items():
            entry = self._proto.metadata_props.add()
            entry.key, entry.value = key, value
        content: bytes = self._proto.SerializeToString()
        return content


def _exported(model: PhotoModel) -> Any:  # noqa: ANN401  # protobuf's classes have no types
    # not square, not of the encoder's size, more than one: nothing of it may become a constant
    size = model.resample.size
    photos = torch.zeros(2, size + 32, size + 64, 3, dtype=torch.uint8)
    sizes = {number: torch.export.Dim(name) for number, name in enumerate(_AXES)}
    level = logging.getLogger("torch.onnx").level
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                model,
                (photos,),
                dynamo=True,
                verbose=False,
                input_names=[_INPUT],
                output_names=list(model.outputs),
                dynamic_shapes={_INPUT: sizes},
                opset_version=_OPSET,
            )
    # the exporter has errors of its own for each step
    except Exception as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise LazarusError(
            f"torch {torch.__version__} cannot write this checkpoint as an ONNX graph ({reason}): "
            "try a newer torch, or an EfficientNet as encoder"
        ) from error
    finally:
        logging.getLogger("torch.onnx").setLevel(level)
    assert program is not None
    return program.model_proto
