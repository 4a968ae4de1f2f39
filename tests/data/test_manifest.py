from __future__ import annotations

import codecs
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from lazarus_pl.data.build_manifest import build_manifest
from lazarus_pl.data.listing import list_photos
from lazarus_pl.data.manifest import Manifest
from lazarus_pl.data.split.split_spec import SplitSpec
from lazarus_pl.data.table import read_table, write_table
from lazarus_pl.errors import LazarusError
from tests.conftest import save_noise

Noise = Callable[..., Path]


def build(data: Path, folder: Path) -> Manifest:
    folder.mkdir(exist_ok=True)
    return build_manifest(data, folder, SplitSpec())[1]


def test_round_trip_with_odd_names(noise: Noise, tmp_path: Path) -> None:
    data = noise({'quoted "class", with comma': 4, "früh 疫病": 4})
    manifest = build(data, tmp_path / "out")
    assert Manifest.read(tmp_path / "out") == manifest
    assert manifest.class_names == ("früh 疫病", 'quoted "class", with comma')
    assert manifest.photos[0].width == 24


def test_unusable_files_go_to_the_quarantine_with_their_reasons(
    noise: Noise, tmp_path: Path
) -> None:
    data = noise({"a": 6, "b": 6})
    whole = (data / "a" / "IMG_0000.png").read_bytes()
    (data / "a" / "empty.jpg").write_bytes(b"")
    (data / "a" / "cut.png").write_bytes(whole[: len(whole) // 2])
    (data / "a" / "text.jpg").write_text("no photo")
    (data / "b" / "readme.txt").write_text("no photo either")
    (data / "b" / "gone.png").symlink_to(tmp_path / "nowhere.png")
    (data / "b" / "folder.png").mkdir()
    save = Image.fromarray(np.zeros((4, 4, 3), np.uint8))
    save.save(data / "stray.png")
    manifest = build(data, tmp_path / "out")
    assert len(manifest.photos) == 12
    reasons = {item.path: item.reason for item in manifest.quarantine}
    assert set(reasons) == {
        "a/empty.jpg",
        "a/cut.png",
        "a/text.jpg",
        "b/readme.txt",
        "b/gone.png",
        "stray.png",
    }
    assert all(reasons.values())
    assert "empty" in reasons["a/empty.jpg"]
    assert "no class folder" in reasons["stray.png"]


def test_the_same_bytes_under_two_labels_are_reported(
    noise: Noise, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data = noise({"a": 40, "b": 40})
    shutil.copy(data / "a" / "IMG_0003.png", data / "b" / "IMG_0099.png")

    manifest = build(data, tmp_path / "out")
    ((first, second),) = manifest.conflicts()
    assert {first.path, second.path} == {"a/IMG_0003.png", "b/IMG_0099.png"}
    assert first.split == second.split
    assert "the same bytes under different labels" in caplog.text


def test_a_second_scan_opens_only_what_changed(
    noise: Noise, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lazarus_pl.data import scan

    data = noise({"a": 5, "b": 5})
    first = build(data, tmp_path / "out")
    opened: list[Path] = []
    read = scan.read_bytes
    monkeypatch.setattr(scan, "read_bytes", lambda path: opened.append(path) or read(path))
    assert build(data, tmp_path / "out") == first
    assert opened == []
    Image.new("RGB", (9, 9)).save(data / "a" / "IMG_0001.png")
    build(data, tmp_path / "out")
    assert [path.name for path in opened] == ["IMG_0001.png"]


def test_no_usable_photo_is_a_sentence_and_the_quarantine_is_kept(tmp_path: Path) -> None:
    (tmp_path / "data" / "a").mkdir(parents=True)
    (tmp_path / "data" / "a" / "x.jpg").write_bytes(b"")
    with pytest.raises(LazarusError, match=r"quarantine\.csv"):
        build(tmp_path / "data", tmp_path / "out")
    quarantine = read_table(tmp_path / "out" / "quarantine.csv")
    assert [row["path"] for row in quarantine] == ["a/x.jpg"]


def test_one_usable_class_is_a_sentence_and_the_quarantine_is_kept(
    noise: Noise, tmp_path: Path
) -> None:
    data = noise({"a": 4, "b": 1})
    (data / "b" / "IMG_0000.png").write_bytes(b"broken")
    with pytest.raises(LazarusError, match="only one class"):
        build(data, tmp_path / "out")
    assert len(read_table(tmp_path / "out" / "quarantine.csv")) == 1


@pytest.mark.parametrize("wrong", ["flat", "other"])
def test_wrong_data_leaves_the_manifest_as_it_was(wrong: str, noise: Noise, tmp_path: Path) -> None:
    build(noise({"a": 6, "b": 6}), tmp_path / "out")
    before = Manifest.read(tmp_path / "out")
    if wrong == "flat":
        (tmp_path / "flat").mkdir()
        save_noise(tmp_path / "flat" / "IMG_0001.png")
        said = "have no class"
    else:
        noise({"c": 6, "d": 6}, "other")
        said = "not one is the same"
    with pytest.raises(LazarusError, match=said):
        build(tmp_path / wrong, tmp_path / "out")
    assert Manifest.read(tmp_path / "out").photos == before.photos


def test_a_moved_folder_keeps_its_manifest(noise: Noise, tmp_path: Path) -> None:
    data = noise({"a": 6, "b": 6})
    first = build(data, tmp_path / "out")
    data.rename(tmp_path / "moved")
    assert build(tmp_path / "moved", tmp_path / "out").photos == first.photos


@settings(deadline=None)
@given(st.lists(st.binary(min_size=1), min_size=1, max_size=8))
def test_any_name_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, names: list[bytes]
) -> None:
    # what a file system may give: any bytes but zero
    named = [name.replace(b"\0", b"\r").decode("utf-8", "surrogateescape") for name in names]
    table = tmp_path_factory.mktemp("table") / "t.csv"
    write_table(table, ("path", "label"), [(name, '"a", b\n') for name in named])
    assert [row["path"] for row in read_table(table)] == named


def test_sides_and_groups_that_are_not_used_are_told(
    noise: Noise, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for side in ("train", "val", "test"):
        noise({f"{side}/a": 12, f"{side}/b": 12})
    build(tmp_path / "photos", tmp_path / "out")
    assert "--split.strategy predefined does" in caplog.text


def test_links_to_folders_are_told(
    noise: Noise, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data = noise({"a": 4, "b": 4})
    (tmp_path / "elsewhere").mkdir()
    (data / "c").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    list_photos(data)
    assert "links to folders are not followed" in caplog.text


def test_a_manifest_that_was_read_is_what_was_written(noise: Noise, tmp_path: Path) -> None:
    built = build(noise({"b": 30, "a": 30}), tmp_path / "out")
    read = Manifest.read(tmp_path / "out")
    assert read == built
    assert built == read
    assert read.photos[3:9:2] == built.photos[3:9:2]
    assert read.photos[-1] == built.photos[-1]
    assert list(reversed(read.photos)) == list(reversed(built.photos))
    for manifest in (built, read):
        labels = [manifest.class_names[place] for place in manifest.targets]
        assert labels == [photo.label for photo in built.photos]
        assert list(manifest.column("path")) == [photo.path for photo in built.photos]
        assert list(manifest.column("width")) == ["24"] * 60
        for side in ("train", "val", "test", "unused", "nowhere"):
            expected = [photo for photo in built.photos if photo.split == side]
            assert list(manifest.side(side)) == expected
            assert [built.photos[place] for place in manifest.indices(side)] == expected
    some = read.take(np.array([5, 2]))
    assert some.photos == (built.photos[5], built.photos[2])
    assert some != read
    with pytest.raises(IndexError):
        read.photos[60]


def test_a_cut_manifest_is_named(noise: Noise, tmp_path: Path) -> None:
    build(noise({"a": 4, "b": 4}), tmp_path / "out")
    path = tmp_path / "out" / "manifest.csv"
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(LazarusError, match=r"manifest\.csv' is damaged \(row 8 has"):
        Manifest.read(tmp_path / "out")


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (b"", "the column 'path' is missing"),
        (b"\0" * 99, "the column 'path' is missing|NUL"),
        (b"nonsense", "the column 'path' is missing"),
        (b"path,label,bytes,sha", "the column 'sha256' is missing"),
        (b"path,label\n1,2\n", "the column 'bytes' is missing"),
        (b"HEADERx,y,notint\n", "row 1 has 3 cells, not 10"),
        (b"path,HEADER", "the column 'path' is there twice"),
    ],
    ids=["empty", "zeros", "nonsense", "cut header", "few columns", "a short row", "twice"],
)
def test_a_damaged_manifest_is_named_and_never_taken_for_an_empty_one(
    damage: bytes, said: str, noise: Noise, tmp_path: Path
) -> None:
    data = noise({"a": 4, "b": 4})
    build(data, tmp_path / "out")
    path = tmp_path / "out" / "manifest.csv"
    header = path.read_bytes().splitlines(keepends=True)[0]
    path.write_bytes(damage.replace(b"HEADER", header))
    with pytest.raises(LazarusError, match=rf"manifest\.csv' is damaged \(.*({said}).*dealt anew"):
        Manifest.read(tmp_path / "out")
    left = path.read_bytes()
    with pytest.raises(LazarusError, match="damaged"):
        build(data, tmp_path / "out")
    assert path.read_bytes() == left


def test_a_manifest_that_an_editor_saved_is_read(noise: Noise, tmp_path: Path) -> None:
    manifest = build(noise({"a": 4, "b": 4}), tmp_path / "out")
    for name in ("manifest.csv", "quarantine.csv"):
        path = tmp_path / "out" / name
        path.write_bytes(codecs.BOM_UTF8 + path.read_bytes())
    assert Manifest.read(tmp_path / "out") == manifest


def test_a_class_without_a_usable_photo_is_a_sentence_and_the_quarantine_is_kept(
    noise: Noise, tmp_path: Path
) -> None:
    data = noise({"a": 6, "b": 2})
    for photo in (data / "b").iterdir():
        photo.write_bytes(b"")
    with pytest.raises(LazarusError, match=r"only one class, 'a'.*2 files .*quarantine\.csv"):
        build(data, tmp_path / "out")
    assert "b/IMG_0001.png" in (tmp_path / "out" / "quarantine.csv").read_text()


def test_another_photo_under_the_same_name_is_not_settled(noise: Noise, tmp_path: Path) -> None:
    data = noise({"a": 40, "b": 40})
    first = {photo.path: photo for photo in build(data, tmp_path / "out").photos}
    assert first["a/IMG_0039.png"].split == "test"
    shutil.copy(data / "a" / "IMG_0000.png", data / "a" / "IMG_0039.png")
    again = build_manifest(data, tmp_path / "out", SplitSpec(), keep_sides=True)[1]
    sides = {photo.path: photo.split for photo in again.photos}
    assert (sides["a/IMG_0000.png"], sides["a/IMG_0039.png"]) != ("train", "test")


def test_photos_that_are_moved_and_classes_that_are_renamed_keep_their_sides(
    noise: Noise, tmp_path: Path
) -> None:
    data = noise({"a": 40, "b": 40})
    build(data, tmp_path / "out")
    # later photos are divided among themselves: all anew, sides would be others
    noise({"a": 60, "b": 60})
    before = build_manifest(data, tmp_path / "out", SplitSpec(), keep_sides=True)[1]
    sides = {photo.sha256: photo.split for photo in before.photos}
    assert sides != {photo.sha256: photo.split for photo in build(data, tmp_path / "new").photos}
    (data / "all").mkdir()
    (data / "a").rename(data / "all" / "healthy")
    (data / "b").rename(data / "all" / "b")
    after = build_manifest(data, tmp_path / "out", SplitSpec(), keep_sides=True)[1]
    assert after.class_names == ("b", "healthy")
    assert {photo.sha256: photo.split for photo in after.photos} == sides


def test_a_copy_does_not_take_the_side_of_a_photo_that_is_still_there(
    noise: Noise, tmp_path: Path
) -> None:
    data = noise({"a": 40, "b": 40})
    first = {photo.path: photo.split for photo in build(data, tmp_path / "out").photos}
    shutil.copy(data / "a" / "IMG_0000.png", data / "a" / "IMG_0039.png")
    again = build_manifest(data, tmp_path / "out", SplitSpec(), keep_sides=True)[1]
    moved = {p.path for p in again.photos if p.split not in (first[p.path], "unused")}
    assert moved <= {"a/IMG_0039.png"}


def test_a_quarantine_that_is_lost_or_damaged_costs_no_sides(noise: Noise, tmp_path: Path) -> None:
    data, out = noise({"a": 4, "b": 4}), tmp_path / "out"
    (data / "a" / "broken.png").write_bytes(b"no photo")
    before = build(data, out)
    assert len(before.quarantine) == 1
    before.write(out)
    path = out / "quarantine.csv"
    path.write_text("nonsense\n1\n")
    with pytest.raises(LazarusError, match=r"quarantine\.csv' is damaged .* delete it and run"):
        Manifest.read(out)
    path.unlink()
    with pytest.raises(LazarusError, match=r"has lost its quarantine\.csv: run lazarus extract"):
        Manifest.read(out)
    again = build(data, out)
    assert list(again.photos) == list(before.photos)
    assert again.quarantine == before.quarantine
