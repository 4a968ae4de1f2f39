"""What is here needs a GPU with CUDA: ``LAZARUS_TEST_GPU=1 pytest -n 0 tests/gpu``."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from tests.gpu.begin_anew import begin_anew


@pytest.fixture(scope="session", autouse=True)
def _needs_gpu() -> None:
    if not torch.cuda.is_available():
        pytest.skip("no GPU with CUDA, or LAZARUS_TEST_GPU is not set")
    # what is asked of CUDA below is refused before its first use
    torch.cuda.init()


@pytest.fixture(autouse=True)
def gpu() -> Iterator[torch.device]:
    """The GPU, with its counts begun anew; afterwards all of it may be used again."""
    device = torch.device("cuda", 0)
    begin_anew(device)
    yield device
    torch.cuda.set_per_process_memory_fraction(1.0, device)
