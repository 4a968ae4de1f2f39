"""Photos to views."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from lazarus_pl.data.decode import open_photo, stretch
from lazarus_pl.errors import LazarusError
from lazarus_pl.views.layout import as_photo, as_tensor
from lazarus_pl.views.local_generator import LocalGenerator
from lazarus_pl.views.policy_builder import PolicyBuilder
from lazarus_pl.views.view_policy import ViewPolicy

Pixels = npt.NDArray[np.uint8]

# a crop of a third of the photo still has about as many pixels as the encoder takes
_REACH = 1.5
_TRIALS = 4


class ViewMaker:
    """Makes views, each determined by the photo's bytes, its number, the policy and the seed.

    A view does not depend on the thread, the order or the process that makes it, and leaves the
    global generators as they were. Surroundings of other photos depend on the donors too.

    A policy sees the upright photo in its own proportions, reduced to a short side of at most one
    and a half times the encoder's; what it gives is resized to the encoder's square.

    Args:
        policy: What views show.
        seed: Another seed gives other views.
        size: Side of the encoder's square in pixels.
        interpolation: Of the resizes.
        donors: Photos whose surroundings may be shown.

    Raises:
        LazarusError: If a step of the policy cannot be, or does not give photos.
    """

    def __init__(
        self,
        policy: ViewPolicy,
        seed: int,
        size: int,
        interpolation: str = "bicubic",
        donors: Sequence[Path] = (),
    ) -> None:
        self._made_of = (policy, seed, size, interpolation, tuple(donors))
        self._policy = policy
        self._key = f"{policy.digest}/{seed}"
        self._size = size
        self._interpolation = interpolation
        builder = PolicyBuilder(policy.path, size, donors)
        self._chains = [builder.chain(chain) for chain in policy.chains]
        self._try()

    def __reduce__(self) -> tuple[type[ViewMaker], tuple[object, ...]]:
        """Another process builds its own."""
        return type(self), self._made_of

    def views(self, photo: bytes, sha256: str, numbers: Sequence[int]) -> list[Pixels]:
        """Makes some views of one photo.

        Args:
            photo: The file's bytes.
            sha256: Their digest.
            numbers: Which views, from 1.

        Returns:
            Pixels ``(S, S, 3)`` of each.

        Raises:
            PhotoError: If the photo cannot be decoded.
            LazarusError: If a transform fails.
        """
        pixels = as_tensor(np.array(self._opened(photo)))
        return [self._view(pixels, sha256, number) for number in numbers]

    def _opened(self, photo: bytes) -> Image.Image:
        image = open_photo(photo, at_least=2 * self._size)
        factor = _REACH * self._size / min(image.size)
        if factor >= 1:
            return image
        size = (round(image.width * factor), round(image.height * factor))
        return image.resize(size, Image.Resampling.BICUBIC)

    def _view(self, pixels: Tensor, sha256: str, number: int) -> Pixels:
        digest = hashlib.sha256(f"{sha256}/{number}/{self._key}".encode()).digest()
        chain = self._chains[(number - 1) % len(self._chains)]
        try:
            with LocalGenerator(int.from_bytes(digest[:8], "little")):
                # some transforms work in place
                view = chain(pixels.clone())
        except LazarusError:
            raise
        # a transform can raise anything at a photo that it was not made for
        except Exception as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            height, width = pixels.shape[1:]
            raise LazarusError(
                f"the policy '{self._policy.path}' fails on a photo of {width}x{height} pixels: "
                f"{reason}"
            ) from error
        return stretch(self._as_image(view), self._size, self._interpolation)

    def _as_image(self, view: object) -> Image.Image:
        if not isinstance(view, Tensor) or view.dtype != torch.uint8 or view.shape[:-2] != (3,):
            what = f"{view.dtype} {tuple(view.shape)}" if isinstance(view, Tensor) else type(view)
            raise LazarusError(
                f"the policy '{self._policy.path}' gives {what} instead of RGB uint8 pixels: leave "
                "out what changes the type of its input"
            )
        return Image.fromarray(as_photo(view))

    def _try(self) -> None:
        """Runs every chain on noise, so that a mistake is found before the first photo."""
        shape = (3, self._size, self._size * 4 // 3)
        noise = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
        with _global_generators_untouched(self._policy.path):
            for number in range(1, 1 + _TRIALS * len(self._chains)):
                self._view(torch.from_numpy(noise), "", number)


@contextmanager
def _global_generators_untouched(path: Path) -> Iterator[None]:
    before = _global_states()
    yield
    same = before == _global_states()
    if not same:
        raise LazarusError(
            f"a transform of '{path}' draws in a way that cannot be repeated: take another one"
        )


def _global_states() -> tuple[object, ...]:
    numpy_state = np.random.get_state(legacy=False)
    return torch.get_rng_state().tolist(), random.getstate(), str(numpy_state)
