"""What a step on a part of a batch logs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from lightning.pytorch import LightningModule


@contextmanager
def counting_rows(module: LightningModule, rows: int) -> Iterator[None]:
    """Gives what is logged the weight of a part; Lightning knows that of the whole batch only.

    Args:
        module: Whose step logs.
        rows: Of the part.
    """
    own = vars(module)
    before = own.get("log")
    log: Callable[..., None] = module.log

    def counted(*values: Any, batch_size: int | None = None, **options: Any) -> None:  # noqa: ANN401
        log(*values, batch_size=rows if batch_size is None else batch_size, **options)

    own["log"] = counted
    try:
        yield
    finally:
        own.pop("log")
        if before is not None:
            own["log"] = before
