"""Which device and precision are taken where there is a GPU, on machines without one."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from lazarus_pl.encoder import find_device as module
from lazarus_pl.encoder.encoder_spec import EncoderSpec
from lazarus_pl.encoder.engine_options import EngineOptions
from lazarus_pl.encoder.find_device import find_device
from lazarus_pl.encoder.make_engine import make_engine
from lazarus_pl.encoder.precision import best_precision, best_training_precision
from lazarus_pl.lightning_cli import _usable

PASCAL, TURING, AMPERE = (6, 1), (7, 5), (8, 6)


@pytest.fixture(autouse=True)
def _asked_anew() -> Iterator[None]:
    module._kernel_runs.cache_clear()
    yield
    module._kernel_runs.cache_clear()


def test_a_card_without_kernels_is_left_aside_and_told_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(module, "launch_kernel", lambda: "no kernel image is available")
    with caplog.at_level(logging.WARNING):
        assert [find_device("auto").type for _ in range(3)] == ["cpu"] * 3
        # Lightning would take the card, and fail
        assert _usable("auto") == "cpu"
    assert _usable("gpu") == "gpu"
    assert [record.message for record in caplog.records] == [
        "the GPU cannot be used (no kernel image is available): using the CPU; "
        "lazarus doctor says more"
    ]


def test_a_card_that_works_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(module, "launch_kernel", lambda: "")
    assert find_device("auto").type == "cuda"
    assert _usable("auto") == "auto"


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
