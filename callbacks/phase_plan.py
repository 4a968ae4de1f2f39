"""What a model trains in each phase of a progressive unfreezing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim import Optimizer

from callbacks.phase import Phase, with_parents
from callbacks.require import require


class PhasePlan:
    """Derives gradients and modes of a module from phases; it remembers nothing of a training.

    Frozen means both no gradients and evaluation mode. Where a module is named by two phases, the
    later one's policy for batch norms holds. Parameters are told apart by identity.

    Args:
        phases: In their order.
    """

    def __init__(self, phases: Sequence[Phase]) -> None:
        self._phases = phases

    def freeze(self, root: nn.Module, phase: int) -> list[tuple[nn.Module, bool]]:
        """Freezes all that a phase does not train, and returns the modes of all modules within."""
        training = self.trained(root, phase)
        for parameter in root.parameters():
            if parameter.is_floating_point() or parameter.is_complex():
                parameter.requires_grad_(id(parameter) in training)
            if id(parameter) not in training:
                # the optimizer would go on with a gradient from before
                parameter.grad = None
        modes = self._modes(root, phase)
        for module, mode in modes:
            module.training = mode
        return modes

    def new(self, root: nn.Module, phase: int) -> set[int]:
        """Identities of the parameters that begin to train in a phase."""
        return self.trained(root, phase) - (self.trained(root, phase - 1) if phase else set())

    def trained(self, root: nn.Module, phase: int) -> set[int]:
        """Identities of the parameters that train; a shared one does if any of its owners does."""
        found = set()
        for name, module in root.named_modules():
            owner = self._owner(name, phase)
            if owner is None:
                continue
            if isinstance(module, _BatchNorm) and self._phases[owner].batch_norm != "full":
                continue
            found |= {id(parameter) for parameter in module.parameters(recurse=False)}
        return found

    def check_names(self, root: nn.Module) -> None:
        """Makes sure that each pattern means something, and that the first phase trains.

        Raises:
            MisconfigurationException: If it does not.
        """
        names = [name for name, _ in root.named_modules() if name]
        for phase in self._phases:
            for pattern in phase.patterns:
                require(
                    any(Phase(0, (pattern,)).trains(name) for name in names),
                    f"the pattern {pattern!r} of a phase matches no module",
                )
        require(bool(self.trained(root, 0)), "the first phase trains no parameter")

    def check_groups(self, root: nn.Module, optimizers: Sequence[Optimizer]) -> None:
        """Makes sure that each parameter that trains is in one group, and groups can warm up.

        Raises:
            MisconfigurationException: If one is not, or a group is of two phases.
        """
        groups = [group for o in optimizers for group in o.param_groups]
        held = [id(parameter) for group in groups for parameter in group["params"]]
        wanted = self.trained(root, len(self._phases) - 1)
        for name, parameter in root.named_parameters():
            if id(parameter) in wanted:
                require(
                    held.count(id(parameter)) == 1,
                    f"the optimizers hold the parameter {name!r} {held.count(id(parameter))} times:"
                    " declare all groups in configure_optimizers, see layerwise_groups",
                )
        for number, phase in enumerate(self._phases[1:], start=1):
            if phase.warmup_steps:
                self._check_warmup(groups, root, number)

    def _check_warmup(self, groups: list[dict[str, Any]], root: nn.Module, number: int) -> None:
        before, new = self.trained(root, number - 1), self.new(root, number)
        for group in groups:
            held = {id(parameter) for parameter in group["params"]}
            require(
                not (held & new and held & before),
                f"phase {number} cannot warm up, as a group of the optimizer holds parameters of "
                "earlier phases too: split the groups, see layerwise_groups",
            )

    def _owner(self, name: str, phase: int) -> int | None:
        """The latest phase so far that trains a module."""
        numbers = range(phase, -1, -1)
        return next((n for n in numbers if self._phases[n].trains(name)), None)

    def _modes(self, root: nn.Module, phase: int) -> list[tuple[nn.Module, bool]]:
        """Training for what trains and for what holds it, evaluation for the rest."""
        owners = {name: self._owner(name, phase) for name, _ in root.named_modules() if name}
        train = {p for name, n in owners.items() if n is not None for p in with_parents(name)}
        modes = []
        for name, module in root.named_modules():
            owner = owners.get(name)
            frozen = owner is not None and self._phases[owner].batch_norm == "frozen"
            if name:
                norm = isinstance(module, _BatchNorm)
                modes.append((module, name in train and not (norm and frozen)))
        return modes
