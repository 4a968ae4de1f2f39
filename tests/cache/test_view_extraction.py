from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import numpy as np
import pytest

from lazarus_pl.cache import job_runner, view_workers
from lazarus_pl.cache.cached_views import CachedViews
from lazarus_pl.cache.extraction import Extraction, ExtractionSummary
from lazarus_pl.cache.feature_cache import FeatureCache
from lazarus_pl.cache.job_plan import JobPlan
from lazarus_pl.cache.views_header import ViewsHeader
from lazarus_pl.data.split.split_spec import Side, SplitSpec
from lazarus_pl.encoder.encoder_spec import EncoderSpec
from lazarus_pl.errors import LazarusError
from lazarus_pl.views.view_maker import ViewMaker
from lazarus_pl.views.view_policy import ViewPolicy
from lazarus_pl.views.views_spec import ViewsSpec
from tests.cache.engines import MeanColourEngine
from tests.cache.short_of_memory import short_of_memory
from tests.conftest import save_noise

Noise = Callable[..., Path]
JITTER = "- ColorJitter: {brightness: 0.6}\n- RandomHorizontalFlip\n"
SPLIT = SplitSpec(strategy="random", fractions=(0.6, 0.2, 0.2))

SLOW = """
import sys
from pathlib import Path
from lazarus_pl.cache.extraction import Extraction
from lazarus_pl.data.split.split_spec import SplitSpec
from lazarus_pl.encoder.encoder_spec import EncoderSpec
from lazarus_pl.views.views_spec import ViewsSpec
from tests.cache.engines import MeanColourEngine
data, out, policy = sys.argv[1:]
engine = MeanColourEngine(seconds=0.2)
split = SplitSpec(strategy="random", fractions=(0.6, 0.2, 0.2))
extraction = Extraction(
    Path(data), Path(out), EncoderSpec(weights="random"), split, lambda _: engine,
    views=ViewsSpec(4, policy),
)
print("views", extraction.run().views)
"""


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    (tmp_path / "jitter.yaml").write_text(JITTER)
    return tmp_path / "jitter.yaml"


@pytest.fixture
def data(noise: Noise) -> Path:
    return noise({"a": 50, "b": 30})


def extract(
    data: Path,
    out: Path,
    count: int,
    policy: Path,
    seed: int = 0,
    engine: MeanColourEngine | None = None,
    said: list[str] | None = None,
    sides: tuple[Side, ...] = ("train",),
) -> ExtractionSummary:
    engine = engine or MeanColourEngine()
    extraction = Extraction(
        data,
        out,
        EncoderSpec(weights="random"),
        SPLIT,
        lambda _: engine,
        views=ViewsSpec(count, str(policy), seed, sides),
        say=([] if said is None else said).append,
    )
    return extraction.run()


def all_views(out: Path, policy: str | None = None) -> dict[tuple[str, int], np.ndarray]:
    cache = FeatureCache(out)
    views = CachedViews(cache, policy)
    train = cache.indices("train")
    return {
        (cache.manifest.photos[place].path, number): values
        for number in range(views.count + 1)
        for place, values in zip(
            train, views.gather("grid32", train, [number] * len(train)), strict=True
        )
    }


def assert_same(left: dict[tuple[str, int], np.ndarray], right: dict) -> None:
    assert left.keys() == right.keys()
    for key, values in left.items():
        np.testing.assert_allclose(values, right[key], atol=1e-3)


def folder(out: Path) -> Path:
    (only,) = (out / "views").iterdir()
    return only


def test_a_photo_that_a_policy_cannot_take_is_named(
    data: Path, policy: Path, tmp_path: Path
) -> None:
    extract(data, tmp_path / "cache", 0, policy)
    train = FeatureCache(tmp_path / "cache").manifest.side("train")
    save_noise(data / train[7].path, 12)
    policy.write_text("- RandomCrop: {size: 14}\n")
    with pytest.raises(LazarusError, match=f"12x12 pixels: .*; it is '{train[7].path}'"):
        extract(data, tmp_path / "cache", 1, policy)


def test_views_that_memory_did_not_suffice_for_are_made_by_the_next_call(
    data: Path, policy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "cache"
    extract(data, out, 0, policy)
    # the first views are drawn and timed before they are made
    calls = short_of_memory(monkeypatch, 40)
    train = len(FeatureCache(out).indices("train"))
    assert train > 30
    assert extract(data, out, 2, policy).views == 2 * train - 2
    assert next(calls) > 40
    assert extract(data, out, 2, policy).views == 2
    assert extract(data, out, 2, policy).views == 0
    assert (out / "finished.json").is_file()


def test_views_are_those_of_train_photos_in_their_rows(
    data: Path, policy: Path, tmp_path: Path
) -> None:
    said: list[str] = []
    out = tmp_path / "cache"
    summary = extract(data, out, 3, policy, said=said)
    cache = FeatureCache(out)
    train = cache.indices("train")
    assert (summary.extracted, summary.views) == (80, 3 * len(train))
    rows = [row for job in JobPlan.read(folder(out) / "jobs.csv").jobs for row in job]
    sides = {photo.sha256: photo.split for photo in cache.manifest.photos}
    assert {sides[row.sha256] for row in rows} == {"train"}
    assert {row.view for row in rows} == {1, 2, 3}
    maker = ViewMaker(ViewPolicy.read(policy), 0, 16)
    views = CachedViews(cache)
    for place in train[:5]:
        photo = cache.manifest.photos[place]
        pixels = maker.views((data / photo.path).read_bytes(), photo.sha256, [1, 2, 3])
        expected = MeanColourEngine().encode(np.stack(pixels))["grid32"]
        np.testing.assert_allclose(
            views.gather("grid32", [place] * 3, [1, 2, 3]), expected, atol=1e-3
        )
    plain = views.gather("pooled", train, [0] * len(train))
    assert np.array_equal(plain, cache.gather("pooled", train))
    mixed = views.gather("pooled", train[:4], [0, 1, 0, 2])
    assert np.array_equal(mixed[::2], cache.gather("pooled", train[:4:2]))
    assert np.array_equal(mixed[1::2], views.gather("pooled", train[1:4:2], [1, 2]))
    assert (folder(out) / "views.png").stat().st_size > 1000
    assert len(said) == 1
    assert f"{3 * len(train)} views of photos of train by the policy 'jitter': about" in said[0]
    assert "views.png" in said[0]


def test_the_plain_cache_is_what_it_is_without_views(
    data: Path, policy: Path, tmp_path: Path
) -> None:
    extract(data, tmp_path / "with", 2, policy)
    extract(data, tmp_path / "without", 0, policy)
    for name in ("cache.json", "jobs.csv", "manifest.csv"):
        left, right = (tmp_path / out / name for out in ("with", "without"))
        assert left.read_bytes() == right.read_bytes()
    assert not (tmp_path / "without" / "views").exists()


def test_a_second_call_does_nothing(data: Path, policy: Path, tmp_path: Path) -> None:
    extract(data, tmp_path / "cache", 2, policy)
    engine, said = MeanColourEngine(), []
    summary = extract(data, tmp_path / "cache", 2, policy, engine=engine, said=said)
    assert (summary.views, engine.encoded, said) == (0, 0, [])


def test_more_views_make_only_the_new_ones_and_fewer_none(
    data: Path, policy: Path, tmp_path: Path
) -> None:
    out = tmp_path / "cache"
    photos = extract(data, out, 2, policy).views // 2
    before = all_views(out)
    assert extract(data, out, 5, policy).views == 3 * photos
    extract(data, tmp_path / "whole", 5, policy)
    after = all_views(out)
    assert_same(after, all_views(tmp_path / "whole"))
    assert_same(before, {key: after[key] for key in before})
    assert extract(data, out, 1, policy).views == 0
    cache = FeatureCache(out)
    assert CachedViews(cache, count=1).count == 1
    assert CachedViews(cache).count == 5


def test_views_of_val_join_those_of_train(data: Path, policy: Path, tmp_path: Path) -> None:
    out = tmp_path / "cache"
    of_train = extract(data, out, 2, policy).views
    before = all_views(out)
    cache = FeatureCache(out)
    val = cache.indices("val")
    with pytest.raises(LazarusError, match="of every photo of train and val"):
        CachedViews(cache, sides=("train", "val"))
    more = extract(data, out, 2, policy, sides=("train", "val"))
    assert more.views == 2 * len(val)
    assert extract(data, out, 2, policy).views == 0
    assert_same(before, all_views(out))
    assert of_train == 2 * len(cache.indices("train"))
    views = CachedViews(cache, sides=("train", "val"))
    seen = views.gather("pooled", val[:1], [1])
    assert not np.array_equal(seen, cache.gather("pooled", val[:1]))


@pytest.mark.parametrize("sides", [(), ("train", "train"), ("valid",)])  # type: ignore[list-item]
def test_sides_that_cannot_be(sides: tuple[Side, ...]) -> None:
    with pytest.raises(LazarusError, match="give some of train, val, test, unused"):
        ViewsSpec(1, sides=sides)


def test_killed_in_the_middle_of_views_and_resumed(
    noise: Noise, policy: Path, tmp_path: Path
) -> None:
    data, out = noise({"a": 110, "b": 90}), tmp_path / "cache"
    process = start(data, out, policy)
    deadline = time.monotonic() + 60
    while len(list(out.glob("views/*/jobs/*.npz"))) < 2:
        assert time.monotonic() < deadline
        assert process.poll() is None, process.communicate()
        time.sleep(0.005)
    process.kill()
    process.communicate()
    assert process.returncode != 0
    done = len(list(out.glob("views/*/jobs/*.npz")))
    cache = FeatureCache(out)
    with pytest.raises(LazarusError, match=r"has 0 views .* run lazarus extract"):
        CachedViews(cache)
    engine = MeanColourEngine()
    summary = extract(data, out, 4, policy, engine=engine)
    assert summary.views <= 4 * len(cache.indices("train")) - 64 * (done - 1)
    extract(data, tmp_path / "whole", 4, policy)
    assert_same(all_views(out), all_views(tmp_path / "whole"))


def test_two_processes_share_the_views(noise: Noise, policy: Path, tmp_path: Path) -> None:
    data, out = noise({"a": 120, "b": 80}), tmp_path / "cache"
    counts = []
    for process in [start(data, out, policy) for _ in range(2)]:
        output, error = process.communicate(timeout=120)
        assert process.returncode == 0, error
        counts.append(int(output.split()[-1]))
    assert sum(counts) == 4 * len(FeatureCache(out).indices("train"))
    assert min(counts) > 0
    extract(data, tmp_path / "whole", 4, policy)
    assert_same(all_views(out), all_views(tmp_path / "whole"))


def test_many_views_are_made_in_processes_and_are_the_same(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    extract(data, tmp_path / "threads", 2, Path("field"))
    monkeypatch.setattr(view_workers, "_MANY", 1)
    monkeypatch.setattr(view_workers, "_PROCESSES", 2)
    monkeypatch.setattr(view_workers, "usable_cores", lambda: 8)
    asked_for = mock.Mock(side_effect=job_runner.ordered_map)
    monkeypatch.setattr(job_runner, "ordered_map", asked_for)
    extract(data, tmp_path / "processes", 2, Path("field"))
    assert asked_for.call_args.args[2:] == (2, 48, True)
    assert_same(all_views(tmp_path / "processes"), all_views(tmp_path / "threads"))


def test_policies_and_seeds_never_mix(data: Path, policy: Path, tmp_path: Path) -> None:
    out = tmp_path / "cache"
    extract(data, out, 1, policy)
    first = all_views(out)
    other = tmp_path / "invert.yaml"
    other.write_text("- RandomInvert: {p: 1}\n")
    photos = len(FeatureCache(out).indices("train"))
    assert extract(data, out, 1, other).views == photos
    assert extract(data, out, 1, policy, seed=1).views == photos
    with pytest.raises(LazarusError, match=r"views of (invert|jitter) .*: say which"):
        all_views(out)
    inverted = all_views(out, "invert")
    cache = FeatureCache(out)
    values = cache.gather("grid32", cache.indices("train"))
    for place, plain in zip(cache.indices("train"), values, strict=True):
        path = cache.manifest.photos[place].path
        np.testing.assert_allclose(inverted[path, 1], 1 - plain, atol=0.01)
    assert_same(all_views(out, str(other)), inverted)
    with pytest.raises(LazarusError, match="say which"):
        all_views(out, "jitter")
    first_header = ViewsHeader.of(ViewPolicy.read(policy), 0)
    assert_same(all_views(out, first_header.digest[:12]), first)
    # a job file of one policy in another's folder
    source, target = (
        next((out / "views").glob(f"{header.digest[:12]}/jobs/00000.npz"))
        for header in (first_header, ViewsHeader.of(ViewPolicy.read(other), 0))
    )
    target.write_bytes(source.read_bytes())
    with pytest.raises(LazarusError, match="is damaged"):
        all_views(out, "invert")
    assert extract(data, out, 1, other).views > 0
    assert_same(all_views(out, "invert"), inverted)


def test_new_photos_get_views_and_those_that_left_train_are_not_read(
    data: Path, policy: Path, tmp_path: Path
) -> None:
    out = tmp_path / "cache"
    extract(data, out, 2, policy)
    for number in range(100, 130):
        save_noise(data / "a" / f"IMG_{number:04d}.png")
    extract(data, out, 0, policy)
    with pytest.raises(LazarusError, match=r"has 0 views .* of every photo of train"):
        CachedViews(FeatureCache(out))
    before = len(JobPlan.read(folder(out) / "jobs.csv").jobs)
    summary = extract(data, out, 2, policy)
    cache = FeatureCache(out)
    new = sum("IMG_01" in cache.manifest.photos[place].path for place in cache.indices("train"))
    assert summary.views == 2 * new > 0
    assert len(JobPlan.read(folder(out) / "jobs.csv").jobs) > before
    Extraction(
        data,
        out,
        EncoderSpec(weights="random"),
        SplitSpec(strategy="random", fractions=(0.3, 0.4, 0.3)),
        lambda _: MeanColourEngine(),
        views=ViewsSpec(2, str(policy)),
    ).run()
    cache = FeatureCache(out)
    assert {path for path, _ in all_views(out)} == {
        cache.manifest.photos[place].path for place in cache.indices("train")
    }


def test_a_policy_that_cannot_be_stops_before_any_photo_is_encoded(
    data: Path, policy: Path, tmp_path: Path
) -> None:
    policy.write_text("- RandomRotation\n")
    engine = MeanColourEngine()
    with pytest.raises(LazarusError, match="needs the argument 'degrees'"):
        extract(data, tmp_path / "cache", 2, policy, engine=engine)
    assert engine.encoded == 0
    with pytest.raises(LazarusError, match=r"views\.count -1"):
        ViewsSpec(-1)
    with pytest.raises(LazarusError, match=r"views\.seed -1"):
        ViewsSpec(1, seed=-1)


def test_a_photo_whose_view_cannot_be_decoded_is_seen_plain(
    data: Path, policy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lazarus_pl.data.decode import PhotoError

    out = tmp_path / "cache"
    extract(data, out, 0, policy)
    cache = FeatureCache(out)
    place = int(cache.indices("train")[3])
    broken = cache.manifest.photos[place].sha256
    make = ViewMaker.views

    def fail_on_one(self: ViewMaker, photo: bytes, sha256: str, numbers: object) -> object:
        if sha256 == broken:
            raise PhotoError("its tiles are missing")
        return make(self, photo, sha256, numbers)  # type: ignore[arg-type]

    monkeypatch.setattr(ViewMaker, "views", fail_on_one)
    extract(data, out, 2, policy)
    views = CachedViews(FeatureCache(out))
    assert views.count == 2
    assert np.array_equal(views.gather("pooled", [place], [2]), cache.gather("pooled", [place]))


def test_damaged_headers_are_named(data: Path, policy: Path, tmp_path: Path) -> None:
    out = tmp_path / "cache"
    extract(data, out, 1, policy)
    header = folder(out) / "views.json"
    header.write_text(header.read_text().replace('"seed": 0', '"seed": 1'))
    with pytest.raises(LazarusError, match=r"views.json' is damaged"):
        CachedViews(FeatureCache(out))


def test_views_travel_to_another_process(data: Path, policy: Path, tmp_path: Path) -> None:
    import pickle

    extract(data, tmp_path / "cache", 2, policy)
    cache = FeatureCache(tmp_path / "cache")
    views, places = CachedViews(cache), cache.indices("train")[:4]
    here = views.gather("grid32", places, [1, 2, 0, 1])
    there = pickle.loads(pickle.dumps(views)).gather("grid32", places, [1, 2, 0, 1])
    assert np.array_equal(here, there)


def start(data: Path, out: Path, policy: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", SLOW, str(data), str(out), str(policy)]
    root = Path(__file__).parent.parent.parent
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=root
    )
