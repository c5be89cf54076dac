# SPDX-License-Identifier: GPL-3.0-or-later
"""How deep a scene is: a look at a few of its depth files."""

from dataclasses import dataclass

import bpy
import numpy as np

from ..errors import UserError
from ..scene_folder import SceneFacts

LOOKS = 5
"""Frames looked at, spread over the clip."""


@dataclass(frozen=True)
class DepthRange:
    """z-depths in scene units."""

    nearest: float
    median: float
    farthest: float
    """Sky included."""


def survey(facts: SceneFacts) -> DepthRange:
    """Nearest, median and farthest depth over a few frames. Raises: UserError if a file is missing or damaged."""
    frames = np.unique(np.linspace(0, facts.frames - 1, LOOKS).round().astype(int))
    depths = [read_depth(facts, int(frame)) for frame in frames]
    everything = np.concatenate([depth.ravel() for depth in depths])
    return DepthRange(float(everything.min()), float(np.median(everything)), float(max(everything.max(), facts.far)))


def read_depth(facts: SceneFacts, frame: int) -> np.ndarray:
    """One frame's z-depth: (H, W) float32, scene units, rows from the top. Raises: UserError."""
    path = facts.file(facts.depth, frame)
    try:
        image = bpy.data.images.load(str(path), check_existing=False)
    except RuntimeError:
        raise UserError("{path} cannot be read: import the clip again, or use Relink.", path=path) from None
    try:
        image.colorspace_settings.is_data = True
        if not all(image.size):
            raise UserError("{path} is damaged: import the clip again.", path=path)
        if tuple(image.size) != (facts.width, facts.height):
            raise UserError(
                "{path} has {width}x{height} pixels, scene.json says {scene_width}x{scene_height}: import the clip "
                "again.",
                path=path,
                width=image.size[0],
                height=image.size[1],
                scene_width=facts.width,
                scene_height=facts.height,
            )
        pixels = np.empty(facts.width * facts.height * image.channels, np.float32)
        image.pixels.foreach_get(pixels)
        stored = pixels.reshape(facts.height, facts.width, image.channels)[::-1, :, 0]
    finally:
        bpy.data.images.remove(image)
    if not np.isfinite(stored).all() or (stored < 0).any():
        raise UserError("{path} holds depth that is not a positive number: import the clip again.", path=path)
    return decoded(facts, stored)


def decoded(facts: SceneFacts, stored: np.ndarray) -> np.ndarray:
    """What the files hold, as z-depth (the core's `decode_depth`)."""
    if facts.depth_encoding == "float-depth":
        return np.where(stored >= 1e9, np.float32(facts.far), stored)
    with np.errstate(divide="ignore"):
        return np.where(stored > 0, 1 / stored, np.float32(facts.far)).astype(np.float32)
