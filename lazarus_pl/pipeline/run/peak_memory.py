"""The most memory that a stage takes."""

from __future__ import annotations

import sys
import threading
from types import TracebackType

import psutil

_MB = 1e6
_SECONDS_BETWEEN_LOOKS = 0.2


class PeakMemory:
    """Looks at the memory of this process and its children five times a second.

    Attributes:
        rss_mb: Most resident memory seen, in millions of bytes; pages that processes share count
            once for each.
        gpu_mb: Most memory that torch's tensors took on the GPU; None without CUDA.
    """

    def __init__(self) -> None:
        self.rss_mb = 0.0
        self.gpu_mb: float | None = None
        self._process = psutil.Process()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> PeakMemory:
        """Begins to look."""
        if _cuda():
            import torch

            # torch counts nothing before something is on the GPU, and has nothing to begin anew
            if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
                torch.cuda.reset_peak_memory_stats()
        self._look()
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Looks once more and stops."""
        self._over.set()
        self._thread.join()
        self._look()

    def _watch(self) -> None:
        while not self._over.wait(_SECONDS_BETWEEN_LOOKS):
            self._look()

    def _look(self) -> None:
        total = 0
        for process in (self._process, *self._children()):
            try:
                total += process.memory_info().rss
            # a child may end while it is looked at
            except psutil.Error:
                continue
        self.rss_mb = max(self.rss_mb, total / _MB)
        if _cuda():
            import torch

            # not only at the end: what measures steps of its own begins torch's count anew
            peak = float(torch.cuda.max_memory_allocated()) / _MB
            self.gpu_mb = max(self.gpu_mb or 0.0, peak)

    def _children(self) -> list[psutil.Process]:
        try:
            return self._process.children(recursive=True)
        except psutil.Error:
            return []


def _cuda() -> bool:
    """Whether torch is in use and has a GPU; it is not imported for the question."""
    if "torch" not in sys.modules:
        return False
    # waits where another thread is still importing it
    import torch

    return bool(torch.cuda.is_available())
