# SPDX-License-Identifier: GPL-3.0-or-later
"""Draws coverage over 3D viewports. A draw handler of a region: it takes no part in any render."""

import blf
import bpy
import gpu

from ..drawing_over import DrawsOver
from ..errors import UserError
from ..translation import translated
from . import shaders, source, surface, truth, viewports
from .surface import Surface
from .view import Shown, camera_view, frame_corners, shown, viewport_view

_STRIPE = 9.0
"""Width of a stripe and the gap beside it, in units of the interface."""

_drawn: dict[int, Surface] = {}
"""Address of a viewport -> its texture."""
_counted = Surface()
"""The camera's own picture, for the share of it that is unseen."""

Rectangle = tuple[tuple[float, float], tuple[float, float]]


def colors() -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """The theme's colours for what is unseen (as the backs of faces) and stretched (as a changed value)."""
    theme = bpy.context.preferences.themes[0]
    return tuple(theme.view_3d.face_back[:3]), tuple(theme.user_interface.wcol_state.inner_changed[:3])


def unseen_share(context: bpy.types.Context) -> float | None:
    """The unseen share of the camera's picture at the current frame, 0 to 1, counted on the GPU; None without one.

    Needs a window. Raises: UserError, as `view.shown`.
    """
    seen = shown(context)
    view = camera_view(context, seen) if seen is not None else None
    return None if view is None else _counted.unseen(seen.frame, view)


def _draw() -> None:
    context = bpy.context
    if not viewports.is_on(context.space_data):
        return
    try:
        seen = shown(context)
        if seen is None:
            _say(context, None, translated("No footage in this scene"))
            return
        _draw_coverage(context, seen)
    except UserError as error:
        _say(context, None, error.said)


def _draw_coverage(context: bpy.types.Context, seen: Shown) -> None:
    corners = frame_corners(context)
    region = context.region
    true = truth.texture(context, seen) if corners else None
    if true is not None:
        _hatch(context, true.texture, corners, ((0.0, 1.0), (1.0, 0.0)), 1.0)
        _say(context, corners, translated("Unseen: {share:.1%}, as rendered", share=true.unseen))
        return
    here = _drawn.setdefault(context.space_data.as_pointer(), Surface())
    texture = here.draw(seen.frame, viewport_view(context, seen))
    area = corners or ((0.0, 0.0), (float(region.width), float(region.height)))
    inside = tuple((x / region.width, y / region.height) for x, y in area)
    # from outside, only what the footage has of a thing can be lacking; in the picture, what is not there is too
    _hatch(context, texture, area, inside, 1.0 if corners else 0.0)
    view = camera_view(context, seen)
    if view is not None:
        _say(context, corners, translated("Unseen: {share:.1%}", share=_counted.unseen(seen.frame, view)))


def _hatch(
    context: bpy.types.Context, texture: gpu.types.GPUTexture, area: Rectangle, inside: Rectangle, empty: float
) -> None:
    """Lay a coverage texture over a part of the region.

    Args:
        area: lower left and upper right corner, pixels of the region.
        inside: the same corners in the texture, 0 to 1.
        empty: how strongly places are hatched where there is nothing at all, 0 to 1.
    """
    (left, bottom), (right, top) = area
    (u0, v0), (u1, v1) = inside
    layout = gpu.types.GPUVertFormat()
    for name in ("position", "texture_position"):
        layout.attr_add(id=name, comp_type="F32", len=2, fetch_mode="FLOAT")
    corners = gpu.types.GPUVertBuf(layout, 4)
    corners.attr_fill("position", [(left, bottom), (right, bottom), (left, top), (right, top)])
    corners.attr_fill("texture_position", [(u0, v0), (u1, v0), (u0, v1), (u1, v1)])
    hatch, tint = colors()
    shader = shaders.hatch_shader()
    gpu.state.blend_set("ALPHA")
    gpu.state.depth_test_set("NONE")
    shader.bind()
    shader.uniform_float("transform", gpu.matrix.get_projection_matrix() @ gpu.matrix.get_model_view_matrix())
    shader.uniform_float("hatch", (*hatch, 1.0))
    shader.uniform_float("tint", (*tint, 1.0))
    shader.uniform_float("stripes", (_STRIPE * context.preferences.system.ui_scale, empty))
    shader.uniform_sampler("coverage", texture)
    gpu.types.GPUBatch(type="TRI_STRIP", buf=corners).draw(shader)
    gpu.state.blend_set("NONE")


def _say(context: bpy.types.Context, frame: Rectangle | None, text: str) -> None:
    """A line at the bottom: of the camera's frame, else of the viewport."""
    scale = context.preferences.system.ui_scale
    size = context.preferences.ui_styles[0].widget.points * scale
    blf.size(0, size * 1.2)
    width, _ = blf.dimensions(0, text)
    middle = (frame[0][0] + frame[1][0]) / 2 if frame else context.region.width / 2
    bottom = max(frame[0][1], 0.0) if frame else 0.0
    blf.position(0, max(middle - width / 2, 8 * scale), bottom + 14 * scale, 0)
    blf.enable(0, blf.SHADOW)
    blf.shadow(0, 6, 0.0, 0.0, 0.0, 1.0)
    blf.color(0, 1.0, 1.0, 1.0, 1.0)
    blf.draw(0, text)
    blf.disable(0, blf.SHADOW)


def free() -> None:
    """Give back what the GPU holds."""
    while _drawn:
        _drawn.popitem()[1].free()
    _counted.free()
    surface.forget()
    source.forget()
    truth.forget()


_over = DrawsOver(bpy.types.SpaceView3D, _draw)


def register() -> None:
    """Draw after all else in each 3D viewport."""
    _over.register()


def unregister() -> None:
    """See `register`."""
    _over.unregister()
    free()
    shaders.forget()
