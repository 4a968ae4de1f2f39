"""A config, a checkpoint or a file of weights from a stranger executes nothing."""

from __future__ import annotations

import pickle
import re
import shutil
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
import torch
import yaml

from lazarus_pl.cli import VERBS, _load, main
from lazarus_pl.shipped_config import shipped_config
from tests.conftest import Lazarus
from tests.forked import begin_lazarus

ROOT = Path(__file__).parent.parent
LINEAR = ROOT / "configs" / "heads" / "linear.yaml"
FINETUNE = ROOT / "configs" / "finetune" / "progressive.yaml"
QUIET = ("--trainer.logger=false", "--trainer.enable_progress_bar=false", "--trainer.max_epochs=1")


class Bomb:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.write_text, (self.path, "boom")


@pytest.fixture
def proof(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that is there as soon as anything of the stranger's was executed."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "executed"
    module = f"from pathlib import Path\nPath({str(path)!r}).touch()\n"
    module += "from lightning.pytorch import Callback, LightningDataModule, LightningModule\n"
    module += "class Guest(Callback): pass\nclass Model(LightningModule): pass\n"
    module += "class Data(LightningDataModule): pass\ndef call(*_): pass\n"
    (tmp_path / "guest").mkdir()
    (tmp_path / "guest" / "stranger.py").write_text(module, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path / "guest"))
    return path


def bomb(path: Path, proof: Path, kind: str = "torch") -> Path:
    content = {"lazarus": {"format": 1, "arguments": Bomb(proof)}, "state_dict": {"a": Bomb(proof)}}
    if kind == "torch":
        torch.save(content, path)
        torch.load(path, weights_only=False)
    else:
        path.write_bytes(pickle.dumps(content))
        pickle.loads(path.read_bytes())
    assert proof.exists(), "it is live"
    proof.unlink()
    return path


CHECKPOINT_COMMANDS = {
    "fit": ("-c", LINEAR, "--data.init_args.cache", "CACHE", "--ckpt_path", "CKPT", *QUIET),
    "fit from a start": (
        *("-c", FINETUNE, "--data.init_args.cache", "CACHE", "--model.init_args.start", "CKPT"),
        *QUIET,
    ),
    "validate": ("-c", LINEAR, "--data.init_args.cache", "CACHE", "--ckpt_path", "CKPT", *QUIET),
    "test": ("-c", LINEAR, "--data.init_args.cache", "CACHE", "--ckpt_path", "CKPT", *QUIET),
    "predict": ("-c", LINEAR, "--data.init_args.cache", "CACHE", "--ckpt_path", "CKPT", *QUIET),
    "classify": ("--ckpt", "CKPT", "--data", "PHOTOS", "--out", "p.csv"),
    "explain": ("--ckpt", "CKPT", "--data", "PHOTOS", "--out", "maps"),
    "export": ("--ckpt", "CKPT", "--out", "graph"),
    "calibrate": ("--ckpt", "CKPT", "--cache", "CACHE"),
    "extract": ("--data", "PHOTOS", "--out", "new", "--encoder.weights", "CKPT"),
}


@pytest.mark.parametrize("kind", ["torch", "pickle"])
@pytest.mark.parametrize("command", CHECKPOINT_COMMANDS)
def test_a_checkpoint_executes_nothing(
    command: str, kind: str, proof: Path, cache: Path, drawn: Path, lazarus: Lazarus
) -> None:
    ckpt = bomb(Path("x.ckpt"), proof, kind)
    known = {"CACHE": cache, "PHOTOS": drawn, "CKPT": ckpt}
    words = [known.get(str(word), word) for word in CHECKPOINT_COMMANDS[command]]
    done = lazarus(command.split()[0], *words)
    assert not proof.exists()
    assert done.code == 2
    assert "x.ckpt" in done.err
    assert "cannot be read" in done.err
    assert done.err.count("lazarus: error: ") == 1


@pytest.mark.parametrize("told", [{"weights_only": False}, {}], ids=["unsafe", "unsaid"])
@pytest.mark.parametrize("kind", ["torch", "pickle", "empty", "foreign"])
def test_a_checkpoint_that_lightning_finds_executes_nothing(
    kind: str, told: dict[str, bool], proof: Path, cache: Path, lazarus: Lazarus
) -> None:
    Path("evil").mkdir()
    last = Path("evil/last.ckpt")
    if kind == "empty":
        last.touch()
    elif kind == "foreign":
        torch.save({"state_dict": {}}, last)
    else:
        bomb(last, proof, kind)
    keep = {"class_path": "ModelCheckpoint", "init_args": {"dirpath": "evil", "save_last": True}}
    config = {"ckpt_path": "last", **told, "trainer": {"callbacks": [keep]}}
    Path("stranger.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    words = ("-c", LINEAR, "-c", "stranger.yaml", "--data.init_args.cache", cache, *QUIET)
    done = lazarus("fit", *words)
    assert not proof.exists()
    assert done.code == 2
    what = "is not a checkpoint of lazarus" if kind == "foreign" else "cannot be read"
    assert f"last.ckpt' {what}" in done.err


def test_a_good_checkpoint_that_lightning_finds_is_continued(
    tmp_path: Path, cache: Path, lazarus: Lazarus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    where = {"dirpath": "kept", "save_last": True, "enable_version_counter": False}
    keep = {"class_path": "ModelCheckpoint", "init_args": where}
    config = {"ckpt_path": "last", "trainer": {"callbacks": [keep]}}
    Path("own.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    words = ("fit", "-c", LINEAR, "-c", "own.yaml", "--data.init_args.cache", cache, *QUIET)
    last, written = Path("kept/last.ckpt"), []
    for epochs in (1, 1, 2):
        done = lazarus(*words, "--trainer.max_epochs", epochs)
        assert done.code == 0, done.err
        assert torch.load(last, weights_only=True)["epoch"] == epochs - 1
        written.append(last.stat().st_mtime_ns)
    assert written[0] == written[1] < written[2], "one epoch is not trained twice"


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".bin", ".safetensors"])
def test_a_file_of_weights_executes_nothing(
    suffix: str, proof: Path, drawn: Path, lazarus: Lazarus
) -> None:
    path = bomb(Path(f"x{suffix}"), proof, "pickle" if suffix == ".safetensors" else "torch")
    done = lazarus("extract", "--data", drawn, "--out", "new", "--encoder.weights", path)
    assert (done.code, proof.exists()) == (2, False)
    assert path.name in done.err
    lazarus("audit", "--data", drawn, "--out", "audit", "--encoder.weights", path)
    assert not proof.exists()


@pytest.mark.parametrize("action", ["list", "show", "diff", "promote"])
def test_kept_versions_execute_nothing(action: str, proof: Path, lazarus: Lazarus) -> None:
    folder = Path("checkpoints")
    folder.mkdir()
    for name in ("v0001.ckpt", "v0002.ckpt", "best.ckpt", "last.ckpt"):
        bomb(folder / name, proof)
    rows = [{"version": n, "file": f"v000{n}.ckpt", "epoch": n, "score": 0.5} for n in (1, 2)]
    (folder / "versions.json").write_text(yaml.safe_dump({"versions": rows}), encoding="utf-8")
    numbers = {"list": (), "show": ("1",), "diff": ("1", "2"), "promote": ("1",)}[action]
    lazarus("checkpoints", action, ".", *numbers)
    assert not proof.exists()


PLACES: dict[str, dict[str, Any]] = {
    "model": {"model": {"class_path": "stranger.Model"}},
    "data": {"data": {"class_path": "stranger.Data"}},
    "callback": {"trainer": {"callbacks": [{"class_path": "stranger.Guest"}]}},
    "logger": {"trainer": {"logger": {"class_path": "stranger.Guest"}}},
    "strategy": {"trainer": {"strategy": {"class_path": "stranger.Guest"}}},
    "hook": {
        "trainer": {
            "callbacks": [
                {"class_path": "LambdaCallback", "init_args": {"on_fit_start": "stranger.call"}}
            ]
        }
    },
    "system": {
        "trainer": {
            "callbacks": [{"class_path": "LambdaCallback", "init_args": {"setup": "os.system"}}]
        }
    },
    "by a detour": {
        "trainer": {
            "callbacks": [
                {
                    "class_path": "LambdaCallback",
                    "init_args": {"setup": "lightning.pytorch.trainer.trainer.os.system"},
                }
            ]
        }
    },
    "loader": {
        "model": {
            "class_path": "lazarus_pl.tasks.classification_task.ClassificationTask"
            ".load_from_checkpoint",
            "init_args": {"checkpoint_path": "x.ckpt", "weights_only": False},
        }
    },
    "plugin": {
        "trainer": {
            "plugins": [
                {
                    "class_path": "lightning.fabric.plugins.io.torch_io.pl_load",
                    "init_args": {"path_or_url": "x.ckpt", "weights_only": False},
                }
            ]
        }
    },
    "option": {
        "model": {"init_args": {"head_options": {"hidden": {"class_path": "stranger.Guest"}}}}
    },
}

REFUSED = {
    "model": "may not name 'stranger.Model'",
    "data": "may not name 'stranger.Data'",
    "callback": "may not name 'stranger.Guest'",
    "logger": "may not name 'stranger.Guest'",
    "strategy": "may not name 'stranger.Guest'",
    "hook": "may not name 'lightning.pytorch.callbacks.lambda_function.LambdaCallback'",
    "system": "may not name 'lightning.pytorch.callbacks.lambda_function.LambdaCallback'",
    "by a detour": "may not name 'lightning.pytorch.callbacks.lambda_function.LambdaCallback'",
    "loader": "may not name 'lightning.pytorch.core.module.LightningModule.load_from_checkpoint'",
    "plugin": "may not name 'lightning.fabric.utilities.cloud_io._load'",
    "option": "head_options: expected true or false, a whole number, a number or a text",
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("verb", ["fit", "validate", "predict"])
def test_a_config_imports_nothing(
    verb: str, place: str, proof: Path, cache: Path, lazarus: Lazarus
) -> None:
    bomb(Path("x.ckpt"), proof)
    Path("stranger.yaml").write_text(yaml.safe_dump(PLACES[place]), encoding="utf-8")
    words = ("-c", LINEAR, "-c", "stranger.yaml", "--data.init_args.cache", cache)
    done = lazarus(verb, *words)
    assert not proof.exists()
    assert done.code == 2
    assert done.err.count("lazarus: error: ") == 1
    assert "Traceback" not in done.err
    assert REFUSED[place] in done.err


TAGS = (
    "!!python/object/apply:pathlib.Path.touch [EXECUTED]",
    "!!python/object/new:stranger.Guest []",
    "!!python/name:stranger.call ''",
    "!!python/module:stranger ''",
)


@pytest.mark.parametrize("tag", TAGS)
@pytest.mark.parametrize("verb", ["fit", "grid", "run", "extract", "audit", "classify", "export"])
def test_a_tag_of_yaml_calls_nothing(
    verb: str, tag: str, proof: Path, drawn: Path, cache: Path, lazarus: Lazarus
) -> None:
    text = f"seed: {tag.replace('EXECUTED', str(proof))}\n"
    Path("stranger.yaml").write_text(text, encoding="utf-8")
    assert lazarus(verb, "-c", "stranger.yaml").code == 2
    policy = ("--views.count=1", "--views.policy=stranger.yaml")
    assert lazarus("extract", "--data", drawn, "--out", "new", *policy).code == 2
    assert not proof.exists()


def test_the_configs_that_a_grid_and_a_run_name_import_nothing(
    proof: Path, cache: Path, drawn: Path, tmp_path: Path, lazarus: Lazarus
) -> None:
    content = yaml.safe_load(LINEAR.read_text(encoding="utf-8"))
    content["trainer"]["callbacks"].append({"class_path": "stranger.Guest"})
    Path("head.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    Path("grid.yaml").write_text("configs: {head: head.yaml}\n", encoding="utf-8")
    done = lazarus("grid", "-c", "grid.yaml", "--cache", cache, "--out", "g")
    assert (done.code, proof.exists()) == (2, False)
    assert "stranger" in done.err
    guest = "{trainer.callbacks: [{class_path: stranger.Guest}]}"
    good = ("-c", shipped_config("grids/heads_3x3.yaml").resolve())
    lazarus("grid", *good, "--cache", cache, "--out", "g2", "--overrides", guest)
    assert not proof.exists()
    words = ("--data", drawn, "--out", "r", "--audit.skip", "--encoder.image_size", 64)
    skips = ("--patches.skip", "--views.count=0", "--finetune.skip")
    lazarus("run", *words, "--grid.config", "grid.yaml", *skips)
    assert not proof.exists()


@pytest.mark.usefixtures("forks")
def test_own_classes_are_allowed_by_the_environment_not_by_a_config(
    proof: Path, cache: Path, tmp_path: Path, lazarus: Lazarus
) -> None:
    Path("own.yaml").write_text(yaml.safe_dump(PLACES["callback"]), encoding="utf-8")
    words = ("fit", "-c", LINEAR, "-c", "own.yaml", "--data.init_args.cache", cache, *QUIET)
    refused = lazarus(*words)
    assert refused.code == 2
    assert "LAZARUS_CLASSES" in refused.err
    assert not proof.exists()
    # what is allowed is allowed for the process
    log = tmp_path / "log"
    process = begin_lazarus(words, tmp_path, log, {"LAZARUS_CLASSES": "other, stranger"})
    process.join()
    assert process.exitcode == 0, log.read_text()
    assert proof.exists()


@pytest.mark.parametrize("value", ["*", "./mine.py", "good, my-cb/x", "jsonargparse"])
@pytest.mark.parametrize("verb", ["fit", "extract"])
def test_what_is_no_package_cannot_be_allowed(
    value: str, verb: str, lazarus: Lazarus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAZARUS_CLASSES", value)
    done = lazarus(verb)
    assert done.code == 2
    assert f"LAZARUS_CLASSES cannot be '{value}'" in done.err


PLUGINS = (
    "lightning.pytorch.plugins.environments.LightningEnvironment",
    "lightning.pytorch.plugins.io.TorchCheckpointIO",
    "lightning.pytorch.plugins.io.AsyncCheckpointIO",
)


@pytest.mark.parametrize("plugin", PLUGINS)
def test_plugins_of_lightning_are_allowed(
    plugin: str, cache: Path, tmp_path: Path, lazarus: Lazarus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config = {"trainer": {"plugins": [{"class_path": plugin}]}}
    Path("own.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    words = ("fit", "-c", LINEAR, "-c", "own.yaml", "--data.init_args.cache", cache, *QUIET)
    done = lazarus(*words)
    assert done.code == 0, done.err


def _options_of_specs() -> list[tuple[str, str, object]]:
    """Verb, option and value of everything that is set in a dataclass."""
    found: list[tuple[str, str, object]] = []
    for verb, about in VERBS.items():
        function = _load(about.function)
        for name, hint in get_type_hints(function).items():
            for spec in filter(is_dataclass, (hint, *get_args(hint))):
                known = [(f.name, f.default) for f in fields(spec) if f.default is not MISSING]
                found += [(verb, f"--{name}.{key}", value) for key, value in known]
    return found


@pytest.mark.parametrize(("verb", "option", "value"), _options_of_specs())
def test_own_specs_are_allowed(
    verb: str,
    option: str,
    value: object,
    tmp_path: Path,
    lazarus: Lazarus,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LAZARUS_CLASSES", raising=False)
    text = yaml.safe_dump(list(value) if isinstance(value, tuple) else value).split("\n...")[0]
    done = lazarus(verb, "--data", "gone", "--out", "new", option, text.strip())
    assert done.code == 2
    assert "'gone' does not exist" in done.err
    assert not list(tmp_path.iterdir())


def test_files_of_a_run_execute_nothing(
    proof: Path, cache: Path, drawn: Path, tmp_path: Path, lazarus: Lazarus
) -> None:
    Path("grid.yaml").write_text(f"configs: {{linear: {LINEAR}}}\n", encoding="utf-8")
    words = ["run", "--data", drawn, "--out", "r", "--audit.skip", "--encoder.image_size", 64]
    words += ["--grid.config", "grid.yaml", "--patches.skip", "--finetune.skip", "--gallery", 0]
    words += ["--views.count=0", "--grid.overrides", "{trainer.max_epochs: 1}"]
    assert lazarus(*words).code == 0
    for path in Path("r").rglob("*.ckpt"):
        size = path.stat().st_size
        bomb(path, proof)
        # as large as the one that was there, so that the record holds
        with path.open("ab") as file:
            file.write(b"\0" * max(0, size - path.stat().st_size))
    Path("r/report.html").unlink()
    lazarus(*words)
    assert not proof.exists()
    shutil.rmtree("r/grid/runs")
    lazarus(*words)
    assert not proof.exists()


def test_the_source_loads_nothing_that_could_execute() -> None:
    # a copy in memory of what the same process holds
    mine = {ROOT / "callbacks" / "snapshots.py"}
    for path in {p for room in ("lazarus_pl", "callbacks") for p in (ROOT / room).rglob("*.py")}:
        text = path.read_text(encoding="utf-8")
        assert not re.search(
            r"\bpickle\.|allow_pickle=True|yaml\.(unsafe_)?load\(|[^.\w]eval\(", text
        )
        loads = re.findall(r"torch\.load\((.*)\)", text)
        if path not in mine:
            assert all("weights_only=True" in call for call in loads), path
    assert main(["--version"]) == 0
