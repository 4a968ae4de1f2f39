from __future__ import annotations

import csv
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from lazarus_pl.data.listing import check_sides, list_photos
from lazarus_pl.errors import LazarusError
from tests.conftest import Lazarus, save_noise

Noise = Callable[..., Path]


def labels(data: Path, *options: str) -> dict[str, str]:
    return {item.path: item.label for item in list_photos(data, *options)[1]}


def test_flat_class_folders(noise: Noise) -> None:
    found = labels(noise({"rust": 1, "healthy": 1}))
    assert found == {"healthy/IMG_0000.png": "healthy", "rust/IMG_0000.png": "rust"}


def test_nested_folders_and_their_three_readings(tmp_path: Path) -> None:
    for folder in ("corn/rust", "corn/healthy", "potato/healthy"):
        (tmp_path / folder).mkdir(parents=True)
        save_noise(tmp_path / folder / "a 1.png")
    assert set(labels(tmp_path).values()) == {"corn/rust", "corn/healthy", "potato/healthy"}
    assert set(labels(tmp_path, "top").values()) == {"corn", "potato"}
    assert set(labels(tmp_path, "parent").values()) == {"rust", "healthy"}


def test_folders_that_all_photos_share_are_no_label(tmp_path: Path) -> None:
    for label in ("rust", "healthy"):
        (tmp_path / "PlantVillage" / "color" / label).mkdir(parents=True)
        save_noise(tmp_path / "PlantVillage" / "color" / label / "a 1.png")
    assert set(labels(tmp_path).values()) == {"rust", "healthy"}


def test_split_folders_are_no_label(tmp_path: Path) -> None:
    for side in ("train", "valid", "test"):
        for label in ("rust", "healthy"):
            (tmp_path / side / label).mkdir(parents=True)
            save_noise(tmp_path / side / label / "a 1.png")
    listed = list_photos(tmp_path)[1]
    assert {item.label for item in listed} == {"rust", "healthy"}
    assert {item.split for item in listed} == {"train", "val", "test"}


@pytest.mark.parametrize("shared", [".", "PlantVillage"])
def test_a_photo_in_no_folder_does_not_make_sides_classes(shared: str, tmp_path: Path) -> None:
    for side in ("train", "test"):
        for label in ("rust", "healthy"):
            (tmp_path / shared / side / label).mkdir(parents=True)
            save_noise(tmp_path / shared / side / label / "a 1.png")
    save_noise(tmp_path / "cover.png")
    listed = list_photos(tmp_path)[1]
    assert {(item.label, item.split) for item in listed} == {
        ("", ""),
        *((label, side) for side in ("train", "test") for label in ("rust", "healthy")),
    }
    check_sides(listed)


def test_class_folders_beside_sides_are_refused(tmp_path: Path) -> None:
    for folder in ("train/rust", "Validation/rust", "samples/rust"):
        (tmp_path / folder).mkdir(parents=True)
        save_noise(tmp_path / folder / "a 1.png")
    with pytest.raises(LazarusError, match=r"'samples/rust/a 1.png' lies beside .* train and val"):
        check_sides(list_photos(tmp_path)[1])


def test_a_class_may_have_the_name_of_a_side(noise: Noise) -> None:
    folder = noise({"test": 1, "healthy": 1})
    check_sides(list_photos(folder)[1])
    assert set(labels(folder).values()) == {"test", "healthy"}


def test_upper_case_suffixes_hidden_files_and_strangers(noise: Noise) -> None:
    folder = noise({"rust": 1, "healthy": 1})
    (folder / "rust" / "IMG_0000.png").rename(folder / "rust" / "IMG_0000.PNG")
    (folder / "rust" / ".DS_Store").write_text("x")
    (folder / "rust" / "notes.txt").write_text("x")
    found = {item.path: item.looks_like_a_photo for item in list_photos(folder)[1]}
    assert found == {
        "healthy/IMG_0000.png": True,
        "rust/IMG_0000.PNG": True,
        "rust/notes.txt": False,
    }


def test_links_to_files_are_followed(noise: Noise, tmp_path: Path) -> None:
    folder = noise({"rust": 1, "healthy": 1})
    save_noise(tmp_path / "elsewhere.png")
    (folder / "rust" / "link.png").symlink_to(tmp_path / "elsewhere.png")
    assert labels(folder)["rust/link.png"] == "rust"


def test_spaces_around_headers_and_cells(noise: Noise) -> None:
    from pyarrow import Table, parquet

    folder = noise({"rust": 1})
    (folder / "t.csv").write_text("path , label\nrust/IMG_0000.png , rust\n")
    rows = {" path": ["rust/IMG_0000.png "], "label": [" rust"], "group": [float("nan")]}
    parquet.write_table(Table.from_pydict(rows), folder / "t.parquet")
    for name in ("t.csv", "t.parquet"):
        assert labels(folder / name) == {"rust/IMG_0000.png": "rust"}


def test_what_pandas_calls_missing_is_no_class(noise: Noise) -> None:
    from pyarrow import Table, parquet

    folder = noise({"rust": 2})
    rows = {"path": ["rust/IMG_0000.png", "rust/IMG_0001.png"], "label": [1.0, float("nan")]}
    parquet.write_table(Table.from_pydict(rows), folder / "t.parquet")
    with pytest.raises(LazarusError, match="no label in row 3"):
        list_photos(folder / "t.parquet")


def test_damaged_tables(noise: Noise) -> None:
    from pyarrow import Table, parquet

    folder = noise({"rust": 1})
    (folder / "t.csv").write_bytes(b"path,label\nrust/IMG\0_0000.png,rust\n")
    with pytest.raises(LazarusError, match=r"t.csv' is (damaged|no CSV)"):
        list_photos(folder / "t.csv")
    rows = {"path": [f"rust/{n}.png" for n in range(1000)], "label": ["rust"] * 1000}
    parquet.write_table(Table.from_pydict(rows), folder / "t.parquet")
    content = bytearray((folder / "t.parquet").read_bytes())
    content[4:400] = bytes(396)
    (folder / "t.parquet").write_bytes(content)
    with pytest.raises(LazarusError, match="cannot be read as a Parquet file"):
        list_photos(folder / "t.parquet")


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_tables(kind: str, noise: Noise, tmp_path: Path) -> None:
    folder = noise({"rust": 1, "healthy": 1})
    rows = [
        {"path": "photos/rust/IMG_0000.png", "label": "ill", "group": "g1", "split": "train"},
        {"path": str(folder / "healthy" / "IMG_0000.png"), "label": "well", "group": "g2"},
    ]
    rows = [{"split": "test", **row} for row in rows]
    table = tmp_path / f"table.{kind}"
    if kind == "csv":
        with table.open("w", newline="") as file:
            writer = csv.DictWriter(file, ["path", "label", "group", "split"])
            writer.writeheader()
            writer.writerows(rows)
    else:
        arrow = pytest.importorskip("pyarrow")
        from pyarrow import parquet

        parquet.write_table(arrow.Table.from_pylist(rows), table)
    root, listed = list_photos(table)
    assert root == tmp_path
    assert {(i.path, i.label, i.group, i.split) for i in listed} == {
        ("photos/rust/IMG_0000.png", "ill", "g1", "train"),
        ("photos/healthy/IMG_0000.png", "well", "g2", "test"),
    }


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("path\na.png\n", "no column 'label'"),
        ("path,label\na.png,\n", "row 2"),
        ("path,label\na.png,x\na.png,y\n", "twice"),
        ("path,label\n", "has no rows"),
        ("", "has no rows"),
    ],
)
def test_bad_tables_say_what_is_wrong(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(LazarusError, match=said):
        list_photos(tmp_path / "t.csv")


def test_a_single_photo(tmp_path: Path) -> None:
    save_noise(tmp_path / "one.png")
    root, listed = list_photos(tmp_path / "one.png")
    assert (root, [item.path for item in listed]) == (tmp_path, ["one.png"])


def test_an_empty_folder_and_a_wrong_file(tmp_path: Path) -> None:
    with pytest.raises(LazarusError, match="holds no photo"):
        list_photos(tmp_path)
    (tmp_path / "a.docx").write_text("x")
    with pytest.raises(LazarusError, match="neither a folder"):
        list_photos(tmp_path / "a.docx")


def test_links_to_folders_are_named_in_one_sentence(
    noise: Noise, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = noise({"rust": 1, "healthy": 1})
    for name in ("mould", "spots"):
        noise({name: 1}, folder="elsewhere")
        (folder / name).symlink_to(tmp_path / "elsewhere" / name)
    assert set(labels(folder).values()) == {"rust", "healthy"}
    (record,) = caplog.records
    assert "2 links to folders are not followed" in record.getMessage()
    assert str(folder / "mould") in record.getMessage()


@pytest.mark.skipif(sys.platform != "linux", reason="names are text there")
def test_a_folder_name_that_is_no_text_becomes_a_label_that_is(tmp_path: Path) -> None:
    for name in (b"rust \xff", b"rust \xfe"):
        folder = tmp_path / os.fsdecode(name)
        folder.mkdir()
        save_noise(folder / os.fsdecode(b"a\xff 1.png"))
    found = labels(tmp_path)
    assert sorted(found.values()) == [r"rust \xfe", r"rust \xff"]
    assert all((tmp_path / path).exists() for path in found)


@pytest.mark.parametrize("name", ["IMG_0001.HEIC", "b.avif", "c.gif"])
def test_pictures_of_other_kinds_are_told_what_to_do(name: str, tmp_path: Path) -> None:
    said = f"{Path(name).suffix[1:].upper()} is not read: save it as JPEG"
    (tmp_path / name).write_bytes(b"x")
    for data in (tmp_path, tmp_path / name):
        with pytest.raises(LazarusError, match=f"'{name}': {said}"):
            list_photos(data)
    save_noise(tmp_path / "d.png")
    (tmp_path / "notes.txt").touch()
    refusals = {item.path: item.refusal for item in list_photos(tmp_path)[1]}
    assert refusals == {
        name: said,
        "d.png": "",
        "notes.txt": "its name is not that of a photo",
    }


@pytest.mark.parametrize("verb", ["extract", "audit", "run"])
def test_photos_without_class_folders_are_one_sentence(
    verb: str, noise: Noise, tmp_path: Path, lazarus: Lazarus
) -> None:
    folder = noise({"rust": 2}) / "rust"
    done = lazarus(verb, "--data", folder, "--out", tmp_path / "out")
    assert done.code == 2
    assert f"the photos of '{folder}' have no class" in done.err
    assert "into a folder of its own" in done.err
    assert done.err.count("\n") == 1


def test_a_table_of_a_spreadsheet_that_writes_semicolons(tmp_path: Path) -> None:
    save_noise(tmp_path / "a, b.png")
    text = "\ufeffpath;label\na, b.png;rust, brown\n"
    (tmp_path / "t.csv").write_text(text, encoding="utf-8")
    assert labels(tmp_path / "t.csv") == {"a, b.png": "rust, brown"}
