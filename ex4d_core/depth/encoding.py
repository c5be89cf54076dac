"""How depth is stored in a scene: half-float disparity, or float z-depth where that would lose it.

Half floats hold 11 significant bits between 2^-14 and 65504, so a disparity (1/z) in that range comes back within
2^-11 of itself. Below it lie the denormals, which lose bits, and above it infinity: a scene with depths beyond
16384 units, or nearer than 1/65504, keeps float z-depth instead.

Sky, which is infinitely far (disparity 0, depth infinite), is given the finite depth `far`, ten times the largest
finite depth of the scene, and stored as that: every reader gets usable geometry without a special case. A
disparity of exactly 0, which another program may have written, reads as `far` too.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

Encoding = Literal["half-disparity", "float-depth"]
Depth = NDArray[np.float32]

FAR_FACTOR = 10.0
"""Depth given to sky, as a multiple of the largest finite depth of the scene."""

SKY_DEPTH = 1e9
"""Depths from here on are sky: renderers write 1e10 (Blender) or larger numbers where a ray hits nothing."""

_SMALLEST_NORMAL_HALF = 2.0**-14
_LARGEST_HALF = 65504.0


def choose_encoding(nearest: float, farthest: float) -> Encoding:
    """The smaller encoding that keeps depths within a relative error of 2^-11.

    Args:
        nearest: smallest depth of the scene, scene units.
        farthest: largest finite depth of the scene, scene units.
    """
    holds = 1.0 / farthest >= _SMALLEST_NORMAL_HALF and 1.0 / nearest <= _LARGEST_HALF
    return "half-disparity" if holds else "float-depth"


def encode_depth(depth: Depth, encoding: Encoding, far: float) -> NDArray[np.float16] | Depth:
    """The pixels to store.

    Args:
        depth: (H, W) float32 z-depth, scene units, > 0; infinite is sky.
        encoding: how it is stored.
        far: depth to give to sky, scene units.

    Returns:
        (H, W) float16 disparity in 1 / scene units, or (H, W) float32 z-depth in scene units.
    """
    finite = np.minimum(depth, np.float32(far))
    if encoding == "half-disparity":
        return (np.float32(1) / finite).astype(np.float16)
    return finite


def decode_depth(stored: Depth, encoding: Encoding, far: float) -> Depth:
    """The z-depth of stored pixels.

    Args:
        stored: (H, W) float32, as read from the file.
        encoding: how it was stored.
        far: depth of sky, scene units.

    Returns:
        (H, W) float32 z-depth, scene units. NaN and negative values pass through for the caller to refuse.
    """
    if encoding == "float-depth":
        return np.where(stored >= SKY_DEPTH, np.float32(far), stored)
    with np.errstate(divide="ignore"):
        depth = np.float32(1) / stored
    return np.where(stored == 0, np.float32(far), depth)
