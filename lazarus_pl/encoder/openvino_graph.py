"""An encoder as a graph of OpenVINO."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import logging
import sys
import tempfile
import warnings
import zipfile
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from lazarus_pl.data.atomic import replace_file
from lazarus_pl.encoder.encoder import Encoder
from lazarus_pl.encoder.folded_encoder import folded_encoder
from lazarus_pl.encoder.leaf_images import leaf_images
from lazarus_pl.encoder.round_to_bfloat16 import round_to_bfloat16

if TYPE_CHECKING:
    from openvino import Core, Model

FORMAT = 2

_LOG = logging.getLogger(__name__)
_DIGITS = 12
_XML, _WEIGHTS = "model.xml", "model.bin"


class OpenVinoGraph:
    """What :class:`OpenVinoEngine` compiles, kept in a file since converting takes seconds.

    Args:
        encoder: The frozen backbone.
        batch_size: Photos at once, fixed in the graph.
        folder: Where the file lies; None to convert anew each time.
        precision: ``32``, or ``bf16`` for weights in bfloat16.

    Attributes:
        path: The file: a zip archive, whose checksums tell a damaged one. Its name is a digest of
            the encoder, the batch, the precision and OpenVINO's version.
    """

    def __init__(
        self,
        encoder: Encoder,
        batch_size: int,
        folder: Path | None = None,
        precision: str = "32",
    ) -> None:
        self._encoder = encoder
        self._batch_size = batch_size
        self._precision = precision
        self.path = folder / f"openvino-{self._digest()}.zip" if folder else None

    @property
    def is_kept(self) -> bool:
        """Whether there is a file of it."""
        return self.path is not None and self.path.is_file()

    def model(self, core: Core) -> Model:
        """The graph, from its file if there is a sound one.

        Raises:
            Exception: Whatever exporter and converter raise at a backbone that they do not know.
        """
        if self.path is None:
            return self._converted()
        kept = _read(core, self.path)
        if kept is not None:
            return kept
        model = self._converted()
        _write(model, self.path)
        return model

    def _digest(self) -> str:
        identity = self._encoder.identity
        parts = [FORMAT, identity["digest"], identity["layers"], self._batch_size, _version()]
        if self._precision != "32":
            parts.append(self._precision)
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:_DIGITS]

    def _converted(self) -> Model:
        import openvino

        size = self._encoder.spec.image_size
        pixels = torch.zeros(self._batch_size, size, size, 3, dtype=torch.uint8)
        with _quiet(), torch.no_grad():
            encoder = self._encoder if self._precision == "32" else _rounded(self._encoder)
            program = torch.export.export(_Pixels(encoder).eval(), (pixels,), strict=False)
            model = openvino.convert_model(program)
        # whatever the program says, the converter leaves sizes open, which costs time at every call
        model.reshape(list(pixels.shape))
        return model


class _Pixels(nn.Module):
    """From pixels to what the cache keeps, so that all of it runs in one graph."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self._encoder = encoder

    def forward(self, photos: Tensor) -> tuple[Tensor, ...]:
        features = self._encoder(self._encoder.normalise(photos))
        # not float16 in the graph: OpenVINO would clip what overflows, and the cache must see it
        return tuple(features[layer] for layer in self._encoder.layer_shapes)


def _rounded(encoder: Encoder) -> Encoder:
    # OpenVINO folds by itself, but after the biases are there
    rounded = folded_encoder(encoder)
    round_to_bfloat16(rounded, leaf_images(rounded))
    return rounded


def without_telemetry() -> None:
    """To be called before OpenVINO is imported: it would tell its maker of imports and conversions.

    Without the package ``openvino_telemetry`` it has a stub.
    """
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]


def _version() -> str:
    try:
        return version("openvino")
    except PackageNotFoundError:
        return ""


def _read(core: Core, path: Path) -> Model | None:
    try:
        with zipfile.ZipFile(path) as archive:
            return core.read_model(archive.read(_XML), archive.read(_WEIGHTS))
    except FileNotFoundError:
        return None
    # a damaged archive or graph can make either reader raise anything; it is made again
    except Exception as error:
        _LOG.warning("'%s' is damaged (%s): it is made again", path, type(error).__name__)
        return None


def _write(model: Model, path: Path) -> None:
    import openvino

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory() as text, replace_file(path) as file:
            xml = Path(text) / _XML
            openvino.save_model(model, xml, compress_to_fp16=False)
            with zipfile.ZipFile(file, "w") as archive:
                for name in (_XML, _WEIGHTS):
                    archive.write(xml.with_name(name), name)
    # without room for it the next start is slower, no more
    except OSError as error:
        _LOG.warning("'%s' cannot be written (%s)", path, error.strerror)


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
