from __future__ import annotations

import pytest
import torch
from torch import Tensor

from lazarus_pl.errors import LazarusError
from lazarus_pl.heads.attention_head import AttentionHead
from lazarus_pl.heads.build_head import HEADS, build_head

SHAPES = {"pooled": (12,), "grid16": (4, 4, 5), "grid32": (2, 2, 7)}


def batch(size: int = 3) -> dict[str, Tensor]:
    torch.manual_seed(1)
    return {name: torch.randn(size, *shape) for name, shape in SHAPES.items()}


@pytest.mark.parametrize("name", HEADS)
def test_shape_and_state_dict_round_trip(name: str) -> None:
    first, second = build_head(name, SHAPES, 6).eval(), build_head(name, SHAPES, 6).eval()
    second.load_state_dict(first.state_dict())
    logits = first(batch())
    assert logits.shape == (3, 6)
    assert torch.equal(second(batch()), logits)


@pytest.mark.parametrize("name", HEADS)
def test_every_parameter_learns(name: str) -> None:
    head = build_head(name, SHAPES, 6)
    optimizer = torch.optim.SGD(head.parameters(), lr=0.1)
    for _ in range(2):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(head(batch()), torch.tensor([0, 1, 2])).backward()
        optimizer.step()
    for parameter_name, parameter in head.named_parameters():
        if parameter_name.startswith(("lesion.", "instance.")):
            continue  # learn from losses of their own
        assert parameter.grad is not None, parameter_name
        if parameter_name != "score.bias":
            assert parameter.grad.abs().sum() > 0, parameter_name


def reference(head: AttentionHead, features: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Ilse et al. on the joined grid, written out."""
    fine, coarse = features["grid16"], features["grid32"]
    spread = coarse.repeat_interleave(2, dim=1).repeat_interleave(2, dim=2)
    patches = torch.cat([fine, spread], dim=-1).flatten(1, 2)
    weight = torch.cat([head.gates["grid16"].weight, head.gates["grid32"].weight], dim=1)
    gates = patches @ weight.T + head.gates["grid16"].bias
    content, gate = gates.chunk(2, dim=-1)
    attention = head.score(content.tanh() * gate.sigmoid()).squeeze(-1).softmax(dim=-1)
    pooled = (attention[..., None] * patches).sum(dim=1)
    return head.classifier(pooled), attention.view(-1, 4, 4)


def test_attention_equals_the_paper_on_the_joined_grid() -> None:
    head = AttentionHead(SHAPES, 6, hidden=8).eval()
    logits, attention = head.attend(batch())
    expected_logits, expected_attention = reference(head, batch())
    torch.testing.assert_close(logits, expected_logits)
    torch.testing.assert_close(attention, expected_attention)
    torch.testing.assert_close(attention.sum(dim=(1, 2)), torch.ones(3))


def test_a_masked_patch_is_neither_read_nor_weighted() -> None:
    head = AttentionHead({"grid16": (4, 4, 5)}, 6, hidden=8).eval()
    features = {"grid16": batch()["grid16"]}
    mask = torch.ones(3, 4, 4, dtype=torch.bool)
    mask[:, 1, 2] = False
    logits, attention = head.attend(features, mask)
    assert attention[:, 1, 2].abs().max() == 0
    changed = {"grid16": features["grid16"].clone()}
    changed["grid16"][:, 1, 2] += 100
    torch.testing.assert_close(head(changed, mask), logits)


@pytest.mark.parametrize("value", [0.0, 1e4])
def test_padding_leaves_diagnosis_and_attention_as_they_are(value: float) -> None:
    head, features = AttentionHead(SHAPES, 6, hidden=8).eval(), batch()
    padded = {"grid16": torch.full((3, 6, 8, 5), value), "grid32": torch.full((3, 3, 4, 7), value)}
    padded["grid16"][:, :4, :4], padded["grid32"][:, :2, :2] = (
        features["grid16"],
        features["grid32"],
    )
    mask = torch.zeros(3, 6, 8, dtype=torch.bool)
    mask[:, :4, :4] = True
    logits, attention = head.attend(padded, mask)
    expected_logits, expected = head.attend(features)
    torch.testing.assert_close(logits, expected_logits)
    torch.testing.assert_close(attention[:, :4, :4], expected)
    assert attention.masked_fill(mask, 0).abs().max() == 0


def test_a_photo_without_patches_gives_no_nan() -> None:
    head = AttentionHead(SHAPES, 6).eval()
    logits, attention = head.attend(batch(), torch.zeros(3, 4, 4, dtype=torch.bool))
    assert torch.isfinite(logits).all()
    assert attention.sum() == 0


def test_patch_dropout_is_for_training_only() -> None:
    head = AttentionHead(SHAPES, 6, patch_dropout=0.5, dropout=0.0)
    features = batch(8)
    seen, seen_next = (head.attend(features)[1] > 0 for _ in range(2))
    assert (seen.sum(dim=(1, 2)) == 8).all()
    assert not torch.equal(seen, seen_next)
    head.eval()
    assert (head.attend(batch(8))[1] > 0).all()


# 2 of 16 patches: fewer than the cells of the coarse grid too
@pytest.mark.parametrize("patch_dropout", [0.5, 0.85])
@pytest.mark.parametrize("masked", [False, True])
def test_dropping_patches_is_not_looking_at_them(patch_dropout: float, masked: bool) -> None:
    head = AttentionHead(SHAPES, 6, patch_dropout=patch_dropout, dropout=0.0)
    mask = torch.ones(3, 4, 4, dtype=torch.bool)
    mask[1, :, 3] = mask[2, 2:] = not masked
    logits, attention = head.attend(batch(), mask if masked else None)
    logits.square().sum().backward()
    mine = {name: value.grad for name, value in head.named_parameters()}
    kept = attention > 0
    counts = (mask.sum(dim=(1, 2)) * (1 - patch_dropout)).round()
    assert kept.sum(dim=(1, 2)).equal(counts.long())
    assert (kept <= mask).all()
    head.zero_grad()
    head.eval()
    expected = head.attend(batch(), kept)
    expected[0].square().sum().backward()
    torch.testing.assert_close(logits, expected[0])
    torch.testing.assert_close(attention, expected[1])
    for name, value in head.named_parameters():
        torch.testing.assert_close(mine[name], value.grad)


def test_attention_weights_are_float32_under_autocast() -> None:
    head = AttentionHead(SHAPES, 6).eval()
    with torch.autocast("cpu", torch.bfloat16):
        attention = head.attend(batch())[1]
    assert attention.dtype == torch.float32


@pytest.mark.parametrize(
    ("name", "shapes", "options", "said"),
    [
        ("mpl", SHAPES, {}, "did you mean 'mlp'"),
        ("mlp", SHAPES, {"hiden": 3}, "did you mean 'hidden'"),
        ("linear", SHAPES, {"dropout": 1}, "dropout 1 cannot be: give a number from 0 to below 1"),
        ("mlp", SHAPES, {"hidden": 0}, "hidden 0 cannot be: give a whole number of at least 1"),
        ("mlp", SHAPES, {"hidden": 2.5}, "hidden 2.5 cannot be"),
        ("mlp", SHAPES, {"hidden": True}, "hidden True cannot be"),
        ("attention", SHAPES, {"patch_dropout": 2}, "patch_dropout 2 cannot be"),
        ("attention", SHAPES, {"dropout": float("nan")}, "dropout nan cannot be"),
        ("linear", {"grid16": (4, 4, 5)}, {}, "reads the layer 'pooled'"),
        ("attention", {"pooled": (12,)}, {}, "reads grids"),
        ("attention", {"grid16": (4, 4, 5), "grid32": (3, 3, 7)}, {}, "does not divide"),
    ],
)
def test_mistakes_name_the_way_out(
    name: str, shapes: dict[str, tuple[int, ...]], options: dict[str, int], said: str
) -> None:
    with pytest.raises(LazarusError, match=said):
        build_head(name, shapes, 6, **options)
