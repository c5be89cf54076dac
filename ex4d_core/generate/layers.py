"""What the footage itself offers for an unseen pixel: objects' far sides, and what other times show.

* The far side: an object is about as thick as it is wide. Behind each surface stands a shell whose thickness
  grows with the distance from the silhouette, in the colours of the surface before it: from the side a person
  is a body, not a paper cut-out.
* Other times: the meshes of other frames, seen from this camera. They may show only what this frame does not
  contradict: behind the surfaces that its source camera saw, or beyond its frame.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import cv2
import numba
import numpy as np
from numpy.typing import NDArray

from ex4d_core.camera import Camera
from ex4d_core.frame import NEAR_SHARE, render_frame
from ex4d_core.mesh import DWMesh, build_mesh
from ex4d_core.occluder import limit_bridges, original_numbers
from ex4d_core.progress import Cancelled, never_cancelled, stop_if
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


def other_times(
    now: SourceFrame,
    others: list[SourceFrame],
    camera: Camera,
    wanted: NDArray[np.bool_],
    cancelled: Cancelled = never_cancelled,
) -> Layer:
    """What other frames show where this frame cannot contradict them: the farthest, median of those that agree.

    Args:
        now: the frame of this source time.
        others: frames of other times.
        camera: the target camera, world pose.
        wanted: (h, w) bool, where to look; the rest of the layer stays empty.
        cancelled: asked before each of the others.

    Raises:
        CancelledError: `cancelled` said so.
    """
    color, farthest = np.zeros((*wanted.shape, 3), np.uint8), np.full(wanted.shape, np.inf, np.float32)
    if not others or not wanted.any():
        return Layer(color, farthest)
    layers: list[Layer] = []
    for frame in others:
        stop_if(cancelled)
        layers.append(open_view(frame, camera))
    lenses = [np.array(lens.as_tuple()) for lens in (camera.intrinsics, now.mesh.intrinsics)]
    for layer in layers:
        _drop_contradicted(layer.depth, wanted, now.depth, now.seen_by(camera).c2w, *lenses)
    _merge(np.stack([layer.depth for layer in layers]), np.stack([layer.color for layer in layers]), color, farthest)
    return Layer(color, farthest)


def before(front: Layer, behind: Floats) -> NDArray[np.bool_]:
    """(h, w) bool, where a layer stands clearly before a depth (h, w), inf = nothing."""
    return front.there & (front.depth < behind * _IN_FRONT)


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


@numba.njit(cache=True, nogil=True)
def _drop_contradicted(depth: Any, wanted: Any, surface: Any, pose: Any, target: Any, source: Any) -> None:
    """Make holes (inf) of what is not wanted, and of points that a source camera sees through.

    Args:
        depth: (h, w) float32, z-depth in the target camera, inf in holes; changed in place.
        wanted: (h, w) bool.
        surface: (H, W) float32, z-depth that the source camera saw.
        pose: (4, 4) float64, target camera to source camera.
        target: fx, fy, cx, cy of the target camera.
        source: fx, fy, cx, cy of the source camera.
    """
    rows, columns = surface.shape
    for y in range(depth.shape[0]):
        for x in range(depth.shape[1]):
            if not wanted[y, x]:
                depth[y, x] = np.inf
            z = np.float64(depth[y, x])
            if z == np.inf:
                continue
            px = (x + 0.5 - target[2]) / target[0] * z
            py = (y + 0.5 - target[3]) / target[1] * z
            ahead = pose[2, 0] * px + pose[2, 1] * py + pose[2, 2] * z + pose[2, 3]
            if ahead <= 0:
                continue
            across = pose[0, 0] * px + pose[0, 1] * py + pose[0, 2] * z + pose[0, 3]
            down = pose[1, 0] * px + pose[1, 1] * py + pose[1, 2] * z + pose[1, 3]
            u = across / ahead * source[0] + source[2]
            v = down / ahead * source[1] + source[3]
            # A point outside the picture is contradicted by nothing.
            if 0 <= u < columns and 0 <= v < rows and ahead * (1.0 + _CONTRADICTION) <= surface[int(v), int(u)]:
                depth[y, x] = np.inf


@numba.njit(cache=True, nogil=True)
def _merge(depths: Any, colors: Any, color: Any, farthest: Any) -> None:
    """The farthest of depths (N, h, w), and the median colour of those layers (N, h, w, 3) that agree with it."""
    layers, height, width = depths.shape
    values = np.empty((3, layers), np.int64)
    for y in range(height):
        for x in range(width):
            far = np.float32(0)
            for k in range(layers):
                if depths[k, y, x] < np.inf:
                    far = max(far, depths[k, y, x])
            if far == 0:
                continue
            count = 0
            for k in range(layers):
                if depths[k, y, x] < np.inf and far <= depths[k, y, x] * _SAME_DEPTH:
                    for c in range(3):
                        value = np.int64(colors[k, y, x, c])
                        place = count
                        while place > 0 and values[c, place - 1] > value:
                            values[c, place] = values[c, place - 1]
                            place -= 1
                        values[c, place] = value
                    count += 1
            for c in range(3):
                color[y, x, c] = (values[c, (count - 1) // 2] + values[c, count // 2] + 1) // 2
            farthest[y, x] = far
