"""Heads by name."""

from __future__ import annotations

import inspect

from lazarus_pl.did_you_mean import did_you_mean
from lazarus_pl.errors import LazarusError
from lazarus_pl.heads.attention_head import AttentionHead
from lazarus_pl.heads.head import FeatureShapes, Head
from lazarus_pl.heads.linear_head import LinearHead
from lazarus_pl.heads.mlp_head import MLPHead
from lazarus_pl.heads.patch_head import PatchHead

HEADS: dict[str, type[Head]] = {
    "linear": LinearHead,
    "mlp": MLPHead,
    "attention": AttentionHead,
    "patches": PatchHead,
}


def build_head(
    name: str, feature_shapes: FeatureShapes, num_classes: int, **options: bool | float | str
) -> Head:
    """Builds one of :data:`HEADS`.

    Args:
        name: ``linear``, ``mlp``, ``attention`` or ``patches``.
        feature_shapes: Shape of one photo's features by layer.
        num_classes: Number of logits.
        **options: Further arguments of the head.

    Raises:
        LazarusError: If there is no such head or option, or a layer that it needs is missing.
    """
    if name not in HEADS:
        raise LazarusError(f"there is no head '{name}'{_hint(name, list(HEADS))}")
    head = HEADS[name]
    known = list(inspect.signature(head).parameters)[2:]
    for option in options:
        if option not in known:
            raise LazarusError(f"the head '{name}' has no option '{option}'{_hint(option, known)}")
    return head(feature_shapes, num_classes, **options)


def _hint(word: str, known: list[str]) -> str:
    return f"{did_you_mean(word, known) or ':'} there are {', '.join(known)}"
