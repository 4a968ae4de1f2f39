"""Features of a few photos to all maps of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from lazarus_pl.explain.attribution import grad_cam, integrated_gradients
from lazarus_pl.explain.deletion import deletion_insertion
from lazarus_pl.explain.lost_green import lost_green
from lazarus_pl.explain.on_leaf import on_leaf
from lazarus_pl.explain.patch_maps import patch_maps
from lazarus_pl.explain.photo_maps import PhotoMaps
from lazarus_pl.heads.head import Head
from lazarus_pl.heads.patch_head import PatchHead
from lazarus_pl.tasks.classification_task import ClassificationTask
from lazarus_pl.usable_cores import usable_cores

# side of the map of lesions: a spot is often smaller than a patch
_FINE = 128


def explain_photos(
    task: ClassificationTask,
    features: Mapping[str, Tensor],
    target: int | Sequence[int] | None,
    methods: Sequence[str],
    backbone_cam: Tensor | None = None,
    pixels: npt.NDArray[np.uint8] | None = None,
    temperature: float = 1.0,
) -> list[PhotoMaps]:
    """Explains photos from the very tensors that their prediction is made from.

    Evidence of a disease is what the head says, raised where the photo has lost its green and
    lowered where it is green, as much as either varies over the photo: the head tells which spots
    are meant, colours tell where they end.

    Args:
        task: In evaluation mode.
        features: As cached, ``(B, C)`` or ``(B, H, W, C)`` by layer.
        target: The class to explain, or one a photo; None for the predicted ones.
        methods: Of ``attention``, ``evidence``, ``ig``, ``gradcam``.
        backbone_cam: Grad-CAM ``(B, h, w)``, for heads that read no grids.
        pixels: RGB ``(B, H, W, 3)``; without them evidence is the head's alone, and there is no
            severity.
        temperature: Logits are divided by it, where the checkpoint was calibrated.
    """
    with torch.no_grad():
        standard = task.standardised(features)
        read = patch_maps(task.head, standard)
        logits, maps_of = read or (task.head(standard), None)
        probability = (logits.float() / temperature).softmax(dim=-1)
        best = probability.argmax(dim=-1)
        chosen = best if target is None else torch.as_tensor(target).expand_as(best)
    if maps_of is None:
        assert backbone_cam is not None
        nothing = torch.full_like(backbone_cam, torch.nan)
        missing = dict.fromkeys(("attention", "evidence", "lesions", "attribution"), nothing)
        return _photos(probability, chosen, {**missing, "grad_cam": backbone_cam})
    with torch.no_grad():
        attention, evidence = maps_of(chosen)
    grids = {name: values for name, values in standard.items() if values.ndim == 4}
    found = _lesions(task.head, evidence, chosen, pixels)
    attributed = _attributed(task.head, grids, chosen, methods, evidence)
    deletion, insertion = deletion_insertion(
        task.head, grids, found["evidence"], chosen, temperature
    )
    values = {"attention": attention, **found, **attributed}
    values |= {"deletion": deletion, "insertion": insertion}
    return _photos(probability, chosen, values)


def _lesions(
    head: Head, evidence: Tensor, chosen: Tensor, pixels: npt.NDArray[np.uint8] | None
) -> dict[str, Tensor]:
    """Evidence with colours and what is drawn from it, by attribute of :class:`PhotoMaps`."""
    unknown = torch.full((len(chosen),), torch.nan)
    if pixels is None or not isinstance(head, PatchHead):
        lesions = torch.full((len(chosen), _FINE, _FINE), torch.nan)
        return {
            "evidence": evidence,
            "lesions": lesions,
            "severity": unknown,
            "outside": unknown,
        }
    ill = head.sound[chosen] != chosen
    fine = _coloured(evidence, pixels, ill, (_FINE, _FINE))
    lesions, severity, outside = _on_leaves(fine, pixels, ill)
    coarse = _coloured(evidence, pixels, ill, evidence.shape[1:])
    return {
        "evidence": coarse,
        "lesions": lesions,
        "severity": severity,
        "outside": outside,
        "sound": ~ill,
    }


def _attributed(
    head: Head,
    grids: Mapping[str, Tensor],
    chosen: Tensor,
    methods: Sequence[str],
    like: Tensor,
) -> dict[str, Tensor]:
    """What gradients say, by attribute of :class:`PhotoMaps`; NaN what is not asked for."""
    nothing = torch.full_like(like, torch.nan)
    attribution, missed, cam = nothing, nothing[:, 0, 0], nothing
    if "ig" in methods:
        attribution, missed = integrated_gradients(head, grids, chosen)
    if "gradcam" in methods:
        coarse = grad_cam(head, grids, chosen)[:, None]
        cam = F.interpolate(coarse, like.shape[1:], mode="bilinear")[:, 0]
    return {"attribution": attribution, "completeness": missed, "grad_cam": cam}


def _coloured(
    evidence: Tensor, pixels: npt.NDArray[np.uint8], ill: Tensor, shape: Sequence[int]
) -> Tensor:
    """The head's evidence and lost green at some resolution, ``(B, *shape)``."""
    size = (shape[0], shape[1])
    scale = evidence.std(dim=(1, 2), keepdim=True, correction=0)
    coarse = F.interpolate(evidence[:, None], size, mode="bilinear")[:, 0]
    return coarse + lost_green(torch.tensor(pixels), size) * scale * ill[:, None, None]


def _on_leaves(
    lesions: Tensor, pixels: npt.NDArray[np.uint8], ill: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Maps that mark nothing off the leaf, severities, and the shares that lay off it.

    A healthy class marks nothing: 0 for both.
    """
    rows = ill.nonzero()[:, 0].tolist()
    with ThreadPoolExecutor(usable_cores()) as threads:
        found = list(threads.map(on_leaf, lesions[rows].numpy(), pixels[rows]))
    kept, numbers = lesions.clamp_max(0), torch.zeros(2, len(ill))
    for row, one in zip(rows, found, strict=True):
        cover = torch.from_numpy(one.cover)
        kept[row] += cover * lesions[row].clamp_min(0)
        numbers[:, row] = torch.tensor([one.severity, one.outside])
    return kept, numbers[0], numbers[1]


def _photos(probability: Tensor, target: Tensor, values: Mapping[str, Tensor]) -> list[PhotoMaps]:
    """One a row of maps ``(B, h, w)`` and numbers ``(B,)`` by attribute."""
    rows: list[PhotoMaps] = []
    for row in range(len(target)):
        fields: dict[str, Any] = {
            name: each[row].float().numpy() if each.ndim > 1 else each[row].item()
            for name, each in values.items()
        }
        rows.append(
            PhotoMaps(probability=probability[row].numpy(), target=int(target[row]), **fields)
        )
    return rows
