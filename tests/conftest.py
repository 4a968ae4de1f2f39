"""What many tests need: photos, a cache of them, and the command line."""

from __future__ import annotations

import gc
import os
import shutil

# before torch is imported: CUDA is hidden, so that a suite is the same on every machine
if not os.environ.get("LAZARUS_TEST_GPU"):
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
# likewise: processes that test side by side would starve each other's threads
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image

from lazarus_pl.audit import shortcuts
from lazarus_pl.cli import main
from lazarus_pl.data.procedural.procedural_leaves import ProceduralLeaves
from tests import forked


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests begin first, so that no process is alone with one at the end."""
    slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
    items.sort(key=lambda item: -slow[item.path])


def pytest_collection_finish() -> None:
    """What was imported stays, so that looking for garbage need not look through it."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True, scope="session")
def _small_forests() -> Iterator[None]:
    """Growing two hundred trees takes as long for a few photos as for thousands."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shortcuts, "_TREES", 40)
        yield


@pytest.fixture(scope="session")
def forks() -> None:
    """What begins the processes of tests/forked.py is at work."""
    forked.serve()


class Outcome(NamedTuple):
    code: int
    out: str
    err: str


Lazarus = Callable[..., Outcome]


@pytest.fixture
def lazarus(capsys: pytest.CaptureFixture[str]) -> Lazarus:
    """Runs the command line in this process."""

    def run(*words: object) -> Outcome:
        capsys.readouterr()
        code = main([str(word) for word in words])
        captured = capsys.readouterr()
        return Outcome(code, captured.out, captured.err)

    return run


@pytest.fixture(scope="session")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """45 small photos of 15 drawn leaves in three classes."""
    leaves = ProceduralLeaves(
        {"healthy": 6, "late_blight": 4, "rust": 5}, photos_per_leaf=(3, 3), size=64, seed=3
    )
    return leaves.write(tmp_path_factory.mktemp("drawn"))


@pytest.fixture(scope="session")
def cache(drawn: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache of the drawn photos: the real encoder with its real weights, at 64 px."""
    folder = tmp_path_factory.mktemp("cache") / "cache"
    words = ["extract", "--data", drawn, "--out", folder, "--encoder.image_size", 64]
    assert main([str(word) for word in words]) == 0
    return folder


@pytest.fixture(scope="session")
def viewed(cache: Path, drawn: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same cache with four views of every training photo."""
    folder = tmp_path_factory.mktemp("viewed") / "cache"
    shutil.copytree(cache, folder)
    words = ["extract", "--data", drawn, "--out", folder, "--encoder.image_size", 64]
    assert main([*map(str, words), "--views.count=4", "--views.policy=field"]) == 0
    return folder


@pytest.fixture(scope="session")
def drawn_large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same classes in photos of three sizes, most larger than 64 px."""
    folder = tmp_path_factory.mktemp("drawn_large")
    leaves = ProceduralLeaves(
        {"healthy": 6, "late_blight": 4, "rust": 5}, photos_per_leaf=(3, 3), size=128, seed=3
    )
    root = leaves.write(folder)
    for number, path in enumerate(sorted(root.rglob("*.jpg"))):
        with Image.open(path) as image:
            image.resize(((64, 64), (128, 128), (192, 96))[number % 3]).save(path, quality=95)
    return root


@pytest.fixture(scope="session")
def windowed(drawn_large: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache of photos in two windows of 64 px along their short sides."""
    folder = tmp_path_factory.mktemp("windowed") / "cache"
    words = ["extract", "--data", drawn_large, "--out", folder, "--encoder.image_size", 64]
    assert main([*map(str, words), "--windows", "2"]) == 0
    return folder


@pytest.fixture
def noise(tmp_path: Path) -> Callable[..., Path]:
    """Makes class folders of tiny photos of noise with numbered names."""

    def make(counts: dict[str, int], folder: str = "photos", size: int = 24) -> Path:
        for label, count in counts.items():
            (tmp_path / folder / label).mkdir(parents=True, exist_ok=True)
            for number in range(count):
                save_noise(tmp_path / folder / label / f"IMG_{number:04d}.png", size)
        return tmp_path / folder

    return make


def save_noise(path: Path, size: int = 24) -> None:
    """Writes a photo of noise that its path determines."""
    seed = list(os.fsencode(f"{path.parent.name}/{path.name}"))
    pixels = np.random.default_rng(seed).integers(0, 256, (size, size, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real photos, or a skip."""
    text = os.environ.get("LAZARUS_REAL_DATA")
    if not text:
        pytest.skip("LAZARUS_REAL_DATA is not set")
    folder = Path(text)
    if not folder.is_dir():
        pytest.fail(f"LAZARUS_REAL_DATA is no folder: {folder}")
    return folder
