"""What a result was made with."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

from lazarus_pl import __version__

_PACKAGES = ("torch", "torchvision", "lightning", "timm", "torchmetrics", "numpy", "openvino")


def package_versions() -> dict[str, str]:
    """Versions of Python and of the packages that decide numbers; none of them is imported."""
    found = {"lazarus_pl": __version__, "python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
