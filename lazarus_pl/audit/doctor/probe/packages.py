"""What is installed, beside what should be."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import metadata

from packaging.requirements import Requirement

from lazarus_pl import __version__
from lazarus_pl.audit.doctor.probe.stage import Facts

_SELF = "lazarus-pl"
_NAMES = ("torch", "torchvision", "timm", "lightning", "pytorch-lightning", "numpy", "pillow")


def packages() -> Facts:
    """Versions, unmet requirements and incomplete extras, all from the packages' metadata."""
    extras = _own_extras()
    return {
        "versions": {
            _SELF: __version__,
            **{name: found for name in _NAMES if (found := _version(name))},
        },
        "torch_wanted": _wanted("torchvision", "torch"),
        "unmet": {
            str(requirement): _version(requirement.name)
            for requirement in _required(_SELF)
            if not _met(requirement)
        },
        "extras": {
            extra: [need.name for need in _required(_SELF, extra) if not _met(need)]
            for extra in extras
        },
    }


def _version(name: str) -> str:
    try:
        # a broken installation can have metadata without a version
        return str(metadata.version(name) or "")
    except metadata.PackageNotFoundError:
        return ""


def _own_extras() -> list[str]:
    try:
        return metadata.metadata(_SELF).get_all("Provides-Extra") or []
    except metadata.PackageNotFoundError:
        return []


def _wanted(name: str, of: str) -> str:
    return ",".join(str(need.specifier) for need in _required(name) if need.name == of)


def _required(name: str, extra: str = "") -> Iterator[Requirement]:
    """What a distribution requires, or what one of its extras adds."""
    try:
        lines = metadata.requires(name) or []
    except metadata.PackageNotFoundError:
        return
    for need in map(Requirement, lines):
        # an extra may name another one of the same distribution; its parts are listed there
        if need.name.replace("_", "-").lower() == name:
            continue
        if _applies(need, "") != bool(extra) and _applies(need, extra):
            yield need


def _applies(need: Requirement, extra: str) -> bool:
    return need.marker is None or need.marker.evaluate({"extra": extra})


def _met(need: Requirement) -> bool:
    version = _version(need.name)
    return bool(version) and need.specifier.contains(version, prereleases=True)
