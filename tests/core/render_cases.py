"""Small scenes and an obvious shader for the tests of rendering."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ex4d_core.camera import Camera, Intrinsics, Trajectory, look_at
from ex4d_core.mesh import DWMesh
from ex4d_core.raster import rasterize
from ex4d_core.scene import Scene, write_scene

HEIGHT, WIDTH, FOCAL = 48, 64, 60.0
LENS = Intrinsics.from_focal_px(FOCAL, WIDTH, HEIGHT)


def noise(seed: int = 0, height: int = HEIGHT, width: int = WIDTH) -> NDArray[np.uint8]:
    """(H, W, 3) noise, so that any shift or mix is noticed."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def card(near: float = 2.0, far: float = 4.0) -> NDArray[np.float32]:
    """(H, W) a card before a wall: rows 16..31, columns 24..39."""
    depth = np.full((HEIGHT, WIDTH), far, np.float32)
    depth[16:32, 24:40] = near
    return depth


def moved(x: float = 0.0, y: float = 0.0, z: float = 0.0, lens: Intrinsics = LENS) -> Camera:
    """A camera beside the source camera, looking the same way."""
    pose = np.eye(4)
    pose[:3, 3] = x, y, z
    return Camera(pose, lens)


def sideways(frames: int = 4, step: float = 0.1) -> Trajectory:
    """A path along x."""
    poses = np.stack([moved(x=step * t).c2w for t in range(frames)])
    lens = np.tile(LENS.as_tuple(), (frames, 1))
    return Trajectory(poses, lens, np.arange(frames, dtype=np.float64), WIDTH, HEIGHT, Fraction(24))


def card_scene(folder: Path, frames: int = 4, source_c2w: NDArray[np.float64] | None = None) -> Scene:
    """Noise on a card before a wall; each frame has its own noise."""
    return write_scene(
        folder / "card.ex4d",
        [noise(t) for t in range(frames)],
        np.stack([card()] * frames),
        fps=Fraction(24),
        intrinsics=LENS,
        source_c2w=source_c2w,
    )


def tilted(angle_degrees: float, radius: float = 3.0) -> Camera:
    """A camera on an arc about a point on the axis."""
    angle = np.radians(angle_degrees)
    target = np.array([0.0, 0.0, radius])
    eye = target + radius * np.array([np.sin(angle), -0.1 * np.sin(angle), -np.cos(angle)])
    return Camera(look_at(eye, target), LENS)


def card_truth(camera: Camera) -> NDArray[np.bool_]:
    """(h, w) bool: what the source camera saw of a paper card before a wall, by intersecting rays with both."""
    v, u = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    rays = np.stack([(u - WIDTH / 2) / FOCAL, (v - HEIGHT / 2) / FOCAL, np.ones_like(u)], axis=-1)
    rays = rays @ camera.c2w[:3, :3].T
    eye = camera.c2w[:3, 3]

    def at(z: float) -> NDArray[np.float64]:
        """Source pixel of the point in which each ray meets the plane at depth z."""
        point = eye + ((z - eye[2]) / rays[..., 2])[..., None] * rays
        return point[..., :2] / z * FOCAL + [WIDTH / 2, HEIGHT / 2]

    def on_card(pixel: NDArray[np.float64]) -> NDArray[np.bool_]:
        return ((pixel > [24, 16]) & (pixel < [40, 32])).all(axis=-1)

    wall = at(4.0)
    in_frame = ((wall > 0) & (wall < [WIDTH, HEIGHT])).all(axis=-1)
    return on_card(at(2.0)) | (in_frame & ~on_card(wall))


def shade_slowly(
    color: NDArray[np.uint8], mesh: DWMesh, camera: Camera
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Colour and mask by the definitions, pixel by pixel, from the NumPy rasterizer and with endless bridges."""
    faces = mesh.faces if mesh.vertex_hidden is not None else mesh.faces[: mesh.grid_faces]
    raster = rasterize(mesh.vertices, faces, camera, near=1e-4, backend="numpy")
    height, width = raster.face_id.shape
    image, mask = np.zeros((height, width, 3)), np.zeros((height, width), bool)
    w2c = camera.w2c()
    for y, x in zip(*np.nonzero(raster.face_id >= 0), strict=True):
        number = raster.face_id[y, x]
        corners = faces[number]
        weights = raster.barycentrics[y, x].astype(np.float64)
        position = weights @ mesh.uv[corners]
        if mesh.vertex_hidden is not None:
            mask[y, x] = weights @ ~mesh.vertex_hidden[corners] > 125 / 255
        elif mesh.bridge[number]:
            distances = []
            for corner in corners:
                p = w2c[:3, :3] @ mesh.vertices[corner] + w2c[:3, 3]
                uv = p[:2] / p[2] * [camera.intrinsics.fx, camera.intrinsics.fy]
                uv += [camera.intrinsics.cx, camera.intrinsics.cy]
                pixel = camera.intrinsics.fx / p[2] * mesh.vertices[corner, 2] / mesh.intrinsics.fx
                distances.append(np.abs(uv - [x + 0.5, y + 0.5]).max() / pixel)
            mask[y, x] = min(distances) <= 0.5
            position = mesh.uv[corners[int(np.argmin(distances))]]
        else:
            mask[y, x] = not raster.front[y, x]
        image[y, x] = bilinear(color, position) if mask[y, x] else 0
    return image, mask


def bilinear(color: NDArray[np.uint8], position: NDArray[np.float64]) -> NDArray[np.float64]:
    """Colour at a position in pixels, centres at +0.5, clamped."""
    rows, columns = color.shape[:2]
    u, v = np.clip(position - 0.5, 0, [columns - 1, rows - 1])
    x, y = min(int(u), columns - 2), min(int(v), rows - 2)
    a, b = u - x, v - y
    block = color[y : y + 2, x : x + 2].astype(np.float64)
    return (block[0, 0] * (1 - a) + block[0, 1] * a) * (1 - b) + (block[1, 0] * (1 - a) + block[1, 1] * a) * b
