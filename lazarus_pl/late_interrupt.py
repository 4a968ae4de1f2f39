"""Ctrl-C that breaks no import."""

from __future__ import annotations

import _thread
import signal
import sys
import time
from types import FrameType

EXIT_INTERRUPTED = 130

_SECONDS_BETWEEN_LOOKS = 0.01
_IMPORTING = "<frozen importlib._bootstrap>"


class LateInterrupt:
    """Raises ``KeyboardInterrupt`` after Ctrl-C as soon as no module is being imported.

    Within an import it may be swallowed, or leave half a module behind, on which whoever goes on
    stumbles. Where Ctrl-C is ignored or handled by someone else, that stays so.

    Attributes:
        was_pressed: Whether Ctrl-C was pressed.
    """

    def __init__(self) -> None:
        self.was_pressed = False
        self._waits = False
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, self._interrupt)

    def end(self) -> None:
        """Leaves Ctrl-C to the system: what is left to do is no place for an exception."""
        if signal.getsignal(signal.SIGINT) == self._interrupt:
            signal.signal(signal.SIGINT, signal.SIG_DFL)

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        self.was_pressed = True
        if not _is_importing(frame):
            raise KeyboardInterrupt
        if self._waits:
            return
        self._waits = True
        # no threading.Thread: its locks may be held by what was interrupted
        _thread.start_new_thread(self._press_again, (_thread.get_ident(),))

    def _press_again(self, main: int) -> None:
        time.sleep(_SECONDS_BETWEEN_LOOKS)
        # the program may be over, and another handler be there
        if signal.getsignal(signal.SIGINT) != self._interrupt:
            return
        self._waits = False
        # as the keyboard does: it wakes who waits for something
        if sys.platform == "win32":
            signal.raise_signal(signal.SIGINT)
        else:
            signal.pthread_kill(main, signal.SIGINT)


def _is_importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename == _IMPORTING:
            return True
        frame = frame.f_back
    return False
