"""The LightningModule that trains any head on cached features."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn

from lazarus_pl import __version__
from lazarus_pl.errors import LazarusError
from lazarus_pl.heads.build_head import build_head
from lazarus_pl.in_range import check_rate, check_share
from lazarus_pl.tasks.adamw_with_cosine import adamw_with_cosine
from lazarus_pl.tasks.check_checkpoint import check_checkpoint
from lazarus_pl.tasks.epoch_scores import EpochScores
from lazarus_pl.tasks.mix_up import mix_up
from lazarus_pl.tasks.show_result import draw_confusion, log_hparams
from lazarus_pl.tasks.standardise import Standardise

_LOG = logging.getLogger(__name__)

ClassWeights = Literal["none", "balanced", "effective"]
CHECKPOINT_FORMAT = 1

# of the effective number of samples; near the 0.999 and 0.9999 of the paper's experiments
_BETA = 0.999
# what batch_rng draws
_MIXING = 0


class ClassificationTask(LightningModule):
    """Trains a head and scores it by macro-F1.

    Features are standardised with the statistics of the training photos, which are kept in the
    checkpoint beside the class names and the encoder's identity: one file classifies photos.

    Args:
        head: ``linear``, ``mlp``, ``attention`` or ``patches``.
        head_options: Further arguments of the head.
        lr: Highest learning rate of AdamW, after a linear warm-up and before a cosine to zero.
        weight_decay: Of AdamW.
        label_smoothing: Of the cross-entropy, 0 to 1.
        class_weights: ``balanced`` weighs classes by the inverse of their photos, ``effective`` by
            the inverse of the effective number of samples (Cui et al. 2019, arXiv:1901.05555).
        warmup: Share of all steps in which the learning rate rises.
        mixup: Alpha of the Beta distribution with which the features of two photos and their
            labels are mixed in training (Zhang et al. 2018, arXiv:1710.09412); 0 mixes nothing.
        class_names: Linked from the data.
        class_counts: Training photos of each class; linked from the data.
        feature_shapes: Shape of one photo's features by layer; linked from the data.
        encoder: Identity of the encoder that made the features; linked from the data.

    Raises:
        LazarusError: If the head or one of its options does not exist or cannot be, or it needs a
            layer that the data does not give.
    """

    def __init__(
        self,
        head: str = "mlp",
        head_options: dict[str, bool | int | float | str] | None = None,
        lr: float = 1e-3,
        weight_decay: float = 0.01,
        label_smoothing: float = 0.0,
        class_weights: ClassWeights = "none",
        warmup: float = 0.05,
        mixup: float = 0.0,
        class_names: list[str] | None = None,
        class_counts: list[int] | None = None,
        feature_shapes: dict[str, list[int]] | None = None,
        encoder: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        if not class_names or not feature_shapes:
            raise LazarusError(
                "a task needs class_names and feature_shapes: the command line links them from "
                "the data; in Python pass those of the DataModule"
            )
        check_rate("lr", lr)
        check_rate("weight_decay", weight_decay, zero=True)
        check_share("label_smoothing", label_smoothing)
        check_share("warmup", warmup)
        check_rate("mixup", mixup, zero=True)
        self.save_hyperparameters()
        self.lr = lr
        self.weight_decay = weight_decay
        self.warmup = warmup
        self.mixup = mixup
        self.class_names = list(class_names)
        self.encoder = dict(encoder or {})
        self.feature_shapes = {name: tuple(shape) for name, shape in feature_shapes.items()}
        self.configure_heads(head, head_options or {}, feature_shapes)
        self.configure_losses(label_smoothing, class_weights, class_counts)
        self.configure_metrics()

    def configure_heads(
        self, head: str, options: Mapping[str, Any], feature_shapes: Mapping[str, list[int]]
    ) -> None:
        """Builds the head and what standardises its input."""
        self.head = build_head(head, feature_shapes, len(self.class_names), **options)
        self.standardise = nn.ModuleDict(
            {layer: Standardise(shape[-1]) for layer, shape in feature_shapes.items()}
        )

    def configure_losses(
        self, label_smoothing: float, class_weights: ClassWeights, counts: list[int] | None
    ) -> None:
        """Builds the cross-entropy."""
        weight = None
        if class_weights != "none":
            if not counts:
                raise LazarusError(
                    f"class_weights '{class_weights}' needs class_counts: pass those of the "
                    "DataModule, or use 'none'"
                )
            weight = _class_weights(torch.tensor(counts, dtype=torch.float32), class_weights)
        self.loss = nn.CrossEntropyLoss(weight=weight, label_smoothing=label_smoothing)

    def configure_metrics(self) -> None:
        """Builds the scores of each side."""
        self.train_scores, self.val_scores, self.test_scores = (
            EpochScores(side, self.class_names) for side in ("train", "val", "test")
        )
        self._temperature: float | None = None
        self._val_confusion = torch.zeros(2 * [len(self.class_names)], dtype=torch.long)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """AdamW with warm-up and cosine, stepped every batch."""
        groups = self.optimizer_groups()
        return adamw_with_cosine(self.trainer, self.device, groups, [self.warmup] * len(groups))

    def optimizer_groups(self) -> list[dict[str, Any]]:
        """Those of :meth:`parameter_groups` with all that AdamW is told of each."""
        own = {"lr": self.lr, "weight_decay": self.weight_decay}
        return [{**own, **group} for group in self.parameter_groups()]

    def parameter_groups(self) -> list[dict[str, Any]]:
        """All parameters, in groups of one learning rate each."""
        return [{"params": list(self.parameters())}]

    def setup(self, stage: str) -> None:
        """Takes the statistics of the training photos; a checkpoint's own come after.

        Raises:
            LazarusError: As :meth:`check_precision`.
        """
        self.check_precision()
        statistics = getattr(getattr(self.trainer, "datamodule", None), "feature_statistics", None)
        if stage != "fit" or statistics is None:
            return
        for layer, (mean, deviation) in statistics.items():
            standardise = self.standardise[layer]
            assert isinstance(standardise, Standardise)
            standardise.fit(mean, deviation)

    def check_precision(self) -> None:
        """Refuses a trainer that would convert the whole task.

        Raises:
            LazarusError: If its precision is neither float32 nor mixed.
        """
        precision = str(self.trainer.precision)
        if precision.endswith("-true") and precision != "32-true":
            raise LazarusError(
                f"trainer.precision {precision} is not for this task, whose statistics and sums "
                "are in float32: set it to 32-true, bf16-mixed or 16-mixed"
            )

    def forward(self, features: Mapping[str, Tensor], mask: Tensor | None = None) -> Tensor:
        """Logits ``(B, classes)`` of cached features by layer.

        Args:
            features: ``(B, C)`` or ``(B, H, W, C)`` by layer.
            mask: bool ``(B, H, W)`` of the finest grid, True where there is a patch.
        """
        logits: Tensor = self.head(self.standardised(features), mask)
        return logits

    def standardised(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Cached features by layer, as the head reads them."""
        return {layer: self.standardise[layer](values) for layer, values in features.items()}

    def on_after_batch_transfer(self, batch: dict[str, Any], dataloader_idx: int) -> dict[str, Any]:
        """Adds what photos of a batch owe to each other, before a step may take it in parts.

        Returns:
            In training, the batch with mixed ``features`` if there is mixup, with what is
            ``wanted`` of them, and with the mean weight of the photos if classes have weights.
        """
        if not self.trainer.training:
            return batch
        features, wanted = batch["features"], batch["target"]
        if self.mixup and "mask" in batch:
            raise LazarusError(
                f"mixup {self.mixup} needs grids of one size, those of photos in windows differ: "
                "set model.init_args.mixup to 0"
            )
        if self.mixup:
            classes = len(self.class_names)
            features, wanted = mix_up(
                features, wanted, classes, self.mixup, self.batch_rng(_MIXING)
            )
        together = {**batch, "features": features, "wanted": wanted}
        if self.loss.weight is not None and not wanted.is_floating_point():
            together["mean_weight"] = self.loss.weight[wanted].mean()
        return together

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """The loss of one batch, or of some photos of it: a mean over photos."""
        return self.learn(batch, self.standardised(batch["features"]))

    def learn(self, batch: Mapping[str, Any], features: Mapping[str, Tensor]) -> Tensor:
        """The loss of a batch whose features have been standardised; adds it to the scores."""
        logits = self.head(features, batch.get("mask"))
        wanted = batch.get("wanted", batch["target"])
        loss = self.objective(batch["features"], logits, wanted, batch.get("mean_weight"))
        self.train_scores.update(loss, logits, batch["target"])
        return loss

    def objective(
        self,
        features: Mapping[str, Tensor],
        logits: Tensor,
        target: Tensor,
        mean_weight: Tensor | None = None,
    ) -> Tensor:
        """What training makes small.

        Args:
            features: Cached features by layer, mixed if there is mixup.
            logits: What the task says of them, ``(B, classes)``.
            target: Class indices ``(B,)``, or probabilities ``(B, classes)`` if there is mixup.
            mean_weight: Of all photos of the batch, where these are some of them; their own if
                None.
        """
        loss: Tensor = self.loss(logits, target)
        if mean_weight is None or self.loss.weight is None:
            return loss
        return loss * (self.loss.weight[target].mean() / mean_weight)

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """Scores one batch of val."""
        self.judge(batch, self.standardised(batch["features"]), self.val_scores)

    def test_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """Scores one batch of test."""
        self.judge(batch, self.standardised(batch["features"]), self.test_scores)

    def judge(
        self, batch: Mapping[str, Any], features: Mapping[str, Tensor], scores: EpochScores
    ) -> None:
        """Adds a batch whose features have been standardised to the scores of a side."""
        logits = self.head(features, batch.get("mask")).float()
        loss = self.loss(logits, batch["target"])
        # weights that are trained on are no longer those that were calibrated
        fitting = self.trainer.state.fn == TrainerFn.FITTING
        temperature = None if fitting else self._temperature
        weights = self.loss.weight
        weight = None if weights is None else weights[batch["target"]].sum()
        scores.update(loss, logits, batch["target"], temperature, weight)

    def predict_step(self, batch: dict[str, Any], batch_idx: int) -> dict[str, Tensor]:
        """Class probabilities ``(B, classes)`` and the photos' places in the manifest."""
        probability = self(batch["features"], batch.get("mask")).float().softmax(dim=-1)
        return {"index": batch["index"], "probability": probability}

    def on_train_epoch_end(self) -> None:
        """Logs the scores of train."""
        self._close(self.train_scores)

    def on_validation_epoch_end(self) -> None:
        """Logs the scores of val."""
        self._val_confusion = self._close(self.val_scores, "val" not in self._learnt)

    def on_test_epoch_end(self) -> None:
        """Logs the scores of test and draws the confusion matrix."""
        self._draw_confusion("test", self._close(self.test_scores))

    def on_fit_end(self) -> None:
        """Shows the best checkpoint, or else the last validation: confusion and hyperparameters.

        Nothing where val was trained on.
        """
        if "val" in self._learnt:
            return
        best = self._best_checkpoint()
        counts = best.get("confusion")
        self._draw_confusion("val", self._val_confusion if counts is None else torch.tensor(counts))
        scores = best.get("scores", self.trainer.callback_metrics)
        log_hparams(self.logger, self.hparams, scores, self.global_step)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Adds what is needed to classify photos with this file alone."""
        checkpoint["lazarus"] = self.described(
            self.trainer, self.trainer.callback_metrics, self._val_confusion
        )

    def described(
        self, trainer: Trainer, scores: Mapping[str, Any], confusion: Tensor
    ) -> dict[str, Any]:
        """What a checkpoint tells of the task.

        Args:
            trainer: Whose data it was trained on.
            scores: Those of val, among others, by name.
            confusion: Of val, ``(classes, classes)``.
        """
        return {
            "format": CHECKPOINT_FORMAT,
            "version": __version__,
            "task": type(self).__name__,
            # LightningCLI adds hyperparameters of its own, with an underscore
            "arguments": {
                # JSON has the types that torch.load(weights_only=True) takes
                name: json.loads(json.dumps(value))
                for name, value in self.hparams.items()
                if not name.startswith("_")
            },
            "scores": {n: float(value) for n, value in scores.items() if n.startswith("val")},
            "confusion": confusion.tolist(),
            "trained_on": _trained_on(trainer),
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuses the weights of another encoder or of other classes.

        Raises:
            LazarusError: If the checkpoint does not fit the data.
        """
        head = (self.hparams["head"], self.hparams["head_options"] or {})
        check_checkpoint(checkpoint, self.class_names, self.encoder, head, self.state_dict())
        self._temperature = (checkpoint["lazarus"].get("doubt") or {}).get("temperature")
        if self._trainer is None:
            return
        sides = {TrainerFn.TESTING: "test", TrainerFn.VALIDATING: "val"}
        side = sides.get(self.trainer.state.fn or TrainerFn.FITTING)
        if side in checkpoint["lazarus"].get("trained_on", ()):
            _LOG.warning("it was trained on the photos of %s: these scores say little", side)

    @property
    def _learnt(self) -> list[str]:
        """Sides that are trained on."""
        return _trained_on(self.trainer)

    def batch_rng(self, purpose: int) -> np.random.Generator:
        """What is drawn for a training batch before it is taken apart.

        Depends on the run's seed and the batch, so a resumed run draws as it would have.

        Args:
            purpose: Another one, other numbers.
        """
        # the batch before this one: -1 at first
        batch = self.trainer.fit_loop.total_batch_idx + 1
        return np.random.default_rng([torch.initial_seed(), batch, self.global_rank, purpose])

    def _close(self, scores: EpochScores, shown: bool = True) -> Tensor:
        """Logs the scores of a side, starts them anew and returns the confusion matrix.

        Args:
            scores: Of the side.
            shown: Whether loggers are told, not callbacks alone.
        """
        values, confusion = scores.compute()
        scores.reset()
        # equal on all devices: they are reduced when they are computed
        self.log_dict(self.with_own_scores(values, confusion), sync_dist=True, logger=shown)
        return confusion

    def with_own_scores(self, scores: dict[str, Tensor], confusion: Tensor) -> dict[str, Tensor]:
        """The scores of a side with those that only this kind of task has.

        Args:
            scores: By name, which begins with the side.
            confusion: Counts ``(classes, classes)``; rows are the truth.
        """
        return scores

    def _best_checkpoint(self) -> dict[str, Any]:
        """What :meth:`on_save_checkpoint` added to the best one; nothing where there is none."""
        path = Path(getattr(self.trainer.checkpoint_callback, "best_model_path", ""))
        if not path.is_file():
            return {}
        content = torch.load(path, map_location="cpu", weights_only=True)
        return dict(content.get("lazarus", {}))

    def _draw_confusion(self, side: str, counts: Tensor) -> None:
        if self.trainer.is_global_zero:
            draw_confusion(self.logger, side, counts, self.class_names, self.global_step)


def _trained_on(trainer: Trainer) -> list[str]:
    """Sides of the split; none where the data do not say."""
    data = getattr(trainer, "datamodule", None)
    return list(getattr(data, "train_on", ()))


def _class_weights(counts: Tensor, kind: ClassWeights) -> Tensor:
    """Weights of mean 1 over photos; a class without photos weighs nothing."""
    samples = counts if kind == "balanced" else (1 - _BETA**counts) / (1 - _BETA)
    weights = torch.where(counts > 0, 1 / samples.clamp_min(1e-9), 0.0)
    return weights * counts.sum() / (weights * counts).sum()
