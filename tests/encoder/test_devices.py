"""Which device and precision are taken where there is a GPU, on machines without one."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning.pytorch import Trainer
from lightning.pytorch.accelerators import CPUAccelerator

from lazarus_pl.encoder import find_device as module
from lazarus_pl.encoder.encoder_spec import EncoderSpec
from lazarus_pl.encoder.engine_options import EngineOptions
from lazarus_pl.encoder.find_device import find_device
from lazarus_pl.encoder.make_engine import make_engine
from lazarus_pl.encoder.precision import best_precision, best_training_precision
from lazarus_pl.lightning_cli import _is_launched, _usable
from lazarus_pl.shipped_config import shipped_config
from tests.conftest import Lazarus

PASCAL, TURING, AMPERE = (6, 1), (7, 5), (8, 6)


@pytest.fixture(autouse=True)
def _asked_anew() -> Iterator[None]:
    module._known.clear()
    yield
    module._known.clear()


def test_a_card_without_kernels_is_left_aside_and_told_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(module, "launch_kernel", lambda: "no kernel image is available")
    with caplog.at_level(logging.WARNING):
        assert [find_device("auto").type for _ in range(3)] == ["cpu"] * 3
        # Lightning would take the card, and fail
        assert _usable("auto") == "cpu"
    assert [record.message for record in caplog.records] == [
        "the GPU cannot be used (no kernel image is available): using the CPU; "
        "lazarus doctor says more"
    ]


@pytest.mark.parametrize("named", ["cpu", "gpu"])
def test_what_is_named_is_taken_untried(named: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def launch() -> str:
        raise AssertionError("a kernel was launched")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(module, "launch_kernel", launch)
    assert _usable(named) == named


def test_a_card_that_is_full_now_is_asked_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    answers = ["CUDA error: out of memory", "CUDA error: out of memory", ""]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(module, "launch_kernel", lambda: answers.pop(0))
    with caplog.at_level(logging.WARNING):
        assert [find_device("auto").type for _ in range(3)] == ["cpu", "cpu", "cuda"]
    assert len(caplog.records) == 1


def test_a_card_that_works_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(module, "launch_kernel", lambda: "")
    assert find_device("auto").type == "cuda"
    assert _usable("auto") == "auto"


def test_one_device_is_taken_however_many_there_are(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lazarus: Lazarus
) -> None:
    # Lightning starts as many copies of a program as there are GPUs
    devices: list[int] = []
    monkeypatch.setattr(CPUAccelerator, "auto_device_count", lambda: 2)
    monkeypatch.setattr(Trainer, "fit", lambda self, *_, **__: devices.append(self.num_devices))
    config = shipped_config("heads/linear.yaml")
    done = lazarus(
        *("fit", "-c", config, f"--data.init_args.cache={cache}", "--trainer.accelerator=cpu"),
        f"--trainer.default_root_dir={tmp_path}",
    )
    assert done.code == 0, done.err
    assert devices == [1]
    # unless a process for each of them is there already
    monkeypatch.setattr(TorchElasticEnvironment, "detect", lambda: True)
    assert _is_launched()


@pytest.mark.parametrize(
    ("capability", "extraction", "training"),
    [(PASCAL, "32", "32"), (TURING, "16", "16"), (AMPERE, "16", "bf16")],
)
def test_precision_of_a_card(
    capability: tuple[int, int], extraction: str, training: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    native = capability >= (8, 0)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: native)
    card = torch.device("cuda")
    assert (best_precision(card), best_training_precision(card)) == (extraction, training)


def test_openvino_needs_no_word_that_it_runs_on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_cuda_works", lambda: True)
    spec = EncoderSpec("test_resnet", "random", 64)
    engine = make_engine(spec, EngineOptions(engine="openvino"), photos=8)
    engine.encode(np.zeros((8, 64, 64, 3), dtype=np.uint8))
    assert engine.name == "openvino"
