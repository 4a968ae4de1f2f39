from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lazarus_pl.audit.costs import extraction_cost
from lazarus_pl.audit.costs.extraction_cost import ExtractionProbe, probe_extraction
from lazarus_pl.data.manifest import Manifest
from lazarus_pl.encoder.encoder_spec import EncoderSpec
from lazarus_pl.encoder.engine import Engine
from lazarus_pl.encoder.engine_options import EngineOptions
from lazarus_pl.encoder.make_engine import make_engine
from lazarus_pl.encoder.torch_engine import TorchEngine


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many photos the engine is given at a time."""
    encode, given = TorchEngine.encode, []

    def noted(engine: TorchEngine, photos: np.ndarray) -> dict[str, np.ndarray]:
        given.append(len(photos))
        return encode(engine, photos)

    monkeypatch.setattr(TorchEngine, "encode", noted)
    return given


def test_an_engine_of_many_cores(
    drawn: Path, cache: Path, tmp_path: Path, given: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is timed at full load; a GPU takes one batch at once, however many the cores take."""
    sample = [*Manifest.read(cache).side("train"), *Manifest.read(cache).side("val")]
    spec = EncoderSpec("test_resnet", "random", 64)

    def probe(at_once: int) -> ExtractionProbe:
        def wide(*_: object, **__: object) -> Engine:
            return make_engine(spec, EngineOptions("cpu", "auto", at_once, "torch"))

        monkeypatch.setattr(extraction_cost, "make_engine", wide)
        folder = tmp_path / str(at_once)
        folder.mkdir()
        return probe_extraction(drawn, sample, 100, spec, EngineOptions("cpu"), folder)

    usual = probe(8)
    assert 48 not in given
    wide = probe(48)
    assert 48 in given
    assert wide.cost.gpu_mb == usual.cost.gpu_mb
    assert wide.rates["encoder"] > 0
