from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.mark.slow
@pytest.mark.parametrize(
    "command",
    [("ruff", "check", "."), ("ruff", "format", "--check", "."), ("mypy",)],
    ids=["ruff check", "ruff format", "mypy --strict"],
)
def test_the_tree_is_clean(command: tuple[str, ...]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_callbacks_know_nothing_of_lazarus() -> None:
    for path in (ROOT / "callbacks").glob("*.py"):
        assert "lazarus" not in path.read_text(encoding="utf-8"), path


def test_one_public_class_a_file_named_after_it() -> None:
    import ast

    for path in [*(ROOT / "lazarus_pl").rglob("*.py"), *(ROOT / "callbacks").glob("*.py")]:
        if path.name == "__init__.py":
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        names = [
            node.name
            for node in tree.body
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
        ]
        squashed = path.stem.replace("_", "")
        others = [name for name in names if name.lower() != squashed]
        # small records and errors may live beside what returns or raises them
        assert len(others) <= 1 or path.stem in ("grid_spec",), f"{path}: {names}"


ARROWS = {
    "data": set(),
    "heads": set(),
    "encoder": {"data"},
    "leaf": {"data"},
    "views": {"data", "leaf"},
    "cache": {"data", "encoder", "leaf", "views"},
    "datamodules": {"data", "encoder", "cache", "leaf", "views"},
    # fine-tuning trains the encoder's last blocks
    "tasks": {"encoder", "heads"},
    "explain": {"data", "heads", "leaf", "tasks"},
    "doubt": {"data", "encoder", "cache", "datamodules", "heads", "tasks"},
    "export": {"doubt", "encoder", "tasks"},
    "grid": {"data", "encoder", "cache", "datamodules", "doubt", "heads", "tasks"},
    "audit": {"data", "encoder", "cache", "datamodules", "heads", "tasks"},
}


@pytest.mark.parametrize("room", ARROWS)
def test_arrows_go_one_way(room: str) -> None:
    import re

    for path in (ROOT / "lazarus_pl" / room).rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        rooms = set(re.findall(r"from lazarus_pl\.(\w+)\.\w+", text)) - {room}
        assert rooms <= ARROWS[room], f"{path} imports {rooms - ARROWS[room]}"
