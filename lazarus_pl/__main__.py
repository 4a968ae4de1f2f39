"""``python -m lazarus_pl`` is ``lazarus``."""

import sys

from lazarus_pl.cli import main

if __name__ == "__main__":
    sys.exit(main())
