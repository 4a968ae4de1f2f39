"""What a model trains in each phase of a progressive unfreezing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lightning.pytorch.utilities import rank_zero_warn
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim import Optimizer

from callbacks.phase import BatchNormPolicy, Phase, with_parents
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
        for prefix, module in root.named_modules():
            for name, parameter in _lying_on(prefix, module):
                policy = self._policy(name, phase)
                if policy == "full" or (policy and not isinstance(module, _BatchNorm)):
                    found.add(id(parameter))
        return found

    def check_names(self, root: nn.Module) -> None:
        """Makes sure that each pattern means something, and that the first phase trains.

        Raises:
            MisconfigurationException: If it does not.
        """
        names = {own for name, module in root.named_modules() for own in _names(name, module)}
        of_norms = {
            parameter
            for name, module in root.named_modules()
            if isinstance(module, _BatchNorm)
            for parameter, _ in _lying_on(name, module)
        }
        for phase in self._phases:
            for pattern in phase.patterns:
                found = {name for name in names if Phase(0, (pattern,)).trains(name)}
                require(
                    bool(found),
                    f"the pattern {pattern!r} of a phase matches no module or parameter",
                )
                require(
                    phase.batch_norm == "full" or not found <= of_norms,
                    f"the pattern {pattern!r} of a phase names parameters of batch norms, which "
                    f"batch_norm={phase.batch_norm!r} does not train: choose 'full'",
                )
        require(bool(self.trained(root, 0)), "the first phase trains no parameter")

    def check_groups(self, root: nn.Module, optimizers: Sequence[Optimizer]) -> None:
        """Makes sure that each parameter that trains is in one group, and groups can warm up.

        Optimizers with nothing to train in a phase are warned of.

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
        self._warn_of_idle(root, optimizers)

    def _warn_of_idle(self, root: nn.Module, optimizers: Sequence[Optimizer]) -> None:
        for number in range(len(self._phases)):
            training = self.trained(root, number)
            for place, optimizer in enumerate(optimizers):
                held = {id(p) for group in optimizer.param_groups for p in group["params"]}
                if not held & training:
                    rank_zero_warn(
                        f"optimizer {place} has nothing to train in phase {number}: there the "
                        "training step must not run a backward pass for it alone"
                    )

    def _check_warmup(self, groups: list[dict[str, Any]], root: nn.Module, number: int) -> None:
        before, new = self.trained(root, number - 1), self.new(root, number)
        for group in groups:
            held = {id(parameter) for parameter in group["params"]}
            require(
                not (held & new and held & before),
                f"phase {number} cannot warm up, as a group of the optimizer holds parameters of "
                "earlier phases too: split the groups, see layerwise_groups",
            )

    def _policy(self, name: str, phase: int) -> BatchNormPolicy | None:
        """That of the latest phase so far that trains a module or parameter."""
        so_far = reversed(self._phases[: phase + 1])
        return next((p.batch_norm for p in so_far if p.trains(name)), None)

    def _modes(self, root: nn.Module, phase: int) -> list[tuple[nn.Module, bool]]:
        """Training for what trains and for what holds it, evaluation for the rest."""
        train = {
            part
            for name, module in root.named_modules()
            for own in _names(name, module)
            if self._policy(own, phase)
            for part in with_parents(own)
        }
        return [
            (module, name in train and not self._is_frozen_norm(name, module, phase))
            for name, module in root.named_modules()
            if name
        ]

    def _is_frozen_norm(self, name: str, module: nn.Module, phase: int) -> bool:
        policies = {self._policy(own, phase) for own in _names(name, module)}
        return isinstance(module, _BatchNorm) and policies <= {"frozen", None}


def _lying_on(name: str, module: nn.Module) -> list[tuple[str, nn.Parameter]]:
    """The parameters of a module itself, under all of their names."""
    return [*module.named_parameters(name, recurse=False, remove_duplicate=False)]


def _names(name: str, module: nn.Module) -> list[str]:
    """A module's own name, which the root has not, and those of the parameters that lie on it."""
    own = [parameter for parameter, _ in _lying_on(name, module)]
    return [name, *own] if name else own
