"""The random numbers of a clip: each frame has its own, so that a rerun goes on with the same."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch
from torch import Tensor

SEED = 42
_PICTURE, _LATENTS = 0, 1


class Noise(Protocol):
    """Numbers of deviation 1."""

    def picture(self, frame: int, shape: tuple[int, ...]) -> Tensor:
        """What is added to a frame before the VAE sees it: (1, 3, H, W) float32."""
        ...

    def latents(self, frame: int, shape: tuple[int, ...]) -> Tensor:
        """What a frame's depth is made of: (4, h, w) float32."""
        ...


class SeededNoise:
    """The same on every machine."""

    def picture(self, frame: int, shape: tuple[int, ...]) -> Tensor:
        """See `Noise`."""
        return _normal(_PICTURE, frame, shape)

    def latents(self, frame: int, shape: tuple[int, ...]) -> Tensor:
        """See `Noise`."""
        return _normal(_LATENTS, frame, shape)


def _normal(kind: int, frame: int, shape: tuple[int, ...]) -> Tensor:
    return torch.from_numpy(np.random.default_rng([SEED, kind, frame]).standard_normal(shape, np.float32))
