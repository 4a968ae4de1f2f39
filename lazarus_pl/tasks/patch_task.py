"""The LightningModule that trains a head to diagnose and to show where."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from lazarus_pl.errors import LazarusError
from lazarus_pl.heads.lesion_weights import LesionWeights
from lazarus_pl.heads.patch_head import PatchHead
from lazarus_pl.heads.patch_reading import PatchReading
from lazarus_pl.tasks.classification_task import ClassificationTask
from lazarus_pl.tasks.evidence_figure import evidence_figure
from lazarus_pl.tasks.healthy_partner import healthy_partner

_EXAMPLES = 8


class PatchTask(ClassificationTask):
    """Trains the head ``patches``: the classifier's loss plus those of its patches.

    Arguments are those of :class:`ClassificationTask`, so that a checkpoint is read the same way.
    Every ``maps_every`` epochs TensorBoard gets the evidence in a few photos of val.

    Raises:
        LazarusError: If the head is another one, or there is mixup.
    """

    def configure_heads(
        self, head: str, options: Mapping[str, Any], feature_shapes: Mapping[str, list[int]]
    ) -> None:
        """Builds the head and tells it each crop's healthy class."""
        super().configure_heads(head, options, feature_shapes)
        if not isinstance(self.head, PatchHead):
            raise LazarusError(f"PatchTask trains the head 'patches', not '{head}'")
        if self.mixup:
            raise LazarusError(
                f"mixup {self.mixup} cannot be with the head 'patches', which would look for the "
                "lesions of two photos in one: leave mixup at 0"
            )
        self.head.set_sound(healthy_partner(self.class_names))
        self._examples: tuple[Tensor, Tensor] | None = None

    def on_after_batch_transfer(self, batch: dict[str, Any], dataloader_idx: int) -> dict[str, Any]:
        """Adds what photos of a batch owe to each other, before a step may take it in parts.

        Returns:
            As the classifier's; in training with ``lesion_weights``.
        """
        together = super().on_after_batch_transfer(batch, dataloader_idx)
        if not self.trainer.training:
            return together
        assert isinstance(self.head, PatchHead)
        weights = self.head.lesion_weights(batch["features"], batch["target"], batch.get("mask"))
        return {**together, "lesion_weights": weights}

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """The loss of one batch, or of some photos of it: a mean over photos."""
        assert isinstance(self.head, PatchHead)
        target = batch["target"]
        reading = self.head.look(self.standardised(batch["features"]), batch.get("mask"))
        diagnosis = self.objective(
            batch["features"], reading.logits, target, batch.get("mean_weight")
        )
        instances = self.head.instance_loss(reading, target)
        lesions = self._lesion_loss(reading, target, batch.get("lesion_weights"))
        loss: Tensor = diagnosis + instances + lesions
        self.train_scores.update(diagnosis, reading.logits, target)
        parts = {"train/instance_loss": instances, "train/lesion_loss": lesions}
        self.log_dict(parts, on_step=False, on_epoch=True, batch_size=len(target))
        return loss

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """Scores one batch of val; keeps a few maps that are due."""
        super().validation_step(batch, batch_idx)
        if self._maps_are_due() and self._examples is None:
            self._examples = self._some_evidence(batch)

    def on_validation_epoch_end(self) -> None:
        """Logs each class's recall, and draws the maps kept."""
        super().on_validation_epoch_end()
        examples, self._examples = self._examples, None
        draw = getattr(getattr(self.logger, "experiment", None), "add_figure", None)
        if examples is None or draw is None or not self.trainer.is_global_zero:
            return
        maps, target = examples
        names = [self.class_names[int(label)] for label in target]
        draw("evidence/val", evidence_figure(maps.cpu().numpy(), names), self.global_step)

    def _lesion_loss(
        self, reading: PatchReading, target: Tensor, weights: LesionWeights | None
    ) -> Tensor:
        assert isinstance(self.head, PatchHead)
        if self.current_epoch < self.head.lesions_from * (self.trainer.max_epochs or 0):
            # times 0, not left out: under DDP every parameter needs a gradient
            return 0 * reading.lesions.float().sum()
        return self.head.lesion_loss(reading, target, weights)

    def _maps_are_due(self) -> bool:
        assert isinstance(self.head, PatchHead)
        every = self.head.maps_every
        return bool(every) and not self.trainer.sanity_checking and self.current_epoch % every == 0

    def _some_evidence(self, batch: dict[str, Any]) -> tuple[Tensor, Tensor]:
        assert isinstance(self.head, PatchHead)
        step = max(1, len(batch["target"]) // _EXAMPLES)
        target = batch["target"][::step][:_EXAMPLES]
        features = {
            layer: values[::step][:_EXAMPLES] for layer, values in batch["features"].items()
        }
        mask = batch.get("mask")
        kept = None if mask is None else mask[::step][:_EXAMPLES]
        reading = self.head.look(self.standardised(features), kept)
        evidence = self.head.evidence(reading, target)
        return evidence.masked_fill(~reading.kept, torch.nan), target
