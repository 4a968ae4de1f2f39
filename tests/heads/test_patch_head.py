from __future__ import annotations

import pytest
import torch

from lazarus_pl.errors import LazarusError
from lazarus_pl.heads.build_head import build_head
from lazarus_pl.heads.head import Head
from lazarus_pl.heads.masked_patches import smooth_maps
from lazarus_pl.heads.patch_head import PatchHead
from lazarus_pl.heads.patch_reading import PatchReading

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
    found = head._joined(features["grid16"], head._coarse(features))
    torch.testing.assert_close(found, joined)


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
    assert reading.scores.shape == (2, 2, 1, 3), "a quarter of the patches that there are"
    assert reading.lesions.abs().max() < 1e3


def _padded(
    features: dict[str, torch.Tensor], rows: int, columns: int, value: float
) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """Grids below and beside which there is something else, and where there is not."""
    padded = {}
    for name, values in features.items():
        cell = 1 if name == "grid16" else 2
        shape = (len(values), rows // cell, columns // cell, values.shape[-1])
        padded[name] = torch.full(shape, value)
        padded[name][:, : values.shape[1], : values.shape[2]] = values
    mask = torch.zeros(len(features["grid16"]), rows, columns, dtype=torch.bool)
    mask[:, :4, :4] = True
    return padded, mask


@pytest.mark.parametrize(("rows", "columns"), [(4, 4), (6, 4), (4, 8), (8, 6)])
@pytest.mark.parametrize("value", [0.0, 1e4])
def test_padding_leaves_logits_maps_and_losses_as_they_are(
    rows: int, columns: int, value: float
) -> None:
    head, features, target = _head(), _features(3), torch.tensor([0, 1, 2])
    plain = head.look(features)
    padded, mask = _padded(features, rows, columns, value)
    reading = head.look(padded, mask)
    torch.testing.assert_close(reading.logits, plain.logits)
    torch.testing.assert_close(reading.attention[:, :4, :4], plain.attention)
    assert reading.attention.masked_fill(mask[..., None], 0).abs().max() == 0
    evidence = head.evidence(reading, target)
    torch.testing.assert_close(evidence[:, :4, :4], head.evidence(plain, target))
    assert evidence.masked_fill(mask, 0).abs().max() == 0
    for loss in (head.instance_loss, head.lesion_loss):
        torch.testing.assert_close(loss(reading, target), loss(plain, target))


@pytest.mark.parametrize("patch_dropout", [0.0, 0.5])
@pytest.mark.parametrize("masked", [False, True])
def test_what_lesions_weigh_is_known_before_they_are_found(
    masked: bool, patch_dropout: float
) -> None:
    shapes = {"grid16": (8, 6, 6)}
    head = PatchHead(shapes, 3, hidden=8, patch_dropout=patch_dropout, lesion_share=0.1).train()
    head.set_sound([0, 0, 3])
    target, mask = torch.tensor([0, 1, 2, 0, 1]), torch.ones(5, 8, 6, dtype=torch.bool)
    if masked:
        mask[1, 5:], mask[2, :, 2:], mask[3, 1:] = False, False, False
    features = {"grid16": torch.randn(5, 8, 6, 6)}
    reading = head.look(features, mask if masked else None)
    weights = head.lesion_weights(features, target, mask if masked else None)
    alone = head.lesion_loss(reading, target)
    torch.testing.assert_close(head.lesion_loss(reading, target, weights), alone)
    parts = [
        head.lesion_loss(PatchReading(*(v[rows] for v in reading)), target[rows], weights)
        * len(target[rows])
        for rows in (slice(0, 1), slice(1, 3), slice(3, 5))
    ]
    torch.testing.assert_close(sum(parts) / 5, alone)


def test_photos_of_different_sizes_are_read_in_one_batch_as_alone() -> None:
    head = _head()
    generator = torch.Generator().manual_seed(2)
    large = {
        "grid16": torch.randn(1, 8, 6, 6, generator=generator),
        "grid32": torch.randn(1, 4, 3, 10, generator=generator),
    }
    small, mask = _padded(_features(1), 8, 6, 3.0)
    both = {name: torch.cat([large[name], small[name]]) for name in large}
    logits = head(both, torch.cat([torch.ones_like(mask), mask]))
    torch.testing.assert_close(logits, torch.cat([head(large), head(_features(1))]))


def test_a_small_photo_beside_a_large_one_loses_as_large_a_share_of_its_patches() -> None:
    head = PatchHead({"grid16": (4, 4, 6)}, 3, hidden=8, patch_dropout=0.75).train()
    mask = torch.zeros(2, 8, 8, dtype=torch.bool)
    mask[0], mask[1, :4, :4] = True, True
    reading = head.look({"grid16": torch.randn(2, 8, 8, 6)}, mask)
    assert reading.kept.sum(dim=(1, 2)).tolist() == [16, 4]
    torch.testing.assert_close(reading.attention.sum(dim=(1, 2)), torch.ones(2, 3))


def test_patches_that_fade_are_read_as_the_mean_patch() -> None:
    head, features = _head(), _features(3)
    fast, plain = head.fade(features), Head.fade(head, features)
    generator = torch.Generator().manual_seed(4)
    for share in (0.0, 0.3, 0.7, 1.0):
        kept = (torch.rand(3, 4, 4, generator=generator) < share).float()
        torch.testing.assert_close(fast(kept), plain(kept))
    torch.testing.assert_close(fast(torch.ones(3, 4, 4)), head(features))
    assert not torch.allclose(fast(torch.zeros(3, 4, 4)), head(features))


def test_evidence_is_averaged_as_with_repeated_edges() -> None:
    from torch.nn.functional import conv2d, pad

    maps = torch.randn(2, 5, 7, 3)
    weights = torch.tensor([0.25, 0.5, 0.25])
    kernel = torch.outer(weights, weights).expand(3, 1, 3, 3)
    repeated = pad(maps.permute(0, 3, 1, 2), (1, 1, 1, 1), mode="replicate")
    expected = conv2d(repeated, kernel, groups=3).permute(0, 2, 3, 1)
    everywhere = torch.ones(2, 5, 7, dtype=torch.bool)
    torch.testing.assert_close(smooth_maps(maps, everywhere), expected)


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
