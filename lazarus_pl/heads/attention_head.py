"""Gated attention over the patches of a photo."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from lazarus_pl.errors import LazarusError
from lazarus_pl.heads.draw_patches import draw_patches, take_patches
from lazarus_pl.heads.head import FeatureShapes, Head
from lazarus_pl.heads.masked_patches import kept_patches
from lazarus_pl.in_range import check_count, check_share


class AttentionHead(Head):
    """Pools patches with learned weights (gated attention, Ilse et al. 2018, arXiv:1802.04712).

    A patch is a cell of the finest grid, joined with the cells of coarser grids that lie over it:
    ``grid16`` (112 channels) and ``grid32`` (320) of an EfficientNet give 256 patches of 432
    channels. The joined tensor is never built: a linear map of joined channels is the sum of one
    map a grid, and a coarse cell's share in the pooled patch is the sum of the weights under it.

    Args:
        feature_shapes: Grids ``(H, W, C)`` by layer; coarser sides must divide the finest ones.
            Larger grids may be read, in the same proportions. Layers of other shapes are ignored.
        num_classes: Number of logits.
        hidden: Width of the attention's gates and of the classifier's hidden layer.
        dropout: Share of pooled channels left out in training.
        patch_dropout: Share of patches left out in training.

    Raises:
        LazarusError: If there is no grid, the grids do not fit each other, or an option cannot be.
    """

    def __init__(
        self,
        feature_shapes: FeatureShapes,
        num_classes: int,
        hidden: int = 128,
        dropout: float = 0.25,
        patch_dropout: float = 0.0,
    ) -> None:
        super().__init__(feature_shapes, num_classes)
        check_count("hidden", hidden)
        check_share("dropout", dropout, whole=False)
        check_share("patch_dropout", patch_dropout, whole=False)
        self.grids = self.grid_shapes()
        self.finest = next(iter(self.grids))
        most_rows, most_columns = self.grids[self.finest][:2]
        for name, (rows, columns, _) in self.grids.items():
            if most_rows % rows or most_columns % columns:
                raise LazarusError(
                    f"the grid '{name}' of {rows}x{columns} cells does not divide "
                    f"{most_rows}x{most_columns} cells: leave it out of data.init_args.layers"
                )
        channels = sum(shape[2] for shape in self.grids.values())
        self.gates = nn.ModuleDict(
            {
                name: nn.Linear(shape[2], 2 * hidden, bias=place == 0)
                for place, (name, shape) in enumerate(self.grids.items())
            }
        )
        self.score = nn.Linear(hidden, 1)
        self.patch_dropout = patch_dropout
        self.classifier = nn.Sequential(
            nn.LayerNorm(channels),
            nn.Dropout(dropout),
            nn.Linear(channels, 4 * hidden),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(4 * hidden, num_classes),
        )

    def forward(self, features: Mapping[str, Tensor], mask: Tensor | None = None) -> Tensor:
        """Logits ``(B, num_classes)``; arguments as in :meth:`attend`."""
        return self.attend(features, mask)[0]

    def attend(
        self, features: Mapping[str, Tensor], mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Diagnosis and where it was read.

        Args:
            features: Grids ``(B, H, W, C)`` by layer.
            mask: bool ``(B, H, W)`` of the finest grid, True where there is a patch.

        Returns:
            Logits ``(B, num_classes)``, and float32 weights ``(B, H, W)`` that sum to 1.
        """
        attention = self._attention(features, mask)
        pooled = [
            torch.einsum("bhw,bhwc->bc", _coarsened(attention, values).to(values.dtype), values)
            for values in (features[name] for name in self.grids)
        ]
        return self.classifier(torch.cat(pooled, dim=-1)), attention

    def _attention(self, features: Mapping[str, Tensor], mask: Tensor | None) -> Tensor:
        if not (self.training and self.patch_dropout):
            return self._softmax(self._scores(features), mask)
        kept = kept_patches(features[self.finest], mask)
        # before the gates, which then cost as much less
        places, there = draw_patches(kept.flatten(1), 1 - self.patch_dropout, mask is not None)
        weights = self._softmax(self._scores(features, places), there)
        return weights.new_zeros(kept.flatten(1).shape).scatter(1, places, weights).view_as(kept)

    def _scores(self, features: Mapping[str, Tensor], places: Tensor | None = None) -> Tensor:
        """Of all patches ``(B, H, W)``, or of those at some places ``(B, n)``."""
        size = features[self.finest].shape[1:3]
        parts = [self._part(name, features[name], size, places) for name in self.grids]
        content, gate = functools.reduce(torch.add, parts).chunk(2, dim=-1)
        scores: Tensor = self.score(content.tanh() * gate.sigmoid()).squeeze(-1)
        return scores

    def _part(
        self, name: str, values: Tensor, size: Sequence[int], places: Tensor | None
    ) -> Tensor:
        """What a grid adds to the gates of the finest grid's patches."""
        linear = self.gates[name]
        if places is None:
            return _refined(linear(values), size)
        cells, flat = _cells_over(places, size, values.shape[1:3]), values.flatten(1, 2)
        if flat.shape[1] > places.shape[1]:
            part: Tensor = linear(take_patches(flat, cells))
            return part
        return take_patches(linear(flat), cells)

    @staticmethod
    def _softmax(scores: Tensor, mask: Tensor | None) -> Tensor:
        """In float32 whatever autocast says; a photo without any patch gets zeros, not NaN."""
        flat = scores.float().flatten(1)
        if mask is None:
            return flat.softmax(dim=-1).view_as(scores)
        kept = mask.flatten(1)
        lowest = torch.finfo(flat.dtype).min
        weights = flat.masked_fill(~kept, lowest).softmax(dim=-1) * kept
        return weights.view_as(scores)


def _refined(values: Tensor, size: Sequence[int]) -> Tensor:
    """Repeats coarse cells ``(B, h, w, D)`` over the finest grid's ``(B, H, W, D)``."""
    if values.shape[1:3] == size:
        return values
    # not expand: on a CPU its gradient took a third of a training step
    spread = interpolate(values.permute(0, 3, 1, 2), tuple(size), mode="nearest")
    return spread.permute(0, 2, 3, 1)


def _cells_over(places: Tensor, size: Sequence[int], coarse: Sequence[int]) -> Tensor:
    """Places in a grid of ``coarse`` cells of what lies over places in one of ``size``."""
    down, across = size[0] // coarse[0], size[1] // coarse[1]
    return places // size[1] // down * coarse[1] + places % size[1] // across


def _coarsened(attention: Tensor, values: Tensor) -> Tensor:
    """Sums weights ``(B, H, W)`` over the patches under each cell of ``(B, h, w, C)``."""
    batch, rows, columns = values.shape[:3]
    down, across = attention.shape[1] // rows, attention.shape[2] // columns
    return attention.view(batch, rows, down, columns, across).sum(dim=(2, 4))
