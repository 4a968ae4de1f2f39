"""What an encoder does after a cached grid, as a module that can be trained."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from lazarus_pl.encoder.encoder import Encoder
from lazarus_pl.encoder.exact_depthwise import exact_depthwise
from lazarus_pl.encoder.finetuned_tail import backbone_name
from lazarus_pl.encoder.pointwise_products import pointwise_products
from lazarus_pl.encoder.wide_depthwise import wide_depthwise
from lazarus_pl.errors import LazarusError

START = "grid16"
_PARTS = ("blocks", "conv_head", "bn2", "global_pool")


class EncoderTail(nn.Module):
    """The last blocks of an EfficientNet, fed with the cached layer ``grid16``.

    All that comes before stays as it was when the features were extracted, so its output need not
    be computed again: training costs these blocks only, for photos and for their cached views.

    Its children are ``block5``, ``block6`` and so on as the backbone counts them, and ``last``: the
    convolution after the blocks with its batch normalisation.

    Args:
        encoder: Is copied, and stays as it is.

    Raises:
        LazarusError: If the backbone is not built from blocks, or does not have the layer.
    """

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        model, name = encoder.model, encoder.spec.name
        if not all(isinstance(getattr(model, part, None), nn.Module) for part in _PARTS):
            raise LazarusError(
                f"'{name}' cannot be fine-tuned from cached grids, only EfficientNets can: "
                "extract with another --encoder.name"
            )
        self._first = int(encoder.module_of(START).rpartition(".")[2]) + 1
        self._count = len(model.blocks)
        for number in range(self._first, self._count):
            self.add_module(f"block{number}", copy.deepcopy(model.blocks[number]))
        self.last = copy.deepcopy(nn.Sequential(model.conv_head, model.bn2))
        self.pool: nn.Module = _Mean()
        wide_depthwise(self)
        exact_depthwise(self)
        pointwise_products(self)
        self._checkpointing = False
        self.requires_grad_(True).train()
        self.to(memory_format=torch.channels_last)

    @property
    def stages(self) -> tuple[str, ...]:
        """Names of the children that hold parameters, from input to output."""
        return (*(f"block{number}" for number in range(self._first, self._count)), "last")

    def forward(self, grid: Tensor) -> dict[str, Tensor]:
        """Layers that lie after the cached one.

        Args:
            grid: The layer ``grid16``, ``(B, H, W, C)``.

        Returns:
            ``grid16`` as it came, ``grid32`` ``(B, H / 2, W / 2, C)`` and ``pooled`` ``(B, C)``.
        """
        maps = self._through_blocks(grid)
        pooled: Tensor = self.pool(self._run("last", maps))
        return {START: grid, "grid32": maps.permute(0, 2, 3, 1), "pooled": pooled}

    def last_map(self, grid: Tensor) -> Tensor:
        """The map ``(B, C, h, w)`` that :attr:`pool` makes ``pooled`` of."""
        return self._run("last", self._through_blocks(grid))

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Keeps only what goes in and out of each stage, and computes the rest again.

        Less memory, about a third more time (Chen et al. 2016, arXiv:1604.06174).
        """
        self._checkpointing = enable

    def load_backbone_state(self, state: Mapping[str, Tensor]) -> None:
        """Takes its tensors out of a backbone's ``state_dict``."""
        self.load_state_dict({name: state[backbone_name(name)] for name in self.state_dict()})

    def _through_blocks(self, grid: Tensor) -> Tensor:
        maps = grid.float().permute(0, 3, 1, 2)
        for stage in self.stages[:-1]:
            maps = self._run(stage, maps)
        return maps

    def _run(self, stage: str, maps: Tensor) -> Tensor:
        module = self.get_submodule(stage)
        if self._checkpointing and torch.is_grad_enabled():
            again: Tensor = checkpoint(module, maps, use_reentrant=False)
            return again
        outcome: Tensor = module(maps)
        return outcome


class _Mean(nn.Module):
    """The mean over a map, which is the pool of every EfficientNet of timm's.

    Its gradient lies in memory as maps do here, channels last. That of timm's pool does not, and on
    a CPU the batch normalisation before it took many times as long to go back over it.
    """

    def forward(self, maps: Tensor) -> Tensor:
        pooled: Tensor = maps.permute(0, 2, 3, 1).flatten(1, 2).mean(dim=1)
        return pooled
