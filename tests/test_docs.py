"""Every command and every example of the README and of docs/ is run, on tiny drawn leaves.

A page's commands run word for word and in their order, in a folder whose PHOTOS, CACHE, RUN and so
on are small. Options that make trainings short are added.
"""

from __future__ import annotations

import re
import runpy
import shlex
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from lazarus_pl.cli import LIGHTNING_VERBS, VERBS, main
from lazarus_pl.encoder import make_engine as engines
from tests.conftest import Lazarus

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
BENCHMARKS = ROOT / "benchmarks"
PAGES = [README, BENCHMARKS / "README.md", *sorted((ROOT / "docs").glob("*.md"))]

# what pip, pytest and TensorBoard do by themselves
ELSEWHERE = ("pip", "pytest", "tensorboard", "python")
# tests/pipeline/test_verbs.py and tests/audit/doctor run these
VERBS_ELSEWHERE = ("demo", "doctor")
FIT = ["lazarus", "fit"]
SMALL = ("--encoder.image_size", "64")
SHORT = ("--trainer.max_epochs=2", "--trainer.enable_progress_bar=false")
BRIEF = "{trainer.max_epochs: 2}"
BEFORE = {"run": ("-c", "quick.yaml")}
AFTER = {
    "audit": (*SMALL, "--costs=false"),
    "extract": SMALL,
    "fit": SHORT,
    "validate": SHORT[1:],
    "test": SHORT[1:],
    "predict": SHORT[1:],
    "grid": ("--overrides", BRIEF),
}
# of the nine runs and more of a shipped grid; tests/grid/test_grid.py looks at all of them
FEW_RUNS = ("--axes", "{model.init_args.lr: [1.0e-3], seed_everything: [0]}")
# timm's hub is not asked by tests
WEIGHTS = ("--encoder.weights", "efficientnet_b0.safetensors")
QUICK = f"""
encoder: {{image_size: 64}}
audit: {{skip: true}}
grid: {{config: quick_grid.yaml}}
patches: {{overrides: {BRIEF}}}
views_head: {{overrides: {BRIEF}}}
finetune: {{overrides: {BRIEF}}}
views: {{count: 1}}
gallery: 1
"""
QUICK_GRID = f"configs: {{attention: configs/heads/attention.yaml}}\noverrides: {BRIEF}\n"


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def commands(page: Path) -> list[list[str]]:
    """The words of every command in the page's blocks."""
    blocks = re.findall(r"```sh\n(.*?)```", text_of(page), re.DOTALL)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    return [shlex.split(part) for line in lines for part in line.split(" && ") if part.strip()]


def mentioned(page: Path) -> list[list[str]]:
    """The words of every command in the page's sentences."""
    prose = re.sub(r"```.*?```", "", text_of(page), flags=re.DOTALL)
    spans = (" ".join(span.split()) for span in re.findall(r"`([^`]+)`", prose))
    return [shlex.split(span) for span in spans if re.match(r"(lazarus|python|pip) \S", span)]


def examples(page: Path) -> list[str]:
    return re.findall(r"```python\n(.*?)```", text_of(page), re.DOTALL)


EVERY = sorted({tuple(words) for page in PAGES for words in commands(page) + mentioned(page)})


@pytest.fixture(scope="module")
def prepared(cache: Path, drawn: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the pages' commands find: photos, a cache, a run, a checkpoint, weights."""
    import timm
    from safetensors.torch import save_file

    folder = tmp_path_factory.mktemp("pages")
    for name in ("PHOTOS", "NEW_PHOTOS"):
        shutil.copytree(drawn, folder / name)
    rows = [
        f"PHOTOS/{path.relative_to(drawn).as_posix()},{path.parent.name},{path.name[:9]}"
        for path in sorted(drawn.rglob("*.jpg"))
    ]
    (folder / "photos.csv").write_text("\n".join(["path,label,group", *rows]), encoding="utf-8")
    shutil.copytree(cache, folder / "CACHE")
    shutil.copytree(ROOT / "configs", folder / "configs")
    (folder / "quick.yaml").write_text(QUICK, encoding="utf-8")
    (folder / "quick_grid.yaml").write_text(QUICK_GRID, encoding="utf-8")
    words = ["grid", "-c", folder / "quick_grid.yaml", "--cache", cache, "--out", folder / "RUN"]
    assert main([str(word) for word in words]) == 0
    shutil.copy(folder / "RUN" / "best.ckpt", folder / "CKPT")
    model = timm.create_model("efficientnet_b0", pretrained=False)
    save_file(model.state_dict(), folder / "efficientnet_b0.safetensors")
    return folder


@pytest.fixture
def desk(prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fresh copy for one page, as the working folder."""
    # its conversion of an encoder takes seconds: tests/encoder tries it
    monkeypatch.setattr(engines, "_openvino_is_installed", lambda: False)
    shutil.copytree(prepared, tmp_path / "desk")
    monkeypatch.chdir(tmp_path / "desk")
    return tmp_path / "desk"


def adapted(words: Sequence[str]) -> list[str]:
    verb, *rest = words[1:]
    hub = WEIGHTS if "efficientnet_b0" in rest and WEIGHTS[0] not in rest else ()
    few = FEW_RUNS if verb == "grid" and FEW_RUNS[0] not in rest else ()
    return [verb, *BEFORE.get(verb, ()), *rest, *AFTER.get(verb, ()), *hub, *few]


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_every_command_and_example_of_the_page_runs(
    page: Path, desk: Path, lazarus: Lazarus
) -> None:
    for words in commands(page):
        if words[0] in ELSEWHERE or words[1] in VERBS_ELSEWHERE:
            continue
        assert words[0] == "lazarus", words
        done = lazarus(*adapted(words))
        assert done.code == 0, (words, done.err)
    # the callbacks' own test looks at what their example writes, that of export needs no lazarus
    if page.name not in ("README.md", "callbacks.md"):
        for code in examples(page):
            exec(compile(code, str(page), "exec"), {"__name__": "example"})


@pytest.mark.parametrize("page", [p for p in PAGES if "tensorboard" in text_of(p)], ids=str)
def test_tensorboard_is_shown_a_folder_that_its_page_makes(page: Path) -> None:
    shown = [words[2] for words in commands(page) if words[0] == "tensorboard"]
    made = [words for words in commands(page) if words[:2] in (["lazarus", "grid"], FIT)]
    for folder in shown:
        run, _, below = folder.partition("/")
        assert below in ("", "runs")
        assert any(run in words for words in made), folder


def test_every_fit_of_the_pages_has_a_folder_of_its_own() -> None:
    """Who follows two pages in one folder would else go on with the other page's run."""
    fits = [words for page in PAGES for words in commands(page) if words[:2] == FIT]
    folders = [words[words.index("--trainer.default_root_dir") + 1] for words in fits]
    assert len(set(folders)) == len(folders)
    assert not any(word.startswith("lightning_logs") for words in EVERY for word in words)


@pytest.mark.parametrize("words", EVERY, ids=" ".join)
def test_every_option_exists(
    words: tuple[str, ...], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    if words[0] == "lazarus":
        assert words[1] in (*VERBS, *LIGHTNING_VERBS)
        with pytest.raises(SystemExit):
            main([words[1], "--help"])
    elif words[0] == "python":
        assert (ROOT / words[1]).parent == BENCHMARKS
        monkeypatch.setattr(sys, "argv", [words[1], "--help"])
        monkeypatch.setattr(sys, "path", [str(BENCHMARKS), *sys.path])
        with pytest.raises(SystemExit):
            runpy.run_path(str(ROOT / words[1]), run_name="__main__")
    elif words[0] == "pip":
        extras = re.findall(r"\[([\w,]+)\]", " ".join(words))
        declared = text_of(ROOT / "pyproject.toml")
        assert all(re.search(rf"^{extra} = \[", declared, re.MULTILINE) for extra in extras)
        return
    else:
        assert words[0] in ELSEWHERE
        return
    text = capsys.readouterr().out
    for word in words[2:]:
        if re.match(r"--?(?!(data|model|trainer)\.)[a-z]", word):
            assert word.split("=")[0] in text, word


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_every_link_and_every_named_file_exists(page: Path) -> None:
    text = text_of(page)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith(("http:", "https:")):
            continue
        name, _, anchor = target.partition("#")
        linked = (page.parent / name).resolve() if name else page
        assert linked.exists(), target
        if anchor:
            heads = re.findall(r"^#+ (.*)$", text_of(linked), re.MULTILINE)
            assert anchor in [re.sub(r"[^\w -]", "", h).lower().replace(" ", "-") for h in heads]
    for name in re.findall(r"(?<![\w/])(?:configs|benchmarks|docs)/[\w/]+\.\w+", text):
        assert (ROOT / name).exists(), name


def test_the_two_commands_are_there() -> None:
    assert "pip install -e . && lazarus demo" in text_of(README)
    assert 'pip install -e ".[test]" && pytest' in text_of(README)
    assert 'pip install -e ".[test]" && pytest' in text_of(ROOT / ".ci" / "run")


def test_the_readme_names_every_page_and_every_verb() -> None:
    text = text_of(README)
    for page in PAGES[1:]:
        assert f"({page.relative_to(ROOT).as_posix()})" in text
    for verb in VERBS:
        assert f"`lazarus {verb}`" in text


def test_every_benchmark_and_every_file_of_results_is_named() -> None:
    text = text_of(BENCHMARKS / "README.md")
    for script in BENCHMARKS.glob("*.py"):
        assert f"benchmarks/{script.name}" in text, script
    there = {path.name for path in (BENCHMARKS / "results").glob("*.json")}
    assert set(re.findall(r"results/([\w-]+\.json)", text)) == there


# columns of a table of benchmarks/README.md, and where its figures are
FIGURES = {
    "extraction.json": ("photos_per_second", ["16.3", "221.3", "1779.3", "341.3", "286.3"], 1),
    "extraction_torch_bf16.json": (
        "photos_per_second",
        ["14.9", "92.6", "2071.5", "127.3", "119.9"],
        1,
    ),
    "extraction_float32.json": (
        "photos_per_second",
        ["14.2", "89.7", "2217.7", "116.1", "110.4"],
        1,
    ),
    "chain.json": ("test", ["0.934", "0.923", "0.937", "0.956", "0.961"], 3),
    "chain_full.json": ("test", ["0.914", "0.902", "0.892", "0.892", "0.907", "0.934"], 3),
    "depthwise.json": ("processor_seconds", ["0.59", "0.52", "0.85", "0.36", "0.30"], 2),
    "busy_step.json": ("milliseconds", ["237", "284", "337", "656"], 0),
    "extraction_torch_2_14.json": ("photos_per_second", ["15.7", "49.7", "57.0"], 1),
    "extraction_torch_2_15.json": ("photos_per_second", ["16.9", "138.8", "142.0"], 1),
    "audit.json": ("ratio_to_decoding", ["1.00", "0.54", "9.67"], 2),
    "busy.json": ("seconds", ["7.7", "8.0", "20.5", "11.9"], 1),
    "baseline.json": ("test_macro_f1", ["0.886", "0.903"], 3),
    "finetuning_test.json": ("test", ["0.903", "0.895", "0.938", "0.902", "0.900"], 3),
    "finetuning_far.json": (
        "test",
        ["0.885", "0.905", "0.870", "0.906", "0.906", "0.914", "0.800"],
        3,
    ),
    "finetuning_session-0.json": ("test", ["0.493", "0.549", "0.591", "0.601", "0.460"], 3),
    "finetuning_session-1.json": ("test", ["0.471", "0.492", "0.527", "0.567", "0.567"], 3),
    "faults.json": (
        "lost, worst",
        ["0.000", "0.797", "0.000", "0.799", "0.000", "0.133", "0.000", "0.799"],
        3,
    ),
    "explain.json": ("processor_ms_a_photo", ["21.5", "20.7", "37.5"], 1),
    "refit.json": ("later", ["0.913", "0.928", "0.948", "0.900", "0.895", "0.937"], 3),
    "tta.json": ("test", ["0.924", "0.907"], 3),
}


@pytest.mark.parametrize("name", FIGURES)
def test_quoted_figures_are_those_of_the_files(name: str) -> None:
    import json

    column, quoted, digits = FIGURES[name]
    rows = json.loads((BENCHMARKS / "results" / name).read_bytes())["rows"]
    assert [f"{row[column]:.{digits}f}" for row in rows] == quoted
    everywhere = "".join(map(text_of, PAGES))
    assert all(figure in everywhere for figure in quoted if figure != "1.00")
