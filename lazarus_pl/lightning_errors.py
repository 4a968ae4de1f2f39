"""What Lightning says of a user's mistake, in one sentence."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from lightning.fabric.utilities.exceptions import MisconfigurationException

from callbacks.step_in_parts import is_out_of_memory
from lazarus_pl.errors import LazarusError


@contextmanager
def translate_errors() -> Iterator[None]:
    """Turns what Lightning says of a user's mistake into our kind of error."""
    try:
        yield
    except MisconfigurationException as error:
        raise LazarusError(_unknown_metric(str(error)) or str(error)) from error
    except RuntimeError as error:
        if mistake := _unknown_metric(str(error)) or _callback_twice(str(error)):
            raise LazarusError(mistake) from error
        if is_out_of_memory(error):
            raise LazarusError(
                "memory ran out in a batch that was taken whole: set data.init_args.batch_size to "
                "fewer photos, or for fit --budget.gpu_memory, which takes validation in parts; "
                "where that is set, allow more "
                f"({str(error).splitlines()[0] if str(error) else 'out of memory'})"
            ) from error
        raise


def _unknown_metric(message: str) -> str:
    """What EarlyStopping and ModelCheckpoint say of a metric that is not there, or nothing."""
    found = re.search(
        r"(?:Early stopping conditioned on metric `|monitor=')([^'`]+)[`'].*?(?:following|metrics):"
        r"(.*?)(?:\]|$)",
        message,
        re.DOTALL,
    )
    if not found:
        return ""
    there = ", ".join(re.findall(r"['`]([^'`]+)['`]", found[2]))
    return f"there is no metric '{found[1]}' to monitor: there are {there}"


def _callback_twice(message: str) -> str:
    found = re.search(r"more than one stateful callback of type `(\w+)`", message)
    if not found:
        return ""
    return (
        f"the callback {found[1]} is there already, with the same settings: leave one out, or use "
        "callbacks: to replace the list instead of callbacks+:"
    )


def mistake_behind(error: BaseException | None) -> LazarusError | None:
    """The user's mistake that an error was raised from, if it was one."""
    while error is not None and not isinstance(error, LazarusError):
        error = error.__cause__ or error.__context__
    return error
