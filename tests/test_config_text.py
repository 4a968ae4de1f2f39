"""What a config says, with what it refers to."""

from __future__ import annotations

from pathlib import Path

import pytest

from lazarus_pl.config_text import config_text


def test_a_config_by_itself_is_its_text(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("trainer: {max_epochs: 2}\nname: b.yaml\n")
    assert config_text(tmp_path / "a.yaml") == (tmp_path / "a.yaml").read_text()


def test_files_that_it_names_count_wherever_they_are_named(tmp_path: Path) -> None:
    (tmp_path / "parts").mkdir()
    (tmp_path / "a.yaml").write_text("trainer: parts/t.yaml\n")
    (tmp_path / "parts" / "t.yaml").write_text("callbacks: [{init_args: c.json}]\n")
    (tmp_path / "parts" / "c.json").write_text("{}")
    first = config_text(tmp_path / "a.yaml")
    (tmp_path / "parts" / "c.json").write_text("{patience: 3}")
    assert config_text(tmp_path / "a.yaml") != first


def test_files_that_name_each_other_end(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("b: b.yaml\n")
    (tmp_path / "b.yaml").write_text("a: a.yaml\n")
    assert config_text(tmp_path / "a.yaml") == "b: b.yaml\n\0a: a.yaml\n"


def test_what_is_no_yaml_is_told_where_it_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("a: [\n")
    assert config_text(tmp_path / "a.yaml") == "a: [\n"
    with pytest.raises(FileNotFoundError):
        config_text(tmp_path / "b.yaml")


def test_odd_values_are_no_files(tmp_path: Path) -> None:
    text = f"a: &a [*a, {'x' * 300}.yaml, 'b\\0.yaml', 3]\n".replace("'b\\0", '"b\\0').replace(
        ".yaml', 3", '.yaml", 3'
    )
    (tmp_path / "a.yaml").write_text(text)
    assert config_text(tmp_path / "a.yaml") == text
