"""The command ``lazarus``, which is ``python -m lazarus_pl`` too."""

import sys

from lazarus_pl.late_interrupt import EXIT_INTERRUPTED, LateInterrupt


def start() -> int:
    """Runs the command line of this process, which Ctrl-C may end from the first import on.

    Returns:
        The exit code, as of :func:`lazarus_pl.cli.main`.
    """
    interrupt = LateInterrupt()
    try:
        from lazarus_pl.cli import main

        code = main()
        # it may have come while the last module was imported
        return EXIT_INTERRUPTED if interrupt.was_pressed else code
    # there was no main yet that could say so
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    finally:
        interrupt.end()


if __name__ == "__main__":
    sys.exit(start())
