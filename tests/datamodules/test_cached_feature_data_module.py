from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from lazarus_pl.cache.feature_cache import FeatureCache
from lazarus_pl.datamodules.cached_feature_data_module import CachedFeatureDataModule
from lazarus_pl.datamodules.epoch_sampler import EpochSampler
from lazarus_pl.errors import LazarusError


def order(data: CachedFeatureDataModule, epoch: int) -> list[int]:
    loader = data.train_dataloader()
    loader.sampler.set_epoch(epoch)  # type: ignore[attr-defined]
    return [int(index) for batch in loader for index in batch["index"]]


def test_batches_hold_the_features_of_their_photos(cache: Path) -> None:
    data = CachedFeatureDataModule(str(cache), ("pooled", "grid16"), batch_size=7)
    features = FeatureCache(cache)
    seen = []
    for batch in data.train_dataloader():
        for layer in ("pooled", "grid16"):
            expected = features.gather(layer, batch["index"].numpy())
            assert np.array_equal(batch["features"][layer].numpy(), expected)
        assert np.array_equal(batch["target"], features.targets[batch["index"]])
        seen.extend(batch["index"].tolist())
    assert sorted(seen) == features.indices("train").tolist()


def test_the_order_depends_on_seed_and_epoch_alone(cache: Path) -> None:
    first, again, other = (
        CachedFeatureDataModule(str(cache), batch_size=8, seed=seed) for seed in (1, 1, 2)
    )
    assert order(first, 3) == order(again, 3)
    assert order(first, 3) != order(first, 4)
    assert order(first, 3) != order(other, 3)
    assert sorted(order(first, 3)) == sorted(order(first, 4))


def test_the_global_generator_does_not_matter() -> None:
    sampler = EpochSampler(50, seed=4)
    first = list(sampler)
    torch.rand(100)
    assert list(sampler) == first
    assert len(sampler) == 50


def test_spawned_workers_give_the_same_batches(cache: Path) -> None:
    alone = CachedFeatureDataModule(str(cache), ("pooled", "grid32"), batch_size=8)
    helped = CachedFeatureDataModule(str(cache), ("pooled", "grid32"), 8, num_workers=2)
    pairs = zip(alone.train_dataloader(), helped.train_dataloader(), strict=True)
    for left, right in pairs:
        assert torch.equal(left["index"], right["index"])
        assert torch.equal(left["features"]["grid32"], right["features"]["grid32"])


def test_statistics_are_those_of_train(cache: Path) -> None:
    data = CachedFeatureDataModule(str(cache), ("pooled", "grid16"))
    features = FeatureCache(cache)
    for layer, (mean, deviation) in data.feature_statistics.items():
        values = features.gather(layer, features.indices("train")).astype(np.float64)
        values = values.reshape(-1, values.shape[-1])
        np.testing.assert_allclose(mean, values.mean(0), atol=1e-4)
        np.testing.assert_allclose(deviation, values.std(0), atol=1e-4)


def test_what_models_must_know_is_there_before_setup(cache: Path) -> None:
    data = CachedFeatureDataModule(str(cache))
    assert data.class_names == ["healthy", "late_blight", "rust"]
    assert data.num_classes == 3
    assert sum(data.class_counts) == len(FeatureCache(cache).indices("train"))
    assert data.feature_shapes == {"pooled": [1280]}
    assert data.encoder["name"] == "tf_efficientnet_lite0"


def test_mistakes(cache: Path, tmp_path: Path) -> None:
    with pytest.raises(LazarusError, match="no feature cache"):
        CachedFeatureDataModule(str(tmp_path))
    with pytest.raises(LazarusError, match="no layer 'grid8': there are pooled, grid32, grid16"):
        CachedFeatureDataModule(str(cache), ("grid8",))
    with pytest.raises(LazarusError, match="batch_size 0"):
        CachedFeatureDataModule(str(cache), batch_size=0)
