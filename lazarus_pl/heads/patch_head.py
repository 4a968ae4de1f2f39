"""A diagnosis as a sum over patches, and a second branch that learns where the lesions are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lazarus_pl.errors import LazarusError
from lazarus_pl.heads.head import FeatureShapes, Head
from lazarus_pl.in_range import check_share


class PatchReading(NamedTuple):
    """What a :class:`PatchHead` reads in ``B`` photos of ``H x W`` patches and ``K`` classes.

    In training with patch dropout only ``n`` patches of each photo are read: ``H, W`` is ``n, 1``.

    Attributes:
        logits: ``(B, K)``.
        attention: float32 ``(B, H, W, K)``, one map a class, each sums to 1.
        scores: What each patch adds to each class's logit, ``(B, H, W, K)``.
        instances: What each patch says of its photo by itself, ``(B, H, W, K + 1)``: its class,
            and last whether the photo is ill.
        lesions: Lesion branch, ``(B, H, W, K + 1)``; the last column is sound tissue of a crop
            without a healthy class.
    """

    logits: Tensor
    attention: Tensor
    scores: Tensor
    instances: Tensor
    lesions: Tensor


class PatchHead(Head):
    """Scores every patch for every class; evidence is a contrast with sound tissue.

    The diagnosis is the mean of the patches' scores and their mean under a gated attention of one
    branch a class (Ilse et al. 2018, arXiv:1802.04712; Lu et al. 2021, arXiv:2004.09666). Attention
    weighs the scores but sends no gradient into them: softmax attention alone learned to look
    away from lesions. Scores are read relative to the photo's own mean patch, so that light and
    camera cannot speak for a class.

    Where the lesions are, labels of photos do not say. Three readings suspect them, each wrong in
    its own way: the scores of the diagnosis, patches that guess their photo's class by themselves,
    and patches that guess whether it is ill (what is common to ill and healthy photos cannot
    tell; learning from positive and unlabelled examples, Elkan & Noto 2008,
    https://doi.org/10.1145/1401890.1401920). A lesion branch on the finest grid learns from the
    patches that all three together suspect most and least, and from all patches of healthy
    photos, which are sound without doubt (self-training; Scudder 1965). What only one reading gets
    wrong does not repeat over photos, and the branch does not learn it.

    Args:
        feature_shapes: Grids ``(H, W, C)`` by layer; coarser sides must divide the finest ones.
            Layers of other shapes are ignored.
        num_classes: Number of logits.
        hidden: Width of each branch.
        dropout: Share of hidden units left out in training.
        patch_dropout: Share of patches left out in training; they cost no time.
        lesion_share: Share of a diseased photo's patches taken for lesions.
        sound_share: Share of its patches taken for sound tissue or background.
        sparsity: Weight of the attention's entropy in the task's loss; 0 leaves it out.
        lesions_from: Epoch from which the task trains the lesion branch, when the readings that
            it learns from have settled.
        maps_every: Epochs between the task's example maps; 0 for none.

    Raises:
        LazarusError: If there is no grid, the grids do not fit, or the shares are not sound.
    """

    sound: Tensor

    def __init__(
        self,
        feature_shapes: FeatureShapes,
        num_classes: int,
        hidden: int = 128,
        dropout: float = 0.2,
        patch_dropout: float = 0.75,
        lesion_share: float = 0.03,
        sound_share: float = 0.8,
        sparsity: float = 0.0,
        lesions_from: int = 4,
        maps_every: int = 3,
    ) -> None:
        super().__init__(feature_shapes, num_classes)
        grids = {name: shape for name, shape in self.feature_shapes.items() if len(shape) == 3}
        if not grids:
            raise LazarusError(
                f"PatchHead reads grids, the data gives only {', '.join(feature_shapes)}: "
                "set data.init_args.layers to [grid16, grid32]"
            )
        if not 0 < lesion_share <= 1 - sound_share < 1:
            raise LazarusError(
                f"lesion_share {lesion_share} and sound_share {sound_share} must be above 0 and "
                "leave each other room: their sum must not exceed 1"
            )
        check_share("patch_dropout", patch_dropout)
        self.grids = dict(sorted(grids.items(), key=lambda item: -item[1][0]))
        self.finest = next(iter(self.grids))
        self.patch_dropout = patch_dropout
        self.lesion_share = lesion_share
        self.sound_share = sound_share
        self.sparsity = sparsity
        self.lesions_from = lesions_from
        self.maps_every = maps_every
        width = hidden + 2 * (hidden // 2)  # the scores, and the attention's two gates
        self.inputs = nn.ModuleDict(
            {name: nn.Linear(shape[2], width, bias=False) for name, shape in self.grids.items()}
        )
        self.bias = nn.Parameter(torch.zeros(width))
        self.drop = nn.Dropout(dropout)
        self.score = nn.Linear(hidden, num_classes)
        self.attention = nn.Linear(hidden // 2, num_classes, bias=False)
        channels = self.grids[self.finest][2]
        self.instance = _perceptron(channels, hidden, dropout, num_classes + 1)
        self.lesion = _perceptron(channels, hidden, dropout, num_classes + 1)
        self.register_buffer("sound", torch.full((num_classes,), num_classes))

    def set_sound(self, sound: Sequence[int]) -> None:
        """Says which class is the healthy one of each class's crop.

        Args:
            sound: By class, the healthy class's index, itself for a healthy class, or
                ``num_classes`` where the crop has none.
        """
        self.sound.copy_(torch.as_tensor(sound))

    def forward(self, features: Mapping[str, Tensor], mask: Tensor | None = None) -> Tensor:
        """Logits ``(B, K)``; arguments as in :meth:`look`."""
        return self.look(features, mask).logits

    def look(self, features: Mapping[str, Tensor], mask: Tensor | None = None) -> PatchReading:
        """Reads photos.

        Args:
            features: Grids ``(B, H, W, C)`` by layer.
            mask: bool ``(B, H, W)`` of the finest grid, True where there is a patch.
        """
        finest = features[self.finest]
        kept = finest.new_ones(finest.shape[:3]) if mask is None else mask.to(finest.dtype)
        joined, mean = self._joined(features), self._mean_patch(features, kept)
        if self.training and self.patch_dropout:
            joined, finest, kept = self._sampled(joined, finest, kept)
        scoring, content, gate = torch.split(joined, self._widths(), dim=-1)
        scoring = scoring - mean[:, None, None, : scoring.shape[-1]]
        hidden = self.drop(F.gelu(scoring + self.bias[: scoring.shape[-1]]))
        scores = self.score(hidden)
        gates = (self.bias[scoring.shape[-1] :]).chunk(2)
        weights = self.attention((content + gates[0]).tanh() * (gate + gates[1]).sigmoid())
        attention = self._softmax(weights, kept)
        # only in training: an attribution of the logits needs every path
        said = scores.detach() if self.training else scores
        attended = (attention * said.float()).sum(dim=(1, 2))
        logits = (_mean(scores, kept).float() + attended) / 2
        return PatchReading(logits, attention, scores, self.instance(finest), self.lesion(finest))

    def evidence(self, reading: PatchReading, target: Tensor) -> Tensor:
        """How much more each patch speaks for a class than for sound tissue, float32 ``(B, H, W)``.

        A healthy class is read where no disease is: its evidence is what the most suspected
        disease of its crop lacks.

        Args:
            reading: Of ``B`` photos.
            target: Class indices ``(B,)``.
        """
        contrast = self._against_sound(reading.lesions)
        rows = [self._of_class(contrast[row], int(label)) for row, label in enumerate(target)]
        return torch.stack(rows).float()

    def instance_loss(self, reading: PatchReading, target: Tensor) -> Tensor:
        """The loss of patches that guess by themselves what their photo has.

        Args:
            reading: Of ``B`` photos.
            target: Class indices ``(B,)``.
        """
        said = reading.instances.float().flatten(1, 2)
        of_class = said[..., :-1].log_softmax(dim=-1).mean(dim=1)
        ill = (self.sound[target] != target).float()[:, None].expand_as(said[..., -1])
        of_illness = F.binary_cross_entropy_with_logits(said[..., -1], ill)
        return of_illness - of_class.gather(1, target[:, None]).mean()

    def lesion_loss(self, reading: PatchReading, target: Tensor) -> Tensor:
        """The lesion branch's loss on the patches that the other readings are sure of.

        Args:
            reading: Of ``B`` photos.
            target: Class indices ``(B,)``.
        """
        chance = reading.lesions.float().flatten(1, 2).log_softmax(dim=-1)
        rows, sound = torch.arange(len(target), device=target.device), self.sound[target]
        rank = self._suspicion(reading, target).argsort(dim=1, descending=True).argsort(dim=1)
        ill = (sound != target)[:, None]
        count = rank.shape[1]
        lesions = (rank < max(1, self.lesion_share * count)) & ill
        others = (rank >= (1 - self.sound_share) * count) | ~ill
        return -_average(chance[rows, :, target], lesions) - _average(
            chance[rows, :, sound], others
        )

    @torch.no_grad()
    def _suspicion(self, reading: PatchReading, target: Tensor) -> Tensor:
        """How much each patch is suspected by three readings of one scale, ``(B, P)``."""
        rows = torch.arange(len(target), device=target.device)
        readings = (
            self._contrast(reading.scores)[rows, ..., target],
            self._contrast(reading.instances[..., :-1])[rows, ..., target],
            reading.instances[..., -1],
        )
        return torch.stack([_standard(one.float().flatten(1)) for one in readings]).sum(dim=0)

    @staticmethod
    def entropy(attention: Tensor) -> Tensor:
        """Mean entropy of attention maps ``(B, H, W, K)``, as a share of that of even attention."""
        flat = attention.flatten(1, 2)
        entropy = -(flat * flat.clamp_min(1e-12).log()).sum(dim=1)
        return entropy.mean() / torch.tensor(float(flat.shape[1])).log()

    def _widths(self) -> list[int]:
        hidden, gate = self.score.in_features, self.attention.in_features
        return [hidden, gate, gate]

    def _joined(self, features: Mapping[str, Tensor]) -> Tensor:
        """Hidden values ``(B, H, W, D)``: interpolation and a linear map may change places."""
        rows, columns = features[self.finest].shape[1:3]
        total: Tensor | None = None
        for name in self.grids:
            part = self.inputs[name](features[name])
            if part.shape[1:3] != (rows, columns):
                part = F.interpolate(
                    part.permute(0, 3, 1, 2), (rows, columns), mode="bilinear"
                ).permute(0, 2, 3, 1)
            total = part if total is None else total + part
        assert total is not None
        return total

    def _mean_patch(self, features: Mapping[str, Tensor], kept: Tensor) -> Tensor:
        """The photo's mean patch, as :meth:`_joined` would have it, ``(B, D)``."""
        total: Tensor | None = None
        for name in self.grids:
            rows, columns = features[name].shape[1:3]
            cells = F.adaptive_avg_pool2d(kept, (rows, columns))
            part = self.inputs[name](_mean(features[name], cells))
            total = part if total is None else total + part
        assert total is not None
        return total

    def _sampled(self, joined: Tensor, finest: Tensor, kept: Tensor) -> tuple[Tensor, ...]:
        """A few patches of each photo, ``(B, n, 1, ...)``; first those that there are."""
        patches = kept.flatten(1)
        count = max(1, round(patches.shape[1] * (1 - self.patch_dropout)))
        drawn = (torch.rand_like(patches) + patches).topk(count, dim=1).indices
        parts = [values.flatten(1, 2) for values in (joined, finest, kept[..., None])]
        joined, finest, kept = (
            part.gather(1, drawn[..., None].expand(-1, -1, part.shape[-1]))[:, :, None]
            for part in parts
        )
        return joined, finest, kept[..., 0]

    @staticmethod
    def _softmax(weights: Tensor, kept: Tensor) -> Tensor:
        """In float32 over patches; a photo without any patch gets zeros, not NaN."""
        flat, there = weights.float().flatten(1, 2), kept.flatten(1)[..., None] > 0
        lowest = torch.finfo(flat.dtype).min
        return (flat.masked_fill(~there, lowest).softmax(dim=1) * there).view(weights.shape)

    def _contrast(self, scores: Tensor) -> Tensor:
        """Against the healthy class, or the mean of all classes where the crop has none."""
        against = torch.cat([scores, scores.mean(dim=-1, keepdim=True)], dim=-1)
        return scores - against[..., self.sound]

    def _against_sound(self, lesions: Tensor) -> Tensor:
        return lesions[..., :-1] - lesions[..., self.sound]

    def _of_class(self, contrast: Tensor, label: int) -> Tensor:
        if int(self.sound[label]) != label:
            return contrast[..., label]
        ill = self.sound == label
        ill[label] = False
        return -contrast[..., ill].amax(dim=-1) if ill.any() else contrast[..., label]


def _mean(values: Tensor, kept: Tensor) -> Tensor:
    """Mean ``(B, D)`` of ``(B, H, W, D)`` over the patches that are kept."""
    weights = kept / kept.sum(dim=(1, 2), keepdim=True).clamp_min(1e-6)
    return torch.einsum("bhwd,bhw->bd", values, weights.to(values.dtype))


def _perceptron(channels: int, hidden: int, dropout: float, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(channels, hidden), nn.GELU(), nn.Dropout(dropout), nn.Linear(hidden, outputs)
    )


def _average(values: Tensor, chosen: Tensor) -> Tensor:
    return (values * chosen).sum() / chosen.sum().clamp_min(1)


def _standard(values: Tensor) -> Tensor:
    """Each photo's ``(B, P)`` at mean 0 and deviation 1."""
    deviation = values.std(dim=1, keepdim=True, correction=0).clamp_min(1e-6)
    return (values - values.mean(dim=1, keepdim=True)) / deviation
