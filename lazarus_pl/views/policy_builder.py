"""A policy's steps to transforms."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn
from torchvision.transforms import v2

from lazarus_pl.did_you_mean import did_you_mean
from lazarus_pl.errors import LazarusError
from lazarus_pl.views.background_swap import BackgroundSwap
from lazarus_pl.views.jpeg import JPEG
from lazarus_pl.views.quick_transform import KERNELS, QuickTransform
from lazarus_pl.views.view_policy import Chain, Step

# arguments that Python gives as an enumeration and YAML as a word
_ENUMERATIONS: Mapping[str, Callable[[str], object]] = {
    "interpolation": v2.InterpolationMode,
    "policy": v2.AutoAugmentPolicy,
}
_OURS: tuple[type[nn.Module], ...] = (BackgroundSwap, JPEG)
_NESTED = "transforms"
_NOT_FOR_YAML = ("Transform", "Lambda")


class PolicyBuilder:
    """Builds transforms from their names and arguments.

    Args:
        where: The policy's file, for messages; relative folders start beside it.
        size: Side of the square that the encoder takes: the ``size`` of transforms that are given
            none.
        donors: Photos whose surroundings may be shown.
    """

    def __init__(self, where: Path, size: int, donors: Sequence[Path] = ()) -> None:
        self._where = where
        self._size = size
        self._donors = donors

    def chain(self, steps: Sequence[Step]) -> nn.Module:
        """Builds a chain of steps.

        Raises:
            LazarusError: If there is no such transform or argument, or a value cannot be.
        """
        built = [self._transform(name, arguments) for name, arguments in steps]
        return v2.Compose(built) if built else nn.Identity()

    def _transform(self, name: str, arguments: Mapping[str, Any]) -> nn.Module:
        kind = self._kind(name)
        given = self._defaults(name, kind, arguments)
        nested = {_NESTED: self._nested(arguments[_NESTED])} if _NESTED in arguments else {}
        try:
            values = {key: self._value(key, value) for key, value in arguments.items()}
            transform = kind(**{**given, **values, **nested})
        # whatever a constructor does not like about its arguments
        except Exception as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            raise LazarusError(
                f"the transform '{name}' of '{self._where}' does not take "
                f"{dict(arguments)}: {reason}"
            ) from error
        return QuickTransform(transform) if kind in KERNELS else transform

    def _defaults(
        self, name: str, kind: type[nn.Module], arguments: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Checks the arguments' names and gives what is not left to the policy."""
        known = dict(inspect.signature(kind).parameters)
        defaults: dict[str, Any] = {"size": (self._size, self._size)} if "size" in known else {}
        defaults |= {"donors": self._donors} if known.pop("donors", None) else {}
        there = f": there are {', '.join(known)}"
        for argument in arguments:
            if argument not in known:
                raise LazarusError(
                    f"the transform '{name}' of '{self._where}' has no argument "
                    f"'{argument}'{did_you_mean(argument, known) or there}"
                )
        for key, parameter in known.items():
            if parameter.default is parameter.empty and key not in {*arguments, *defaults}:
                raise LazarusError(
                    f"the transform '{name}' of '{self._where}' needs the argument '{key}'"
                )
        return defaults

    def _nested(self, chains: Sequence[Chain]) -> list[nn.Module]:
        return [self.chain(steps) for steps in chains]

    def _kind(self, name: str) -> type[nn.Module]:
        kinds = _kinds()
        if name not in kinds:
            hint = did_you_mean(name, kinds, most=2)
            raise LazarusError(
                f"there is no transform '{name}' (in '{self._where}'){hint}: "
                "use the classes of torchvision.transforms.v2, or BackgroundSwap"
            )
        return kinds[name]

    def _value(self, key: str, value: object) -> object:
        if key == "folder" and value is not None:
            return self._where.parent / str(value)
        if key in _ENUMERATIONS and isinstance(value, str):
            return _ENUMERATIONS[key](value)
        return value


def _kinds() -> dict[str, type[nn.Module]]:
    kinds: dict[str, type[nn.Module]] = {
        name: kind
        for name, kind in vars(v2).items()
        if inspect.isclass(kind) and issubclass(kind, nn.Module) and name not in _NOT_FOR_YAML
    }
    return kinds | {kind.__name__: kind for kind in _OURS}
