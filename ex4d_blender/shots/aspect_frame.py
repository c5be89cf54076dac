# SPDX-License-Identifier: GPL-3.0-or-later
"""The active shot's frame in the camera view, where its picture has another shape than the scene's render."""

import blf
import bpy
import gpu
import numpy as np
from bpy_extras.view3d_utils import location_3d_to_region_2d
from gpu_extras.batch import batch_for_shader

from . import camera_math
from .properties import Shot, active_shot, render_size

_handle: object | None = None


def shot_frame(
    data: bpy.types.Camera, shot: Shot, render: tuple[int, int], aspect: tuple[float, float]
) -> np.ndarray | None:
    """Where a shot's picture lies in the scene's render.

    Args:
        data: the camera's.
        shot: its size is read.
        render: size of the scene's render, pixels.
        aspect: the scene's pixel aspect.

    Returns:
        (4,) float64 left, top, right, bottom, as shares of the render's width and height, from its upper left corner;
        None where the two have the same shape, give or take half a pixel.
    """
    width, height = shot.width, shot.height
    if abs(width * render[1] / render[0] - height) <= 0.5 or abs(height * render[0] / render[1] - width) <= 0.5:
        return None
    fx, fy, cx, cy = camera_math.intrinsics(data, width, height, aspect)
    rays = np.array([-cx / fx, -cy / fy, (width - cx) / fx, (height - cy) / fy])
    fx, fy, cx, cy = camera_math.intrinsics(data, *render, aspect)
    return (rays * [fx, fy, fx, fy] + [cx, cy, cx, cy]) / [*render, *render]


def _draw() -> None:
    context = bpy.context
    scene, region = context.scene, context.region
    view, shot = context.region_data, active_shot(context.scene)
    if (
        shot is None
        or view is None
        or view.view_perspective != "CAMERA"
        or scene.camera is None
        or scene.camera != shot.camera
        or scene.camera.data.type != "PERSP"
        or not context.space_data.overlay.show_overlays
    ):
        return
    camera = scene.camera.evaluated_get(context.evaluated_depsgraph_get())
    aspect = scene.render.pixel_aspect_x, scene.render.pixel_aspect_y
    frame = shot_frame(camera.data, shot, render_size(scene), aspect)
    if frame is None:
        return
    # Of the render's frame, as the viewport shows it: upper right, lower right, lower left, upper left.
    world = camera.matrix_world.normalized()
    corners = [location_3d_to_region_2d(region, view, world @ c) for c in camera.data.view_frame(scene=scene)]
    if any(corner is None for corner in corners):
        return
    upper_left, lower_right = np.array(corners[3]), np.array(corners[1])
    left, top, right, bottom = np.tile(upper_left, 2) + frame * np.tile(lower_right - upper_left, 2)
    outline = [(left, top), (right, top), (right, bottom), (left, bottom), (left, top)]
    color = context.preferences.themes[0].view_3d.object_active
    shader = gpu.shader.from_builtin("POLYLINE_UNIFORM_COLOR")
    gpu.state.blend_set("ALPHA")
    shader.bind()
    shader.uniform_float("viewportSize", (region.width, region.height))
    shader.uniform_float("lineWidth", 1.5 * context.preferences.system.pixel_size)
    shader.uniform_float("color", (*color[:3], 0.9))
    batch_for_shader(shader, "LINE_STRIP", {"pos": [(x, y, 0.0) for x, y in outline]}).draw(shader)
    gpu.state.blend_set("NONE")
    _label(f"{shot.name}  {shot.width} x {shot.height}", left, max(top, bottom), color)


def _label(text: str, x: float, y: float, color: tuple) -> None:
    scale = bpy.context.preferences.system.ui_scale
    blf.size(0, 11 * scale)
    blf.color(0, *color[:3], 0.9)
    blf.position(0, x, y + 4 * scale, 0)
    blf.draw(0, text)


def register() -> None:
    """Draw in all 3D viewports from now on."""
    global _handle
    _handle = bpy.types.SpaceView3D.draw_handler_add(_draw, (), "WINDOW", "POST_PIXEL")


def unregister() -> None:
    """See `register`."""
    global _handle
    bpy.types.SpaceView3D.draw_handler_remove(_handle, "WINDOW")
    _handle = None
