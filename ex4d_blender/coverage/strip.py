# SPDX-License-Identifier: GPL-3.0-or-later
"""The Coverage strip below the ruler of Timeline and Dope Sheet.

How much of each frame the footage never saw, and in a thinner line below how much of the rest is stretched.
"""

import bpy
import gpu
import numpy as np
from gpu_extras.batch import batch_for_shader

from ..drawing_over import DrawsOver
from . import record, stale
from .overlay import colors

_RULER = 23.0
_HEIGHT = 6.0
_THIN = 3.0
"""Units of the interface: the height of Blender's ruler, of the strip below it, and of the line below that."""
_FULL = 0.5
"""The share at which the strip has the theme's full colour: half a picture to invent is as bad as any."""
_GREY = (0.5, 0.5, 0.5)


def columns(shares: np.ndarray, first: float, last: float, width: int) -> np.ndarray:
    """What to draw: runs of pixels and their share.

    Args:
        shares: (T, 2) frame and share, frames ascending.
        first: the frame at the left edge of the region.
        last: the frame at its right edge.
        width: pixels of the region.

    Returns:
        (N, 3) float64: left, right (pixels, a frame reaches half a frame to both sides) and share. Where several frames
        fall on one pixel, the worst.
    """
    scale = width / (last - first)
    frames, values = shares[:, 0].astype(np.float64), shares[:, 1].astype(np.float64)
    left, right = (frames - 0.5 - first) * scale, (frames + 0.5 - first) * scale
    inside = (right > 0) & (left < width)
    left, right, values = left[inside], right[inside], values[inside]
    if scale >= 1.0:
        return np.stack([left, right, values], axis=1)
    pixel = np.clip(left.astype(np.int64), 0, width - 1)
    worst = np.full(width, -1.0)
    np.maximum.at(worst, pixel, values)
    filled = np.flatnonzero(worst >= 0)
    return np.stack([filled, filled + 1, worst[filled]], axis=1).astype(np.float64)


def _draw() -> None:
    context = bpy.context
    camera = context.scene.camera
    found = record.read(camera)
    if found is None or context.space_data.mode not in ("TIMELINE", "DOPESHEET", "ACTION"):
        return
    region = context.region
    first, last = (region.view2d.region_to_view(x, 0)[0] for x in (0, region.width))
    if last <= first:
        return
    hatch, tint = (_GREY, _GREY) if stale.is_stale(context, camera) else colors()
    scale = context.preferences.system.ui_scale
    top = region.height - _RULER * scale
    for name, height, color in ((record.UNSEEN, _HEIGHT, hatch), (record.STRETCHED, _THIN, tint)):
        bottom = top - height * scale
        drawn = columns(record.shares(camera, name), first, last, region.width)
        if len(drawn):
            _draw_columns(drawn, bottom, top, color)
        top = bottom


def _draw_columns(drawn: np.ndarray, bottom: float, top: float, color: tuple[float, float, float]) -> None:
    count = len(drawn)
    corners = np.empty((count, 6, 2), np.float32)
    for k, (side, y) in enumerate(((0, bottom), (1, bottom), (1, top), (0, bottom), (1, top), (0, top))):
        corners[:, k, 0], corners[:, k, 1] = drawn[:, side], y
    shade = np.empty((count, 6, 4), np.float32)
    shade[..., :3] = color
    shade[..., 3] = (0.12 + 0.88 * np.clip(drawn[:, 2] / _FULL, 0.0, 1.0))[:, None]
    shader = gpu.shader.from_builtin("FLAT_COLOR")
    batch = batch_for_shader(shader, "TRIS", {"pos": corners.reshape(-1, 2), "color": shade.reshape(-1, 4)})
    gpu.state.blend_set("ALPHA")
    batch.draw(shader)
    gpu.state.blend_set("NONE")


_over = DrawsOver(bpy.types.SpaceDopeSheetEditor, _draw)


def register() -> None:
    """Draw in each Timeline and Dope Sheet."""
    _over.register()


def unregister() -> None:
    """See `register`."""
    _over.unregister()
