"""From a visibility buffer to colour and mask: compiled loops over the pixels of one frame."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from ex4d_core.camera import Camera
from ex4d_core.mesh import DWMesh
from ex4d_core.raster import Raster

# recon.py keeps a pixel if its interpolated alpha is above 125 of 255.
REFERENCE_ALPHA = 125.0 / 255.0

# Half a source pixel; the slack is for border vertices, which stand exactly that far from their pixel's centre.
HALF_FOOTPRINT = 0.5 + 2**-9


def source_positions(
    raster: Raster, mesh: DWMesh, projection: NDArray[np.float64], camera: Camera
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Where in the source frame each pixel looks, and whether the source saw that.

    Seen is the front of a face that is not a bridge. On a bridge, the footprints of its corners count too:
    a source pixel is a square around its centre, but the surface of a mesh ends at the centre. So a pixel
    that lies within half a source pixel (as large as it appears here) of a corner shows that corner's pixel, if
    the camera is on the side of it that the source camera saw. There `raster.depth` becomes the corner's.

    Args:
        raster: (h, w) visibility of the mesh.
        mesh: the source frame's mesh.
        projection: (3, 4) float64, mesh space to homogeneous pixels of the raster: (u w, v w, w).
        camera: the raster's camera, posed in mesh space.

    Returns:
        (h, w, 2) float32 position in the source frame, pixels, centres at +0.5, 0 where nothing is hit; and
        the mask (h, w) bool.
    """
    height, width = raster.face_id.shape
    positions = np.zeros((height, width, 2), np.float32)
    mask = np.zeros((height, width), np.bool_)
    if mesh.vertex_hidden is not None:
        _locate_by_alpha(raster.face_id, raster.barycentrics, mesh.faces, mesh.uv, mesh.vertex_hidden, positions, mask)
    else:
        _locate_by_face(
            raster.face_id,
            raster.barycentrics,
            raster.front,
            mesh.faces,
            mesh.uv,
            mesh.bridge,
            mesh.vertices,
            projection,
            np.ascontiguousarray(camera.c2w[:3, 3]),
            camera.intrinsics.fx / mesh.intrinsics.fx,
            raster.depth,
            positions,
            mask,
        )
    return positions, mask


def sample_color(
    image: NDArray[np.uint8], positions: NDArray[np.float32], mask: NDArray[np.bool_]
) -> NDArray[np.uint8]:
    """Bilinear colour at positions; black where the mask is False.

    Args:
        image: (H, W, 3) uint8.
        positions: (h, w, 2) float32, x and y in pixels of `image`, centres at +0.5; clamped to the image.
        mask: (h, w) bool.

    Returns:
        (h, w, 3) uint8.
    """
    color = np.zeros((*mask.shape, 3), np.uint8)
    _sample(np.ascontiguousarray(image), positions, mask, color)
    return color


def source_resolution(
    raster: Raster,
    mesh: DWMesh,
    projection: NDArray[np.float64],
    camera: Camera,
    positions: NDArray[np.float32],
    mask: NDArray[np.bool_],
) -> NDArray[np.float32]:
    """How finely the source sampled what each pixel shows; see `RenderedFrame.resolution`.

    The source position is `V p / S p` on a face, with the pixel `p = (x, y, 1)` and rows `V`, `S` made of its corners
    (it is what the perspective-correct weights add up to), so its derivative is `(V - uv S) / S p`. A pixel that
    shows a corner's pixel on a bridge has that pixel's size, taken to face the source camera as in
    `source_positions`.

    Args:
        raster: (h, w) visibility of the mesh.
        mesh: the source frame's mesh.
        projection: as in `source_positions`.
        camera: the raster's camera.
        positions: (h, w, 2) float32, of `source_positions`.
        mask: (h, w) bool, where to compute.

    Returns:
        (h, w, 2) float32, the smaller and the larger singular value of d source / d target, source pixels per target
        pixel; 0 where the mask is False.
    """
    resolution = np.zeros((*mask.shape, 2), np.float32)
    _measure(
        raster.face_id,
        mesh.faces,
        mesh.uv,
        mesh.bridge,
        mesh.vertices,
        projection,
        camera.intrinsics.fx / mesh.intrinsics.fx,
        mesh.vertex_hidden is None,
        positions,
        mask,
        resolution,
    )
    return resolution


def resolution_of_faces(
    face_id: NDArray[np.int32],
    faces: NDArray[np.int32],
    uv: NDArray[np.float32],
    vertices: NDArray[np.float32],
    projection: NDArray[np.float64],
    positions: NDArray[np.float32],
    mask: NDArray[np.bool_],
) -> NDArray[np.float32]:
    """`source_resolution` where every pixel of the mask shows a face, none of them a bridge.

    Args:
        face_id: (h, w) int32, index into `faces`.
        faces: (F, 3) int32.
        uv: (N, 2) float32, position of the vertices in the source frame, pixels.
        vertices: (N, 3) float32.
        projection: as in `source_positions`.
        positions: (h, w, 2) float32, what each pixel shows of the source frame, pixels.
        mask: (h, w) bool, where to compute.
    """
    resolution = np.zeros((*mask.shape, 2), np.float32)
    nothing = np.zeros(0, np.bool_)
    _measure(face_id, faces, uv, nothing, vertices, projection, 1.0, False, positions, mask, resolution)
    return resolution


@numba.njit(cache=True, nogil=True)
def _locate_by_alpha(face_id: Any, weights: Any, faces: Any, uv: Any, hidden: Any, positions: Any, mask: Any) -> None:
    height, width = face_id.shape
    for y in range(height):
        for x in range(width):
            f = face_id[y, x]
            if f < 0:
                continue
            alpha = np.float32(0)
            u = np.float32(0)
            v = np.float32(0)
            for k in range(3):
                i = faces[f, k]
                weight = weights[y, x, k]
                u += weight * uv[i, 0]
                v += weight * uv[i, 1]
                if not hidden[i]:
                    alpha += weight
            positions[y, x, 0], positions[y, x, 1] = u, v
            mask[y, x] = alpha > REFERENCE_ALPHA


@numba.njit(cache=True, nogil=True)
def _locate_by_face(
    face_id: Any,
    weights: Any,
    front: Any,
    faces: Any,
    uv: Any,
    bridge: Any,
    vertices: Any,
    projection: Any,
    eye: Any,
    magnification: Any,
    depth: Any,
    positions: Any,
    mask: Any,
) -> None:
    height, width = face_id.shape
    for y in range(height):
        for x in range(width):
            f = face_id[y, x]
            if f < 0:
                continue
            if bridge[f]:
                i = _nearest_footprint(faces[f], vertices, projection, eye, magnification, x + 0.5, y + 0.5)
                if i >= 0:
                    positions[y, x, 0], positions[y, x, 1] = uv[i, 0], uv[i, 1]
                    depth[y, x] = _homogeneous(projection, vertices, i, 2)
                    mask[y, x] = True
                    continue
            u = np.float32(0)
            v = np.float32(0)
            for k in range(3):
                i = faces[f, k]
                u += weights[y, x, k] * uv[i, 0]
                v += weights[y, x, k] * uv[i, 1]
            positions[y, x, 0], positions[y, x, 1] = u, v
            # The winding's normal points away from the source camera, so its front is what the source saw the
            # back of.
            mask[y, x] = not bridge[f] and not front[y, x]


@numba.njit(cache=True, nogil=True)
def _nearest_footprint(face: Any, vertices: Any, projection: Any, eye: Any, magnification: Any, x: Any, y: Any) -> Any:
    """The corner whose source pixel covers the image point (x, y), -1 if none does.

    A source pixel at depth z is z / f wide; at depth w of the target camera it appears f' / w as large. It is
    taken to face the source camera: from more than 90 degrees away it shows its back.
    """
    best = -1
    nearest = HALF_FOOTPRINT
    for k in range(3):
        i = face[k]
        w = _homogeneous(projection, vertices, i, 2)
        facing = np.float64(0)
        for axis in range(3):
            facing += vertices[i, axis] * (vertices[i, axis] - eye[axis])
        if w <= 0 or facing <= 0:
            continue
        size = magnification * vertices[i, 2] / w
        dx = abs(_homogeneous(projection, vertices, i, 0) / w - x)
        dy = abs(_homogeneous(projection, vertices, i, 1) / w - y)
        distance = max(dx, dy) / size
        if distance <= nearest:
            nearest = distance
            best = i
    return best


@numba.njit(cache=True, nogil=True, inline="always")
def _homogeneous(projection: Any, vertices: Any, i: Any, row: Any) -> Any:
    return (
        projection[row, 0] * vertices[i, 0]
        + projection[row, 1] * vertices[i, 1]
        + projection[row, 2] * vertices[i, 2]
        + projection[row, 3]
    )


@numba.njit(cache=True, nogil=True, inline="always")
def _beside(projection: Any, vertices: Any, i: Any, x: Any, y: Any) -> Any:
    """A vertex in homogeneous pixels, from the point (x, y)."""
    w = _homogeneous(projection, vertices, i, 2)
    return _homogeneous(projection, vertices, i, 0) - x * w, _homogeneous(projection, vertices, i, 1) - y * w, w


@numba.njit(cache=True, nogil=True)
def _sample(image: Any, positions: Any, mask: Any, color: Any) -> None:
    rows, columns, _ = image.shape
    height, width = mask.shape
    for y in range(height):
        for x in range(width):
            if not mask[y, x]:
                continue
            u = min(max(positions[y, x, 0] - np.float32(0.5), np.float32(0)), np.float32(columns - 1))
            v = min(max(positions[y, x, 1] - np.float32(0.5), np.float32(0)), np.float32(rows - 1))
            x0, y0 = int(u), int(v)
            x1, y1 = min(x0 + 1, columns - 1), min(y0 + 1, rows - 1)
            a, b = u - np.float32(x0), v - np.float32(y0)
            for c in range(3):
                top = np.float32(image[y0, x0, c]) * (1 - a) + np.float32(image[y0, x1, c]) * a
                bottom = np.float32(image[y1, x0, c]) * (1 - a) + np.float32(image[y1, x1, c]) * a
                color[y, x, c] = np.uint8(top * (1 - b) + bottom * b + np.float32(0.5))


@numba.njit(cache=True, nogil=True)
def _measure(
    face_id: Any,
    faces: Any,
    uv: Any,
    bridge: Any,
    vertices: Any,
    projection: Any,
    magnification: Any,
    footprints: Any,
    positions: Any,
    mask: Any,
    resolution: Any,
) -> None:
    height, width = mask.shape
    for y in range(height):
        for x in range(width):
            if not mask[y, x]:
                continue
            f = face_id[y, x]
            if footprints and bridge[f]:
                for k in range(3):
                    i = faces[f, k]
                    if uv[i, 0] == positions[y, x, 0] and uv[i, 1] == positions[y, x, 1]:
                        size = magnification * vertices[i, 2] / _homogeneous(projection, vertices, i, 2)
                        resolution[y, x, 0] = resolution[y, x, 1] = 1 / size
                continue
            i, j, k = faces[f, 0], faces[f, 1], faces[f, 2]
            ax, ay, aw = _beside(projection, vertices, i, x + 0.5, y + 0.5)
            bx, by, bw = _beside(projection, vertices, j, x + 0.5, y + 0.5)
            cx, cy, cw = _beside(projection, vertices, k, x + 0.5, y + 0.5)
            # The weight of a corner is as the product of the pixel, here (0, 0, 1), with the normal of the other two.
            weights = (bx * cy - by * cx) + (cx * ay - cy * ax) + (ax * by - ay * bx)
            if weights == 0:
                continue
            share = 1 / weights
            u, v = positions[y, x, 0], positions[y, x, 1]
            au, av = (uv[i, 0] - u) * share, (uv[i, 1] - v) * share
            bu, bv = (uv[j, 0] - u) * share, (uv[j, 1] - v) * share
            cu, cv = (uv[k, 0] - u) * share, (uv[k, 1] - v) * share
            anx, bnx, cnx = by * cw - bw * cy, cy * aw - cw * ay, ay * bw - aw * by
            any_, bny, cny = bw * cx - bx * cw, cw * ax - cx * aw, aw * bx - ax * bw
            ux, uy = anx * au + bnx * bu + cnx * cu, any_ * au + bny * bu + cny * cu
            vx, vy = anx * av + bnx * bv + cnx * cv, any_ * av + bny * bv + cny * cv
            # The squares of the singular values add up to `squares` and multiply to area^2.
            squares = ux * ux + uy * uy + vx * vx + vy * vy
            area = ux * vy - uy * vx
            root = np.sqrt(max(squares * squares - 4 * area * area, 0.0))
            resolution[y, x, 0] = np.sqrt(max(squares - root, 0.0) / 2)
            resolution[y, x, 1] = np.sqrt((squares + root) / 2)
