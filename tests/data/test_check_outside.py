from __future__ import annotations

from pathlib import Path

import pytest

from lazarus_pl.data.check_outside import check_outside
from lazarus_pl.errors import LazarusError
from tests.conftest import Lazarus


@pytest.mark.parametrize("place", ["photos", "photos/cache", "photos/rust/../new/cache"])
def test_what_is_written_is_not_in_the_photos_folder(place: str, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    with pytest.raises(LazarusError, match="name a folder elsewhere"):
        check_outside(tmp_path / place, tmp_path / "photos")


@pytest.mark.parametrize("place", ["cache", "photos2/cache", "photos/.cache/a", "photos/../cache"])
def test_elsewhere_and_hidden_will_do(place: str, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    check_outside(tmp_path / place, tmp_path / "photos")


def test_beside_a_table_will_do(tmp_path: Path) -> None:
    (tmp_path / "photos.csv").touch()
    check_outside(tmp_path / "cache", tmp_path / "photos.csv")


@pytest.mark.parametrize("verb", ["extract", "audit", "run", "explain"])
def test_verbs_do_not_write_among_the_photos(
    verb: str, drawn: Path, lazarus: Lazarus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(drawn)
    before = sorted(drawn.rglob("*"))
    checkpoint = ("--ckpt", "no.ckpt") if verb == "explain" else ()
    done = lazarus(verb, "--data", ".", "--out", "OUT", *checkpoint)
    assert done.code == 2
    assert "'OUT' is in '.'" in done.err
    assert sorted(drawn.rglob("*")) == before
