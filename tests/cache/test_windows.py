"""Photos in sliding windows, as micro-jobs."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lazarus_pl.cache.bound_engine import BoundEngine
from lazarus_pl.cache.extraction import Extraction, ExtractionSummary
from lazarus_pl.cache.feature_cache import FeatureCache
from lazarus_pl.cache.job_plan import JobPlan, Row
from lazarus_pl.data.decode import read_large, read_pixels
from lazarus_pl.data.manifest import Manifest
from lazarus_pl.data.split.split_spec import SplitSpec
from lazarus_pl.encoder.encoder_spec import EncoderSpec
from lazarus_pl.encoder.windows_spec import WindowsSpec
from lazarus_pl.errors import LazarusError
from lazarus_pl.views.views_spec import ViewsSpec
from tests.cache.engines import MeanColourEngine

SIZES = ((32, 32), (100, 70), (64, 200), (20, 30), (300, 128))

SLOW = """
import sys
from pathlib import Path
from lazarus_pl.cache.extraction import Extraction
from lazarus_pl.data.split.split_spec import SplitSpec
from lazarus_pl.encoder.encoder_spec import EncoderSpec
from lazarus_pl.encoder.windows_spec import WindowsSpec
from tests.cache.test_windows import WindowEngine
data, out = map(Path, sys.argv[1:])
engine = WindowEngine(seconds=0.2)
extraction = Extraction(
    data, out, EncoderSpec(weights="random"), SplitSpec(), lambda _: engine, windows=WindowsSpec(2)
)
print("extracted", extraction.run().extracted)
"""


class WindowEngine(MeanColourEngine):
    """Mean colours of windows and of their quarters."""

    size = 32
    most = 0

    @property
    def identity(self) -> dict[str, object]:
        return {**super().identity, "image_size": self.size}

    def encode(self, photos: np.ndarray) -> dict[str, np.ndarray]:
        time.sleep(self.seconds)
        assert photos.shape[1:] == (self.size, self.size, 3)
        self.encoded += len(photos)
        self.most = max(self.most, len(photos))
        half = self.size // 2
        cut = photos.reshape(len(photos), 2, half, 2, half, 3)
        # a test counts the memory that photos take: none for copies of them
        quarters = cut.mean(axis=(2, 4), dtype=np.float32) / 255
        pooled = quarters.mean(axis=(1, 2))
        return {"pooled": pooled.astype(np.float16), "grid32": quarters.astype(np.float16)}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """40 photos of noise in five sizes, of two classes."""
    rng = np.random.default_rng(0)
    for number in range(40):
        folder = tmp_path / "photos" / ("a", "b")[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        width, height = SIZES[number % len(SIZES)]
        pixels = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"IMG_{number:04d}.png")
    return tmp_path / "photos"


def extract(
    data: Path,
    out: Path,
    windows: WindowsSpec | None = None,
    engine: WindowEngine | None = None,
    said: list[str] | None = None,
) -> ExtractionSummary:
    engine = engine or WindowEngine()
    return Extraction(
        data,
        out,
        EncoderSpec(weights="random"),
        SplitSpec(),
        lambda _: engine,
        say=([] if said is None else said).append,
        windows=windows or WindowsSpec(2),
    ).run()


def grids_of(out: Path) -> dict[str, np.ndarray]:
    cache = FeatureCache(out)
    grids = cache.grids("grid32", range(len(cache.manifest.photos)))
    return {photo.path: grid for photo, grid in zip(cache.manifest.photos, grids, strict=True)}


def assert_same(left: dict[str, np.ndarray], right: dict[str, np.ndarray]) -> None:
    assert left.keys() == right.keys()
    for path, grid in left.items():
        np.testing.assert_allclose(grid, right[path], atol=1e-3)


def test_grids_are_those_of_the_whole_photos(data: Path, tmp_path: Path) -> None:
    """Cells of mean colours do not depend on the window: stitched, they are the photo's."""
    extract(data, tmp_path / "cache")
    for path, grid in grids_of(tmp_path / "cache").items():
        pixels = read_large((data / path).read_bytes(), 32, 2, 32) / 255
        rows, columns = pixels.shape[0] // 16, pixels.shape[1] // 16
        cells = pixels.reshape(rows, 16, columns, 16, 3).mean(axis=(1, 3))
        assert grid.shape == (rows, columns, 3)
        np.testing.assert_allclose(grid, cells, atol=2e-3)


def test_sizes_follow_the_photos_and_small_ones_are_whole(data: Path, tmp_path: Path) -> None:
    extract(data, tmp_path / "cache")
    shapes = {
        Path(path).stem: grid.shape[:2] for path, grid in grids_of(tmp_path / "cache").items()
    }
    expected = [(2, 2), (4, 6), (12, 4), (2, 2), (4, 10)]
    assert [shapes[f"IMG_{number:04d}"] for number in range(5)] == expected
    small = (data / "b" / "IMG_0003.png").read_bytes()
    whole = WindowEngine().encode(read_pixels(small, 32)[None])
    cache = FeatureCache(tmp_path / "cache")
    place = [photo.path for photo in cache.manifest.photos].index("b/IMG_0003.png")
    np.testing.assert_array_equal(cache.grids("grid32", [place])[0], whole["grid32"][0])
    np.testing.assert_array_equal(cache.gather("pooled", [place])[0], whole["pooled"][0])


def test_pooled_is_the_mean_over_windows(data: Path, tmp_path: Path) -> None:
    extract(data, tmp_path / "cache")
    cache = FeatureCache(tmp_path / "cache")
    for place, photo in enumerate(cache.manifest.photos[:5]):
        pixels = read_large((data / photo.path).read_bytes(), 32, 2, 32)
        windows = WindowsSpec(2).over(photo.width, photo.height, 32)
        pooled = WindowEngine().encode(np.stack(list(windows.cut(pixels))))["pooled"]
        expected = pooled.astype(np.float32).mean(axis=0)
        np.testing.assert_allclose(cache.gather("pooled", [place])[0], expected, atol=1e-3)


def test_jobs_and_what_an_engine_is_given_are_of_64_windows_at_most(
    data: Path, tmp_path: Path
) -> None:
    engine = WindowEngine()
    extract(data, tmp_path / "cache", engine=engine)
    photos = {photo.sha256: photo for photo in FeatureCache(tmp_path / "cache").manifest.photos}

    def windows(row: Row) -> int:
        photo = photos[row.sha256]
        return len(WindowsSpec(2).over(photo.width, photo.height, 32).places)

    plan = JobPlan.read(tmp_path / "cache" / "jobs.csv")
    counts = [sum(map(windows, job)) for job in plan.jobs]
    assert len(counts) > 2
    assert max(counts) <= 64
    assert 8 < engine.most <= 64


def test_a_large_photo_takes_little_more_memory_than_its_pixels(data: Path, tmp_path: Path) -> None:
    # what is imported when it is needed is not what a photo takes
    extract(data, tmp_path / "small")
    rng = np.random.default_rng(0)
    for number in range(100, 106):
        small = rng.integers(0, 256, (30, 40, 3), dtype=np.uint8)
        image = Image.fromarray(small).resize((4000, 3000), Image.Resampling.NEAREST)
        image.save(data / "a" / f"IMG_{number:04d}.jpg")
    engine = WindowEngine()
    engine.size = 128
    tracemalloc.start()
    extract(data, tmp_path / "cache", WindowsSpec(8), engine)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    photo = 1024 * 1376 * 3
    assert engine.encoded > 6 * 64
    assert engine.most == 64
    assert peak < 3.5 * photo, "photos wait decoded, or windows are copied all at once"


def test_the_cost_is_said_before_it_starts(data: Path, tmp_path: Path) -> None:
    said: list[str] = []
    extract(data, tmp_path / "cache", said=said)
    photos = FeatureCache(tmp_path / "cache").manifest.photos
    count = sum(len(WindowsSpec(2).over(p.width, p.height, 32).places) for p in photos)
    assert len(said) == 1
    assert said[0].startswith(f"40 photos, {count} windows of 32 pixels: about ")
    extract(data, tmp_path / "cache", said=said)
    assert len(said) == 1, "nothing is left to do"


def test_an_engine_is_chosen_for_the_number_of_windows(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[int] = []
    bind = BoundEngine.bind

    def counted(self: BoundEngine, root: Path, manifest: Manifest, left: int) -> object:
        told.append(left)
        return bind(self, root, manifest, left)

    monkeypatch.setattr(BoundEngine, "bind", counted)
    extract(data, tmp_path / "cache")
    photos = FeatureCache(tmp_path / "cache").manifest.photos
    count = sum(len(WindowsSpec(2).over(p.width, p.height, 32).places) for p in photos)
    assert set(told) == {count}


@pytest.mark.skipif(sys.platform == "win32", reason="signals differ")
def test_killed_and_resumed_equals_never_killed(data: Path, tmp_path: Path) -> None:
    root = Path(__file__).parent.parent.parent
    command = [sys.executable, "-c", SLOW, str(data), str(tmp_path / "cache")]
    process = subprocess.Popen(command, cwd=root)
    deadline = time.monotonic() + 60
    while not list((tmp_path / "cache" / "jobs").glob("*.npz")):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = len(list((tmp_path / "cache" / "jobs").glob("*.npz")))
    plan = JobPlan.read(tmp_path / "cache" / "jobs.csv")
    assert 0 < done < len(plan.jobs)
    summary = extract(data, tmp_path / "cache")
    assert summary.extracted == 40 - sum(len(job) for job in plan.jobs[:done])
    extract(data, tmp_path / "whole")
    assert_same(grids_of(tmp_path / "cache"), grids_of(tmp_path / "whole"))


def test_two_processes_share_the_windows(data: Path, tmp_path: Path) -> None:
    root = Path(__file__).parent.parent.parent
    command = [sys.executable, "-c", SLOW, str(data), str(tmp_path / "cache")]
    both = [subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, text=True) for _ in (0, 1)]
    counts = [int(process.communicate(timeout=120)[0].split()[-1]) for process in both]
    assert sum(counts) == 40
    extract(data, tmp_path / "whole")
    assert_same(grids_of(tmp_path / "cache"), grids_of(tmp_path / "whole"))


def test_photos_that_break_are_quarantined_and_others_keep_their_grids(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lazarus_pl.data.decode import PhotoError
    from lazarus_pl.encoder import windows_spec

    extract(data, tmp_path / "whole")
    broken = (data / "b" / "IMG_0007.png").read_bytes()

    def fail_on_one(photo: bytes, *options: object) -> np.ndarray:
        if photo == broken:
            raise PhotoError("cannot be decoded: tiles are missing")
        return read_large(photo, *options)  # type: ignore[arg-type]

    monkeypatch.setattr(windows_spec, "read_large", fail_on_one)
    summary = extract(data, tmp_path / "cache")
    assert (summary.photos, summary.quarantined) == (39, 1)
    assert "tiles are missing" in (tmp_path / "cache" / "quarantine.csv").read_text()
    whole = grids_of(tmp_path / "whole")
    del whole["b/IMG_0007.png"]
    assert_same(grids_of(tmp_path / "cache"), whole)


@pytest.mark.parametrize(
    ("first", "then"),
    [
        (WindowsSpec(2), WindowsSpec(3)),
        (WindowsSpec(2), WindowsSpec(2, 0.5)),
        (WindowsSpec(2), WindowsSpec()),
        (WindowsSpec(), WindowsSpec(2)),
    ],
)
def test_windows_never_mix(
    first: WindowsSpec, then: WindowsSpec, data: Path, tmp_path: Path
) -> None:
    extract(data, tmp_path / "cache", first)
    said = rf"was made by .* {first}, not by .* {then}: name another folder with --out"
    with pytest.raises(LazarusError, match=said):
        extract(data, tmp_path / "cache", then)
    assert extract(data, tmp_path / "cache", first).extracted == 0


def test_mistakes(data: Path, tmp_path: Path) -> None:
    for wrong in ({"count": 0}, {"count": 2, "overlap": 1.0}, {"overlap": -0.1}):
        with pytest.raises(LazarusError, match="cannot be"):
            WindowsSpec(**wrong)  # type: ignore[arg-type]
    with pytest.raises(LazarusError, match="do not go with photos in windows"):
        Extraction(
            data,
            tmp_path / "cache",
            EncoderSpec(weights="random"),
            SplitSpec(),
            lambda _: WindowEngine(),
            views=ViewsSpec(2),
            windows=WindowsSpec(2),
        )
    extract(data, tmp_path / "cache")
    with pytest.raises(LazarusError, match=r"holds grids of photos in 2 windows .* differ in size"):
        FeatureCache(tmp_path / "cache").gather("grid32", [0])
    (tmp_path / "cache" / "jobs" / "00000.npz").unlink()
    with pytest.raises(LazarusError, match=r"--windows\.count 2 --windows\.overlap 0\.25 again"):
        FeatureCache(tmp_path / "cache")
