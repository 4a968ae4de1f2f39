from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from lazarus_pl.cli import LIGHTNING_VERBS, VERBS

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = [
    line
    for block in re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
    for line in block.splitlines()
    if line.startswith("lazarus ")
]


def test_the_two_commands_are_there() -> None:
    assert "pip install -e . && lazarus demo" in README
    assert 'pip install -e ".[test]" && pytest' in README
    assert 'pip install -e ".[test]" && pytest' in (ROOT / ".ci" / "run").read_text()


def test_every_named_file_exists() -> None:
    for name in re.findall(r"(?:configs|benchmarks|docs)/[\w/]+\.\w+", README):
        assert (ROOT / name).exists(), name


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_parses(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    from lazarus_pl.cli import main

    _, verb, *words = shlex.split(command)
    assert verb in (*VERBS, *LIGHTNING_VERBS)
    with pytest.raises(SystemExit):
        main([verb, "--help"])
    text = capsys.readouterr().out
    for word in words:
        if word.startswith("-") and not word.startswith(("--data.", "--model.", "--trainer.")):
            assert word.split("=")[0] in text, word
