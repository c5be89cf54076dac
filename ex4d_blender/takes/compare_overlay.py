# SPDX-License-Identifier: GPL-3.0-or-later
"""Draws two takes over the view through their camera. A draw handler of a region: it takes no part in any render."""

from functools import cache
from pathlib import Path

import bpy
import gpu
import numpy as np
from gpu_extras.batch import batch_for_shader

from ..coverage.png import read_png
from ..coverage.view import frame_corners
from ..drawing_over import DrawsOver
from ..errors import UserError
from ..shots import active_shot
from .compare import Rectangle, pair_facts, parts
from .folder import TakeFacts

_textures: dict[int, tuple[tuple[Path, int], gpu.types.GPUTexture]] = {}
"""0, 1: left and right -> which file it shows, and the picture."""
_DRAWN = (np.arange(256, dtype=np.float32) / 255) ** 2.2
"""What is to be drawn over a viewport for each value of sRGB: Blender raises that to 1/2.2 (4.3 and 5.2, measured)."""
_VERTEX = """
void main()
{
  place = texture_position;
  gl_Position = transform * vec4(position, 0.0, 1.0);
}
"""
_FRAGMENT = """
void main()
{
  picture = vec4(texture(image, clamp(place, frame.xy, frame.zw)).rgb, 1.0);
}
"""


def _draw() -> None:
    context = bpy.context
    try:
        found = pair_facts(context)
    except UserError:  # the panel says so
        return
    shot = active_shot(context.scene)
    if found is None or shot.camera is None or shot.camera != context.scene.camera:
        free()
        return
    corners = frame_corners(context)
    if corners is None:
        return
    wipe = context.window_manager.ex4d_compare.wipe
    for side, (facts, part) in enumerate(zip(found, parts(corners, wipe, found), strict=True)):
        texture = _texture(side, facts, context.scene.frame_current)
        if texture is not None and part.area[0] < part.area[2]:
            _picture(texture, part.area, part.inside, part.frame)
    (left, bottom), (right, top) = corners
    if 0 < wipe < 1:
        _line(context, left + (right - left) * wipe, bottom, top)


def _texture(side: int, facts: TakeFacts, frame: int) -> gpu.types.GPUTexture | None:
    """The picture of a take at a frame; None outside it, or where its file is missing."""
    index = frame - facts.frame_start
    if not 0 <= index < facts.frames:
        return None
    file = facts.png(index)
    try:
        key = file, file.stat().st_mtime_ns
        if side not in _textures or _textures[side][0] != key:
            _textures[side] = key, _loaded(file)
    except (OSError, UserError):
        return None
    return _textures[side][1]


def _loaded(file: Path) -> gpu.types.GPUTexture:
    picture = read_png(file)[::-1]
    height, width = picture.shape[:2]
    pixels = np.ones((height, width, 4), np.float32)
    pixels[..., :3] = _DRAWN[picture]
    buffer = gpu.types.Buffer("FLOAT", pixels.size, pixels.ravel())
    return gpu.types.GPUTexture((width, height), format="RGBA16F", data=buffer)


def _picture(texture: gpu.types.GPUTexture, area: Rectangle, inside: Rectangle, frame: Rectangle) -> None:
    """Draw a part of a picture; nothing outside `frame` (0 to 1) is mixed into its border."""
    (x0, y0, x1, y1), (u0, v0, u1, v1) = area, inside
    half_x, half_y = 0.5 / texture.width, 0.5 / texture.height
    shader = _shader()
    places = {
        "position": [(x0, y0), (x1, y0), (x0, y1), (x1, y1)],
        "texture_position": [(u0, v0), (u1, v0), (u0, v1), (u1, v1)],
    }
    gpu.state.blend_set("NONE")
    gpu.state.depth_test_set("NONE")
    shader.bind()
    shader.uniform_float("transform", gpu.matrix.get_projection_matrix() @ gpu.matrix.get_model_view_matrix())
    shader.uniform_float("frame", (frame[0] + half_x, frame[1] + half_y, frame[2] - half_x, frame[3] - half_y))
    shader.uniform_sampler("image", texture)
    batch_for_shader(shader, "TRI_STRIP", places).draw(shader)


@cache
def _shader() -> gpu.types.GPUShader:
    """Draws values as they are: what Blender's own shader for images makes of them differs between versions."""
    info = gpu.types.GPUShaderCreateInfo()
    info.push_constant("MAT4", "transform")
    info.push_constant("VEC4", "frame")
    info.sampler(0, "FLOAT_2D", "image")
    info.vertex_in(0, "VEC2", "position")
    info.vertex_in(1, "VEC2", "texture_position")
    between = gpu.types.GPUStageInterfaceInfo("ex4d_compare_interface")
    between.smooth("VEC2", "place")
    info.vertex_out(between)
    info.fragment_out(0, "VEC4", "picture")
    info.vertex_source(_VERTEX)
    info.fragment_source(_FRAGMENT)
    return gpu.shader.create_from_info(info)


def _line(context: bpy.types.Context, x: float, bottom: float, top: float) -> None:
    shader = gpu.shader.from_builtin("UNIFORM_COLOR")
    half = max(context.preferences.system.pixel_size / 2, 0.5)
    shader.bind()
    shader.uniform_float("color", (1.0, 1.0, 1.0, 1.0))
    corners = [(x - half, bottom), (x + half, bottom), (x - half, top), (x + half, top)]
    batch_for_shader(shader, "TRI_STRIP", {"pos": [(*corner, 0.0) for corner in corners]}).draw(shader)


def free() -> None:
    """Give back what the GPU holds."""
    _textures.clear()


_over = DrawsOver(bpy.types.SpaceView3D, _draw)


def register() -> None:
    """Draw after all else in each 3D viewport."""
    _over.register()


def unregister() -> None:
    """See `register`."""
    _over.unregister()
    free()
    _shader.cache_clear()
