"""timm's model names."""

from __future__ import annotations

from lazarus_pl.did_you_mean import did_you_mean
from lazarus_pl.errors import LazarusError


def check_model_name(name: str) -> None:
    """Makes sure that timm has a model, and the tag that stands after a dot.

    Raises:
        LazarusError: If it does not, with near or known names.
    """
    import timm

    model = name.partition(".")[0]
    if not timm.is_model(model):
        raise unknown_model(name)
    try:
        timm.models.get_pretrained_cfg(name)
    except RuntimeError as error:
        tags = timm.list_models(f"{model}.*", pretrained=True)
        raise LazarusError(
            f"timm has no weights '{name}': there are {', '.join(tags) or 'none'}"
        ) from error


def unknown_model(name: str) -> LazarusError:
    """What to say when timm has no such model."""
    import timm

    meant = did_you_mean(name.partition(".")[0], timm.list_models(), most=3)
    hint = meant or ": timm.list_models() names them all"
    return LazarusError(f"timm has no model '{name}'{hint}")
