from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lazarus_pl.data import text_table
from lazarus_pl.data.table import read_table, write_table
from lazarus_pl.data.text_table import TextTable

COLUMNS = ("path", "label", "bytes")
CELLS = st.text(st.characters(codec="utf-8"), max_size=9) | st.text('a,"\r\n ', max_size=9)
ROWS = st.lists(st.tuples(CELLS, CELLS, st.integers(-(2**63) + 1, 2**63 - 1)), max_size=20)


def written(path: Path, text: str) -> TextTable:
    path.write_bytes(text.encode())
    return TextTable.read(path)


@settings(deadline=None)
@given(rows=ROWS, block=st.sampled_from([1, 16, 1 << 20]))
def test_gives_what_was_written(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str, int]], block: int
) -> None:
    path = tmp_path_factory.mktemp("table") / "t.csv"
    write_table(path, COLUMNS, rows)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text_table, "_BLOCK", block)
        table = TextTable.read(path)
    assert [table.row(place) for place in range(len(table))] == read_table(path)
    assert list(table.column("label")) == [row[1] for row in rows]
    assert table.integers("bytes").tolist() == [row[2] for row in rows]


def test_more_rows_and_bytes_than_are_looked_at_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text_table, "_BLOCK", 64)
    monkeypatch.setattr(text_table, "_CHUNK", 8)
    rows = [(f"p{number}", "x" * (number % 5), 10**number) for number in range(19)]
    write_table(tmp_path / "t.csv", COLUMNS, rows)
    table = TextTable.read(tmp_path / "t.csv")
    assert list(zip(table.column("path"), table.column("label"), strict=True)) == [
        row[:2] for row in rows
    ]
    assert table.integers("bytes").tolist() == [row[2] for row in rows]
    some = table.take(np.array([18, 3]))
    assert list(some.column("path")) == ["p18", "p3"]
    assert some.row(-1) == {"path": "p3", "label": "xxx", "bytes": "1000"}
    assert table.take(slice(2, 4)).integers("bytes").tolist() == [100, 1000]


@pytest.mark.parametrize(
    "text",
    [
        "a,b\n1,x y\n2,z\n",
        "a,b\r\n1,x y\r\n2,z\r\n",
        "a,b\n1,x y\n\n2,z\n",
        "a,b\n1,x y\n2,z",
        '"a","b"\n1,"x y"\n2,z\n',
        "\ufeffa,b\n1,x y\n2,z\n",
        '\ufeff"a","b"\n1,x y\n2,z\n',
    ],
    ids=["as we write", "Windows", "a blank line", "no end", "quoted", "marked", "marked, quoted"],
)
def test_what_an_editor_makes_of_it_is_read(text: str, tmp_path: Path) -> None:
    table = written(tmp_path / "t.csv", text)
    assert table.columns == ("a", "b")
    assert table.integers("a").tolist() == [1, 2]
    assert list(table.column("b")) == ["x y", "z"]


@pytest.mark.parametrize("text", ["a,b\n1\n", "a,b\n1,2,3\n", "a,b\n1\n2,3,4\n", 'a,b\n"1,2\n'])
def test_rows_of_another_length_are_refused(text: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"row 1 has \d cells, not 2"):
        written(tmp_path / "t.csv", text)


@pytest.mark.parametrize("cell", ["", "x", "1x", "1.0", "9" * 19, "9" * 25, "²", "-", " "])
def test_what_is_no_number_is_refused(cell: str, tmp_path: Path) -> None:
    table = written(tmp_path / "t.csv", f"a,b\n5,{cell}\n")
    with pytest.raises(ValueError, match=r"invalid literal|too large"):
        table.integers("b")


@pytest.mark.parametrize(("cell", "value"), [("-3", -3), (" 4", 4), ("007", 7), ("+5", 5)])
def test_numbers_are_read_as_python_reads_them(cell: str, value: int, tmp_path: Path) -> None:
    assert written(tmp_path / "t.csv", f"a,b\n5,{cell}\n").integers("b").tolist() == [value]


@pytest.mark.parametrize("text", ["", "a,b\n", "nonsense"])
def test_nothing_in_it(text: str, tmp_path: Path) -> None:
    table = written(tmp_path / "t.csv", text)
    assert len(table) == 0
    if text == "a,b\n":
        assert list(table.column("b")) == []
        assert table.integers("a").tolist() == []


@pytest.mark.parametrize("text", ["a,b,a\n1,2,3\n", 'a,b,"a"', "a,b,a\n"])
def test_two_columns_of_one_name_are_refused(text: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="the column 'a' is there twice"):
        written(tmp_path / "t.csv", text)


def test_a_column_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(KeyError, match="c"):
        written(tmp_path / "t.csv", "a,b\n1,2\n").column("c")


def test_a_cell_larger_than_the_csv_module_takes(tmp_path: Path) -> None:
    large = "x" * (csv.field_size_limit() + 1)
    assert list(written(tmp_path / "t.csv", f"a,b\n1,{large}\n").column("b")) == [large]
    with pytest.raises(ValueError, match="field larger"):
        written(tmp_path / "t.csv", f'a,b\n1,"{large}"\n')
