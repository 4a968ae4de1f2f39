from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from lazarus_pl.cache.cached_views import CachedViews
from lazarus_pl.cache.feature_cache import FeatureCache
from lazarus_pl.datamodules.cached_feature_data_module import CachedFeatureDataModule
from lazarus_pl.datamodules.epoch_sampler import EpochSampler
from lazarus_pl.datamodules.patch_grid_data_module import PatchGridDataModule
from lazarus_pl.errors import LazarusError


def order(data: CachedFeatureDataModule, epoch: int) -> list[int]:
    loader = data.train_dataloader()
    loader.sampler.set_epoch(epoch)  # type: ignore[attr-defined]
    return [int(index) for batch in loader for index in batch["index"]]


def test_no_layer_is_a_sentence(cache: Path) -> None:
    with pytest.raises(LazarusError, match="layers names none"):
        CachedFeatureDataModule(str(cache), ())


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


def features_of(data: CachedFeatureDataModule, epoch: int) -> dict[int, torch.Tensor]:
    loader = data.train_dataloader()
    loader.sampler.set_epoch(epoch)  # type: ignore[attr-defined]
    seen = {}
    for batch in loader:
        for place, values in zip(batch["index"], batch["features"]["grid32"], strict=True):
            assert int(place) not in seen
            seen[int(place)] = values
    return seen


def views_seen(data: CachedFeatureDataModule, epoch: int) -> dict[int, int]:
    """Which view of each photo an epoch showed, 0 for the plain one."""
    cache = FeatureCache(Path(data.cache))
    views = CachedViews(cache)
    found = {}
    for place, values in features_of(data, epoch).items():
        all_of_it = views.gather("grid32", [place] * 5, range(5))
        (found[place],) = (n for n in range(5) if np.array_equal(all_of_it[n], values))
    return found


def test_each_photo_is_seen_once_an_epoch_in_one_of_its_views(viewed: Path) -> None:
    data = CachedFeatureDataModule(str(viewed), ("pooled", "grid32"), 8, seed=1, views=4)
    cache = FeatureCache(viewed)
    epochs = [views_seen(data, epoch) for epoch in range(6)]
    for seen in epochs:
        assert sorted(seen) == cache.indices("train").tolist()
    assert {view for seen in epochs for view in seen.values()} == {0, 1, 2, 3, 4}
    assert epochs[0] != epochs[1]
    again = CachedFeatureDataModule(str(viewed), ("pooled", "grid32"), 8, seed=1, views="all")
    assert views_seen(again, 3) == epochs[3]
    other = CachedFeatureDataModule(str(viewed), ("pooled", "grid32"), 8, seed=2, views=4)
    assert views_seen(other, 3) != epochs[3]


def test_layers_of_a_photo_are_of_one_view(viewed: Path) -> None:
    data = CachedFeatureDataModule(str(viewed), ("pooled", "grid32", "grid16"), 8, views=4)
    views = CachedViews(FeatureCache(viewed))
    loader = data.train_dataloader()
    loader.sampler.set_epoch(2)  # type: ignore[attr-defined]
    for batch in loader:
        places = batch["index"].tolist()
        for row, place in enumerate(places):
            numbers = []
            for layer, values in batch["features"].items():
                all_of_it = views.gather(layer, [place] * 5, range(5))
                numbers.append({n for n in range(5) if np.array_equal(all_of_it[n], values[row])})
            assert set.intersection(*numbers)


def test_spawned_workers_see_the_same_views(viewed: Path) -> None:
    alone = CachedFeatureDataModule(str(viewed), ("pooled", "grid32"), 8, views=4)
    helped = CachedFeatureDataModule(str(viewed), ("pooled", "grid32"), 8, num_workers=1, views=4)
    loaders = [data.train_dataloader() for data in (alone, helped)]
    for epoch in (0, 1):
        for loader in loaders:
            loader.sampler.set_epoch(epoch)  # type: ignore[attr-defined]
        for left, right in zip(*loaders, strict=True):
            assert torch.equal(left["index"], right["index"])
            assert torch.equal(left["features"]["grid32"], right["features"]["grid32"])


@pytest.mark.parametrize(
    ("weight", "views", "share"), [(None, 4, 0.2), (0.5, 4, 0.5), (0.0, 2, 0.0), (1.0, 4, 1.0)]
)
def test_the_chance_of_the_plain_photo(weight: float | None, views: int, share: float) -> None:
    sampler = EpochSampler(5000, seed=3, views=views, plain_weight=weight)
    drawn = np.array(list(sampler))
    assert sorted(drawn % 5000) == list(range(5000))
    counts = np.bincount(drawn // 5000, minlength=views + 1) / 5000
    assert counts[0] == pytest.approx(share, abs=0.02)
    np.testing.assert_allclose(counts[1:], (1 - share) / views, atol=0.02)


def test_without_views_the_order_is_that_of_the_photos() -> None:
    plain, viewed = EpochSampler(100, seed=3), EpochSampler(100, seed=3, views=4)
    assert list(plain) == [row % 100 for row in viewed]


def test_devices_share_the_photos_of_an_epoch_and_their_views() -> None:
    from lightning.fabric.utilities.distributed import DistributedSamplerWrapper

    alone = EpochSampler(40, seed=3, views=4)
    shares = []
    for rank in range(2):
        wrapped = DistributedSamplerWrapper(
            EpochSampler(40, seed=3, views=4), num_replicas=2, rank=rank, shuffle=True
        )
        wrapped.set_epoch(5)
        shares.append(list(wrapped))
    alone.set_epoch(5)
    assert sorted(shares[0] + shares[1]) == sorted(alone)


def test_val_test_and_statistics_are_plain(cache: Path, viewed: Path) -> None:
    plain = CachedFeatureDataModule(str(cache), ("pooled", "grid16"))
    data = CachedFeatureDataModule(str(viewed), ("pooled", "grid16"), views=4)
    for name in ("val_dataloader", "test_dataloader"):
        left, right = (next(iter(getattr(module, name)())) for module in (plain, data))
        assert torch.equal(left["features"]["grid16"], right["features"]["grid16"])
    for layer, statistics in plain.feature_statistics.items():
        assert all(map(torch.equal, statistics, data.feature_statistics[layer]))
    assert plain.class_counts == data.class_counts


def test_many_pooled_views_need_not_fit_in_memory(
    viewed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lazarus_pl.datamodules import cached_dataset

    data = CachedFeatureDataModule(str(viewed), ("pooled",), 8, views=4)
    resident = next(iter(data.train_dataloader()))["features"]["pooled"]
    monkeypatch.setattr(cached_dataset, "_RESIDENT", 0)
    assert torch.equal(next(iter(data.train_dataloader()))["features"]["pooled"], resident)


def test_mistakes_about_views(cache: Path, viewed: Path) -> None:
    with pytest.raises(LazarusError, match="has no views"):
        CachedFeatureDataModule(str(cache), views=2)
    with pytest.raises(LazarusError, match=r"has 4 views .*, not 5"):
        CachedFeatureDataModule(str(viewed), views=5)
    with pytest.raises(LazarusError, match="no views of the policy 'light', only of field"):
        CachedFeatureDataModule(str(viewed), views=1, views_policy="light")
    with pytest.raises(LazarusError, match="views -1"):
        CachedFeatureDataModule(str(viewed), views=-1)
    with pytest.raises(LazarusError, match="plain_weight 2"):
        CachedFeatureDataModule(str(viewed), views=1, plain_weight=2)


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


def test_what_is_trained_on(viewed: Path) -> None:
    cache = FeatureCache(viewed)
    both = np.concatenate([cache.indices("train"), cache.indices("val")])
    data = CachedFeatureDataModule(str(viewed), train_on=("train", "val"))
    assert sorted(order(data, 0)) == sorted(both)
    assert sum(data.class_counts) == len(both)
    values = cache.gather("pooled", np.sort(both)).astype(np.float64)
    np.testing.assert_allclose(data.feature_statistics["pooled"][0], values.mean(0), atol=1e-4)
    grids = PatchGridDataModule(str(viewed), train_on=("val",))
    assert sorted(order(grids, 0)) == cache.indices("val").tolist()
    with pytest.raises(LazarusError, match=r"of train and val, not one: .*--views\.sides"):
        CachedFeatureDataModule(str(viewed), views="all", train_on=("train", "val"))
    with pytest.raises(LazarusError, match="names no side"):
        CachedFeatureDataModule(str(viewed), train_on=())
