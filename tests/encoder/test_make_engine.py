from __future__ import annotations

import logging
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from lazarus_pl.encoder import make_engine as module
from lazarus_pl.encoder.agreement import Agreement
from lazarus_pl.encoder.encoder import Encoder
from lazarus_pl.encoder.encoder_spec import EncoderSpec
from lazarus_pl.encoder.engine_options import EngineOptions
from lazarus_pl.encoder.make_engine import make_engine
from lazarus_pl.encoder.measured_engine import MeasuredEngine
from lazarus_pl.encoder.openvino_engine import OpenVinoEngine
from lazarus_pl.encoder.openvino_graph import OpenVinoGraph
from lazarus_pl.encoder.torch_engine import TorchEngine
from lazarus_pl.errors import LazarusError
from tests.leaf.scenes import leaf_scene

# small, for each conversion of the real one takes seconds
_SPEC = EncoderSpec("test_resnet", "random", 64)


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    return np.random.default_rng(3).integers(0, 256, (11, 64, 64, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where graphs are kept that other tests need too: converting takes seconds."""
    return tmp_path_factory.mktemp("engine")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "layers", "size"),
    [
        ("tf_efficientnet_lite0", ("pooled", "grid32", "grid16"), 64),
        ("test_convnext", ("pooled", "grid32", "grid16"), 96),
        ("mobilenetv3_small_050", ("grid16", "pooled"), 96),
    ],
)
def test_openvino_gives_the_features_of_torch(
    name: str, layers: tuple[str, ...], size: int
) -> None:
    encoder = Encoder.from_spec(EncoderSpec(name, "random", size, layers))
    photos = np.random.default_rng(1).integers(0, 256, (11, size, size, 3), dtype=np.uint8)
    exact = TorchEngine(encoder, "cpu", "32").encode(photos)
    other = OpenVinoEngine(encoder).encode(photos)
    assert list(other) == list(exact)
    for layer, values in exact.items():
        assert other[layer].dtype == np.float16
        assert other[layer].shape == values.shape
    assert Agreement.of(exact, other).worst > 0.999_99


def test_the_batch_changes_nothing(pixels: np.ndarray, kept: Path) -> None:
    encoder = Encoder.from_spec(_SPEC)
    whole = OpenVinoEngine(encoder, 4, folder=kept).encode(pixels)
    engine = OpenVinoEngine(encoder, 8, folder=kept)
    again = engine.encode(pixels)
    # results are copies, not the memory that the next batch is written to
    engine.encode(pixels[::-1])
    for layer, values in whole.items():
        np.testing.assert_allclose(again[layer], values, rtol=5e-3, atol=5e-3)
    assert engine.encode(pixels[:0])["grid16"].shape[0] == 0


@pytest.mark.parametrize(
    ("batch_size", "photos", "most"), [(4, 1, 4), (4, 7, 8), (4, None, 64), (48, None, 48)]
)
def test_cores_are_not_parted_for_more_batches_than_come(
    batch_size: int, photos: int | None, most: int, pixels: np.ndarray, kept: Path
) -> None:
    """Each batch that never comes would leave its part of the cores idle."""
    encoder = Encoder.from_spec(_SPEC)
    engine = OpenVinoEngine(encoder, batch_size, folder=kept, photos=photos)
    assert batch_size <= engine.batch_size <= most
    assert engine.encode(pixels)["pooled"].shape[0] == len(pixels)


def test_what_float16_cannot_hold_is_infinite_not_clipped() -> None:
    spec = EncoderSpec("test_resnet", "random", 64, ("pooled",))
    encoder = Encoder.from_spec(spec)
    encoder.mean += 1e9
    photos = np.zeros((2, 64, 64, 3), np.uint8)
    for engine in (TorchEngine(encoder, "cpu", "32"), OpenVinoEngine(encoder)):
        assert not np.isfinite(engine.encode(photos)["pooled"]).all()


@pytest.fixture
def processor(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The precision that the processor is best in."""
    monkeypatch.setattr(module, "best_precision", lambda device: request.param)
    return str(request.param)


@pytest.mark.parametrize("processor", ["32"], indirect=True)
def test_auto_measures_what_there_is(
    processor: str, pixels: np.ndarray, kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = make_engine(_SPEC, EngineOptions("cpu"), folder=kept)
    assert isinstance(engine, MeasuredEngine)
    assert engine.name == "auto"
    features = engine.encode(pixels)
    rows = engine.measured["engines"]
    assert set(rows) == {"torch", "openvino"}
    assert engine.name == max(rows, key=lambda name: rows[name]["photos_per_second"])
    assert all(row["worst_cosine"] > 0.999_99 for row in rows.values())
    exact = make_engine(_SPEC, EngineOptions("cpu", engine="torch")).encode(pixels)
    assert Agreement.of(exact, features).worst > 0.999_99
    assert isinstance(make_engine(_SPEC, EngineOptions("cpu", engine="torch")), TorchEngine)
    monkeypatch.setattr(module, "_openvino_is_installed", lambda: False)
    assert isinstance(make_engine(_SPEC, EngineOptions("cpu")), TorchEngine)


@pytest.mark.parametrize("processor", ["bf16"], indirect=True)
@pytest.mark.parametrize(
    ("asked", "tried"),
    [
        (EngineOptions("cpu"), {"torch", "openvino bf16"}),
        (EngineOptions("cpu", engine="torch"), {"torch", "torch bf16"}),
        (EngineOptions("cpu", engine="openvino"), {"openvino bf16"}),
        (EngineOptions("cpu", "32"), {"torch", "openvino"}),
        (EngineOptions("cpu", "bf16"), {"torch bf16", "openvino bf16"}),
    ],
    ids=lambda given: f"{given.engine}-{given.precision}" if hasattr(given, "engine") else "",
)
def test_where_a_processor_computes_in_bf16_it_is_measured_too(
    asked: EngineOptions, tried: set[str], processor: str, pixels: np.ndarray, kept: Path
) -> None:
    engine = make_engine(_SPEC, asked, folder=kept)
    assert isinstance(engine, MeasuredEngine)
    features = engine.encode(pixels)
    assert set(engine.measured["engines"]) == tried
    exact = TorchEngine(Encoder.from_spec(_SPEC), "cpu", "32").encode(pixels)
    assert Agreement.of(exact, features).suffices(engine.precision)


@pytest.mark.parametrize("processor", ["bf16"], indirect=True)
@pytest.mark.parametrize("name", ["torch", "openvino"])
@pytest.mark.parametrize("precision", ["32", "bf16"])
def test_whatever_another_call_began_can_be_gone_on_with(
    name: str, precision: str, processor: str, pixels: np.ndarray, kept: Path
) -> None:
    engine = make_engine(_SPEC, EngineOptions("cpu"), folder=kept)
    assert isinstance(engine, MeasuredEngine)
    engine.settle(pixels, name=name, precision=precision)
    assert (engine.name, engine.precision) == (name, precision)


@pytest.mark.parametrize("processor", ["bf16"], indirect=True)
def test_float32_may_be_asked_of_a_cpu_alone(processor: str) -> None:
    options = EngineOptions("cpu", engine="torch")
    assert make_engine(_SPEC, options).precision == "auto"
    assert make_engine(_SPEC, options, may_round=False).precision == "32"
    lower = replace(options, precision="bf16")
    assert make_engine(_SPEC, lower, may_round=False).precision == "bf16"


@pytest.mark.parametrize("processor", ["bf16"], indirect=True)
def test_a_few_photos_are_encoded_in_float32(processor: str, pixels: np.ndarray) -> None:
    engine = make_engine(_SPEC, EngineOptions("cpu", engine="torch"), photos=len(pixels))
    engine.encode(pixels)
    assert (engine.name, engine.precision) == ("torch", "32")


def test_openvino_is_not_started_for_a_few_photos(
    pixels: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("started")

    monkeypatch.setattr(OpenVinoEngine, "__init__", refuse)
    engine = make_engine(_SPEC, EngineOptions("cpu"), photos=len(pixels))
    engine.encode(pixels)
    assert (engine.name, engine.measured) == ("torch", {})


def test_bf16_on_openvino_keeps_to_its_limits() -> None:
    photos = np.stack([leaf_scene(shape=(64, 64), seed=seed)[0] for seed in range(8)])
    spec = EncoderSpec(image_size=64)
    exact = make_engine(spec, EngineOptions("cpu", "32", engine="torch")).encode(photos)
    engine = make_engine(spec, EngineOptions("cpu", "bf16", engine="openvino"))
    agreement = Agreement.of(exact, engine.encode(photos))
    assert (engine.name, engine.precision) == ("openvino", "bf16")
    # a processor without bf16 computes in float32
    assert agreement.suffices("bf16")


def test_a_kept_graph_is_not_converted_again(
    pixels: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import openvino

    encoder = Encoder.from_spec(_SPEC)
    first = OpenVinoEngine(encoder, 4, folder=tmp_path / "engine").encode(pixels)
    (path,) = (tmp_path / "engine").iterdir()
    assert path == OpenVinoGraph(encoder, 4, tmp_path / "engine").path
    monkeypatch.setattr(openvino, "convert_model", None)
    again = OpenVinoEngine(encoder, 4, folder=tmp_path / "engine").encode(pixels)
    for layer, values in first.items():
        assert np.array_equal(values, again[layer])
    graph = OpenVinoGraph(encoder, 4, tmp_path / "engine").model(openvino.Core())
    assert not graph.is_dynamic()
    others = EncoderSpec("test_resnet", "random", 96), EncoderSpec("test_convnext", "random", 64)
    paths = {OpenVinoGraph(Encoder.from_spec(each), 4, path.parent).path for each in others}
    paths |= {OpenVinoGraph(encoder, 4, path.parent, "bf16").path}
    assert len({path, OpenVinoGraph(encoder, 8, path.parent).path, *paths}) == 5


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty"])
def test_a_damaged_graph_is_made_again(
    damage: str, pixels: np.ndarray, kept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import openvino

    encoder = Encoder.from_spec(_SPEC)
    first = OpenVinoEngine(encoder, folder=kept).encode(pixels)
    model = OpenVinoGraph(encoder, 8, kept).model(openvino.Core())
    path = OpenVinoGraph(encoder, 8, tmp_path).path
    assert path is not None
    content = bytearray((kept / path.name).read_bytes())
    content[len(content) // 2] ^= 255
    broken = {"cut": content[:-400], "flipped": content, "empty": b""}[damage]
    path.write_bytes(broken)
    converted = []

    def convert(_: object) -> openvino.Model:
        converted.append(damage)
        return model

    monkeypatch.setattr(openvino, "convert_model", convert)
    monkeypatch.setattr(torch.export, "export", lambda *_, **__: None)
    again = OpenVinoEngine(encoder, folder=tmp_path).encode(pixels)
    for layer, values in first.items():
        assert np.array_equal(values, again[layer])
    assert path.read_bytes() != broken
    OpenVinoEngine(encoder, folder=tmp_path)
    assert len(converted) == 1


def test_a_folder_that_cannot_be_written_costs_time_alone(
    pixels: np.ndarray, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    encoder = Encoder.from_spec(_SPEC)
    engine = OpenVinoEngine(encoder, folder=tmp_path / "file" / "engine")
    assert engine.encode(pixels)["pooled"].shape[0] == len(pixels)


def test_engines_share_identity_and_precision(kept: Path) -> None:
    plain, openvino = (
        make_engine(_SPEC, EngineOptions("cpu", engine=name), folder=kept)
        for name in ("torch", "openvino")
    )
    assert plain.identity == openvino.identity
    assert (plain.precision, plain.layer_shapes) == (openvino.precision, openvino.layer_shapes)


def test_auto_falls_back_to_torch_if_the_features_disagree(
    pixels: np.ndarray,
    kept: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    encode = OpenVinoEngine.encode

    def wrong(self: OpenVinoEngine, photos: np.ndarray) -> dict[str, np.ndarray]:
        return {layer: 1 - values for layer, values in encode(self, photos).items()}

    monkeypatch.setattr(OpenVinoEngine, "encode", wrong)
    engine = make_engine(_SPEC, EngineOptions("cpu"), folder=kept)
    engine.encode(pixels)
    assert engine.name == "torch"
    assert "not those of torch" in caplog.text
    with pytest.raises(LazarusError, match="32 are not those of torch"):
        make_engine(_SPEC, EngineOptions("cpu", engine="openvino"), folder=kept).encode(pixels)


def test_mistakes_are_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(LazarusError, match="no engine 'onnx'"):
        make_engine(_SPEC, EngineOptions(engine="onnx"))  # type: ignore[arg-type]
    with pytest.raises(LazarusError, match="precision 32"):
        make_engine(_SPEC, EngineOptions("cpu", "16", engine="openvino"))
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(LazarusError, match="not installed"):
        make_engine(_SPEC, EngineOptions("cpu", engine="openvino"))


def test_a_backbone_that_openvino_cannot_convert(monkeypatch: pytest.MonkeyPatch) -> None:
    import openvino

    def refuse(_: object) -> None:
        raise RuntimeError("a long story\n-- no such operation")

    monkeypatch.setattr(openvino, "convert_model", refuse)
    with pytest.raises(LazarusError, match=r"\(no such operation\)"):
        OpenVinoEngine(Encoder.from_spec(_SPEC))


def test_auto_runs_on_torch_where_openvino_cannot_start(
    pixels: np.ndarray,
    kept: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    import openvino

    def refuse(*_: object) -> None:
        raise RuntimeError("Device CPU is not registered")

    monkeypatch.setattr(openvino.Core, "compile_model", refuse)
    engine = make_engine(_SPEC, EngineOptions("cpu"), folder=kept)
    engine.encode(pixels)
    assert engine.name == "torch"
    assert "not registered): using torch" in caplog.text


def test_openvino_tells_nobody(tmp_path: Path) -> None:
    code = (
        "from lazarus_pl.encoder.make_engine import make_engine\n"
        "from lazarus_pl.encoder.encoder_spec import EncoderSpec\n"
        "from lazarus_pl.encoder.engine_options import EngineOptions\n"
        "spec = EncoderSpec('test_resnet', 'random', 64)\n"
        "print(make_engine(spec, EngineOptions('cpu', engine='openvino')).name)\n"
        "import sys; print(sys.modules.get('openvino_telemetry'))"
    )
    home = {**os.environ, "HOME": str(tmp_path), "USERPROFILE": str(tmp_path)}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=home, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["auto", "None"]
    assert not (tmp_path / "intel").exists()


def test_converting_leaves_the_logging_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    import openvino

    convert = openvino.convert_model

    def take_over(program: object) -> object:
        logging.root.addHandler(logging.NullHandler())
        logging.root.setLevel(logging.ERROR)
        return convert(program)

    monkeypatch.setattr(openvino, "convert_model", take_over)
    before = logging.root.level, list(logging.root.handlers), logging.root.manager.disable
    OpenVinoEngine(Encoder.from_spec(_SPEC))
    assert before == (
        logging.root.level,
        list(logging.root.handlers),
        logging.root.manager.disable,
    )


def test_auto_runs_on_torch_what_openvino_cannot(caplog: pytest.LogCaptureFixture) -> None:
    spec = EncoderSpec("test_vit", "random", 160, ("pooled", "grid16"))
    engine = make_engine(spec, EngineOptions("cpu"))
    engine.encode(np.zeros((1, 160, 160, 3), np.uint8))
    assert engine.name == "torch"
    assert "OpenVINO cannot run 'test_vit'" in caplog.text
