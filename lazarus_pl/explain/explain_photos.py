"""Features of a few photos to all maps of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lazarus_pl.explain.attribution import grad_cam, integrated_gradients
from lazarus_pl.explain.deletion import deletion_insertion
from lazarus_pl.explain.patch_maps import patch_maps
from lazarus_pl.explain.photo_maps import PhotoMaps
from lazarus_pl.tasks.classification_task import ClassificationTask


def explain_photos(
    task: ClassificationTask,
    features: Mapping[str, Tensor],
    target: int | None,
    methods: Sequence[str],
    backbone_cam: Tensor | None = None,
) -> list[PhotoMaps]:
    """Explains photos from the very tensors that their prediction is made from.

    Args:
        task: In evaluation mode.
        features: As cached, ``(B, C)`` or ``(B, H, W, C)`` by layer.
        target: The class to explain; None for the predicted one.
        methods: Of ``attention``, ``evidence``, ``ig``, ``gradcam``.
        backbone_cam: Grad-CAM ``(B, h, w)``, for heads that read no grids.
    """
    with torch.no_grad():
        standard = task.standardised(features)
        probability = task.head(standard).float().softmax(dim=-1)
    chosen = (
        probability.argmax(dim=-1) if target is None else torch.full((len(probability),), target)
    )
    with torch.no_grad():
        read = patch_maps(task.head, standard, chosen)
    if read is None:
        assert backbone_cam is not None
        nothing = torch.full_like(backbone_cam, torch.nan)
        return _photos(
            [nothing, nothing, nothing, backbone_cam],
            probability,
            chosen,
            [torch.full((len(chosen),), torch.nan)] * 3,
        )
    grids = {name: values for name, values in standard.items() if values.ndim == 4}
    nothing = torch.full_like(read[1], torch.nan)
    attribution, missed = nothing, nothing[:, 0, 0]
    if "ig" in methods:
        attribution, missed = integrated_gradients(task.head, grids, chosen)
    cam = nothing
    if "gradcam" in methods:
        cam = F.interpolate(
            grad_cam(task.head, grids, chosen)[:, None], nothing.shape[1:], mode="bilinear"
        )[:, 0]
    areas = deletion_insertion(task.head, grids, read[1], chosen)
    return _photos([*read, attribution, cam], probability, chosen, [missed, *areas])


def _photos(
    maps: Sequence[Tensor], probability: Tensor, target: Tensor, numbers: Sequence[Tensor]
) -> list[PhotoMaps]:
    attention, evidence, attribution, cam = (
        np.asarray(values.float().numpy(), dtype=np.float32) for values in maps
    )
    missed, deletion, insertion = (values.tolist() for values in numbers)
    return [
        PhotoMaps(
            attention[row],
            evidence[row],
            attribution[row],
            cam[row],
            probability[row].numpy(),
            int(target[row]),
            missed[row],
            deletion[row],
            insertion[row],
        )
        for row in range(len(target))
    ]
