from __future__ import annotations

import errno
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lazarus_pl import __version__
from lazarus_pl.cli import LIGHTNING_VERBS, VERBS
from lazarus_pl.shipped_config import shipped_config
from tests.conftest import Lazarus


def test_help_names_every_verb(lazarus: Lazarus) -> None:
    done = lazarus("--help")
    assert done.code == 0
    for verb in (*VERBS, *LIGHTNING_VERBS):
        assert f"\n  {verb} " in done.out
    assert "lazarus run --data PHOTOS --out RUN" in done.out


def test_help_is_quick_and_does_not_import_torch() -> None:
    code = (
        "import sys; from lazarus_pl.cli import main; main(['--help']); "
        "sys.exit('torch' in sys.modules)"
    )
    started = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert time.perf_counter() - started < 1.5


def test_the_package_gives_its_classes_and_imports_none_before_it_is_asked() -> None:
    code = """
import sys, lazarus_pl
assert "torch" not in sys.modules
for name in lazarus_pl.__all__:
    assert getattr(lazarus_pl, name).__name__ == name
assert not hasattr(lazarus_pl, "Clasifier")
assert {*lazarus_pl.__all__} < {*dir(lazarus_pl)}
from lightning.pytorch import LightningDataModule, LightningModule
from lazarus_pl.allowed_classes import _ALLOWED
kinds = {name: getattr(lazarus_pl, name) for name in lazarus_pl.__all__}
named = {
    f"lazarus_pl.{name}" for name, kind in kinds.items()
    if isinstance(kind, type) and issubclass(kind, (LightningDataModule, LightningModule))
}
assert named == {each for each in _ALLOWED if each.removeprefix("lazarus_pl.") in kinds}
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_module_and_version() -> None:
    command = [sys.executable, "-m", "lazarus_pl", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == f"lazarus {__version__}\n"


@pytest.mark.parametrize("verb", [*VERBS, *LIGHTNING_VERBS])
def test_every_verb_has_help_and_takes_a_config(
    verb: str, capsys: pytest.CaptureFixture[str]
) -> None:
    from lazarus_pl.cli import main

    with pytest.raises(SystemExit) as stop:
        main([verb, "--help"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    assert "-c" in text
    assert "--config" in text
    assert "default:" in text or verb == "grid"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["frobnicate"], "there is no verb 'frobnicate'"),
        (["exract"], "did you mean 'extract'?"),
        (["extract", "--dta", "x"], "there is no option --dta"),
        (["extract", "--data", "no/such/folder", "--out", "x"], "'no/such/folder' does not exist"),
        (["extract", "-c", "no.yaml"], "no.yaml' does not exist: name a YAML file with -c"),
        (
            ["grid", "-c", "no.yaml", "--cache", "x", "--out", "y"],
            "no.yaml' does not exist: name a YAML file with -c",
        ),
        (["fit", "-c", "no.yaml"], "no.yaml' does not exist: name a YAML file with -c"),
        (["run", "-c", "."], "' is not a file: name a YAML file with -c"),
        (["fit", "-c", "."], "' is not a file: name a YAML file with -c"),
        (
            ["run", "--data", "x", "--out", "y", "--patches.config", "no.yaml"],
            "no.yaml' does not exist: name a YAML file with --patches.config",
        ),
        (
            ["grid", "--configs={a: no.yaml}", "--cache", "x", "--out", "y"],
            "no.yaml' does not exist: name a YAML file with --configs",
        ),
        (["classify", "--ckpt", "no.ckpt", "--data", "no"], "'no' does not exist"),
        (["extract", "--data", "x" * 5000, "--out", "x"], "give a shorter path"),
        (["extract", "--verify=maybe"], "verify: expected true or false, got 'maybe'"),
        (["demo", "--seed", "-1"], "seed -1 cannot be"),
        (["demo", "--leaves", "0"], "leaves 0.0 cannot be"),
        (["fit", "--trainer.max_epocs=3"], "did you mean '--trainer.max_epochs'?"),
        (["run"], "--data and --out are missing"),
        (["checkpoints", "list"], "RUN is missing"),
        (["grid", "--cache", "x", "--out", "y"], "--configs is missing"),
        (["run", "photos", "RUN"], "'photos' belongs to no option"),
        (["run", "--data", "my", "photos", "--out", "x"], "quotes around a value with spaces"),
        (["run", "--data"], "--data needs a value after it"),
        (
            ["extract", "--data", "x", "--out", "y", "--encoder", "resnet18"],
            "--encoder takes a YAML file, and 'resnet18' is none: its single values are "
            "--encoder.name, --encoder.weights",
        ),
        (
            ["extract", "--data", "x", "--out", "y", "--encoder", "no.yaml"],
            "'no.yaml' does not exist: name a YAML file, or single values",
        ),
        (["fit", "--data", "no/where.yaml"], "'no/where.yaml' does not exist: name a YAML file"),
        (["fit", "--model", "no.yml"], "'no.yml' does not exist: name a YAML file"),
        (
            ["explain", "--ckpt", "x", "--data", "y", "--methods", "ig"],
            "methods: expected a list in brackets, such as [a, b], got 'ig'",
        ),
        (["run", "--data", "x", "--out", "y", "--time", "9min"], "mean '--budget.time'?"),
        (["fit"], "nothing says what is trained"),
        (["fit", "--data.init_args.cache", "x"], "-c, such as configs/heads/mlp.yaml"),
        (["fit", "-c", "configs/heads/mlp.yaml"], "--data.init_args.cache is missing"),
        (
            ["fit", "-c", "configs/heads/mlp.yaml", "--cache", "x"],
            "there is no option --cache, did you mean '--data.init_args.cache'?",
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_mistakes_are_one_sentence_and_exit_code_2(
    words: list[str],
    said: str,
    lazarus: Lazarus,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    done = lazarus(*words)
    assert done.code == 2
    assert len(done.err) < 1000
    assert done.err.startswith("lazarus: error: ")
    assert done.err.count("\n") == 1
    assert said in done.err
    assert list(tmp_path.iterdir()) == []


def test_no_verb_shows_the_help_and_fails(lazarus: Lazarus) -> None:
    done = lazarus()
    assert done.code == 2
    assert "usage: lazarus" in done.out


def test_a_misspelt_config_key_is_named(lazarus: Lazarus, tmp_path: Path) -> None:
    config = tmp_path / "extract.yaml"
    config.write_text("data: photos\nout: cache\nbatch_sise: 4\n")
    done = lazarus("extract", "-c", config)
    assert done.code == 2
    assert "'batch_sise'" in done.err
    assert "did you mean 'batch_size'?" in done.err


@pytest.mark.parametrize("words", [["--verify"], ["--verify", "true"], ["--verify=false"], []])
def test_options_that_are_on_or_off_stand_alone(
    words: list[str], lazarus: Lazarus, tmp_path: Path
) -> None:
    done = lazarus("extract", *words, "--out", tmp_path / "cache", "--data", tmp_path / "none")
    assert "none' does not exist" in done.err


def test_cache_is_another_name_of_extracts_out(lazarus: Lazarus, tmp_path: Path) -> None:
    done = lazarus("extract", "--data", tmp_path / "none", f"--cache={tmp_path / 'cache'}")
    assert "'" + str(tmp_path / "none") + "' does not exist" in done.err


def test_threads_sleep_while_they_wait_unless_told_otherwise(
    lazarus: Lazarus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    lazarus("--version")
    assert os.environ["OMP_WAIT_POLICY"] == "PASSIVE"
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    lazarus("--version")
    assert os.environ["OMP_WAIT_POLICY"] == "ACTIVE"


@pytest.mark.parametrize("verb", ["extract", "fit"])
@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"data: \xff\xfe", "'c.yaml' is not UTF-8 text"),
        (b"a: [\n", "in 'c.yaml': no YAML at line 2"),
        (b"- a\n", "in 'c.yaml': a config file holds keys with values, not '- a'"),
        (b"", "in 'c.yaml': a config file holds keys with values, and this one is empty"),
        (b"# a: 1\n", "in 'c.yaml': a config file holds keys with values, and this one is empty"),
    ],
    ids=["bytes", "syntax", "list", "empty", "comment"],
)
def test_config_files_that_are_none(
    verb: str,
    content: bytes,
    said: str,
    lazarus: Lazarus,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("c.yaml").write_bytes(content)
    done = lazarus(verb, "-c", "c.yaml")
    assert done.code == 2
    assert said in done.err
    assert done.err.count("\n") == 1


@pytest.mark.parametrize(
    ("verb", "content", "said"),
    [
        ("extract", "encoder: {nam: a}", "'encoder.nam', did you mean 'encoder.name'?"),
        ("extract", "encodr: {name: a}", "'encodr.name', did you mean 'encoder'?"),
        ("fit", "modl: {a: 3}", "'modl.a', did you mean 'model'?"),
        ("fit", "trainer: {max_epocs: 3}", "did you mean 'trainer.max_epochs'?"),
        (
            "fit",
            "model: {class_path: ClassificationTask, init_args: {lr: abc}}",
            "model.init_args.lr: expected a number, got 'abc'",
        ),
        (
            "fit",
            "model: {class_path: ClassificationTask, init_args: {learning: 3}}",
            "there is no config key 'learning': there are head, head_options, lr",
        ),
        ("fit", "trainer: {callbacks: [{class_path: EarlyStoping}]}", "no class 'EarlyStoping'"),
        ("fit", "trainer: {max_epochs: abc}", "trainer.max_epochs: expected a whole number"),
    ],
)
def test_mistakes_in_config_files_name_the_key(
    verb: str, content: str, said: str, lazarus: Lazarus, tmp_path: Path
) -> None:
    (tmp_path / "c.yaml").write_text(content)
    done = lazarus(verb, "-c", tmp_path / "c.yaml")
    assert done.code == 2
    assert said in done.err
    assert done.err.count("\n") == 1


def test_a_full_disk_is_one_sentence(
    lazarus: Lazarus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(number: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    done = lazarus("demo", "--out", tmp_path, "--leaves", 0.1)
    assert done.code == 2
    assert done.err.startswith("lazarus: error: ")
    assert "No space left on device" in done.err
    assert "free some space" in done.err


@pytest.mark.parametrize("verb", ["demo", "fit"])
def test_a_place_that_cannot_be_written_is_named(
    verb: str, cache: Path, lazarus: Lazarus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("lightning_logs").touch()
    config = Path(__file__).parent.parent / "configs" / "heads" / "linear.yaml"
    words = {
        "demo": ("--out", "lightning_logs/demo"),
        "fit": ("-c", config, f"--data.init_args.cache={cache}", "--trainer.max_epochs=1"),
    }
    done = lazarus(verb, *words[verb])
    assert done.code == 2
    assert "lightning_logs" in done.err
    assert done.err.count("lazarus: error: ") == 1
    assert "Traceback" not in done.err


@pytest.mark.parametrize("words", [["--verify"], ["--verify=true"], ["--verify", "false"]])
def test_flags_stand_alone_or_take_a_value(words: list[str], lazarus: Lazarus) -> None:
    done = lazarus("extract", *words, "--data", "no/such", "--out", "x")
    assert "'no/such' does not exist" in done.err


@pytest.mark.parametrize(
    "words",
    [
        ("fit", "-c", "configs/heads/linear.yaml", "--trainer.max_epochs=1"),
        ("fit", "--config=configs/heads/linear.yaml", "--trainer.max_epochs=1"),
        ("grid", "-c", "configs/grids/heads_3x3.yaml", "--out", "g", "--axes={}"),
    ],
    ids=lambda words: " ".join(words[:2]),
)
def test_shipped_configs_are_found_from_any_folder(
    words: tuple[str, ...],
    cache: Path,
    tmp_path: Path,
    lazarus: Lazarus,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    fast = "--overrides={trainer.max_epochs: 1}"
    rest = ("--cache", cache, fast) if words[0] == "grid" else ("--data.init_args.cache", cache)
    done = lazarus(*words, *rest)
    assert done.code == 0, done.err
    # one's own comes first
    own = Path("configs/heads/linear.yaml")
    own.parent.mkdir(parents=True)
    own.write_text("mine: 1\n", encoding="utf-8")
    mine = lazarus("fit", "-c", own)
    assert mine.code == 2
    assert "there is no config key 'mine'" in mine.err
    assert "configs/heads/gone.yaml" in lazarus("fit", "-c", "configs/heads/gone.yaml").err


def test_a_callback_that_is_there_already_is_told(
    cache: Path, tmp_path: Path, lazarus: Lazarus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    added = "trainer:\n  callbacks+:\n    class_path: EarlyStopping\n"
    added += "    init_args: {monitor: val/macro_f1, mode: max}\n"
    Path("more.yaml").write_text(added, encoding="utf-8")
    words = ("-c", shipped_config("heads/linear.yaml"), "-c", "more.yaml")
    done = lazarus("fit", *words, "--data.init_args.cache", cache)
    assert done.code == 2
    assert "EarlyStopping is there already" in done.err
    assert "use callbacks: to replace the list" in done.err
