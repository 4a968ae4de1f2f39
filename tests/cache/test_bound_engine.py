from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from lazarus_pl.cache.active_workers import ActiveWorkers
from lazarus_pl.cache.cache_header import CacheHeader
from lazarus_pl.cache.extraction import Extraction, ExtractionSummary
from lazarus_pl.data.split.split_spec import SplitSpec
from lazarus_pl.encoder.encoder_spec import EncoderSpec
from lazarus_pl.encoder.engine_options import EngineOptions
from lazarus_pl.encoder.measured_engine import Candidate, MeasuredEngine
from lazarus_pl.errors import LazarusError
from tests.cache.engines import MeanColourEngine
from tests.conftest import Lazarus, save_noise

Noise = Callable[..., Path]

WORKER = """
import sys
from pathlib import Path
from lazarus_pl.cache.active_workers import ActiveWorkers
worker = ActiveWorkers(Path(sys.argv[1]))
worker.begin()
print("begun", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def data(noise: Noise) -> Path:
    return noise({"a": 40, "b": 40})


def named(name: str, precision: str) -> MeanColourEngine:
    """The same encoder run by another engine."""
    engine = MeanColourEngine()
    engine.name, engine.precision = name, precision
    return engine


def extract(
    data: Path,
    out: Path,
    engine: MeanColourEngine | MeasuredEngine,
    options: EngineOptions | None = None,
) -> ExtractionSummary:
    spec = EncoderSpec(weights="random")
    return Extraction(data, out, spec, SplitSpec(), lambda _: engine, options=options).run()


class Broken(MeanColourEngine):
    """Fails before its first job is done."""

    def encode(self, photos: np.ndarray) -> dict[str, np.ndarray]:
        raise KeyboardInterrupt


def break_off(data: Path, out: Path, name: str, precision: str) -> None:
    engine = Broken()
    engine.name, engine.precision = name, precision
    with pytest.raises(KeyboardInterrupt):
        extract(data, out, engine)
    assert [each["name"] for each in CacheHeader.read(out).engines] == [name]


@pytest.mark.parametrize("seal", [True, False], ids=["sealed", "finished"])
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--precision", "32"], "was made in precision bf16, this call would go on in 32"),
        (["--engine", "openvino"], "was made by torch in precision bf16.*add --engine torch"),
        (["--device", "nowhere"], "the device 'nowhere' cannot be used"),
        (["--batch_size", "0"], "batch_size 0 must be at least 1"),
        (["--precision", "exact"], "precision: expected one of"),
    ],
    ids=str,
)
def test_a_finished_cache_says_what_contradicts_it(
    seal: bool, words: list[str], said: str, data: Path, tmp_path: Path, lazarus: Lazarus
) -> None:
    out = tmp_path / "cache"
    extract(data, out, named("torch", "bf16"))
    if not seal:
        (out / "finished.json").unlink()
    plain = ("extract", "--data", data, "--out", out, "--encoder.weights", "random")
    done = lazarus(*plain, *words)
    assert done.code == 2
    assert len(done.err.splitlines()) == 1
    assert re.search(said, done.err), done.err


def test_what_was_begun_in_float32_goes_on_in_it(
    data: Path, tmp_path: Path, lazarus: Lazarus, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lazarus_pl.encoder import torch_engine

    out = tmp_path / "cache"
    words = ("extract", "--data", data, "--out", out, "--encoder.weights", "random")
    words = (*words, "--encoder.image_size", "64", "--device", "cpu", "--engine", "torch")
    assert lazarus(*words).code == 0
    begun = len(list(out.glob("jobs/*.npz")))
    for number in range(200, 206):
        save_noise(data / "a" / f"IMG_{number:04d}.png")
    # as a GPU has it
    monkeypatch.setattr(torch_engine, "_automatic", lambda device: "16")
    done = lazarus(*words)
    assert done.code == 0, done.err
    assert "6 extracted now" in done.out
    assert CacheHeader.read(out).precision == "32"
    assert len(list(out.glob("jobs/*.npz"))) > begun


@pytest.mark.parametrize("best", ["32", "bf16"])
def test_what_was_begun_in_bf16_goes_on_in_it_on_any_processor(
    best: str,
    data: Path,
    tmp_path: Path,
    lazarus: Lazarus,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    from lazarus_pl.encoder import make_engine
    from lazarus_pl.pipeline import extract

    out = tmp_path / "cache"
    words = ("extract", "--data", data, "--out", out, "--encoder.weights", "random")
    words = (*words, "--encoder.image_size", "64", "--engine", "torch")
    assert lazarus(*words, "--precision", "bf16").code == 0
    for number in range(200, 206):
        save_noise(data / "a" / f"IMG_{number:04d}.png")
    monkeypatch.setattr(make_engine, "best_precision", lambda device: best)
    monkeypatch.setattr(extract, "best_training_precision", lambda device: best)
    done = lazarus(*words)
    assert done.code == 0, done.err
    assert "6 extracted now" in done.out
    assert CacheHeader.read(out).precision == "bf16"
    assert ("does not compute in: going on slowly" in caplog.text) == (best == "32")


def choice(*engines: MeanColourEngine) -> MeasuredEngine:
    candidates = [
        Candidate(each.name, lambda each=each: each, precision=each.precision)  # type: ignore[misc]
        for each in engines
    ]
    return MeasuredEngine(engines[0], candidates)


@pytest.mark.parametrize(("quick", "taken"), [("32", "32"), ("bf16", "bf16")])
def test_the_precision_that_was_measured_is_written_down_and_kept_to(
    quick: str, taken: str, data: Path, tmp_path: Path
) -> None:
    out = tmp_path / "cache"
    exact, lower = named("torch", "32"), named("torch", "bf16")
    (lower if quick == "32" else exact).seconds = 0.01
    engine = choice(exact, lower)
    assert engine.precision == "auto"
    assert extract(data, out, engine).extracted == 80
    assert (engine.precision, CacheHeader.read(out).precision) == (taken, taken)
    for number in range(200, 206):
        save_noise(data / "a" / f"IMG_{number:04d}.png")
    # now the other one would be faster
    exact, lower = named("torch", "32"), named("torch", "bf16")
    (exact if quick == "32" else lower).seconds = 0.01
    again = choice(exact, lower)
    assert extract(data, out, again).extracted == 6
    assert again.precision == taken
    assert [each["name"] for each in CacheHeader.read(out).engines] == ["torch"]


def test_an_engine_is_bound_though_no_photo_can_be_read_to_measure_it(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lazarus_pl.cache import bound_engine
    from lazarus_pl.data.decode import PhotoError

    def away(_: Path) -> bytes:
        raise PhotoError("is away for a moment")

    monkeypatch.setattr(bound_engine, "read_bytes", away)
    extract(data, tmp_path / "cache", choice(named("torch", "32"), named("torch", "bf16")))
    header = CacheHeader.read(tmp_path / "cache")
    assert header.precision in ("32", "bf16")
    assert [each["name"] for each in header.engines] == ["torch"]


def test_a_finished_cache_is_told_of_without_torch(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "cache"
    extract(data, out, named("torch", "bf16"))
    words = ["extract", "--data", data, "--out", out, "--encoder.weights", "random"]
    # the device is the one that the cache was made on
    words += ["--precision", "bf16", "--device", "cpu", "--engine", "torch"]
    code = (
        "import sys; from lazarus_pl.cli import main; code = main(sys.argv[1:]); "
        "sys.exit(code or (99 if 'torch' in sys.modules else 0))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, words)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_what_a_finished_cache_was_made_with_may_be_asked_for(
    data: Path, tmp_path: Path, lazarus: Lazarus
) -> None:
    out = tmp_path / "cache"
    extract(data, out, named("torch", "bf16"))
    plain = ("extract", "--data", data, "--out", out, "--encoder.weights", "random")
    for words in ([], ["--precision", "bf16", "--engine", "torch", "--batch_size", "64"]):
        done = lazarus(*plain, *words)
        assert done.code == 0, done.err
        assert "80 photos" in done.out


def test_in_float32_any_engine_may_be_named(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "cache"
    extract(data, out, named("torch", "32"))
    again = extract(data, out, named("openvino", "32"), EngineOptions(engine="openvino"))
    assert again.extracted == 0


@pytest.mark.parametrize(("name", "precision"), [("second", "bf16"), ("second", "32")])
def test_a_call_that_left_nothing_binds_nobody(
    name: str, precision: str, data: Path, tmp_path: Path
) -> None:
    out = tmp_path / "cache"
    break_off(data, out, "first", "bf16")
    engine = named(name, precision)
    assert extract(data, out, engine).extracted == 80
    header = CacheHeader.read(out)
    assert [each["name"] for each in header.engines] == [name]
    assert header.precision == precision


@pytest.fixture
def beside(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that is at work on the cache."""
    root = Path(__file__).parent.parent.parent
    command = [sys.executable, "-c", WORKER, str(tmp_path / "cache" / "locks")]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, cwd=root) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        yield process
        process.kill()


def test_a_process_that_is_at_work_is_kept_to(
    data: Path, tmp_path: Path, beside: subprocess.Popen[str]
) -> None:
    out = tmp_path / "cache"
    break_off(data, out, "first", "bf16")
    with pytest.raises(LazarusError, match="made by first in precision bf16"):
        extract(data, out, named("second", "bf16"))
    with pytest.raises(LazarusError, match="made in precision bf16"):
        extract(data, out, named("first", "32"))
    beside.send_signal(signal.SIGTERM)
    beside.wait()
    assert extract(data, out, named("second", "bf16")).extracted == 80
    assert not list((out / "locks").glob("worker-*"))


def test_who_is_at_work_is_told(tmp_path: Path) -> None:
    mine, other = ActiveWorkers(tmp_path), ActiveWorkers(tmp_path)
    assert not other.anyone()
    mine.begin()
    mine.begin()
    assert mine.anyone()
    assert other.anyone()
    mine.end()
    mine.end()
    assert not other.anyone()
    assert not list(tmp_path.iterdir())
