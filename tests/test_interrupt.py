"""Ctrl-C while modules are imported."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import Lazarus

# as if the key was pressed while a module is looked for
PRESSED = """
import signal, sys

class Press:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            sys.meta_path.remove(self)
            signal.raise_signal(signal.SIGINT)

sys.meta_path.insert(0, Press())
signal.signal(signal.SIGINT, signal.default_int_handler)
from lazarus_pl.__main__ import start
sys.argv[:] = ["lazarus", *{words!r}]
sys.exit(start())
"""
SWALLOWED = """
import signal, time
from lazarus_pl.late_interrupt import LateInterrupt

signal.signal(signal.SIGINT, signal.default_int_handler)
LateInterrupt()
import swallows
try:
    time.sleep(60)
except KeyboardInterrupt:
    print("stopped", swallows.whole)
"""
TWICE = """
import signal, time
from lazarus_pl.late_interrupt import LateInterrupt

signal.signal(signal.SIGINT, signal.default_int_handler)
LateInterrupt()
import presses
stopped = 0
for _ in range(2):
    try:
        time.sleep(0.5)
    except KeyboardInterrupt:
        stopped += 1
print(stopped)
"""
PRESSES = """
import signal, time
for _ in range(3):
    signal.raise_signal(signal.SIGINT)
time.sleep(0.1)
"""
IGNORED = """
import signal
signal.signal(signal.SIGINT, signal.SIG_IGN)
from lazarus_pl.late_interrupt import LateInterrupt

LateInterrupt().end()
print(signal.getsignal(signal.SIGINT) is signal.SIG_IGN)
"""
SWALLOWS = """
import signal, time
try:
    signal.raise_signal(signal.SIGINT)
    time.sleep(0.2)
    whole = True
except BaseException:
    whole = False
"""


def run(code: str, folder: Path, timeout: float = 120) -> subprocess.CompletedProcess[str]:
    root = Path(__file__).parents[1]
    return subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path[:0] = [{str(root)!r}, '.']\n{code}"],
        cwd=folder,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=timeout,
    )


@pytest.mark.parametrize("module", ["lazarus_pl.cli", "inspect", "jsonargparse", "filelock"])
def test_it_ends_while_modules_are_imported(module: str, drawn: Path, tmp_path: Path) -> None:
    words = ["run", "--data", str(drawn), "--out", "run", "--encoder.image_size=64"]
    ended = run(PRESSED.format(module=module, words=words), tmp_path)
    assert (ended.returncode, "Traceback" in ended.stderr) == (130, False), ended.stderr


def test_an_import_is_finished_first_and_cannot_swallow_it(tmp_path: Path) -> None:
    (tmp_path / "swallows.py").write_text(SWALLOWS)
    ended = run(SWALLOWED, tmp_path, timeout=30)
    assert ended.stdout == "stopped True\n", ended.stderr


def test_pressed_again_and_again_it_comes_once(tmp_path: Path) -> None:
    (tmp_path / "presses.py").write_text(PRESSES)
    ended = run(TWICE, tmp_path, timeout=30)
    assert ended.stdout == "1\n", ended.stderr


def test_where_it_is_ignored_it_stays_so(tmp_path: Path) -> None:
    ended = run(IGNORED, tmp_path, timeout=30)
    assert ended.stdout == "True\n", ended.stderr


def test_called_from_python_nothing_is_changed(lazarus: Lazarus) -> None:
    before = signal.getsignal(signal.SIGINT)
    assert lazarus("--version").code == 0
    assert signal.getsignal(signal.SIGINT) is before
