# SPDX-License-Identifier: GPL-3.0-or-later
"""The filmed view: where a new shot begins, and how far its subject is."""

import math
from dataclasses import dataclass

import bpy
import numpy as np

from ..mesh.depth_survey import read_depth
from ..placed import Placed
from ..scene_folder import SceneFacts
from . import camera_math, sampling

# The library's rules (ex4d_core/presets.py): EX-4D turns about a point just behind what is nearest, by a margin of 0.15
# where the nearest is 10000/3900; the other moves about what a quarter of the picture's middle is nearer than.
_MARGIN = 0.15 * 3900.0 / 10000.0
_LOOKS = 64
"""Most frames that are looked at for the nearest depth of a clip; longer ones are looked at evenly."""
_nearest: dict[str, float] = {}
"""Nearest depth by content hash: reading every frame of a clip takes a while."""


@dataclass(frozen=True)
class SourceView:
    """The footage camera at one moment."""

    c2w: np.ndarray
    """(4, 4) float64 camera-to-world in scene space, OpenCV axes."""
    sensor_fit: str
    sensor: tuple[float, float]
    """Width and height, millimetres."""
    lens: float
    """Millimetres."""
    shift: tuple[float, float]
    """As Blender counts it: shares of the side that the sensor is fitted to."""

    def give_lens(self, data: bpy.types.Camera) -> None:
        """Make a camera see what the footage camera saw."""
        data.sensor_fit, (data.sensor_width, data.sensor_height) = self.sensor_fit, self.sensor
        data.lens, (data.shift_x, data.shift_y) = self.lens, self.shift


def source_view(context: bpy.types.Context, placed: Placed, frame: int, size: tuple[int, int]) -> SourceView:
    """The footage camera at a Blender frame, as a picture of some size (pixels) shows it. Raises: UserError."""
    if placed.source_camera is None:
        return _from_facts(placed, frame)
    camera, render = placed.source_camera, context.scene.render
    look = sampling.look(context, camera, frame, size)
    data, aspect = camera.data, (render.pixel_aspect_x, render.pixel_aspect_y)
    factor, stretch = camera_math.view_factor(data, *size, aspect), aspect[1] / aspect[0]
    fx, _, cx, cy = look.intrinsics
    return SourceView(
        look.c2w,
        data.sensor_fit,
        (data.sensor_width, data.sensor_height),
        fx * camera_math.sensor_size(data) / factor,
        ((size[0] / 2 - cx) / factor, (cy - size[1] / 2) * stretch / factor),
    )


def _from_facts(placed: Placed, frame: int) -> SourceView:
    """As the scene folder says it, where the artist deleted the source camera."""
    facts = placed.facts()
    shown = shown_frame(placed, frame)
    fx, _, cx, cy = facts.intrinsics[shown]
    return SourceView(
        np.eye(4) if facts.source_c2w is None else facts.source_c2w[shown],
        "HORIZONTAL",
        (36.0, 36.0 * facts.height / facts.width),
        36.0 * fx / facts.width,
        (0.5 - cx / facts.width, (cy - facts.height / 2) / facts.width),
    )


def shown_frame(placed: Placed, frame: int) -> int:
    """The clip frame that a camera without a Source Time shows."""
    time = placed.default_source_time(frame)
    return min(max(math.floor(time + 0.5), 0), placed.facts().frames - 1)


def subject_distance(facts: SceneFacts, frame: int, reference: bool) -> float:
    """How far the subject is, scene units, by the library's rules.

    Args:
        facts: the footage.
        frame: clip frame, where the move begins.
        reference: for EX-4D's own moves.

    Raises:
        UserError: a depth file is missing or damaged.
    """
    depth = read_depth(facts, frame)
    if reference:
        return float(depth.min()) + _MARGIN * _nearest_of(facts)
    rows, columns = facts.height // 6, facts.width // 6
    return float(np.percentile(depth[rows : facts.height - rows, columns : facts.width - columns], 25))


def _nearest_of(facts: SceneFacts) -> float:
    if facts.content_hash not in _nearest:
        frames = np.unique(np.linspace(0, facts.frames - 1, min(facts.frames, _LOOKS)).round().astype(int))
        _nearest[facts.content_hash] = min(float(read_depth(facts, int(frame)).min()) for frame in frames)
    return _nearest[facts.content_hash]
