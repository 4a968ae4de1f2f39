from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from lazarus_pl.cache import extraction as module
from lazarus_pl.cache.extraction import Extraction, ExtractionSummary
from lazarus_pl.cache.feature_cache import FeatureCache
from lazarus_pl.data import scan
from lazarus_pl.data.corrections import Corrections
from lazarus_pl.data.decode import PhotoError
from lazarus_pl.data.split.split_spec import SplitSpec
from lazarus_pl.encoder.encoder_spec import EncoderSpec
from lazarus_pl.views.views_spec import ViewsSpec
from tests.cache.engines import MeanColourEngine
from tests.conftest import save_noise

Noise = Callable[..., Path]


@pytest.fixture
def data(noise: Noise) -> Path:
    return noise({"a": 40, "b": 40})


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Datasets that were listed and scanned."""
    seen: list[Path] = []
    build = module.build_manifest

    def counted(data: Path, *others: object) -> object:
        seen.append(data)
        return build(data, *others)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "build_manifest", counted)
    return seen


def extract(data: Path, out: Path, verify: bool = False, **options: object) -> ExtractionSummary:
    values = {"encoder": EncoderSpec(weights="random"), "split": SplitSpec(), **options}
    return Extraction(data, out, make_engine=lambda _: MeanColourEngine(), **values).run(verify)  # type: ignore[arg-type]


def test_a_finished_cache_is_told_of_without_a_scan(
    data: Path, tmp_path: Path, looks: list[Path]
) -> None:
    first = extract(data, tmp_path / "cache")
    again = extract(data, tmp_path / "cache")
    assert len(looks) == 1
    assert (again.extracted, first.extracted) == (0, 80)
    for name in ("photos", "quarantined", "classes", "sides"):
        assert getattr(again, name) == getattr(first, name)
    assert sum(again.sides.values()) == 80
    extract(data, tmp_path / "cache", verify=True)
    assert len(looks) == 2


def add(data: Path, out: Path) -> None:
    save_noise(data / "a" / "IMG_9999.png")


def remove(data: Path, out: Path) -> None:
    (data / "a" / "IMG_0003.png").unlink()


def rename(data: Path, out: Path) -> None:
    (data / "a" / "IMG_0003.png").rename(data / "b" / "IMG_8003.png")


def overwrite(data: Path, out: Path) -> None:
    save_noise(data / "a" / "IMG_0003.png", size=23)


def touch(data: Path, out: Path) -> None:
    os.utime(data / "a" / "IMG_0003.png", ns=(1, 1))


def exchange(data: Path, out: Path) -> None:
    first, second = data / "a" / "IMG_0003.png", data / "b" / "IMG_0003.png"
    first.rename(data / "a" / "IMG_0003.tmp")
    second.rename(first)
    (data / "a" / "IMG_0003.tmp").rename(second)


def lose_a_job(data: Path, out: Path) -> None:
    (out / "jobs" / "00001.npz").unlink()


def damage_a_job(data: Path, out: Path) -> None:
    path = out / "jobs" / "00001.npz"
    path.write_bytes(path.read_bytes()[:-1])


def lose_the_manifest(data: Path, out: Path) -> None:
    (out / "manifest.csv").unlink()


def damage_the_seal(data: Path, out: Path) -> None:
    (out / "finished.json").write_text("{")


@pytest.mark.parametrize(
    "change",
    [
        *(add, remove, rename, overwrite, touch, exchange),
        *(lose_a_job, damage_a_job, lose_the_manifest, damage_the_seal),
    ],
)
def test_whatever_changes_is_looked_at(
    change: Callable[[Path, Path], None], data: Path, tmp_path: Path, looks: list[Path]
) -> None:
    out = tmp_path / "cache"
    extract(data, out)
    change(data, out)
    extract(data, out)
    assert len(looks) == 2
    listed = {path.relative_to(data).as_posix() for path in data.rglob("*.png")}
    assert {photo.path for photo in FeatureCache(out).manifest.photos} == listed
    extract(data, out)
    assert len(looks) == 2


@pytest.mark.parametrize(
    "options",
    [
        {"split": SplitSpec(seed=3)},
        {"label_from": "top"},
        {"corrections": Corrections(excluded={"a/IMG_0001.png": "no leaf"})},
        {"views": ViewsSpec(1)},
    ],
    ids=str,
)
def test_whatever_else_is_asked_for_is_done(
    options: dict[str, object], data: Path, tmp_path: Path, looks: list[Path]
) -> None:
    extract(data, tmp_path / "cache")
    extract(data, tmp_path / "cache", **options)
    assert len(looks) == 2
    extract(data, tmp_path / "cache", **options)
    assert len(looks) == 2


def test_another_folder_with_the_same_photos_is_another_dataset(
    data: Path, tmp_path: Path, looks: list[Path]
) -> None:
    extract(data, tmp_path / "cache")
    shutil.copytree(data, tmp_path / "copy")
    extract(tmp_path / "copy", tmp_path / "cache")
    assert len(looks) == 2


def test_a_table_and_its_photos_are_looked_at(
    data: Path, tmp_path: Path, looks: list[Path]
) -> None:
    table = tmp_path / "photos.csv"
    names = sorted(path.relative_to(tmp_path).as_posix() for path in data.rglob("*.png"))
    lines = [f"{name},{name.split('/')[1]}" for name in names]
    table.write_text("\n".join(["path,label", *lines]) + "\n")
    extract(table, tmp_path / "cache")
    extract(table, tmp_path / "cache")
    assert len(looks) == 1
    save_noise(data / "a" / "IMG_0003.png", size=23)
    extract(table, tmp_path / "cache")
    assert len(looks) == 2


def test_a_photo_that_was_added_during_the_extraction_is_not_sealed_away(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build = module.build_manifest

    def late(*arguments: object) -> object:
        built = build(*arguments)  # type: ignore[arg-type]
        save_noise(data / "a" / "IMG_9999.png")
        return built

    monkeypatch.setattr(module, "build_manifest", late)
    assert extract(data, tmp_path / "cache").photos == 80
    monkeypatch.undo()
    assert extract(data, tmp_path / "cache").photos == 81


@pytest.mark.parametrize("reason", ["cannot be read: Permission denied", "needs more memory"])
def test_what_may_pass_is_looked_at_again(
    reason: str, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = scan.read_bytes

    def refuse(path: Path) -> bytes:
        if path.name == "IMG_0007.png":
            raise PhotoError(reason)
        return read(path)

    monkeypatch.setattr(scan, "read_bytes", refuse)
    assert extract(data, tmp_path / "cache").quarantined == 2
    monkeypatch.undo()
    assert extract(data, tmp_path / "cache").photos == 80


@pytest.mark.parametrize("stray", [".DS_Store", "abc/jobs.csv"])
def test_what_else_lies_beside_views_is_no_error(stray: str, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "cache"
    extract(data, out)
    (out / "finished.json").unlink()
    (out / "views" / stray).parent.mkdir(parents=True, exist_ok=True)
    (out / "views" / stray).touch()
    extract(data, out)
    assert (out / "finished.json").is_file()


def test_what_another_process_changed_meanwhile_is_not_sealed(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "cache"
    extract(data, out)
    told = module._told

    def beside(manifest: object) -> object:
        monkeypatch.setattr(module, "_told", told)
        extract(data, out, split=SplitSpec("random"))
        return told(manifest)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "_told", beside)
    first = extract(data, out, verify=True)
    again = extract(data, out)
    assert again.sides == first.sides
    assert [photo.split for photo in FeatureCache(out).manifest.photos].count(
        "train"
    ) == again.sides["train"]
