"""A diagnosis as a sum over patches, and a second branch that learns where the lesions are."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lazarus_pl.errors import LazarusError
from lazarus_pl.heads.draw_patches import count_drawn, draw_patches, take_patches
from lazarus_pl.heads.head import FeatureShapes, Head, faded
from lazarus_pl.heads.lesion_weights import LesionWeights
from lazarus_pl.heads.masked_patches import (
    enlarge_grid,
    kept_patches,
    patch_shares,
    smooth_maps,
    standardise_patches,
)
from lazarus_pl.heads.patch_mean import patch_mean
from lazarus_pl.heads.patch_reading import PatchReading
from lazarus_pl.in_range import check_share


class PatchHead(Head):
    """Scores every patch for every class; evidence is a contrast with sound tissue.

    The diagnosis is the mean of the patches' scores under an attention of one branch a class
    (after Ilse et al. 2018, arXiv:1802.04712, and Lu et al. 2021, arXiv:2004.09666). The attention
    is not learned from the diagnosis, which taught it to look away from lesions: it is the chance
    of a lesion, so that a disease is read where the map points, and health everywhere. Scores are
    relative to the photo's own mean patch, so that light and camera cannot speak for a class.

    Where the lesions are, labels of photos do not say. Three readings suspect them, each wrong in
    its own way: the scores of the diagnosis, patches that guess their photo's class by themselves,
    and patches that guess whether it is ill (what is common to ill and healthy photos cannot
    tell; learning from positive and unlabelled examples, Elkan & Noto 2008,
    https://doi.org/10.1145/1401890.1401920). A lesion branch on the finest grid learns from the
    patches that all three together suspect most and least, and from all patches of healthy
    photos, which are sound without doubt (self-training; Scudder 1965). What only one reading gets
    wrong does not repeat over photos, and the branch does not learn it.

    Args:
        feature_shapes: Grids ``(H, W, C)`` by layer. Layers of other shapes are ignored.
        num_classes: Number of logits.
        hidden: Width of each branch.
        dropout: Share of hidden units left out in training.
        patch_dropout: Share of patches left out in training, others in every step.
        lesion_share: Share of a diseased photo's patches taken for lesions.
        sound_share: Share of its patches taken for sound tissue or background.
        lesions_from: Share of the epochs after which the task trains the lesion branch, when the
            readings that it learns from have settled.
        maps_every: Epochs between the task's example maps; 0 for none.

    Raises:
        LazarusError: If there is no grid, or a share cannot be.
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
        lesions_from: float = 0.33,
        maps_every: int = 3,
    ) -> None:
        super().__init__(feature_shapes, num_classes)
        self.grids = self.grid_shapes()
        if not (
            0 < lesion_share < 1 and 0 < sound_share < 1 and lesion_share + sound_share < 1.001
        ):
            raise LazarusError(
                f"lesion_share {lesion_share} and sound_share {sound_share} must be above 0 and "
                "leave each other room: their sum must not exceed 1"
            )
        check_share("patch_dropout", patch_dropout)
        check_share("lesions_from", lesions_from)
        self.finest = next(iter(self.grids))
        self.patch_dropout = patch_dropout
        self.lesion_share = lesion_share
        self.sound_share = sound_share
        self.lesions_from = lesions_from
        self.maps_every = maps_every
        self.inputs = nn.ModuleDict(
            {name: nn.Linear(shape[2], hidden, bias=False) for name, shape in self.grids.items()}
        )
        self.bias = nn.Parameter(torch.zeros(hidden))
        self.drop = nn.Dropout(dropout)
        self.score = nn.Linear(hidden, num_classes)
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
        return self._read(features, mask)[1].logits

    def look(self, features: Mapping[str, Tensor], mask: Tensor | None = None) -> PatchReading:
        """Reads photos.

        Args:
            features: Grids ``(B, H, W, C)`` by layer.
            mask: bool ``(B, H, W)`` of the finest grid, True where there is a patch; what the
                grids hold elsewhere changes nothing.
        """
        finest, reading = self._read(features, mask)
        return reading._replace(instances=self.instance(finest))

    def fade(self, features: Mapping[str, Tensor]) -> Callable[[Tensor], Tensor]:
        """As :meth:`Head.fade`, several times as fast.

        What is linear in the patches, or says the same of one whatever the others are, is computed
        once. The mean patch is taken off the coarse grids, which are small.
        """
        values = features[self.finest]
        finest = self.inputs[self.finest](values)
        coarse = [self.inputs[name](features[name]) for name in self.grids if name != self.finest]
        chance, nothing = (
            self._chance(self.lesion(each))
            for each in (values, torch.zeros_like(values[:1, :1, :1]))
        )

        def logits(kept: Tensor) -> Tensor:
            there = kept[..., None]
            joined = self.bias - (finest * there).mean(dim=(1, 2), keepdim=True)
            for part in (faded(each, kept) for each in coarse):
                part = part - part.mean(dim=(1, 2), keepdim=True)
                joined = joined + enlarge_grid(part, kept.shape[1:], None)
            hidden = F.gelu(torch.addcmul(joined, finest, there)).float()
            attention = _to_one(torch.where(there > 0, chance, nothing))
            # patches together before their score: half the time of scoring each
            with torch.autocast(hidden.device.type, enabled=False):
                pooled = torch.einsum("bhwk,bhwd->bkd", attention, hidden)
            said = (pooled * self.score.weight).sum(dim=-1)
            return said + attention.sum(dim=(1, 2)) * self.score.bias

        return logits

    def _read(
        self, features: Mapping[str, Tensor], mask: Tensor | None
    ) -> tuple[Tensor, PatchReading]:
        """The patches that are read, and all of their reading but what instances say."""
        finest = features[self.finest]
        kept = kept_patches(finest, mask)
        coarse, mean = self._coarse(features, mask), self._mean_patch(features, mask)
        if self.training and self.patch_dropout:
            # before the finest grid's linear map, which then reads these patches alone
            drawn, there = draw_patches(kept.flatten(1), self._share, mask is not None)
            kept, finest = there[..., None], _taken(finest, drawn)
            coarse = None if coarse is None else _taken(coarse, drawn)
        joined = self._joined(finest, coarse) - mean[:, None, None]
        scores, lesions = self.score(self.drop(F.gelu(joined + self.bias))), self.lesion(finest)
        # only in training: an attribution of the logits needs every path
        chance = self._chance(lesions.detach() if self.training else lesions)
        attention = _to_one(chance * kept[..., None])
        logits = (attention * scores.float()).sum(dim=(1, 2))
        return finest, PatchReading(logits, attention, scores, scores[..., :0], lesions, kept)

    def evidence(self, reading: PatchReading, target: Tensor) -> Tensor:
        """Log-odds of a class against sound tissue in each patch, float32 ``(B, H, W)``.

        Those of the lesion branch, averaged with the neighbours': lesions are larger than one
        patch's noise. A healthy class is read where no disease is: its evidence is what the most
        suspected disease of its crop lacks. Padding has none, 0.

        Args:
            reading: Of ``B`` photos.
            target: Class indices ``(B,)``.
        """
        contrast = smooth_maps(self._against_sound(reading.lesions).float(), reading.kept)
        rows = [self._of_class(contrast[row], int(label)) for row, label in enumerate(target)]
        return torch.stack(rows).float() * reading.kept

    def instance_loss(self, reading: PatchReading, target: Tensor) -> Tensor:
        """The loss of patches that guess by themselves what their photo has.

        Args:
            reading: Of ``B`` photos.
            target: Class indices ``(B,)``.
        """
        said, each = reading.instances.float().flatten(1, 2), patch_shares(reading.kept)
        of_class = (said[..., :-1].log_softmax(dim=-1) * each[..., None]).sum(dim=1)
        ill = (self.sound[target] != target).float()[:, None].expand_as(said[..., -1])
        of_illness = F.binary_cross_entropy_with_logits(said[..., -1], ill, each, reduction="sum")
        return of_illness / len(target) - of_class.gather(1, target[:, None]).mean()

    def lesion_loss(
        self, reading: PatchReading, target: Tensor, weights: LesionWeights | None = None
    ) -> Tensor:
        """The lesion branch's loss on the patches that the other readings are sure of.

        Args:
            reading: Of ``B`` photos.
            target: Class indices ``(B,)``.
            weights: Of all photos of the batch, where these are some of them; their own if None.
        """
        chance = reading.lesions.float().flatten(1, 2).log_softmax(dim=-1)
        rows, sound = torch.arange(len(target), device=target.device), self.sound[target]
        rank = self._suspicion(reading, target).argsort(dim=1, descending=True).argsort(dim=1)
        count = reading.kept.flatten(1).sum(dim=1, keepdim=True)
        each = patch_shares(reading.kept)
        chosen = [which * each for which in self._lesions_and_others(rank, count, target)]
        weights = weights or _weights(*chosen)
        return -_average(chance[rows, :, target], chosen[0], weights["lesions"]) - _average(
            chance[rows, :, sound], chosen[1], weights["others"]
        )

    def lesion_weights(
        self, features: Mapping[str, Tensor], target: Tensor, mask: Tensor | None = None
    ) -> LesionWeights:
        """What :meth:`lesion_loss` divides by, known before any photo is read.

        How many patches of a photo are taken depends on its size and label, not on which they are.

        Args:
            features: Grids ``(B, H, W, C)`` by layer.
            target: Class indices ``(B,)``.
            mask: As in :meth:`look`.
        """
        kept = kept_patches(features[self.finest], mask)
        count = count_drawn(kept.flatten(1), self._share)
        rank = torch.arange(kept[0].numel(), device=kept.device)
        each = (rank < count) / count.clamp_min(1)
        return _weights(*(which * each for which in self._lesions_and_others(rank, count, target)))

    def _lesions_and_others(
        self, rank: Tensor, count: Tensor, target: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Which patches are learned as lesions and which as sound, bool ``(B, P)`` each.

        Args:
            rank: Of each patch by suspicion, ``(B, P)`` or ``(P,)``; padding comes last.
            count: Patches of each photo, ``(B, 1)``.
            target: Class indices ``(B,)``.
        """
        ill = (self.sound[target] != target)[:, None]
        lesions = (rank < (self.lesion_share * count).clamp_min(1)) & ill
        return lesions, (rank >= (1 - self.sound_share) * count) | ~ill

    @torch.no_grad()
    def _suspicion(self, reading: PatchReading, target: Tensor) -> Tensor:
        """How much each patch is suspected by three readings of one scale, ``(B, P)``.

        Padding is suspected least.
        """
        rows = torch.arange(len(target), device=target.device)
        readings = (
            self._contrast(reading.scores)[rows, ..., target],
            self._contrast(reading.instances[..., :-1])[rows, ..., target],
            reading.instances[..., -1],
        )
        kept = reading.kept.flatten(1)
        total = torch.stack(
            [standardise_patches(one.float().flatten(1), kept) for one in readings]
        ).sum(0)
        return total.masked_fill(~kept, -torch.inf)

    def _joined(self, finest: Tensor, coarse: Tensor | None) -> Tensor:
        """Hidden values ``(B, H, W, D)`` of the finest grid's patches and what lies over them."""
        joined: Tensor = self.inputs[self.finest](finest)
        return joined if coarse is None else joined + coarse

    def _coarse(self, features: Mapping[str, Tensor], mask: Tensor | None = None) -> Tensor | None:
        """What coarser grids add to every patch: interpolation and linear map change places."""
        rows, columns = features[self.finest].shape[1:3]
        parts = [
            enlarge_grid(self.inputs[name](features[name]), (rows, columns), mask)
            for name in self.grids
            if name != self.finest
        ]
        return functools.reduce(torch.add, parts) if parts else None

    def _mean_patch(self, features: Mapping[str, Tensor], mask: Tensor | None) -> Tensor:
        """The photo's mean patch, as :meth:`_joined` would have it, ``(B, D)``."""
        parts = [self.inputs[name](patch_mean(features[name], mask)) for name in self.grids]
        total: Tensor = functools.reduce(torch.add, parts)
        return total

    @property
    def _share(self) -> float:
        """Of a photo's patches that are read."""
        return 1 - self.patch_dropout if self.training else 1

    def _chance(self, lesions: Tensor) -> Tensor:
        """How likely each patch has a lesion of each class, float32 ``(B, H, W, K)``."""
        return self._against_sound(lesions).float().sigmoid()

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


def _to_one(chance: Tensor) -> Tensor:
    """Each photo's maps, to a sum of 1; a photo without any patch gets zeros, not NaN."""
    return chance / chance.sum(dim=(1, 2), keepdim=True).clamp_min(1e-6)


def _perceptron(channels: int, hidden: int, dropout: float, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(channels, hidden), nn.GELU(), nn.Dropout(dropout), nn.Linear(hidden, outputs)
    )


def _weights(lesions: Tensor, others: Tensor) -> LesionWeights:
    """Of weights ``(B, P)`` of patches."""
    return {"lesions": lesions.sum() / len(lesions), "others": others.sum() / len(others)}


def _average(values: Tensor, weights: Tensor, weight: Tensor) -> Tensor:
    """Of ``(B, P)``; parts of a batch that are given its mean weight average to its average."""
    return (values * weights).sum() / (weight * len(weights)).clamp_min(1e-9)


def _taken(values: Tensor, drawn: Tensor) -> Tensor:
    """Patches ``(B, n, 1, D)`` of ``(B, H, W, D)``."""
    return take_patches(values.flatten(1, 2), drawn)[:, :, None]
