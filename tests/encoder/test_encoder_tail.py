"""The encoder's last blocks are the encoder's, to the last tensor."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from lazarus_pl.encoder.encoder import Encoder
from lazarus_pl.encoder.encoder_spec import EncoderSpec
from lazarus_pl.encoder.encoder_tail import EncoderTail
from lazarus_pl.errors import LazarusError


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return Encoder.from_spec(EncoderSpec(image_size=96))


@torch.no_grad()
def test_it_gives_what_the_encoder_gives(encoder: Encoder) -> None:
    images = torch.rand(3, 3, 96, 96) * 2 - 1
    whole = encoder(images)
    tail = EncoderTail(encoder).eval()
    layers = tail(whole["grid16"])
    assert layers.keys() == whole.keys()
    for layer, values in whole.items():
        torch.testing.assert_close(layers[layer], values, rtol=1e-4, atol=1e-4)
    pooled = tail.pool(tail.last_map(whole["grid16"]))
    torch.testing.assert_close(pooled, whole["pooled"], rtol=1e-4, atol=1e-4)


def test_training_it_leaves_the_encoder_alone(encoder: Encoder) -> None:
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    tail = EncoderTail(encoder)
    optimizer = torch.optim.SGD(tail.parameters(), lr=1.0)
    tail(torch.rand(2, 6, 6, 112))["pooled"].sum().backward()
    optimizer.step()
    for name, value in encoder.state_dict().items():
        assert value.equal(before[name]), name
    assert not any(parameter.requires_grad for parameter in encoder.parameters())


def test_the_gradient_of_the_pool_lies_in_memory_as_maps_do(encoder: Encoder) -> None:
    maps = torch.rand(2, 8, 6, 6).to(memory_format=torch.channels_last)
    gradients: list[torch.Tensor] = []
    for pool in (EncoderTail(encoder).pool, encoder.model.global_pool):
        assert isinstance(pool, torch.nn.Module)
        given = maps.clone().requires_grad_()
        # of what is not a leaf: a leaf's is laid out as it is
        between = given * 1
        between.register_hook(gradients.append)
        pool(between).square().sum().backward()
    ours, theirs = gradients
    assert ours.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(ours, theirs)


def test_names_of_the_backbone(encoder: Encoder) -> None:
    tail = EncoderTail(encoder)
    assert tail.stages == ("block5", "block6", "last")
    with torch.no_grad():
        for parameter in tail.parameters():
            parameter.zero_()
    tail.load_backbone_state(encoder.model.state_dict())
    after = EncoderTail(encoder).state_dict()
    assert tail.state_dict().keys() == after.keys()
    for name, value in tail.state_dict().items():
        assert value.equal(after[name]), name


def test_other_backbones_are_refused() -> None:
    spec = EncoderSpec("resnet18", "random", 64)
    with pytest.raises(LazarusError, match=r"'resnet18' cannot be fine-tuned.*EfficientNets"):
        EncoderTail(Encoder.from_spec(spec))


def test_a_grid_that_the_encoder_does_not_give() -> None:
    encoder = Encoder.from_spec(EncoderSpec(image_size=64, layers=("pooled",)))
    with pytest.raises(LazarusError, match=r"gives no layer 'grid16': it gives pooled"):
        EncoderTail(encoder)


@torch.no_grad()
def test_grids_alone_are_the_same_grids(encoder: Encoder) -> None:
    images = torch.rand(2, 3, 96, 96) * 2 - 1
    whole = encoder(images)
    for layers in (("grid16",), ("grid32", "grid16")):
        part = Encoder.from_spec(EncoderSpec(image_size=96, layers=layers))(images)
        assert tuple(part) == layers
        for layer in layers:
            assert part[layer].equal(whole[layer])


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"no zip", r"cannot be read .*damaged"),
        ({"state_dict": {}}, r"holds no encoder"),
        ([1], r"holds no encoder"),
        (
            {"state_dict": {"tail.block5.0.weight": torch.zeros(1)}, "lazarus": {}},
            r"does not say which encoder",
        ),
        (
            {
                "state_dict": {"tail.last.0.weight": torch.zeros(1)},
                "lazarus": {
                    "arguments": {
                        "encoder": {
                            "name": "tf_efficientnet_lite0",
                            "weights": {"source": "packaged", "file": "w", "sha256": "0" * 64},
                        }
                    }
                },
            },
            r"was fine-tuned from other weights",
        ),
        ({"state_dict": {"tail.last.0.weight": "1"}, "lazarus": {}}, r"are no tensors"),
        (
            {"state_dict": {"tail.last.0.weight": torch.eye(2).to_sparse()}, "lazarus": {}},
            r"are no tensors",
        ),
        *(
            (
                {
                    "state_dict": {"tail.last.0.weight": torch.zeros(1)},
                    "lazarus": {"arguments": arguments},
                },
                r"does not say which encoder",
            )
            for arguments in (
                None,
                {"encoder": "lite0"},
                {"encoder": {"name": "lite0", "weights": "packaged"}},
                {"encoder": {"name": "lite0", "weights": {"source": "packaged"}}},
                {
                    "encoder": {
                        "name": "lite0",
                        "weights": {"source": "file", "file": "w", "sha256": "0", "base": 1},
                    }
                },
            )
        ),
    ],
)
def test_weights_that_are_no_fine_tuning(tmp_path: Path, content: object, said: str) -> None:
    path = tmp_path / "some.ckpt"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path)
    with pytest.raises(LazarusError, match=said):
        Encoder.from_spec(EncoderSpec(weights=str(path), image_size=64))
