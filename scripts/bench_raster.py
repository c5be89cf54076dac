#!/usr/bin/env python3
"""Compare the compiled rasterizer with OpenGL (moderngl on Mesa llvmpipe through EGL), frame by frame.

Both draw the same meshes, a new one each frame, from the same cameras: the reference's path "180" in a scene of
moving spheres, a pole and a floor before a wavy background, with the border and the closing fan of a DW-Mesh. Ours
returns face id, barycentrics, depth, facing and the blended colour; OpenGL float RGBA, face id and depth. The
frames are done in turn (ours, theirs, ours, ...), so that a busy machine slows both.

    python scripts/bench_raster.py                  512x512, 49 frames
    python scripts/bench_raster.py --size 832x480 --frames 15 --json
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ex4d_core.camera import Camera, Intrinsics, look_at
from ex4d_core.raster import NEAR, interpolate, rasterize, warm_up

FAR = 1e4
RADIUS = 2.74  # of the camera's path: a little more than the nearest depth
LOOK_AT = np.array([0.0, 0.0, RADIUS])


@dataclass(frozen=True)
class Frame:
    """What both rasterizers get."""

    vertices: NDArray[np.float32]
    """(N, 3), the world of the source camera."""
    faces: NDArray[np.int32]
    """(F, 3), the grid's first."""
    rgba: NDArray[np.float32]
    """(N, 4), 0 to 1."""
    grid: tuple[int, int]
    camera: Camera


def scene_depth(width: int, height: int, t: float) -> NDArray[np.float32]:
    """(H, W) float32, z-depth 2.6 to 28 at time t in 0..1."""
    x = np.linspace(-1, 1, width)[None, :]
    y = np.linspace(-1, 1, height)[:, None]
    phase = 2 * np.pi * t
    depth = 18 + 6 * np.sin(2 * x + phase) * np.cos(1.7 * y) + 4 * np.cos(3 * x - y)
    depth = np.where(y > 0.6, np.minimum(depth, 3.6 / np.maximum(y, 0.1)), depth)  # a floor, grazing
    for cx, cy, radius, z in ((-0.4, -0.1, 0.25, 4.0), (0.3, 0.2, 0.3, 5.0), (0.6, -0.5, 0.15, 3.0)):
        inside = radius**2 - (x - cx - 0.1 * np.sin(phase + z)) ** 2 - (y - cy) ** 2
        depth = np.where(inside > 0, z * (1 - 0.5 * np.sqrt(np.maximum(inside, 0))), depth)
    pole = np.abs(x + 0.15 * y - 0.05 * np.sin(phase)) < 0.03
    return np.where(pole, 2.6 + 0.2 * y, depth).astype(np.float32)


def make_frame(width: int, height: int, index: int, frames: int) -> Frame:
    """A closed mesh over one depth map, and a camera on the path of the reference's preset 180."""
    k = Intrinsics.unknown_lens(width, height)
    t = index / max(frames, 1)
    depth = scene_depth(width, height, t)
    u, v = np.arange(width) + 0.5, np.arange(height) + 0.5
    u[0], u[-1], v[0], v[-1] = 0, width, 0, height
    points = np.stack([(u[None, :] - k.cx) / k.fx * depth, (v[:, None] - k.cy) / k.fy * depth, depth], axis=-1).reshape(
        -1, 3
    )
    points = np.concatenate([points, [[0.0, 0.0, 20 * float(depth.max())]]])
    index_of = np.arange(height * width, dtype=np.int32).reshape(height, width)
    a, b, c, d = (q.ravel() for q in (index_of[:-1, :-1], index_of[1:, :-1], index_of[:-1, 1:], index_of[1:, 1:]))
    loop = np.concatenate([index_of[0], index_of[1:, -1], index_of[-1, -2::-1], index_of[-2:0:-1, 0]])
    fan = np.stack([loop, np.roll(loop, -1), np.full_like(loop, height * width)], axis=1)
    faces = np.concatenate([np.stack([a, b, c], axis=1), np.stack([c, b, d], axis=1), fan])
    rgba = np.concatenate([np.sin(points * [1.0, 2.0, 0.5]) * 0.5 + 0.5, np.ones((len(points), 1))], axis=1)
    angle = 2 * np.pi * t
    eye = RADIUS * np.array([np.sin(angle), 0.2 * (np.cos(angle) - 1), 0.0])
    camera = Camera(look_at(eye, LOOK_AT), k)
    return Frame(points.astype(np.float32), faces, rgba.astype(np.float32), (height, width), camera)


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


def draw_ours(frame: Frame, threads: int) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Face id and RGBA; barycentrics, depth and facing come along."""
    raster = rasterize(frame.vertices, frame.faces, frame.camera, grid=frame.grid, threads=threads)
    return raster.face_id, interpolate(raster, frame.faces, frame.rgba, grid=frame.grid, threads=threads)


def clocked(call: Callable[[], Any]) -> tuple[Any, float, float]:
    """The result, wall milliseconds, CPU milliseconds of all threads."""
    wall, cpu = time.perf_counter(), time.process_time()
    result = call()
    return result, (time.perf_counter() - wall) * 1e3, (time.process_time() - cpu) * 1e3


def run(width: int, height: int, frames: int, threads: int) -> dict[str, Any]:
    """All measurements; `skipped` says why there is no comparison, if there is none."""
    warm_up()
    first = make_frame(width, height, 0, frames)
    skipped = None
    try:
        opponent = OpenGL(width, height, first)
    except RuntimeError as error:
        opponent, skipped = None, str(error)
    for _ in range(2):  # caches, pools, the driver's own compiler
        draw_ours(first, threads)
        if opponent:
            opponent.draw(first)
    ours: list[tuple[float, float]] = []
    theirs: list[tuple[float, float]] = []
    agree: list[float] = []
    colour: list[float] = []
    for index in range(frames):
        frame = make_frame(width, height, index, frames)
        (face, rgba), wall, cpu = clocked(lambda f=frame: draw_ours(f, threads))
        ours.append((wall, cpu))
        if opponent:
            (their_face, their_rgba, _), wall, cpu = clocked(lambda f=frame: opponent.draw(f))
            theirs.append((wall, cpu))
            agree.append(float((face == their_face).mean()))
            colour.append(float(np.abs(rgba - their_rgba).mean()))

    def median(rows: list[tuple[float, float]], column: int) -> float:
        return statistics.median(row[column] for row in rows)

    report: dict[str, Any] = {
        "size": [width, height],
        "frames": frames,
        "faces": len(first.faces),
        "threads": threads,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "ours": {"wall_ms": median(ours, 0), "cpu_ms": median(ours, 1), "least_wall_ms": min(r[0] for r in ours)},
        "skipped": skipped,
    }
    if opponent:
        report["moderngl"] = {
            "wall_ms": median(theirs, 0),
            "cpu_ms": median(theirs, 1),
            "least_wall_ms": min(r[0] for r in theirs),
            "renderer": opponent.renderer,
        }
        pairs = list(zip(ours, theirs, strict=True))
        report["ratio"] = {
            "wall": statistics.median(b[0] / a[0] for a, b in pairs),
            "cpu": statistics.median(b[1] / a[1] for a, b in pairs),
        }
        report["agreement"] = {"same_face": statistics.median(agree), "mean_colour_difference": max(colour)}
    return report


def table(report: dict[str, Any]) -> str:
    """The report for people."""
    width, height = report["size"]
    lines = [
        f"{width}x{height}, {report['faces']} faces, {report['frames']} frames, medians in ms, "
        f"{report['threads']} thread(s) for ours, {report['machine']}",
        f"{'':12}{'CPU':>9}{'wall':>9}{'least wall':>12}",
    ]
    for name in ("ours", "moderngl"):
        if name in report:
            row = report[name]
            lines.append(f"{name:12}{row['cpu_ms']:9.1f}{row['wall_ms']:9.1f}{row['least_wall_ms']:12.1f}")
    if report["skipped"]:
        lines.append(f"no comparison with OpenGL: {report['skipped']}")
    else:
        ratio, agreement = report["ratio"], report["agreement"]
        lines += [
            f"{'ratio':12}{ratio['cpu']:8.1f}x{ratio['wall']:8.1f}x   (medians of the frames' ratios)",
            f"share of pixels with the same face {agreement['same_face']:.4f}, greatest mean difference of "
            f"colour {agreement['mean_colour_difference']:.5f} of 1",
            f"OpenGL: {report['moderngl']['renderer']}",
        ]
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--size", default="512x512", help="image and grid size, WxH (512x512)")
    parser.add_argument("--frames", type=int, default=49, help="how many frames (49)")
    parser.add_argument(
        "--threads", type=int, default=os.cpu_count() or 1, help="threads for ours (all cores, as llvmpipe takes)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    try:
        width, height = (int(side) for side in arguments.size.lower().split("x"))
    except ValueError:
        parser.error(f"--size {arguments.size}: give WIDTHxHEIGHT, like 832x480")
    if min(width, height) < 2 or arguments.frames < 1 or arguments.threads < 1:
        parser.error("give a size of at least 2x2, and at least one frame and one thread")
    report = run(width, height, arguments.frames, arguments.threads)
    print(json.dumps(report, indent=1) if arguments.json else table(report))
    return 0


if __name__ == "__main__":
    sys.exit(main())
