"""timm's model names."""

from __future__ import annotations

from difflib import get_close_matches

from lazarus_pl.errors import LazarusError


def unknown_model(name: str) -> LazarusError:
    """What to say when timm has no such model."""
    import timm

    near = get_close_matches(name.split(".")[0], timm.list_models(), n=3)
    meant = f"did you mean {' or '.join(near)}?" if near else "timm.list_models() names them all"
    return LazarusError(f"timm has no model '{name}': {meant}")
