"""The LightningModule that trains the encoder's last blocks on."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import kl_div

from callbacks.layerwise_groups import layerwise_groups
from lazarus_pl.encoder.encoder import Encoder
from lazarus_pl.encoder.encoder_spec import EncoderSpec
from lazarus_pl.encoder.encoder_tail import START, EncoderTail
from lazarus_pl.encoder.windows_spec import WindowsSpec
from lazarus_pl.errors import LazarusError
from lazarus_pl.in_range import check_rate, check_share
from lazarus_pl.tasks.certain_drop import certain_drop
from lazarus_pl.tasks.check_checkpoint import check_data
from lazarus_pl.tasks.classification_task import ClassificationTask, ClassWeights
from lazarus_pl.tasks.flip_grids import flip_grids
from lazarus_pl.tasks.read_checkpoint import read_checkpoint

# what batch_rng draws, beside the mixing
_FLIPPING = 1


class FinetuneTask(ClassificationTask):
    """Fine-tunes a trained head together with the encoder's blocks after the cached ``grid16``.

    It starts as the checkpoint that it is given: before the first step it says what that one says.
    Blocks before ``grid16`` stay frozen, and their output comes from the cache, for photos and for
    views. Which of the others train, and from when, is the callback ``ProgressiveUnfreezing``'s
    to say; by their names here they are ``tail.block5``, ``tail.block6``, ``tail.last``, ``head``.

    Where the head is ``patches``, its diagnosis is trained and its lesion branch is not.

    Beside the metrics of a head it logs ``val/worst_recall_drop``, how far the recall of the class
    that lost most has fallen below that of the start, and ``val/guarded_macro_f1``: macro-F1, less
    what the fall that is certain (:func:`certain_drop`: few photos of a class prove little) is
    beyond the margin. What is chosen by it has lost no class for the others' sake, where val has
    the photos to show it. The recalls of the start are those of the sanity check if that runs all
    of val, else those in its file.

    Args:
        start: Checkpoint of ``lazarus fit`` or ``lazarus grid`` to begin with.
        weights: File of the encoder's weights, where the extraction was given a file.
        lr: Highest learning rate of the head.
        lr_decay: Factor from the learning rate of a block to that of the one before it (Howard and
            Ruder 2018, arXiv:1801.06146).
        weight_decay: Of AdamW.
        label_smoothing: As in :class:`ClassificationTask`.
        class_weights: As in :class:`ClassificationTask`.
        warmup: As in :class:`ClassificationTask`.
        mixup: As in :class:`ClassificationTask`; mixes the cached grids.
        flips: Whether training sees each cached grid flipped at random (:func:`flip_grids`).
        start_penalty: Weight of half the squared distance from the start's weights, of encoder and
            head (L2-SP, Li et al. 2018, arXiv:1802.01483).
        output_penalty: Weight of the divergence from the start's own probabilities (learning
            without forgetting, Li and Hoiem 2016, arXiv:1606.09282).
        margin: How far the recall of a class may certainly fall unpunished.
        head: Taken from the start.
        head_options: Taken from the start.
        head_shapes: Taken from the start.
        class_names: Linked from the data.
        class_counts: Linked from the data.
        feature_shapes: Linked from the data: ``grid16`` only.
        encoder: Linked from the data.

    Raises:
        LazarusError: If the start does not exist, is not ours, or is of other classes or another
            encoder; if the data gives other layers, or the encoder has no blocks to train.
    """

    start_recall: Tensor

    def __init__(
        self,
        start: str | None = None,
        weights: str | None = None,
        lr: float = 1e-3,
        lr_decay: float = 0.5,
        weight_decay: float = 0.01,
        label_smoothing: float = 0.0,
        class_weights: ClassWeights = "none",
        warmup: float = 0.05,
        mixup: float = 0.0,
        flips: bool = True,
        start_penalty: float = 0.0,
        output_penalty: float = 0.0,
        margin: float = 0.1,
        head: str | None = None,
        head_options: dict[str, bool | int | float | str] | None = None,
        head_shapes: dict[str, list[int]] | None = None,
        class_names: list[str] | None = None,
        class_counts: list[int] | None = None,
        feature_shapes: dict[str, list[int]] | None = None,
        encoder: dict[str, Any] | None = None,
    ) -> None:
        check_rate("lr_decay", lr_decay)
        check_share("lr_decay", lr_decay)
        check_share("margin", margin)
        check_rate("start_penalty", start_penalty, zero=True)
        check_rate("output_penalty", output_penalty, zero=True)
        if head is None or head_shapes is None:
            start = None if start is None else str(start)
            content = _start(start)
            theirs = content["lazarus"]["arguments"]
            _check_start(theirs, class_names or [], encoder or {}, str(start))
            if encoder and not _is_finetuned(content):
                _source(encoder, weights)
            head, head_options = theirs["head"], theirs["head_options"]
            head_shapes = theirs.get("head_shapes") or theirs["feature_shapes"]
        if feature_shapes is not None and list(feature_shapes) != [START]:
            raise LazarusError(
                f"fine-tuning reads the layer {START}, the data gives {', '.join(feature_shapes)}: "
                f"set data.init_args.layers to [{START}]"
            )
        windows = WindowsSpec.of(encoder or {})
        if windows.count > 1:
            raise LazarusError(
                f"fine-tuning reads photos as a whole, the cache holds features {windows}: use one "
                "that was extracted without --windows.count"
            )
        self._head_shapes = head_shapes
        super().__init__(
            head,
            head_options,
            lr,
            weight_decay,
            label_smoothing,
            class_weights,
            warmup,
            mixup,
            class_names,
            class_counts,
            feature_shapes,
            encoder,
        )
        self.hparams.update(head=head, head_options=head_options, head_shapes=head_shapes)
        self.start = start
        self.weights = weights
        self.lr_decay = lr_decay
        self.flips = flips
        self.start_penalty = start_penalty
        self.output_penalty = output_penalty
        self.margin = margin
        self.register_buffer("start_recall", torch.zeros(len(self.class_names)))
        # not a submodule: it is no part of what is trained and saved
        self._twin: list[FinetuneTask] = []
        self._begun = False

    def configure_heads(
        self, head: str, options: Mapping[str, Any], feature_shapes: Mapping[str, list[int]]
    ) -> None:
        """Builds the head and the encoder's last blocks."""
        super().configure_heads(head, options, self._head_shapes)
        self.tail = EncoderTail(Encoder.from_spec(_spec(self.encoder, "random")))

    def parameter_groups(self) -> list[dict[str, Any]]:
        """The head and each block with a learning rate of its own."""
        stages = [*(f"tail.{stage}" for stage in self.tail.stages), "head"]
        return layerwise_groups(self, stages, self.lr, self.lr_decay)

    def setup(self, stage: str) -> None:
        """Takes the weights of the start, unless it has weights already.

        Those of a checkpoint that is continued come after.

        Raises:
            LazarusError: If the start does not hold them, or is of other data; as
                :meth:`check_precision`.
        """
        # it may be set up to be looked at, by nobody's trainer
        if self._trainer is not None:
            self.check_precision()
        if not self._begun:
            self.load_start()
        if stage == "fit" and (self.start_penalty or self.output_penalty):
            self._twin = [_twin(self)]

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> Any:  # noqa: ANN401  # torch's signature
        """As torch's; what was loaded is no longer replaced by the start's weights."""
        self._begun = True
        return super().load_state_dict(state_dict, strict, assign)

    def teardown(self, stage: str) -> None:
        """Lets go of the start's own copy."""
        self._twin = []

    def load_start(self) -> None:
        """Takes weights, statistics and recalls of the start.

        Raises:
            LazarusError: If the start does not hold them, or is of other data.
        """
        content = _start(self.start)
        path = str(self.start)
        _check_start(content["lazarus"]["arguments"], self.class_names, self.encoder, path)
        state = content["state_dict"]
        parts = ["head.", "standardise."]
        if _is_finetuned(content):
            parts.append("tail.")
        else:
            self._load_tail()
        wanted = [name for name in self.state_dict() if name.startswith(tuple(parts))]
        if missing := [name for name in wanted if name not in state]:
            raise LazarusError(
                f"'{path}' lacks the weights '{missing[0]}': it is damaged, give another one or "
                "train it again"
            )
        try:
            self.load_state_dict({name: state[name] for name in wanted}, strict=False)
        except RuntimeError as error:
            raise LazarusError(
                f"the weights of '{path}' are not those of its head: it is damaged, give another "
                "one or train it again"
            ) from error
        if (confusion := content["lazarus"].get("confusion")) is not None:
            self.start_recall.copy_(_recall(torch.tensor(confusion)))

    def _load_tail(self) -> None:
        source = _source(self.encoder, self.weights)
        whole = Encoder.from_spec(_spec(self.encoder, source))
        if whole.identity["digest"] != self.encoder["digest"]:
            raise LazarusError(
                f"the weights '{source}' are not those that the cache was extracted with: give "
                "those with --model.init_args.weights"
            )
        self.tail.load_backbone_state(whole.model.state_dict())

    def standardised(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What the head reads.

        Args:
            features: The cached ``grid16`` ``(B, H, W, C)``; or what comes of it, by layer.
        """
        layers = self.tail(features[START]) if START in features else features
        return super().standardised({name: layers[name] for name in self._head_shapes})

    def on_after_batch_transfer(self, batch: dict[str, Any], dataloader_idx: int) -> dict[str, Any]:
        """Flips the grids of a training batch, before a step may take it in parts."""
        if self.flips and self.trainer.training:
            grids = flip_grids(batch["features"][START], self.batch_rng(_FLIPPING))
            batch = {**batch, "features": {START: grids}}
        return super().on_after_batch_transfer(batch, dataloader_idx)

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Keeps less of the encoder's blocks for the backward pass, and computes it again."""
        self.tail.set_grad_checkpointing(enable)

    def objective(
        self,
        features: Mapping[str, Tensor],
        logits: Tensor,
        target: Tensor,
        mean_weight: Tensor | None = None,
    ) -> Tensor:
        """The cross-entropy and what it costs to leave the start."""
        loss = super().objective(features, logits, target, mean_weight)
        if not self._twin:
            return loss
        start = self._twin[0].to(loss.device)
        if self.start_penalty:
            loss = loss + self.start_penalty / 2 * _distance(self, start)
        if self.output_penalty:
            with torch.no_grad():
                before = start(features).float().log_softmax(dim=-1)
            now = logits.float().log_softmax(dim=-1)
            divergence = kl_div(now, before, reduction="batchmean", log_target=True)
            loss = loss + self.output_penalty * divergence
        return loss

    def with_own_scores(self, scores: dict[str, Tensor], confusion: Tensor) -> dict[str, Tensor]:
        """Those of val with the fall of the class that lost most."""
        if "val/macro_f1" not in scores:
            return scores
        recall = _recall(confusion)
        whole = self.trainer.sanity_checking and math.isinf(self.trainer.num_sanity_val_steps)
        # a run that is continued is not at its start
        if whole and self.trainer.global_step == 0:
            self.start_recall.copy_(recall)
        counts = confusion.sum(dim=1)
        worst = ((self.start_recall - recall) * (counts > 0)).max().clamp_min(0)
        certain = certain_drop(self.start_recall, recall, counts).max()
        guarded = scores["val/macro_f1"] - (certain - self.margin).clamp_min(0)
        return {**scores, "val/worst_recall_drop": worst, "val/guarded_macro_f1": guarded}


def _start(path: str | None) -> dict[str, Any]:
    if path is None:
        raise LazarusError(
            "fine-tuning starts with a trained head: give a checkpoint of lazarus fit or lazarus "
            "grid with --model.init_args.start"
        )
    return read_checkpoint(Path(path))


def _is_finetuned(content: Mapping[str, Any]) -> bool:
    return any(name.startswith("tail.") for name in content["state_dict"])


def _source(encoder: Mapping[str, Any], weights: str | None) -> str:
    """Where the encoder's weights are to be had."""
    theirs = encoder["weights"]
    if weights is None and theirs["source"] == "file":
        raise LazarusError(
            f"the encoder's weights came from the file '{theirs['file']}': give it with "
            "--model.init_args.weights"
        )
    return weights or str(theirs["source"])


def _check_start(
    theirs: Mapping[str, Any], class_names: list[str], encoder: Mapping[str, Any], path: str
) -> None:
    read = theirs["encoder"] or {}
    if (windows := WindowsSpec.of(read)).count > 1:
        raise LazarusError(
            f"fine-tuning reads photos as a whole, '{path}' was trained on features {windows}: "
            "give a checkpoint that was trained on whole photos"
        )
    if class_names and encoder:
        check_data(theirs["class_names"], read, class_names, encoder, f"'{path}'")


def _spec(identity: Mapping[str, Any], weights: str) -> EncoderSpec:
    # of the layers only the one that the blocks begin with: nothing after it is run to be measured
    return EncoderSpec(str(identity["name"]), weights, int(identity["image_size"]), (START,))


def _twin(task: FinetuneTask) -> FinetuneTask:
    """The start, frozen."""
    trainer, task._trainer, task._twin = task._trainer, None, []
    twin = copy.deepcopy(task).requires_grad_(False).eval()
    task._trainer = trainer
    twin.load_start()
    return twin


def _distance(task: nn.Module, start: nn.Module) -> Tensor:
    """Squared distance of all weights that train."""
    pairs = zip(task.parameters(), start.parameters(), strict=True)
    parts = [(now - then).square().sum() for now, then in pairs if now.requires_grad]
    return torch.stack(parts).sum()


def _recall(confusion: Tensor) -> Tensor:
    """Share of each class that is found, ``(classes,)``; rows are the truth."""
    counts = confusion.float()
    return counts.diagonal() / counts.sum(dim=1).clamp_min(1)
