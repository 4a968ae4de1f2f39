"""What a folder of cached views is of."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lazarus_pl.data.atomic import replace_file
from lazarus_pl.errors import LazarusError
from lazarus_pl.views.view_policy import ViewPolicy
from lazarus_pl.views.views_spec import ViewsSpec

FORMAT = 1

_FOLDER = "views"
_NAME = "views.json"
_DIGITS = 12


@dataclass(frozen=True)
class ViewsHeader:
    """The contents of ``views/<digest>/views.json``.

    Views of another policy or seed lie in a folder of their own, so they can never mix.

    Attributes:
        name: The policy's name when its first view was made.
        policy: The policy's digest.
        seed: Of the views.
        chains: The policy's steps, for people to read.
    """

    name: str
    policy: str
    seed: int
    chains: list[list[dict[str, Any]]]

    @property
    def digest(self) -> str:
        """Digest of policy and seed."""
        return hashlib.sha256(f"{FORMAT}/{self.policy}/{self.seed}".encode()).hexdigest()

    def key(self, cache: str) -> str:
        """The key of the job files, from the cache's key."""
        return hashlib.sha256(f"{cache}/{self.digest}".encode()).hexdigest()

    def folder(self, cache: Path) -> Path:
        """Where the views lie in a cache's folder."""
        return cache / _FOLDER / self.digest[:_DIGITS]

    def write(self, cache: Path) -> None:
        """Writes ``views.json`` in one atomic step, unless it is there."""
        path = self.folder(cache) / _NAME
        if path.is_file():
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        with replace_file(path) as file:
            content = {"format": FORMAT, "digest": self.digest, **asdict(self)}
            file.write(json.dumps(content, indent=2).encode())

    @classmethod
    def of(cls, policy: ViewPolicy, seed: int) -> ViewsHeader:
        """The header of a policy's views."""
        return cls(policy.name, policy.digest, seed, policy.content)

    @classmethod
    def of_spec(cls, spec: ViewsSpec) -> ViewsHeader:
        """The header of the views that are asked for.

        Raises:
            LazarusError: If there is no such policy.
        """
        return cls.of(ViewPolicy.find(spec.policy), spec.seed)

    @classmethod
    def all(cls, cache: Path) -> list[ViewsHeader]:
        """The headers of all views in a cache.

        Raises:
            LazarusError: If one is damaged.
        """
        return [cls._read(path) for path in sorted((cache / _FOLDER).glob(f"*/{_NAME}"))]

    @classmethod
    def find(cls, cache: Path, policy: str | None = None) -> ViewsHeader:
        """The header of a policy's views.

        Args:
            cache: The cache's folder.
            policy: The policy's name, its file, or the beginning of the digest that names its
                folder; not needed where a cache has views of one policy.

        Raises:
            LazarusError: If there are none, or more than one fit.
        """
        headers = cls.all(cache)
        if policy is not None:
            headers = _fitting(headers, policy)
        if len(headers) == 1:
            return headers[0]
        there = ", ".join(f"{h.name} ({h.digest[:_DIGITS]})" for h in headers or cls.all(cache))
        if headers:
            raise LazarusError(
                f"the cache '{cache}' has views of {there}: say which with "
                "data.init_args.views_policy"
            )
        of = f" of the policy '{policy}'" if policy else ""
        raise LazarusError(
            f"the cache '{cache}' has no views{of}{f', only of {there}' if there else ''}: make "
            "them with lazarus extract and --views.count, --views.policy"
        )

    @classmethod
    def _read(cls, path: Path) -> ViewsHeader:
        try:
            content = json.loads(path.read_bytes())
            header = cls(
                name=str(content["name"]),
                policy=str(content["policy"]),
                seed=int(content["seed"]),
                chains=list(content["chains"]),
            )
            if content["format"] != FORMAT or content["digest"] != header.digest:
                raise ValueError("its digest does not match its contents")
        except (OSError, KeyError, TypeError, ValueError) as error:
            raise LazarusError(
                f"'{path}' is damaged ({error}): delete the folder '{path.parent}' and make its "
                "views again with lazarus extract"
            ) from error
        return header


def _fitting(headers: list[ViewsHeader], policy: str) -> list[ViewsHeader]:
    by_name = [header for header in headers if header.name == policy]
    if by_name:
        return by_name
    if Path(policy).is_file():
        digest = ViewPolicy.read(Path(policy)).digest
        return [header for header in headers if header.policy == digest]
    return [header for header in headers if header.digest.startswith(policy)]
