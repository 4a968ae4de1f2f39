"""A frozen timm backbone that gives several layers in one forward pass."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import timm
import torch
from timm.data import resolve_model_data_config
from torch import Tensor, nn

from lazarus_pl.encoder.encoder_spec import EncoderSpec
from lazarus_pl.encoder.finetuned_tail import FinetunedTail
from lazarus_pl.encoder.fold_batch_norm import fold_batch_norm
from lazarus_pl.encoder.load_weights import load_weights
from lazarus_pl.encoder.model_names import check_model_name
from lazarus_pl.encoder.weights import FINETUNED, WeightsFile, find_weights
from lazarus_pl.errors import LazarusError

_REDUCTIONS = {"grid32": 32, "grid16": 16}


class Encoder(nn.Module):
    """Photos to features, always in evaluation mode and without gradients.

    Args:
        model: A timm model with its weights.
        spec: What it was built from.
        weights: Where the weights came from.

    Raises:
        LazarusError: If the model does not have a layer that the spec asks for.

    Attributes:
        spec: What it was built from.
        layer_shapes: Shape of one photo's features by layer: ``(C,)`` or ``(H, W, C)``.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, model: nn.Module, spec: EncoderSpec, weights: WeightsFile) -> None:
        super().__init__()
        self.spec = spec
        self._weights = weights
        self._config = resolve_model_data_config(model)
        self.model: Any = model.requires_grad_(False).eval()
        self._stages = _stages(model, spec)
        mean, std = (torch.tensor(self._config[name]) for name in ("mean", "std"))
        self.register_buffer("mean", (-mean / std).view(3, 1, 1))
        self.register_buffer("scale", (1 / (255 * std)).view(3, 1, 1))
        self.layer_shapes = self._measure()

    @classmethod
    def from_spec(cls, spec: EncoderSpec) -> Encoder:
        """Builds the backbone and loads its weights.

        Raises:
            LazarusError: If timm has no such model, or the weights are missing or do not fit.
        """
        check_model_name(spec.name)
        weights = find_weights(spec)
        if weights.path is not None and weights.path.suffix == FINETUNED:
            return cls._finetuned(weights.path, spec, weights)
        model = _create(spec)
        if weights.path is not None:
            load_weights(model, weights.path, weights.source, spec)
        return cls(model, spec, weights)

    @classmethod
    def _finetuned(cls, path: Path, spec: EncoderSpec, weights: WeightsFile) -> Encoder:
        """Blocks of a fine-tuning on top of the encoder that they were trained on."""
        tail = FinetunedTail.read(path)
        below = cls.from_spec(replace(spec, weights=tail.source(path, spec.name)))
        if below.identity["weights"]["sha256"] != tail.base["sha256"]:
            raise LazarusError(
                f"'{path}' was fine-tuned from other weights of '{spec.name}' than those here: "
                "install the versions that it was made with"
            )
        try:
            below.model.load_state_dict({**below.model.state_dict(), **tail.state})
        except RuntimeError as error:
            raise LazarusError(
                f"the blocks in '{path}' are not those of '{spec.name}': the file is damaged"
            ) from error
        return cls(below.model, spec, weights)

    def folded(self) -> Encoder:
        """The same encoder with batch normalisation folded into convolutions, if it has any."""
        return Encoder(fold_batch_norm(self.model), self.spec, self._weights)

    @property
    def identity(self) -> dict[str, Any]:
        """What determines the features, in plain types; ``digest`` stands for all but layers."""
        config = self._config
        identity: dict[str, Any] = {
            "name": self.spec.name,
            "weights": self._weights.identity,
            "image_size": self.spec.image_size,
            "resize": "stretch",
            "interpolation": str(config["interpolation"]),
            "mean": [float(value) for value in config["mean"]],
            "std": [float(value) for value in config["std"]],
        }
        determining = {**identity, "weights": self._weights.sha256}
        text = json.dumps(determining, sort_keys=True)
        identity["layers"] = {name: list(shape) for name, shape in self.layer_shapes.items()}
        identity["digest"] = hashlib.sha256(text.encode()).hexdigest()
        return identity

    def module_of(self, layer: str) -> str:
        """Name of the backbone's module whose output is a grid, such as ``blocks.4``.

        Raises:
            LazarusError: If the encoder does not give that grid.
        """
        if layer not in self._stages:
            raise LazarusError(
                f"the encoder '{self.spec.name}' gives no layer '{layer}': it gives "
                f"{', '.join(self.spec.layers)}"
            )
        return str(self.model.feature_info[self._stages[layer]]["module"])

    def train(self, mode: bool = True) -> Encoder:
        """Stays in evaluation mode: batch statistics would change every feature."""
        return super().train(False)

    def normalise(self, photos: Tensor) -> Tensor:
        """Pixels as the backbone was trained on them.

        Args:
            photos: uint8 ``(B, S, S, 3)``.

        Returns:
            float32 ``(B, 3, S, S)`` in ``channels_last`` memory format.
        """
        return torch.addcmul(self.mean, photos.permute(0, 3, 1, 2).float(), self.scale)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Features by layer.

        Args:
            images: ``(B, 3, S, S)`` from :meth:`normalise`; cast to what the weights are in.

        Returns:
            ``pooled`` ``(B, C)`` before the classifier; grids ``(B, H, W, C)``.
        """
        options: dict[str, Any] = {"norm": True} if _prefix_tokens(self.model) else {}
        whole = "pooled" in self.spec.layers
        found = self.model.forward_intermediates(
            images.to(next(self.model.parameters()).dtype),
            indices=sorted(self._stages.values()) or [0],
            output_fmt="NCHW",
            intermediates_only=not whole,
            stop_early=not whole,
            **options,
        )
        last, stages = found if whole else (None, found)
        by_index = dict(zip(sorted(set(self._stages.values())), stages, strict=False))
        features = {
            layer: by_index[index].permute(0, 2, 3, 1) for layer, index in self._stages.items()
        }
        if whole:
            features["pooled"] = self.model.forward_head(last, pre_logits=True)
        return {layer: features[layer] for layer in self.spec.layers}

    @torch.inference_mode()
    def _measure(self) -> dict[str, tuple[int, ...]]:
        size = self.spec.image_size
        # a model that is folded may lie on a GPU already
        device = next(self.model.parameters()).device
        features = self(torch.zeros(1, 3, size, size, device=device))
        return {layer: tuple(values.shape[1:]) for layer, values in features.items()}


def _create(spec: EncoderSpec) -> nn.Module:
    config = timm.models.get_pretrained_cfg(spec.name)
    options = {"img_size": spec.image_size} if config and config.fixed_input_size else {}
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model: nn.Module = timm.create_model(spec.name, pretrained=False, **options)
    except (RuntimeError, TypeError, ValueError, AssertionError) as error:
        raise LazarusError(
            f"timm cannot build '{spec.name}' for {spec.image_size} px: {error}"
        ) from error
    if not hasattr(model, "forward_intermediates"):
        raise LazarusError(
            f"timm's '{spec.name}' does not give its inner layers: choose another encoder, such as "
            "an EfficientNet, ResNet, ConvNeXt, MobileNet or ViT"
        )
    return model


def _stages(model: nn.Module, spec: EncoderSpec) -> dict[str, int]:
    """Index of the last stage of each grid's stride."""
    strides = [info["reduction"] for info in model.feature_info]  # type: ignore[union-attr]
    there = [layer for layer, stride in _REDUCTIONS.items() if stride in strides]
    stages = {}
    for layer in spec.layers:
        if layer == "pooled":
            continue
        if layer not in there:
            raise LazarusError(
                f"the encoder '{spec.name}' has no layer '{layer}': set --encoder.layers to some "
                f"of {', '.join(('pooled', *there))}"
            )
        stages[layer] = len(strides) - 1 - strides[::-1].index(_REDUCTIONS[layer])
    return stages


def _prefix_tokens(model: nn.Module) -> int:
    return int(getattr(model, "num_prefix_tokens", 0) or 0)
