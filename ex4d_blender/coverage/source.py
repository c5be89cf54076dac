# SPDX-License-Identifier: GPL-3.0-or-later
"""One frame of a scene as the overlay needs it: depth, and which triangles are bridges."""

from collections import OrderedDict
from dataclasses import dataclass

import numpy as np

from ..errors import UserError
from ..scene_folder import SceneFacts
from .exr import read_exr
from .png import read_png

_MOST_BYTES = 256 << 20
_SKY_DEPTH = 1e9  # `float-depth` stores what is infinitely far as this, or as more
_BRIDGES = 0b11  # the library's method `quads` has bits of its own in the same files


@dataclass(frozen=True)
class SourceFrame:
    """What a frame of the footage is made of."""

    depth: np.ndarray
    """(H, W) float32, z-depth in scene units, the top row first."""
    bridges: np.ndarray
    """(H, W) uint8, bits 0 and 1: the upper left and lower right triangle of the 2x2 block starting here is one."""
    nearest: float


_frames: OrderedDict[tuple[str, str, int], SourceFrame] = OrderedDict()


def source_frame(facts: SceneFacts, frame: int) -> SourceFrame:
    """A frame of a scene folder, kept in memory (256 MiB for all scenes together; the longest unused goes first).

    Raises:
        UserError: its files are missing or damaged.
    """
    key = (str(facts.folder), facts.content_hash, frame)
    found = _frames.pop(key, None) or _read(facts, frame)
    _frames[key] = found
    while len(_frames) > 1 and sum(kept.depth.nbytes + kept.bridges.nbytes for kept in _frames.values()) > _MOST_BYTES:
        _frames.popitem(last=False)
    return found


def forget() -> None:
    """Give the memory back."""
    _frames.clear()


def _read(facts: SceneFacts, frame: int) -> SourceFrame:
    if facts.occlusion is None:
        raise UserError(
            "{folder} says nothing about occlusion: import the clip again to preview coverage.", folder=facts.folder
        )
    depth_file, bridge_file = facts.file(facts.depth, frame), facts.file(facts.occlusion, frame)
    depth = _decode(read_exr(depth_file, facts.depth_channel), facts)
    bridges = read_png(bridge_file)[..., 0] & _BRIDGES
    for file, picture in ((depth_file, depth), (bridge_file, bridges)):
        if picture.shape != (facts.height, facts.width):
            raise UserError(
                "{file} has {width}x{height} pixels and the scene {scene_width}x{scene_height}: import the clip again.",
                file=file,
                width=picture.shape[1],
                height=picture.shape[0],
                scene_width=facts.width,
                scene_height=facts.height,
            )
    if not (np.isfinite(depth).all() and (depth > 0).all()):
        raise UserError("{depth_file} has pixels that are no depth: import the clip again.", depth_file=depth_file)
    return SourceFrame(depth, bridges, float(depth.min()))


def _decode(stored: np.ndarray, facts: SceneFacts) -> np.ndarray:
    far = np.float32(facts.far)
    if facts.depth_encoding == "float-depth":
        return np.where(stored >= _SKY_DEPTH, far, stored)
    with np.errstate(divide="ignore"):
        return np.where(stored == 0, far, np.float32(1) / stored)
