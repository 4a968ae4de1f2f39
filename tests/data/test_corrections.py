from __future__ import annotations

from pathlib import Path

import pytest

from lazarus_pl.data.corrections import Corrections
from lazarus_pl.data.listing import Listed
from lazarus_pl.data.manifest import Manifest
from lazarus_pl.errors import LazarusError
from tests.conftest import Lazarus

HEAD = "path,action,suggested\n"


def _table(folder: Path, rows: str, head: str = HEAD) -> Path:
    path = folder / "doubts.csv"
    path.write_text(head + rows, encoding="utf-8")
    return path


def test_relabels_excludes_and_keeps(tmp_path: Path) -> None:
    path = _table(tmp_path, "a/1.jpg,relabel,b\na/2.jpg,EXCLUDE,\na/3.jpg,keep,b\na/4.jpg,,b\n")
    listed = [Listed(f"a/{number}.jpg", "a") for number in range(1, 6)]
    stay, out = Corrections.read(path).apply(listed)
    assert [(item.path, item.label) for item in stay] == [
        ("a/1.jpg", "b"),
        ("a/3.jpg", "a"),
        ("a/4.jpg", "a"),
        ("a/5.jpg", "a"),
    ]
    assert [(item.path, item.label) for item in out] == [("a/2.jpg", "a")]
    assert "doubts.csv" in out[0].reason


def test_tells_of_photos_that_are_not_there(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    corrections = Corrections.read(_table(tmp_path, "gone.jpg,exclude,\n"))
    corrections.apply([Listed("a/1.jpg", "a")])
    assert "gone.jpg" in caplog.text


@pytest.mark.parametrize(
    ("rows", "head", "said"),
    [
        ("a.jpg,remove,b\n", HEAD, "'remove' in row 2"),
        ("a.jpg,relabel,\n", HEAD, "suggests nothing"),
        ("a.jpg,b\n", "path,suggested\n", "no column 'action'"),
    ],
)
def test_a_table_that_cannot_be_is_one_sentence(
    rows: str, head: str, said: str, tmp_path: Path
) -> None:
    with pytest.raises(LazarusError, match=said):
        Corrections.read(_table(tmp_path, rows, head))


def test_a_missing_table_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(LazarusError, match="columns path, action and suggested"):
        Corrections.read(tmp_path / "nowhere.csv")


def test_extract_takes_them(drawn: Path, cache: Path, tmp_path: Path, lazarus: Lazarus) -> None:
    before = Manifest.read(cache)
    moved, dropped = before.photos[0], before.photos[-1]
    assert moved.label != dropped.label
    table = _table(tmp_path, f"{moved.path},relabel,{dropped.label}\n{dropped.path},exclude,\n")
    done = lazarus(
        *("extract", "--data", drawn, "--out", tmp_path / "cache", "--corrections", table),
        *("--encoder.image_size", 32, "--encoder.layers", "[pooled]"),
    )
    assert done.code == 0, done.err
    after = Manifest.read(tmp_path / "cache")
    assert {p.path: p.label for p in after.photos}[moved.path] == dropped.label
    assert dropped.path in {item.path for item in after.quarantine}
    assert len(after.photos) == len(before.photos) - 1


def test_corrections_of_a_spreadsheet_that_writes_semicolons(tmp_path: Path) -> None:
    text = "\ufeffpath;action;suggested\na.png;relabel;rust\nb.png;exclude;\n"
    (tmp_path / "c.csv").write_text(text, encoding="utf-8")
    corrections = Corrections.read(tmp_path / "c.csv")
    assert dict(corrections.labels) == {"a.png": "rust"}
    assert list(corrections.excluded) == ["b.png"]
