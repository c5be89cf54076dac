# SPDX-License-Identifier: GPL-3.0-or-later
"""Draws a frame's surface as a view sees it, into a texture of its own, and counts what it lacks.

Only from a draw handler, or where a window's GPU context is active: `gpu` is unusable in background mode.
"""

from dataclasses import dataclass

import gpu
import numpy as np
from mathutils import Matrix, Vector

from .shaders import BRIDGE_REACH, surface_shader
from .source import SourceFrame

_NEAR_SHARE = 4e-4
"""What is nearer than this share of the nearest depth is cut away: `ex4d_core.frame.NEAR_SHARE`."""


@dataclass(frozen=True)
class View:
    """Who looks, at what size."""

    projection: Matrix
    """4x4, source camera space (OpenCV axes, scene units) to clip space."""
    lens: tuple[float, float, float, float]
    """The source camera's fx, fy, cx, cy in its own pixels, pixel centres at +0.5."""
    focal: float
    """Horizontal focal length, pixels of the view; of an orthographic view pixels per scene unit."""
    width: int
    height: int
    """Pixels of the texture."""
    finer: float
    """Pixels of the view for each pixel of the shot, times pixels of the plate for each of the working size: stretching
    is about what the finished shot lacks, however far the viewport is zoomed in."""

    @property
    def key(self) -> tuple[object, ...]:
        """Two views with the same key see the same."""
        rows = tuple(tuple(row) for row in self.projection)
        return rows, self.lens, self.focal, self.width, self.height, self.finer


class Surface:
    """The texture of one view; drawn again only when frame or view change. Free it with `free`."""

    def __init__(self) -> None:
        self._texture: gpu.types.GPUTexture | None = None
        self._depth: gpu.types.GPUTexture | None = None
        self._key: tuple[object, ...] = ()
        self._frame: SourceFrame | None = None
        self._unseen: float | None = None

    def draw(self, frame: SourceFrame, view: View) -> gpu.types.GPUTexture:
        """The view's texture: red 1 where unseen, green how stretched, alpha 0 where nothing is; bottom row first."""
        size = view.width, view.height
        if self._texture is None or (self._texture.width, self._texture.height) != size:
            self.free()
            self._texture = gpu.types.GPUTexture(size, format="RGBA8")
            self._depth = gpu.types.GPUTexture(size, format="DEPTH_COMPONENT32F")
        if self._key != view.key or self._frame is not frame:
            with self.target().bind():
                _draw(frame, view)
            self._key, self._frame, self._unseen = view.key, frame, None
        return self._texture

    def unseen(self, frame: SourceFrame, view: View) -> float:
        """The share of the view's pixels that were never seen, 0 to 1."""
        self.draw(frame, view)
        if self._unseen is None:
            with self.target().bind():
                buffer = gpu.state.active_framebuffer_get().read_color(0, 0, view.width, view.height, 1, 0, "UBYTE")
            buffer.dimensions = view.width * view.height
            self._unseen = float((np.frombuffer(bytes(buffer), np.uint8) > 127).mean())
        return self._unseen

    def target(self) -> gpu.types.GPUFrameBuffer:
        """What draws into the texture, for now: OpenGL's contexts do not share it.

        Not a GPUOffScreen, which is for all contexts: making one inside a draw handler lets go of the framebuffer that
        the viewport is drawn into, and what the handler draws next is lost.
        """
        return gpu.types.GPUFrameBuffer(depth_slot=self._depth, color_slots=(self._texture,))

    def free(self) -> None:
        """Give the texture back."""
        self._texture = self._depth = self._frame = self._unseen = None
        self._key = ()


class _Uploaded:
    """What the GPU holds for the last frame drawn: its texture, and a row of the grid of its width."""

    frame: SourceFrame | None = None
    texture: gpu.types.GPUTexture | None = None
    width = 0
    row: gpu.types.GPUBatch | None = None


def forget() -> None:
    """Give the textures back."""
    _Uploaded.frame = _Uploaded.texture = _Uploaded.row = None
    _Uploaded.width = 0


def _draw(frame: SourceFrame, view: View) -> None:
    shader = surface_shader()
    texture, row = _uploaded(frame)
    unit = view.projection[3].xyz.length  # of w, in scene units: the empty is scaled
    perspective = unit > 1e-12
    gpu.state.active_framebuffer_get().clear(color=(1.0, 0.0, 0.0, 0.0), depth=1.0)
    gpu.state.depth_test_set("LESS")
    gpu.state.depth_mask_set(True)
    gpu.state.blend_set("NONE")
    gpu.state.face_culling_set("NONE")
    shader.bind()
    shader.uniform_float("projection", view.projection)
    shader.uniform_float("eye", _eye(view.projection, perspective))
    shader.uniform_float("lens", view.lens)
    magnified = view.focal / view.lens[0] * (unit if perspective else 1.0)
    shader.uniform_float("view", (view.width, view.height, magnified, view.finer))
    shader.uniform_float("reach", (1.0 + BRIDGE_REACH, _near(frame, view) if perspective else 0.0))
    shader.uniform_sampler("source", texture)
    row.draw_instanced(shader, instance_start=0, instance_count=frame.depth.shape[0] - 1)
    gpu.state.depth_mask_set(False)
    gpu.state.depth_test_set("NONE")


def _near(frame: SourceFrame, view: View) -> float:
    """Where to put the near plane, scene units: as far off as it cuts nothing away, for the depth's few bits.

    Else a camera that stands close to something could not tell apart what is far.
    """
    height, width = frame.depth.shape
    fx, fy, cx, cy = view.lens
    across = (np.arange(width, dtype=np.float32) + np.float32(0.5 - cx)) / np.float32(fx)
    down = (np.arange(height, dtype=np.float32) + np.float32(0.5 - cy)) / np.float32(fy)
    rows = np.array(view.projection, np.float32)
    x, y, w = ((row[0] * across + row[2] + (row[1] * down)[:, None]) * frame.depth + row[3] for row in rows[[0, 1, 3]])
    visible = w[(w > 0) & (np.abs(x) <= w) & (np.abs(y) <= w)]
    nearest = _NEAR_SHARE * frame.nearest * float(np.linalg.norm(rows[3, :3]))
    return max(nearest, 0.5 * float(visible.min())) if visible.size else nearest


def _eye(projection: Matrix, perspective: bool) -> tuple[float, float, float, float]:
    """The point that the x, y and w rows send to nothing: where a view stands, or (w 0) which way rays come from."""
    inverse = projection.inverted()
    if perspective:
        # x = y = w = 0 in clip space, whatever z is
        at = inverse @ Vector((0.0, 0.0, 1.0, 0.0))
        return (at.x / at.w, at.y / at.w, at.z / at.w, 1.0)
    towards = -(
        inverse @ Vector((0.0, 0.0, 1.0, 0.0))
    ).xyz.normalized()  # the near side: z in clip space grows away from the view
    return (*towards, 0.0)


def _uploaded(frame: SourceFrame) -> tuple[gpu.types.GPUTexture, gpu.types.GPUBatch]:
    height, width = frame.depth.shape
    if _Uploaded.frame is not frame:
        pixels = np.stack([frame.depth, frame.bridges.astype(np.float32)], axis=-1)
        buffer = gpu.types.Buffer("FLOAT", pixels.size, pixels.ravel())
        _Uploaded.texture = gpu.types.GPUTexture((width, height), format="RG32F", data=buffer)
        _Uploaded.frame = frame
    if _Uploaded.width != width:
        layout = gpu.types.GPUVertFormat()
        layout.attr_add(id="corner", comp_type="U32", len=1, fetch_mode="INT")
        count = 6 * (width - 1)
        vertices = gpu.types.GPUVertBuf(layout, count)
        vertices.attr_fill("corner", np.arange(count, dtype=np.uint32))
        _Uploaded.row = gpu.types.GPUBatch(type="TRIS", buf=vertices)
        _Uploaded.width = width
    return _Uploaded.texture, _Uploaded.row
