from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from torch import nn

from lazarus_pl.data.procedural.procedural_leaves import ProceduralLeaves
from lazarus_pl.encoder.agreement import Agreement
from lazarus_pl.encoder.encoder import Encoder
from lazarus_pl.encoder.encoder_spec import EncoderSpec
from lazarus_pl.encoder.torch_engine import TorchEngine, agreement
from lazarus_pl.encoder.weights import find_weights
from lazarus_pl.errors import LazarusError


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    leaves = ProceduralLeaves(photos_per_leaf=(1, 1), size=128, seed=2)
    return np.stack([leaves.draw(index).pixels for index in range(0, len(leaves), 9)])


@pytest.fixture(scope="module")
def lite0() -> Encoder:
    return Encoder.from_spec(EncoderSpec(image_size=128))


def test_layers_have_the_shapes_of_an_efficientnet() -> None:
    encoder = Encoder.from_spec(EncoderSpec(weights="random"))
    assert encoder.layer_shapes == {
        "pooled": (1280,),
        "grid32": (8, 8, 320),
        "grid16": (16, 16, 112),
    }


@pytest.mark.parametrize(
    ("name", "layers", "size"),
    [
        ("test_efficientnet", ("pooled", "grid32", "grid16"), 96),
        ("test_resnet", ("pooled", "grid32", "grid16"), 96),
        ("test_convnext", ("pooled", "grid32", "grid16"), 96),
        ("mobilenetv3_small_050", ("pooled", "grid32", "grid16"), 96),
        ("test_vit", ("pooled", "grid16"), 160),
    ],
)
def test_one_pass_equals_timms_own(name: str, layers: tuple[str, ...], size: int) -> None:
    spec = EncoderSpec(name, "random", size, layers)
    encoder = Encoder.from_spec(spec)
    images = torch.randn(2, 3, size, size)
    with torch.inference_mode():
        features = encoder(images)
        expected = encoder.model.forward_head(
            encoder.model.forward_features(images), pre_logits=True
        )
    torch.testing.assert_close(features["pooled"], expected)
    assert tuple(features) == layers
    for layer, stride in (("grid16", 16), ("grid32", 32)):
        if layer in layers:
            assert features[layer].shape[1:3] == (size // stride, size // stride)


def test_packaged_weights_are_real_imagenet_weights(lite0: Encoder) -> None:
    """Names are mapped by order alone, so the model must still know its classes' statistics."""
    norms = [m for m in lite0.model.modules() if isinstance(m, nn.BatchNorm2d)]
    assert all((norm.running_var >= 0).all() for norm in norms)
    assert not any((norm.running_var == 1).all() for norm in norms)
    assert all(norm.running_mean.abs().sum() > 0 for norm in norms)
    with torch.inference_mode():
        # features of a trained network stay O(1); wrongly ordered weights blow up or die
        features = lite0(torch.randn(4, 3, 128, 128))["pooled"]
    assert 0.05 < features.std() < 5


def test_stays_in_evaluation_mode_without_gradients(lite0: Encoder) -> None:
    lite0.train()
    assert not any(module.training for module in lite0.modules())
    assert not any(parameter.requires_grad for parameter in lite0.parameters())


def test_normalise_equals_timms_transform(lite0: Encoder, pixels: np.ndarray) -> None:
    from PIL import Image
    from timm.data import create_transform, resolve_model_data_config

    config = resolve_model_data_config(lite0.model)
    config.update(input_size=(3, 128, 128), crop_pct=1.0)
    expected = create_transform(**config)(Image.fromarray(pixels[0]))
    ours = lite0.normalise(torch.from_numpy(pixels[:1]))[0]
    torch.testing.assert_close(ours, expected, atol=1e-5, rtol=1e-5)


def test_digest_changes_with_what_determines_the_numbers(tmp_path: Path) -> None:
    def digest(**options: object) -> str:
        spec = EncoderSpec(**{"name": "test_efficientnet", "image_size": 64, **options})
        return str(Encoder.from_spec(spec).identity["digest"])

    model = timm.create_model("test_efficientnet")
    torch.save(model.state_dict(), tmp_path / "w.pth")
    random = digest(weights="random")
    assert digest(weights="random") == random
    assert digest(weights="random", layers=("pooled",)) == random
    others = [
        digest(weights="random", image_size=96),
        digest(weights=str(tmp_path / "w.pth")),
        digest(weights="random", name="test_efficientnet_ln"),
    ]
    assert len({random, *others}) == 4


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_weights_from_a_file(suffix: str, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    torch.manual_seed(7)
    model = timm.create_model("test_efficientnet", num_classes=5).eval()
    path = tmp_path / f"weights.{suffix}"
    (save_file if suffix == "safetensors" else torch.save)(model.state_dict(), path)
    encoder = Encoder.from_spec(EncoderSpec("test_efficientnet", str(path), 64, ("pooled",)))
    images = torch.randn(2, 3, 64, 64)
    expected = model.forward_head(model.forward_features(images), pre_logits=True)
    torch.testing.assert_close(encoder(images)["pooled"], expected)


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"name": "efficientnet_bo"}, "did you mean"),
        ({"name": "tf_efficientnet_lite0.bogus"}, "there are tf_efficientnet_lite0.in1k"),
        ({"name": "efficientnet_b0.bogus"}, "there are .*efficientnet_b0.ra_in1k"),
        ({"name": "efficientnet_b0.bogus", "weights": "random"}, "no weights 'efficient"),
        ({"name": "efficientnet_b0", "weights": "no.pth"}, "are no file"),
        ({"name": "efficientnet_b0", "weights": "packaged"}, "only 'tf_efficientnet_lite0'"),
        ({"image_size": 100}, "multiple of 32"),
        ({"layers": ("grid8",)}, "no encoder layer 'grid8'"),
        (
            {"name": "test_vit", "weights": "random", "image_size": 160, "layers": ("grid32",)},
            "has no layer 'grid32'.*pooled, grid16",
        ),
    ],
)
def test_mistakes_name_the_way_out(spec: dict[str, object], said: str) -> None:
    with pytest.raises(LazarusError, match=said):
        Encoder.from_spec(EncoderSpec(**spec))


def test_weights_of_another_model_are_refused(tmp_path: Path) -> None:
    torch.save(timm.create_model("test_resnet").state_dict(), tmp_path / "w.pth")
    with pytest.raises(LazarusError, match=r"not those of 'test_efficientnet'|not its weights"):
        Encoder.from_spec(EncoderSpec("test_efficientnet", str(tmp_path / "w.pth"), 64))
    (tmp_path / "bad.pth").write_bytes(b"nonsense")
    with pytest.raises(LazarusError, match="cannot be read as tensors"):
        Encoder.from_spec(EncoderSpec("test_efficientnet", str(tmp_path / "bad.pth"), 64))


def test_no_network_and_no_weights_names_both_ways_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lazarus_pl.encoder import weights

    monkeypatch.setattr(weights, "_reachable", lambda _: False)
    with pytest.raises(LazarusError) as caught:
        find_weights(EncoderSpec("resnet18"))
    assert "--encoder.weights FILE" in str(caught.value)
    assert "tf_efficientnet_lite0" in str(caught.value)


@pytest.mark.parametrize("precision", ["bf16", "auto"])
def test_reduced_precision_means_the_same(
    precision: str, lite0: Encoder, pixels: np.ndarray
) -> None:
    exact = TorchEngine(lite0, "cpu", "32").encode(pixels)
    reduced = TorchEngine(lite0, "cpu", precision).encode(pixels)  # type: ignore[arg-type]
    for layer, values in exact.items():
        left = values.reshape(len(values), -1).astype(np.float64)
        right = reduced[layer].reshape(len(values), -1).astype(np.float64)
        norms = np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1)
        cosine = (left * right).sum(axis=1) / norms
        assert cosine.mean() >= 0.998
        assert cosine.min() >= 0.995


@pytest.mark.parametrize("precision", ["bf16", "16"])
@pytest.mark.parametrize(
    ("name", "size"),
    [("test_resnet", 96), ("test_convnext", 96), ("resnetv2_50d_gn", 64), ("test_vit", 160)],
)
def test_weights_that_are_cast_give_nearly_the_same(name: str, size: int, precision: str) -> None:
    encoder = Encoder.from_spec(EncoderSpec(name, "random", size, ("pooled", "grid16")))
    assert agreement(encoder, torch.device("cpu"), precision) > 0.998
    engine = TorchEngine(encoder, "cpu", precision)  # type: ignore[arg-type]
    assert (engine.precision, engine.identity) == (precision, encoder.identity)
    # it is another one's too
    assert {weight.dtype for weight in encoder.parameters()} == {torch.float32}


@pytest.mark.parametrize(
    "name",
    [
        "test_efficientnet",
        "test_resnet",
        "mobilenetv3_small_050",
        "resnetv2_50d_gn",
        "test_convnext",
    ],
)
def test_folded_normalisation_gives_the_same_values(name: str) -> None:
    encoder = Encoder.from_spec(EncoderSpec(name, "random", 64, ("pooled",)))
    for module in encoder.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.2)
            module.running_var.uniform_(0.5, 2)
    images = torch.randn(2, 3, 64, 64)
    folded = encoder.folded()
    torch.testing.assert_close(folded(images), encoder(images), atol=1e-4, rtol=1e-3)

    def norms(module: nn.Module) -> int:
        return sum(isinstance(part, nn.BatchNorm2d) for part in module.modules())

    assert norms(folded) < norms(encoder) or norms(encoder) == 0


def test_an_encoder_that_lies_on_another_device_is_folded_there() -> None:
    encoder = Encoder.from_spec(EncoderSpec("test_resnet", "random", 64))
    elsewhere = encoder.to("meta").folded()
    assert elsewhere.layer_shapes == encoder.layer_shapes
    assert {value.device.type for value in elsewhere.model.parameters()} == {"meta"}


def test_a_fold_that_changes_values_is_not_taken(
    lite0: Encoder, pixels: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    exact = TorchEngine(lite0, "cpu", "32").encode(pixels)
    other = Encoder.from_spec(replace(lite0.spec, weights="random"))
    monkeypatch.setattr(Encoder, "folded", lambda self: other)
    engine = TorchEngine(lite0, "cpu", "32")
    assert engine.identity == lite0.identity
    assert Agreement.of(exact, engine.encode(pixels)).worst > 0.999_999


def test_auto_on_a_cpu_is_float32_and_leaves_the_encoder_alone(lite0: Encoder) -> None:
    engine = TorchEngine(lite0, "cpu", "auto")
    assert engine.precision == "32"
    assert engine.identity == lite0.identity
    assert any(isinstance(module, nn.BatchNorm2d) for module in lite0.modules())


def test_batch_size_hardly_changes_the_numbers(lite0: Encoder, pixels: np.ndarray) -> None:
    one = TorchEngine(lite0, "cpu", "32", batch_size=1).encode(pixels)
    many = TorchEngine(lite0, "cpu", "32", batch_size=16).encode(pixels)
    for layer, values in one.items():
        np.testing.assert_allclose(values, many[layer], atol=4e-3, rtol=4e-3)


def test_unusable_precision_falls_back_or_says_so(
    lite0: Encoder, pixels: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lazarus_pl.encoder import torch_engine

    lower = torch_engine._lower
    monkeypatch.setattr(torch_engine, "_lower", lambda *given: min(lower(*given), -1.0))
    monkeypatch.setattr(torch_engine, "_automatic", lambda device: "16")
    engine = TorchEngine(lite0, "cpu", "auto")
    assert engine.precision == "32"
    exact = TorchEngine(lite0, "cpu", "32").encode(pixels)
    assert Agreement.of(exact, engine.encode(pixels)).worst > 0.999_999
    with pytest.raises(LazarusError, match="--precision 32"):
        TorchEngine(lite0, "cpu", "16")


def test_memory_that_runs_out_names_the_ways_out(
    lite0: Encoder, pixels: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lazarus_pl.encoder import torch_engine

    engine = TorchEngine(lite0, "cpu", "32")

    def short(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    monkeypatch.setattr(torch_engine, "_run", short)
    with pytest.raises(LazarusError, match=r"8 photos at once: use a smaller --batch_size$"):
        engine.encode(pixels)
    monkeypatch.setattr(torch_engine, "folded_encoder", short)
    with pytest.raises(LazarusError, match=r"the encoder 'tf_efficientnet_lite0': use a smaller"):
        TorchEngine(lite0, "cpu", "32")


def test_unknown_devices_and_precisions(lite0: Encoder) -> None:
    with pytest.raises(LazarusError, match="the device 'gpu0'"):
        TorchEngine(lite0, "gpu0")
    with pytest.raises(LazarusError, match="no precision 'fp16'"):
        TorchEngine(lite0, "cpu", "fp16")  # type: ignore[arg-type]
