from __future__ import annotations

import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs" / "callbacks.md"


def test_the_example_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (code,) = re.findall(r"```python\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)
    exec(compile(code, str(DOCS), "exec"), {"__name__": "example"})
    assert re.search(r"best 0\.\d+, \d+ rollbacks, phase 1", capsys.readouterr().out)
    for name in (
        "last_good.ckpt",
        "gradients.jsonl",
        "checkpoints/versions.json",
        "events.out.tfevents*",
    ):
        assert list(tmp_path.rglob(name)), name


def test_every_callback_is_named() -> None:
    import callbacks

    text = DOCS.read_text(encoding="utf-8")
    assert all(name in text for name in callbacks.__all__)
