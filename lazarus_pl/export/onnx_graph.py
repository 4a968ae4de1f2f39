"""A checkpoint as an ONNX graph, and how well the two agree."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch

from lazarus_pl.errors import LazarusError
from lazarus_pl.export.photo_model import PhotoModel

if TYPE_CHECKING:
    from onnx import ModelProto

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


def _exported(model: PhotoModel) -> ModelProto:
    """The graph, by the exporter that traces: from torch 2.6 on it alone takes all of our heads.

    The newer one (``dynamo=True``) fails on torch 2.6, takes ten times as long, and needs
    ``onnxscript``.
    """
    import onnx

    # not square, not of the encoder's size, more than one: nothing of it may become a constant
    size = model.resample.size
    photos = torch.zeros(2, size + 32, size + 64, 3, dtype=torch.uint8)
    axes = {_INPUT: dict(enumerate(_AXES)), **{name: {0: _AXES[0]} for name in model.outputs}}
    try:
        with (
            tempfile.TemporaryDirectory() as folder,
            warnings.catch_warnings(),
            torch.inference_mode(),
        ):
            file = Path(folder) / "model.onnx"
            # it is deprecated, and warns of constants where the resized photo has one size
            warnings.simplefilter("ignore")
            torch.onnx.export(
                model,
                (photos,),
                file,
                dynamo=False,
                input_names=[_INPUT],
                output_names=list(model.outputs),
                dynamic_axes=axes,
                opset_version=_OPSET,
            )
            return onnx.load_model(file)
    # the exporter has errors of its own for each operator
    except Exception as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise LazarusError(
            f"torch {torch.__version__} cannot write this checkpoint as an ONNX graph ({reason}): "
            "use another version of torch, or an EfficientNet as encoder"
        ) from error
