from __future__ import annotations

import pytest
import torch

from lazarus_pl.errors import LazarusError
from lazarus_pl.heads.build_head import build_head
from lazarus_pl.heads.patch_head import PatchHead

SHAPES = {"grid16": (4, 4, 6), "grid32": (2, 2, 10)}


def _head(**options: float) -> PatchHead:
    torch.manual_seed(0)
    head = PatchHead(SHAPES, 3, hidden=8, **options)  # type: ignore[arg-type]
    head.set_sound([0, 0, 0])
    return head.eval()


def _features(photos: int = 2) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return {
        name: torch.randn(photos, *shape, generator=generator) for name, shape in SHAPES.items()
    }


def test_shapes_and_attention_of_every_class_sums_to_one() -> None:
    reading = _head().look(_features())
    assert reading.logits.shape == (2, 3)
    assert reading.attention.shape == reading.scores.shape == (2, 4, 4, 3)
    assert reading.lesions.shape == (2, 4, 4, 4)
    torch.testing.assert_close(reading.attention.sum(dim=(1, 2)), torch.ones(2, 3))


def test_interpolating_hidden_values_is_joining_the_grids_first() -> None:
    head, features = _head(), _features()
    coarse = torch.nn.functional.interpolate(
        features["grid32"].permute(0, 3, 1, 2), (4, 4), mode="bilinear"
    ).permute(0, 2, 3, 1)
    joined = head.inputs["grid16"](features["grid16"]) + head.inputs["grid32"](coarse)
    torch.testing.assert_close(head._joined(features), joined)


def test_masked_patches_change_nothing_on_a_single_grid() -> None:
    torch.manual_seed(0)
    head = PatchHead({"grid16": (4, 4, 6)}, 3, hidden=8).eval()
    small = torch.randn(1, 3, 4, 6)
    padded = torch.full((1, 4, 4, 6), 7.0)
    padded[:, :3] = small
    mask = torch.zeros(1, 4, 4, dtype=torch.bool)
    mask[:, :3] = True
    torch.testing.assert_close(head({"grid16": padded}, mask), head({"grid16": small}))
    nothing = head({"grid16": padded}, torch.zeros_like(mask))
    assert nothing.isfinite().all()


def test_attention_is_float32_under_autocast() -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        reading = _head().look(_features())
        evidence = _head().evidence(reading, torch.tensor([1, 0]))
    assert reading.attention.dtype == evidence.dtype == torch.float32


def test_the_diagnosis_does_not_train_the_lesion_branch_but_is_attributed_through_it() -> None:
    head = _head(patch_dropout=0)
    gradients = []
    for mode in (False, True):
        head.zero_grad()
        head.train(mode).drop.eval()
        head(_features())[:, 1].sum().backward()
        gradients.append([weight.grad for weight in head.lesion.parameters()])
    assert all(gradient is not None for gradient in gradients[0])
    assert all(gradient is None for gradient in gradients[1])


def test_attention_lies_where_the_lesion_branch_sees_the_class() -> None:
    head = _head()
    reading = head.look(_features())
    contrast = reading.lesions[..., 1] - reading.lesions[..., 0]
    order = [values.flatten(1).argsort(dim=1) for values in (reading.attention[..., 1], contrast)]
    torch.testing.assert_close(*order)
    healthy = reading.attention[..., 0]
    torch.testing.assert_close(healthy, torch.full_like(healthy, 1 / 16))


def test_sampled_patches_are_those_that_are_there() -> None:
    head = PatchHead({"grid16": (4, 4, 6)}, 3, hidden=8, patch_dropout=0.75).train()
    mask = torch.zeros(2, 4, 4, dtype=torch.bool)
    mask[:, :2] = True
    features = torch.full((2, 4, 4, 6), torch.nan).masked_fill(mask[..., None], 1.0)
    reading = head.look({"grid16": features.nan_to_num(1e6)}, mask)
    assert reading.scores.shape == (2, 4, 1, 3)
    assert reading.lesions.abs().max() < 1e3


def test_evidence_of_health_is_what_the_worst_disease_lacks() -> None:
    head = _head()
    reading = head.look(_features(3))
    first, second, healthy = (
        head.evidence(reading, torch.tensor([label] * 3)) for label in (1, 2, 0)
    )
    torch.testing.assert_close(healthy, -torch.maximum(first, second))


def test_the_lesion_branch_finds_the_odd_patch_from_labels_alone() -> None:
    torch.manual_seed(0)
    head = PatchHead({"grid16": (4, 4, 6)}, 2, hidden=16, patch_dropout=0, lesion_share=0.06)
    head.set_sound([0, 0])
    optimizer = torch.optim.AdamW(head.parameters(), 1e-2)
    generator = torch.Generator().manual_seed(0)
    target = torch.arange(32) % 2
    for _ in range(80):
        grids = torch.randn(32, 4, 4, 6, generator=generator) * 0.3
        places = torch.randint(16, (32,), generator=generator)
        grids.view(32, 16, 6)[torch.arange(32), places, 0] += 3.0 * target
        reading = head.look({"grid16": grids})
        loss = torch.nn.functional.cross_entropy(reading.logits, target)
        parts = loss + head.instance_loss(reading, target) + head.lesion_loss(reading, target)
        parts.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad()
    head.eval()
    evidence = head.evidence(head.look({"grid16": grids}), target).flatten(1)
    ill = target == 1
    assert (evidence.argmax(1) == places)[ill].float().mean() > 0.9


def test_mistakes() -> None:
    with pytest.raises(LazarusError, match=r"layers to \[grid16, grid32\]"):
        build_head("patches", {"pooled": (5,)}, 3)
    with pytest.raises(LazarusError, match="leave each other room"):
        build_head("patches", SHAPES, 3, lesion_share=0.5, sound_share=0.6)
