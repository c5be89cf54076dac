"""The baseline of scripts/bench_raster.py: OpenGL through EGL, on a server without a GPU Mesa's llvmpipe."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmark.raster_scene import Frame
from ex4d_core.raster import NEAR

FAR = 1e4


class OpenGL:
    """Float RGBA, face id and depth into one framebuffer, read back."""

    name = "moderngl"

    def __init__(self, width: int, height: int, frame: Frame) -> None:
        """Open a headless context.

        Raises:
            RuntimeError: there is none; the message says why.
        """
        try:
            import moderngl
        except ImportError as error:
            raise RuntimeError("moderngl is not installed: pip install moderngl") from error
        os.environ.setdefault("LIBGL_ALWAYS_SOFTWARE", "1")
        os.environ.setdefault("EGL_PLATFORM", "surfaceless")
        try:
            self.context: Any = moderngl.create_context(standalone=True, backend="egl", require=330)
        except Exception as error:  # whatever the loader or driver throws, the benchmark has no opponent
            raise RuntimeError(
                f"no EGL context ({error}): on Debian, apt-get install libegl1 libgl1-mesa-dri libgbm1"
            ) from error
        context = self.context
        self.renderer = context.info["GL_RENDERER"]
        self._program = context.program(
            vertex_shader="""
                #version 330
                uniform mat4 clip_from_world;
                in vec3 position; in vec4 rgba; out vec4 colour;
                void main() { gl_Position = clip_from_world * vec4(position, 1.0); colour = rgba; }
            """,
            fragment_shader="""
                #version 330
                in vec4 colour; layout(location = 0) out vec4 rgba; layout(location = 1) out int face;
                void main() { rgba = colour; face = gl_PrimitiveID; }
            """,
        )
        self._size = (width, height)
        self._position = context.buffer(reserve=frame.vertices.nbytes, dynamic=True)
        self._rgba = context.buffer(reserve=frame.rgba.nbytes, dynamic=True)
        faces = context.buffer(frame.faces.tobytes())  # the topology stays; only positions and colours change
        self._mesh = context.vertex_array(
            self._program, [(self._position, "3f", "position"), (self._rgba, "4f", "rgba")], faces
        )
        self._colour = context.texture((width, height), 4, dtype="f4")
        self._face = context.texture((width, height), 1, dtype="i4")
        self._depth = context.depth_texture((width, height))
        self._framebuffer = context.framebuffer([self._colour, self._face], self._depth)
        context.enable(moderngl.DEPTH_TEST)

    def draw(self, frame: Frame) -> tuple[NDArray[np.int32], NDArray[np.float32], NDArray[np.float32]]:
        """Face id with -1 for nothing, RGBA, and depth in the range of the depth buffer."""
        width, height = self._size
        self._position.write(frame.vertices)
        self._rgba.write(frame.rgba)
        k = frame.camera.intrinsics
        projection = np.zeros((4, 4))
        projection[0, 0], projection[0, 2] = 2 * k.fx / width, 2 * k.cx / width - 1
        projection[1, 1], projection[1, 2] = 2 * k.fy / height, 2 * k.cy / height - 1  # row 0 is the image's top
        projection[2, 2], projection[2, 3] = (FAR + NEAR) / (FAR - NEAR), -2 * FAR * NEAR / (FAR - NEAR)
        projection[3, 2] = 1
        self._program["clip_from_world"].write((projection @ frame.camera.w2c()).T.astype("f4").tobytes())
        self._framebuffer.use()
        self._framebuffer.clear(0, 0, 0, 0)
        self._framebuffer.color_mask = ((True,) * 4, (True,) * 4)
        self._face.write(np.full((height, width), -1, np.int32))
        self._mesh.render()
        rgba = np.frombuffer(self._colour.read(), np.float32).reshape(height, width, 4)
        face = np.frombuffer(self._face.read(), np.int32).reshape(height, width)
        depth = np.frombuffer(self._depth.read(), np.float32).reshape(height, width)
        return face, rgba, depth
