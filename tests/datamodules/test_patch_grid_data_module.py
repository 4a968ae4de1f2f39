from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from lazarus_pl.cache.feature_cache import FeatureCache
from lazarus_pl.datamodules.cached_dataset import Batch
from lazarus_pl.datamodules.cached_feature_data_module import CachedFeatureDataModule
from lazarus_pl.datamodules.patch_grid_data_module import PatchGridDataModule
from lazarus_pl.datamodules.size_bucket_sampler import SizeBucketSampler
from lazarus_pl.errors import LazarusError


def assert_holds_its_grids(batch: Batch, cache: FeatureCache) -> None:
    for layer, values in batch["features"].items():
        grids = cache.grids(layer, batch["index"].numpy())
        for row, grid in zip(values, grids, strict=True):
            height, width = grid.shape[:2]
            assert np.array_equal(row[:height, :width].numpy(), grid)
            assert row.abs().sum() == pytest.approx(np.abs(grid).sum(dtype=np.float32), rel=1e-2)
            assert row.count_nonzero() == np.count_nonzero(grid), "padding is 0"


def test_batches_hold_grids_of_different_sizes_and_say_where_they_end(windowed: Path) -> None:
    data, cache = PatchGridDataModule(str(windowed), batch_size=16), FeatureCache(windowed)
    seen, mixed = [], 0
    for batch in data.train_dataloader():
        assert_holds_its_grids(batch, cache)
        assert np.array_equal(batch["target"], cache.targets[batch["index"]])
        seen += batch["index"].tolist()
        shapes = [grid.shape[:2] for grid in cache.grids("grid16", batch["index"].numpy())]
        mixed += len(set(shapes)) > 1
        assert ("mask" in batch) == (len(set(shapes)) > 1)
        if "mask" in batch:
            assert batch["mask"].shape == batch["features"]["grid16"].shape[:3]
            assert batch["mask"].sum(dim=(1, 2)).tolist() == [h * w for h, w in shapes]
            for row, (height, width) in zip(batch["mask"], shapes, strict=True):
                assert row[:height, :width].all()
    assert sorted(seen) == cache.indices("train").tolist()
    assert mixed


def test_spawned_workers_give_the_same_batches(windowed: Path) -> None:
    alone = PatchGridDataModule(str(windowed), batch_size=16)
    helped = PatchGridDataModule(str(windowed), batch_size=16, num_workers=1)
    for left, right in zip(alone.train_dataloader(), helped.train_dataloader(), strict=True):
        assert torch.equal(left["index"], right["index"])
        assert torch.equal(left["features"]["grid16"], right["features"]["grid16"])
        assert ("mask" in left) == ("mask" in right)


def test_statistics_are_those_of_all_cells_of_train(windowed: Path) -> None:
    data, cache = PatchGridDataModule(str(windowed)), FeatureCache(windowed)
    for layer, (mean, deviation) in data.feature_statistics.items():
        grids = cache.grids(layer, cache.indices("train"))
        cells = np.concatenate([grid.reshape(-1, grid.shape[2]) for grid in grids]).astype(float)
        np.testing.assert_allclose(mean, cells.mean(0), atol=1e-4)
        np.testing.assert_allclose(deviation, cells.std(0), atol=1e-4)


def test_on_a_cache_of_whole_photos_there_is_no_mask(cache: Path) -> None:
    data, plain = PatchGridDataModule(str(cache)), CachedFeatureDataModule(str(cache), ("grid16",))
    left, right = next(iter(data.val_dataloader())), next(iter(plain.val_dataloader()))
    assert torch.equal(left["features"]["grid16"], right["features"]["grid16"])
    assert "mask" not in left


def test_pooled_features_of_windows_are_of_one_size(windowed: Path) -> None:
    data = CachedFeatureDataModule(str(windowed), ("pooled",))
    batch = next(iter(data.val_dataloader()))
    assert batch["features"]["pooled"].shape[1:] == (1280,)
    assert data.encoder["windows"] == {"count": 2, "overlap": 0.25}


def test_an_epoch_sees_each_photo_once_in_an_order_of_seed_and_epoch() -> None:
    sizes = np.random.default_rng(0).integers(1, 9, 1000)
    orders = []
    for seed, epoch in ((1, 0), (1, 0), (1, 1), (2, 0)):
        sampler = SizeBucketSampler(sizes, 16, seed)
        sampler.set_epoch(epoch)
        orders.append(list(sampler))
        assert sorted(orders[-1]) == list(range(1000))
    assert orders[0] == orders[1]
    assert orders[0] != orders[2]
    assert orders[0] != orders[3]
    assert list(SizeBucketSampler(sizes[:5], 16)) == list(SizeBucketSampler(sizes[:5], 16))


def padding(order: list[int], sizes: np.ndarray, batch_size: int) -> float:
    """Cells that a padded epoch has for each that there is."""
    batches = [sizes[order[i : i + batch_size]] for i in range(0, len(order), batch_size)]
    return float(sum(len(batch) * batch.max() for batch in batches) / sizes.sum())


def test_photos_of_like_size_share_batches_and_little_is_padded() -> None:
    sizes = np.random.default_rng(0).choice([256, 768, 2048], 2000)
    sampler = SizeBucketSampler(sizes, 32)
    assert padding(list(np.random.default_rng(0).permutation(2000)), sizes, 32) > 1.8
    assert padding(list(sampler), sizes, 32) < 1.25
    # batches of small and of large photos come in no order
    means = [sizes[list(sampler)[i : i + 32]].mean() for i in range(0, 1984, 32)]
    assert abs(np.corrcoef(means, np.arange(len(means)))[0, 1]) < 0.4


def test_what_is_no_grid_is_refused(windowed: Path) -> None:
    with pytest.raises(LazarusError, match="'pooled' is none"):
        PatchGridDataModule(str(windowed), ("pooled", "grid16"))
