from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from lazarus_pl.data import check_same_data as module
from lazarus_pl.data.build_manifest import build_manifest
from lazarus_pl.data.check_same_data import check_same_data
from lazarus_pl.data.listing import list_photos
from lazarus_pl.data.split.split_spec import SplitSpec
from lazarus_pl.errors import LazarusError

Noise = Callable[..., Path]


@pytest.fixture
def folder(noise: Noise, tmp_path: Path) -> Path:
    """A folder with a manifest of the photos ``mine``."""
    folder = tmp_path / "folder"
    folder.mkdir()
    build_manifest(noise({"a": 4, "b": 4}, "mine"), folder, SplitSpec())
    return folder


def test_a_folder_without_a_manifest_takes_any_data(noise: Noise, tmp_path: Path) -> None:
    data = noise({"a": 4, "b": 4})
    check_same_data(data, *list_photos(data), tmp_path)


def test_one_photo_that_is_there_is_enough(folder: Path, noise: Noise, tmp_path: Path) -> None:
    data = noise({"c": 4, "d": 4}, "others")
    with pytest.raises(LazarusError, match="holds other photos than"):
        check_same_data(data, *list_photos(data), folder)
    known = sorted((tmp_path / "mine").rglob("*.png"))[-1]
    (data / "d" / "known.png").write_bytes(known.read_bytes())
    check_same_data(data, *list_photos(data), folder)


def test_photos_that_cannot_be_read_are_no_other_photos(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path) -> str:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(module, "sha256_of_file", refuse)
    data = tmp_path / "mine"
    check_same_data(data, *list_photos(data), folder)
