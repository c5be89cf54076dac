"""What the footage itself offers for an unseen pixel: objects' far sides, and what other times show.

* The far side: an object is about as thick as it is wide. Behind each surface stands a shell whose thickness
  grows with the distance from the silhouette, in the colours of the surface before it: from the side a person
  is a body, not a paper cut-out.
* Other times: the meshes of other frames, seen from this camera. They may show only what this frame does not
  contradict: behind the surfaces that its source camera saw, or beyond its frame.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from ex4d_core.camera import Camera
from ex4d_core.frame import NEAR_SHARE, render_frame
from ex4d_core.mesh import DWMesh, build_mesh
from ex4d_core.occluder import limit_bridges, original_numbers
from ex4d_core.raster import interpolate, rasterize
from ex4d_core.scene import Scene

Floats = NDArray[np.float32]

# Facts of rendered ground truth (scripts/bench_draft.py).
_THICKEST = 0.1
"""Greatest thickness as a share of depth."""
_SAME_SURFACE = 1.02
_CONTRADICTION = 0.03
"""A point hides behind a surface if its disparity is less than that of the surface, plus this share."""
_SAME_DEPTH = 1.05
"""Other times agree if their disparities differ by less than this factor."""
_IN_FRONT = 0.995


@dataclass(frozen=True, eq=False)
class SourceFrame:
    """One frame of the footage with its mesh."""

    color: NDArray[np.uint8]
    """(H, W, 3) uint8 sRGB."""
    depth: Floats
    """(H, W) float32, z-depth, scene units."""
    mesh: DWMesh
    camera: Camera
    """The source camera, posed in the world."""

    @classmethod
    def load(cls, scene: Scene, frame: int) -> SourceFrame:
        """Read a frame of a scene and mesh it."""
        depth = scene.depth(frame)
        return cls(scene.color(frame), depth, build_mesh(depth, scene.intrinsics(frame)), scene.source_camera(frame))

    def seen_by(self, camera: Camera) -> Camera:
        """A world camera, posed in the space of this frame's mesh."""
        return Camera(self.camera.w2c() @ camera.c2w, camera.intrinsics)


@dataclass(frozen=True)
class Layer:
    """A picture with holes."""

    color: NDArray[np.uint8]
    """(h, w, 3) uint8 sRGB."""
    depth: Floats
    """(h, w) float32, z-depth in the target camera, scene units; inf in holes."""

    @property
    def there(self) -> NDArray[np.bool_]:
        """(h, w) bool, False in holes."""
        return np.isfinite(self.depth)

    def overlaid(self, other: Layer, where: NDArray[np.bool_]) -> Layer:
        """This picture with another's pixels where (h, w) is True."""
        return Layer(np.where(where[..., None], other.color, self.color), np.where(where, other.depth, self.depth))


def open_view(source: SourceFrame, camera: Camera) -> Layer:
    """What a frame saw of the space before a camera, objects taken for paper thin: no bridge hides anything."""
    frame = render_frame(source.color, source.mesh, source.seen_by(camera), bridge_reach=0.0, threads=1)
    return Layer(frame.color, np.where(frame.mask, frame.depth, np.float32(np.inf)))


def far_side(source: SourceFrame, camera: Camera, steepness: float) -> Layer:
    """The shells behind a frame's surfaces, seen from a camera.

    Args:
        source: the frame.
        camera: the target camera, world pose.
        steepness: thickness for each pixel of distance from the silhouette, in footprints of a pixel.
    """
    mesh, posed = source.mesh, source.seen_by(camera)
    height, width = mesh.grid
    deeper = 1.0 + _thickness(source, steepness) / source.depth
    vertices = mesh.vertices[: height * width] * deeper.reshape(-1, 1).astype(np.float32)
    vertices, faces, numbers = limit_bridges(replace(mesh, vertices=vertices), 0.0)
    near = NEAR_SHARE * float(source.depth.min())
    raster = rasterize(vertices, faces, posed, grid=mesh.grid, near=near, threads=1)
    raster = replace(raster, face_id=original_numbers(raster.face_id, numbers, mesh.grid_faces))
    position = interpolate(raster, mesh.faces, mesh.uv, grid=mesh.grid, threads=1) - 0.5
    color = cv2.remap(
        source.color, position[..., 0], position[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    surface = (raster.face_id >= 0) & ~mesh.bridge[raster.face_id]
    return Layer(np.asarray(color, np.uint8), np.where(surface, raster.depth, np.float32(np.inf)))


def other_times(now: SourceFrame, others: list[SourceFrame], camera: Camera, wanted: NDArray[np.bool_]) -> Layer:
    """What other frames show where this frame cannot contradict them: the farthest, median of those that agree.

    Args:
        now: the frame of this source time.
        others: frames of other times.
        camera: the target camera, world pose.
        wanted: (h, w) bool, where to look; the rest of the layer stays empty.
    """
    color, depth = np.zeros((*wanted.shape, 3), np.uint8), np.full(wanted.shape, np.inf, np.float32)
    rows, columns = np.nonzero(wanted)
    if not others or not len(rows):
        return Layer(color, depth)
    colors = np.empty((len(others), len(rows), 3), np.uint8)
    disparity = np.empty((len(others), len(rows)), np.float32)
    for index, frame in enumerate(others):
        layer = open_view(frame, camera)
        allowed = layer.there & _uncontradicted(now, camera, layer.depth)
        colors[index] = layer.color[rows, columns]
        disparity[index] = np.where(allowed, 1.0 / layer.depth, np.float32(np.inf))[rows, columns]
    farthest = disparity.min(axis=0)
    found = np.isfinite(farthest)
    agree = disparity <= farthest * _SAME_DEPTH
    color[rows[found], columns[found]] = _median(colors[:, found], agree[:, found])
    depth[rows[found], columns[found]] = 1.0 / farthest[found]
    return Layer(color, depth)


def before(front: Layer, behind: Floats) -> NDArray[np.bool_]:
    """(h, w) bool, where a layer stands clearly before a depth (h, w), inf = nothing."""
    return front.there & (front.depth < behind * _IN_FRONT)


def _median(colors: NDArray[np.uint8], valid: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Median over the first axis of (N, P, 3), each pixel over its valid samples (N, P), at least one."""
    # What is not valid sorts behind everything; the middle of the valid ones lies at half their number.
    ordered = np.sort(np.where(valid[..., None], colors.astype(np.uint16), 256), axis=0)
    count = valid.sum(axis=0)
    low, high = (np.take_along_axis(ordered, at[None, :, None], axis=0)[0] for at in ((count - 1) // 2, count // 2))
    return ((low + high + 1) // 2).astype(np.uint8)


def _thickness(source: SourceFrame, steepness: float) -> Floats:
    """(H, W) float32, how thick the object is behind each pixel, scene units."""
    height, width = source.mesh.grid
    half, depth = (height - 1) * (width - 1), source.depth
    torn = (source.mesh.bridge[:half] | source.mesh.bridge[half : 2 * half]).reshape(height - 1, width - 1)
    corners = [(y, x) for y in (0, 1) for x in (0, 1)]
    blocks = [depth[y : height - 1 + y, x : width - 1 + x] for y, x in corners]
    nearest = np.minimum.reduce(blocks)
    rim = np.zeros((height, width), np.bool_)
    for (y, x), block in zip(corners, blocks, strict=True):
        rim[y : height - 1 + y, x : width - 1 + x] |= torn & (block < nearest * _SAME_SURFACE)
    pixels = cv2.distanceTransform((~rim).astype(np.uint8), cv2.DIST_L2, 5)
    footprint = depth / source.mesh.intrinsics.fx
    return np.minimum(steepness * pixels * footprint, _THICKEST * depth).astype(np.float32)


def _uncontradicted(now: SourceFrame, camera: Camera, depth: Floats) -> NDArray[np.bool_]:
    """Where a point at a target pixel's depth is hidden from a frame's source camera, or outside its picture."""
    height, width = depth.shape
    target, source = camera.intrinsics, now.mesh.intrinsics
    x = ((np.arange(width, dtype=np.float32) + 0.5 - target.cx) / target.fx).astype(np.float32)
    y = ((np.arange(height, dtype=np.float32) + 0.5 - target.cy) / target.fy).astype(np.float32)
    z = np.where(np.isfinite(depth), depth, np.float32(1))
    pose = now.seen_by(camera).c2w.astype(np.float32)
    point = [pose[r, 0] * x[None] * z + pose[r, 1] * y[:, None] * z + pose[r, 2] * z + pose[r, 3] for r in range(3)]
    ahead = np.maximum(point[2], 1e-9)
    u, v = point[0] / ahead * source.fx + source.cx, point[1] / ahead * source.fy + source.cy
    inside = (point[2] > 0) & (u >= 0) & (u < source.width) & (v >= 0) & (v < source.height)
    surface = cv2.remap(now.depth, u - 0.5, v - 0.5, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE)
    return ~inside | (ahead * (1.0 + _CONTRADICTION) > surface)
