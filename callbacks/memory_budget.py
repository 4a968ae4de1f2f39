"""Batches that are taken in parts where memory does not suffice for them."""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn

from callbacks.counting_rows import counting_rows
from callbacks.gpu_memory import cap_gpu_memory, say_memory
from callbacks.loss_scale import loss_scale
from callbacks.memory_probe import MemoryProbe, least_rows, require_room_for_a_copy
from callbacks.require import require
from callbacks.step_in_parts import Output, count_rows, step_in_parts
from callbacks.validation_in_parts import ValidationInParts

Step = Callable[..., Any]
Way = Callable[[Trainer, LightningModule, Step, Any, tuple[Any, ...]], Any]


class MemoryBudget(Callback):
    """Keeps training and validation within memory; the batch that counts stays what it is.

    A training step runs on a few rows of its batch after the other, and the gradients are those of
    the whole batch: one optimizer step a batch as before, with the same learning rate. With
    ``gpu_bytes`` steps of 1, 2, 4 … rows are measured before the first one, on a copy of the
    module, and the largest number of rows that fits is taken. Where one row does not fit, gradient
    checkpointing is turned on, if the module has ``set_grad_checkpointing(enable)``, as models of
    timm have, and rows are tried again. On a GPU torch is held to ``gpu_bytes`` in the whole
    process; without one the tensors of a step are held against it.

    Memory that runs out in the middle of a run, with or without a budget, halves the number of rows
    for the rest of the run, and the same rows are taken again; gradients of earlier batches stay.
    At one row gradient checkpointing is turned on, and after that the run ends with a sentence. The
    number of rows is part of the checkpoint, and is logged as ``memory/micro_batch``.

    Batches of validation are taken in parts too, without gradients. A step that ran out of memory
    may have updated metrics and cannot be taken again. So with ``gpu_bytes`` the rows that fit are
    found on a copy of the module, at the first batch and, when there are states of the optimizer,
    at the first one after that. Without it they are as many as training takes at once, where that
    is not the whole batch, and memory that runs out in validation ends the run. Batches of test and
    prediction must fit as they are, under the same cap.

    The loss must be a mean over the rows of a batch, and what mixes rows belongs into
    ``on_after_batch_transfer``. What validation logs must be means over rows, or metrics. Batch
    norms in training mode see the rows of a part only, and there is a warning; dropout draws other
    random numbers. A part that ran out of memory in its backward pass is logged twice in that
    epoch's means.

    Gradients of parts are found with ``torch.autograd.grad``, also for a batch that is taken whole.
    So ``torch.utils.checkpoint`` needs ``use_reentrant=False``, and hooks on parameters see each
    part's gradient and then that of the batch.

    Splitting a batch for memory's sake: Chen et al., 2016 (arXiv 1604.06174) for checkpointing;
    gradients are summed as with Lightning's ``accumulate_grad_batches``, which may be used beside.

    Args:
        gpu_bytes: What torch's tensors may take. CUDA itself takes some hundred MB more. None
            measures nothing.
        micro_batch: Most rows that train at once; None for as many as fit.

    Attributes:
        micro_batch: Most rows that train at once so far; None for whole batches.
        checkpointing: Whether gradient checkpointing was turned on.

    Raises:
        MisconfigurationException: If an argument makes no sense, not even one row fits, the module
            optimizes by hand, or there is more than one process.

    Example:
        >>> trainer = Trainer(callbacks=[MemoryBudget(4_000_000_000)])
        >>> trainer.fit(module, data)  # doctest: +SKIP
    """

    micro_batch: int | None
    checkpointing: bool
    _measured: int | None

    def __init__(self, gpu_bytes: int | None = None, micro_batch: int | None = None) -> None:
        super().__init__()
        require(gpu_bytes is None or gpu_bytes > 0, f"gpu_bytes is above 0, not {gpu_bytes}")
        require(
            micro_batch is None or micro_batch > 0, f"micro_batch is 1 or more, not {micro_batch}"
        )
        self._budget = gpu_bytes
        self._wished = micro_batch
        self._resumed = False
        self._rows = 0
        self._warned = False
        self._own: dict[str, Step | None] = {}
        self._forget()

    @property
    def validation_batch(self) -> int | None:
        """Most rows of validation at once so far; None for whole batches."""
        return self._validation.rows_at_once

    @property
    def is_split(self) -> bool:
        """Whether a batch was larger than what was taken at once."""
        return self.micro_batch is not None and self.micro_batch < self._rows

    def __str__(self) -> str:
        """How batches are taken, in a few words."""
        way = " with gradient checkpointing" if self.checkpointing else ""
        if not self.is_split:
            return f"whole batches{way}"
        return f"batches of {self._rows} in parts of {self.micro_batch}{way}"

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Refuses what cannot work, and limits what torch takes of the GPU."""
        if stage != "fit":
            return
        self._resumed = False
        self._rows = 0
        self._warned = False
        if self._budget is not None:
            cap_gpu_memory(self._budget)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Puts itself between the loops and the module's steps."""
        if not self._resumed and trainer.current_epoch == 0:
            self._forget()
        if not self._can_split(trainer, pl_module):
            return
        if self.checkpointing:
            self._checkpoint(pl_module)
        self._put_between(trainer, pl_module, "training_step", self._step)
        self._put_between(trainer, pl_module, "validation_step", self._evaluate)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Logs how many rows are taken at once, where that is not a whole batch."""
        if self.is_split and self.micro_batch is not None:
            pl_module.log("memory/micro_batch", float(self.micro_batch))

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Gives the module its steps back."""
        self._release(pl_module)

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Gives the module its steps back."""
        self._release(pl_module)

    def state_dict(self) -> dict[str, Any]:
        """How many rows fit, and for which budget that was measured."""
        return {
            "micro_batch": self.micro_batch,
            "checkpointing": self.checkpointing,
            "measured": self._measured,
            "wished": self._wished,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes up what a checkpoint knew; what is newly asked for wins.

        Another budget is measured anew, and so is another number of rows within a budget.
        """
        self._resumed = True
        self.checkpointing = state_dict["checkpointing"]
        if self._wished not in (None, state_dict.get("wished")):
            self.micro_batch, self._measured = self._wished, None
            return
        self.micro_batch, self._measured = state_dict["micro_batch"], state_dict["measured"]

    def _forget(self) -> None:
        self.micro_batch = self._wished
        self._validation = ValidationInParts(self._budget)
        self.checkpointing = False
        self._measured = None

    def _put_between(self, trainer: Trainer, module: LightningModule, name: str, way: Way) -> None:
        step: Step = getattr(module, name)
        self._own[name] = vars(module).get(name)

        # a function, not a method or a partial: copies of the module do not copy this callback
        @functools.wraps(step)
        def in_parts(batch: Any, *others: Any) -> Any:  # noqa: ANN401  # of any type
            return way(trainer, module, step, batch, others)

        vars(module)[name] = in_parts

    def _release(self, module: LightningModule) -> None:
        for name, step in self._own.items():
            vars(module).pop(name)
            if step is not None:
                vars(module)[name] = step
        self._own = {}

    def _can_split(self, trainer: Trainer, module: LightningModule) -> bool:
        """Whether steps can be taken in parts here; refuses only where that was asked for."""
        reason = ""
        if not module.automatic_optimization:
            reason = "the module optimizes by hand: use automatic optimization"
        elif trainer.world_size > 1:
            reason = "there is more than one process: use devices=1"
        asked = self._budget is not None or self._wished is not None
        require(not (reason and asked), f"MemoryBudget cannot split batches, as {reason}")
        return not reason

    def _step(
        self,
        trainer: Trainer,
        module: LightningModule,
        step: Step,
        batch: Any,  # noqa: ANN401  # a batch is of any type
        others: tuple[Any, ...],
    ) -> Output:
        rows = count_rows(batch)
        if not rows:
            output: Output = step(batch, *others)
            return output
        self._rows = max(self._rows, rows)
        if self._budget not in (None, self._measured):
            self._measure(trainer, module, batch, others)
        self._warn_of_batch_norms(module)

        def take(part: Any) -> Output:  # noqa: ANN401  # a batch is of any type
            few = count_rows(part)
            with counting_rows(module, few) if few < rows else nullcontext():
                taken: Output = step(part, *others)
            return taken

        return step_in_parts(
            take,
            [parameter for parameter in module.parameters() if parameter.requires_grad],
            batch,
            lambda: self.micro_batch or rows,
            lambda failed, reason: self._make_smaller(module, failed, reason),
            loss_scale(trainer, module.device),
        )

    def _evaluate(
        self,
        trainer: Trainer,
        module: LightningModule,
        step: Step,
        batch: Any,  # noqa: ANN401  # a batch is of any type
        others: tuple[Any, ...],
    ) -> Any:  # noqa: ANN401  # what the step gives
        if self._budget is None:
            self._validation.rows_at_once = self.micro_batch
        return self._validation.step(trainer, module, step, batch, others)

    def _measure(
        self,
        trainer: Trainer,
        module: LightningModule,
        batch: Any,  # noqa: ANN401  # a batch is of any type
        others: tuple[Any, ...],
    ) -> None:
        assert self._budget is not None
        self._measured = self._budget
        try:
            probe = MemoryProbe(trainer, module, batch, others)
            size, peak, way = self._largest(probe, module, self._budget)
        # what a module does when it is copied, nobody knows
        except Exception as error:
            require_room_for_a_copy(error, self._budget)
            rank_zero_warn(
                f"memory could not be measured ({error}): batches are split when it runs out"
            )
            return
        needs = "more than there is" if peak is None else say_memory(peak)
        require(
            size > 0,
            f"a training step on {least_rows(module)} of {self._rows} rows takes {needs}, "
            f"{say_memory(self._budget)} are allowed: allow more, train fewer modules, or give "
            "smaller inputs",
        )
        if way and not self.checkpointing:
            self._checkpoint(module)
        self.micro_batch = min(size, self._wished or size)
        rank_zero_info(f"MemoryBudget: {self}, a step takes {needs} of {say_memory(self._budget)}")

    def _largest(
        self, probe: MemoryProbe, module: LightningModule, most: int
    ) -> tuple[int, int | None, bool]:
        """Rows that fit, the bytes that they take, and whether with gradient checkpointing."""
        size, peak = (0, None) if self.checkpointing else probe.largest_part(most, False)
        if size or not _can_checkpoint(module):
            return size, peak, False
        return *probe.largest_part(most, True), True

    def _make_smaller(self, module: LightningModule, failed: int, reason: str) -> None:
        """Halves the parts, or turns gradient checkpointing on."""
        why = f"{failed} of {self._rows} rows at once did not fit into memory"
        if failed // 2 >= least_rows(module):
            self.micro_batch = failed // 2
            rank_zero_warn(f"{why}: from now on {self.micro_batch} at once, in the same batches")
            return
        require(
            not self.checkpointing and _can_checkpoint(module),
            f"not even {failed} of {self._rows} rows at once fit into memory: train fewer modules, "
            f"give smaller inputs, or free memory that others use ({reason.splitlines()[0]})",
        )
        self._checkpoint(module)
        rank_zero_warn(f"{why}: from now on with gradient checkpointing")

    def _checkpoint(self, module: Any) -> None:  # noqa: ANN401  # a method that few modules have
        self.checkpointing = True
        module.set_grad_checkpointing(True)

    def _warn_of_batch_norms(self, module: LightningModule) -> None:
        if self._warned or not self.is_split:
            return
        self._warned = True
        if least_rows(module) > 1:
            rank_zero_warn(
                f"batch norms in training mode see {self.micro_batch} rows at once instead of "
                f"{self._rows}: freeze them, or accept that gradients differ from the whole batch's"
            )


def _can_checkpoint(module: LightningModule) -> bool:
    return callable(getattr(module, "set_grad_checkpointing", None))
