from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from lazarus_pl.audit import survey as module
from lazarus_pl.audit.survey import Survey, survey_photos
from lazarus_pl.data.listing import list_photos
from lazarus_pl.data.scan import scan_photos
from tests.conftest import save_noise


@pytest.fixture
def photos(noise: Callable[..., Path]) -> Path:
    return noise({"a": 6, "b": 4})


def _survey(photos: Path, folder: Path) -> Survey:
    folder.mkdir(exist_ok=True)
    return survey_photos(*list_photos(photos), folder)


def test_sees_what_a_scan_sees(photos: Path, tmp_path: Path) -> None:
    (photos / "a" / "broken.jpg").write_bytes(b"no photo")
    found = _survey(photos, tmp_path / "out")
    usable, rejected = scan_photos(*list_photos(photos))
    assert [item.photo for item in found.seen] == usable
    assert list(found.rejected) == rejected
    assert [item.path for item in found.rejected] == ["a/broken.jpg"]


def test_a_second_survey_opens_only_what_changed(photos: Path, tmp_path: Path) -> None:
    first = _survey(photos, tmp_path / "out")
    assert first.opened == 10
    again = _survey(photos, tmp_path / "out")
    assert (again.seen, again.opened) == (first.seen, 0)
    save_noise(photos / "b" / "new.png", size=31)
    (photos / "a" / "IMG_0000.png").unlink()
    changed = _survey(photos, tmp_path / "out")
    assert changed.opened == 1
    assert len(changed.seen) == 10


def test_a_killed_survey_continues(
    noise: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos = noise({"a": 300, "b": 4})
    inspect = module.inspect_photo

    def dies(path: Path, item: object) -> object:
        if path.name == "IMG_0002.png" and path.parent.name == "b":
            raise KeyboardInterrupt
        return inspect(path, item)

    monkeypatch.setattr(module, "inspect_photo", dies)
    with pytest.raises(KeyboardInterrupt):
        _survey(photos, tmp_path / "out")
    monkeypatch.undo()
    after = _survey(photos, tmp_path / "out")
    assert 0 < after.opened < 200
    assert len(after.seen) == 304


@pytest.mark.parametrize("cut", [3, 40, 150])
def test_a_line_that_was_cut_short_is_measured_again(
    cut: int, photos: Path, tmp_path: Path
) -> None:
    first = _survey(photos, tmp_path / "out")
    table = tmp_path / "out" / "survey.csv"
    table.write_bytes(table.read_bytes()[:-cut])
    after = _survey(photos, tmp_path / "out")
    assert after.seen == first.seen
    assert after.opened == 1
    assert _survey(photos, tmp_path / "out").opened == 0


def test_names_with_commas_quotes_and_line_breaks(photos: Path, tmp_path: Path) -> None:
    save_noise(photos / "a" / 'odd, "name"\nof 7.png')
    first = _survey(photos, tmp_path / "out")
    again = _survey(photos, tmp_path / "out")
    assert again.opened == 0
    assert again.seen == first.seen


def test_processes_see_what_threads_see(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (photos / "a" / "broken.jpg").write_bytes(b"no photo")
    threads = _survey(photos, tmp_path / "threads")
    monkeypatch.setattr(module, "_MANY", 1)
    assert _survey(photos, tmp_path / "processes") == threads
