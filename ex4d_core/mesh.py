"""The depth watertight mesh (DW-Mesh): one frame's depth as a surface that knows where it is torn.

A vertex stands on the ray of each pixel centre, two triangles span each 2x2 block of pixels. Triangles that
span a depth discontinuity are *bridges*: they stay, because they hide what lies behind the foreground, and
they are flagged, because nothing was seen there. Two methods (docs/geometry.md):

* `reference`: EX-4D's released geometry (recon.py): border ring at depth 100, two cap triangles, faces with a
  minimum angle under 2.5 degrees flag their three vertices. Its renderer's defects are not inherited.
* `dwmesh`: border vertices on the frame's edge, a fan to one far vertex closes the back, flags per face from
  the jump of disparity. Closed and orientable: every edge has two faces, Euler characteristic 2.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from ex4d_core.camera import Intrinsics
from ex4d_core.errors import InputError
from ex4d_core.methods import MESHES

# recon.py: depth of the border ring, and the smallest angle of a face that is not degenerate.
REFERENCE_FAR_DEPTH = 100.0
REFERENCE_MIN_ANGLE_DEGREES = 2.5

# Pixels belong to one surface if their disparities differ by less than this share of the smaller one, or if the
# difference lies between the slopes on its two sides, give or take this share. The first number is for neighbours,
# the others for the pixels 1 and 2 further out on both sides: estimated depth smears an edge over several pixels.
# On rendered ground truth (ex4d evaluate geometry) the mask's error is flat from 0.004 to 0.03 and whatever the
# others are; on estimated depth lower numbers make holes of its noise, and without the others smears show as streaks.
BRIDGE_JUMPS = (0.02, 0.05, 0.08)

# The far vertex of `dwmesh` stands this many times deeper than the deepest pixel.
FAR_VERTEX_FACTOR = 2.0


@dataclass(frozen=True)
class DWMesh:
    """A triangle mesh of one frame, in the space of the camera that took it (OpenCV axes)."""

    vertices: NDArray[np.float32]
    """(N, 3) float32, scene units, source camera space; the first H*W are the pixels, row by row."""
    faces: NDArray[np.int32]
    """(F, 3) int32. First the (H-1)(W-1) upper-left triangles of the 2x2 blocks, row by row, then the
    lower-right ones, then the faces that close the back. The winding is the reference's: the right-hand
    normal of a surface that faces the source camera points away from it (+z)."""
    bridge: NDArray[np.bool_]
    """(F,) bool, True where nothing was seen: the face spans a discontinuity, is a sliver, or closes the back."""
    uv: NDArray[np.float32]
    """(N, 2) float32, position in the source frame, pixels, pixel centres at +0.5."""
    grid: tuple[int, int]
    """(H, W) of the source frame."""
    vertex_hidden: NDArray[np.bool_] | None
    """(N,) bool, vertices with alpha 0 (method `reference`); None where flags are per face."""
    intrinsics: Intrinsics
    """The source camera's lens."""

    @property
    def grid_faces(self) -> int:
        """Number of leading faces that belong to the pixel grid: 2 (H-1) (W-1)."""
        return 2 * (self.grid[0] - 1) * (self.grid[1] - 1)


def build_mesh(depth: NDArray[np.float32], intrinsics: Intrinsics, method: str = "dwmesh") -> DWMesh:
    """Turn one frame's depth into a mesh.

    Args:
        depth: (H, W) float32, z-depth in scene units, finite and positive, H and W at least 2.
        intrinsics: the source camera at the size of `depth`.
        method: one of `MESHES`.

    Returns:
        The mesh in the source camera's space. `faces` and `uv` are shared between frames: read-only.

    Raises:
        InputError: the method is unknown, the depth is too small, of another size than the camera's image,
            or has pixels that are not finite and positive.
    """
    if method not in MESHES:
        raise InputError(f"There is no mesh method '{method}': choose one of {', '.join(MESHES)}.")
    depth, deepest = checked_depth(depth, intrinsics)
    if method == "reference":
        return _reference(depth, intrinsics)
    return _dwmesh(depth, intrinsics, deepest)


def checked_depth(depth: NDArray[np.float32], intrinsics: Intrinsics) -> tuple[NDArray[np.float32], float]:
    """Depth as kernels want it, and its greatest value.

    Args:
        depth: see `build_mesh`.
        intrinsics: see `build_mesh`.

    Raises:
        InputError: the depth is too small, of another size than the camera's image, or has pixels that are not finite
            and positive.
    """
    if depth.ndim != 2 or min(depth.shape) < 2:
        raise InputError(f"Depth of shape {depth.shape} cannot be meshed: give at least 2x2 pixels.")
    height, width = depth.shape
    if (intrinsics.width, intrinsics.height) != (width, height):
        raise InputError(
            f"The depth has {width}x{height} pixels and the camera {intrinsics.width}x{intrinsics.height}: "
            "give both at one size."
        )
    depth = np.ascontiguousarray(depth, np.float32)
    bad, deepest = _inspect(depth)
    if bad:
        raise InputError(
            f"{bad} of {depth.size} depth pixels are not finite positive numbers: repair or fill the depth first."
        )
    return depth, deepest


def occlusion_bits(mesh: DWMesh) -> NDArray[np.uint8]:
    """The bridges as one image: bits 0 and 1 of DESIGN section 3, `occlusion/000000.png`.

    Returns:
        (H, W) uint8: for the 2x2 block that starts at the pixel, bit 0 is set if its upper-left triangle is a
        bridge, bit 1 if its lower-right one is. The last row and column start no block and are 0.
    """
    height, width = mesh.grid
    half = (height - 1) * (width - 1)
    bits = np.zeros((height, width), np.uint8)
    upper, lower = mesh.bridge[:half], mesh.bridge[half : 2 * half]
    bits[:-1, :-1] = (upper | (lower.astype(np.uint8) << 1)).reshape(height - 1, width - 1)
    return bits


def bridge_faces(depth: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Which grid triangles span a depth discontinuity (method `dwmesh`).

    Planes are linear in disparity (1/z) across the image, at any scale, focal length and angle. So an edge
    between two pixels is torn if the disparity jumps there by more than a share of its value (`BRIDGE_JUMPS`), and
    by more or less than the slopes on its two sides allow; a face is a bridge if one of its edges is torn.

    Args:
        depth: (H, W) float32, z-depth, positive.

    Returns:
        (2(H-1)(W-1),) bool, in the order of `DWMesh.faces`.
    """
    height, width = depth.shape
    flags = np.zeros(2 * (height - 1) * (width - 1), np.bool_)
    _flag_bridges(depth, np.array(BRIDGE_JUMPS, np.float32), flags)
    return flags


def _reference(depth: NDArray[np.float32], intrinsics: Intrinsics) -> DWMesh:
    height, width = depth.shape
    lens = np.array(intrinsics.as_tuple(), np.float64)
    depth = depth.copy()
    depth[[0, -1], :] = REFERENCE_FAR_DEPTH
    depth[:, [0, -1]] = REFERENCE_FAR_DEPTH
    uv, faces = pixel_centres(height, width), reference_faces(height, width)
    vertices = np.empty((len(uv), 3), np.float32)
    _unproject(depth, uv, lens, vertices)
    bridge = np.zeros(len(faces), np.bool_)
    hidden = np.zeros(len(vertices), np.bool_)
    _flag_slivers(vertices, faces, math.cos(math.radians(REFERENCE_MIN_ANGLE_DEGREES)), bridge, hidden)
    return DWMesh(vertices, faces, bridge, uv, (height, width), hidden, intrinsics)


def _dwmesh(depth: NDArray[np.float32], intrinsics: Intrinsics, deepest: float) -> DWMesh:
    height, width = depth.shape
    lens = np.array(intrinsics.as_tuple(), np.float64)
    uv, faces = _dwmesh_uv(height, width), dwmesh_faces(height, width)
    vertices = np.empty((len(uv), 3), np.float32)
    _unproject(depth, uv, lens, vertices)
    far = FAR_VERTEX_FACTOR * deepest
    vertices[-1] = ((width / 2 - lens[2]) / lens[0] * far, (height / 2 - lens[3]) / lens[1] * far, far)
    bridge = np.ones(len(faces), np.bool_)
    _flag_bridges(depth, np.array(BRIDGE_JUMPS, np.float32), bridge)
    return DWMesh(vertices, faces, bridge, uv, (height, width), None, intrinsics)


def _read_only(array: NDArray[Any]) -> NDArray[Any]:
    array.flags.writeable = False
    return array


def _grid_faces(height: int, width: int) -> NDArray[np.int32]:
    """Two triangles per 2x2 block, in recon.py's order and winding: (2(H-1)(W-1), 3) int32."""
    index = np.arange(height * width, dtype=np.int32).reshape(height, width)
    right, below = index[:-1, 1:].ravel(), index[1:, :-1].ravel()
    upper_left = np.stack([below, index[:-1, :-1].ravel(), right], axis=1)
    lower_right = np.stack([below, right, index[1:, 1:].ravel()], axis=1)
    return np.concatenate([upper_left, lower_right])


def border_loop(height: int, width: int) -> NDArray[np.int32]:
    """Vertices of the grid's border, once around: (2(W+H)-4,) int32, from the top left along the top row."""
    index = np.arange(height * width, dtype=np.int32).reshape(height, width)
    return np.concatenate([index[0, :-1], index[:-1, -1], index[-1, :0:-1], index[:0:-1, 0]])


@lru_cache(maxsize=4)
def reference_faces(height: int, width: int) -> NDArray[np.int32]:
    """All faces of method `reference`: (2(H-1)(W-1) + 2, 3) int32, read-only."""
    last = height * width - 1
    caps = np.array([[width - 1, 0, last], [last, 0, (height - 1) * width]], np.int32)
    return _read_only(np.concatenate([_grid_faces(height, width), caps]))


@lru_cache(maxsize=4)
def dwmesh_faces(height: int, width: int) -> NDArray[np.int32]:
    """All faces of method `dwmesh`: (2(H-1)(W-1) + 2(W+H)-4, 3) int32, read-only.

    The grid's faces run along the border loop, so the fan's run against it: that makes the whole consistently
    oriented. The far vertex is number H*W.
    """
    loop = border_loop(height, width)
    fan = np.stack([np.roll(loop, -1), loop, np.full_like(loop, height * width)], axis=1)
    return _read_only(np.concatenate([_grid_faces(height, width), fan]))


@lru_cache(maxsize=4)
def pixel_centres(height: int, width: int) -> NDArray[np.float32]:
    """(H*W, 2) float32: x and y of each pixel's centre, row by row, read-only."""
    y, x = np.mgrid[:height, :width].astype(np.float32) + 0.5
    return _read_only(np.stack([x, y], axis=-1).reshape(-1, 2))


@lru_cache(maxsize=4)
def _dwmesh_uv(height: int, width: int) -> NDArray[np.float32]:
    """(H*W + 1, 2) float32: pixel centres, the border's moved out to the frame edge; last the far vertex."""
    uv = pixel_centres(height, width).reshape(height, width, 2).copy()
    uv[:, 0, 0], uv[:, -1, 0] = 0, width
    uv[0, :, 1], uv[-1, :, 1] = 0, height
    far = np.array([[width / 2, height / 2]], np.float32)
    return _read_only(np.concatenate([uv.reshape(-1, 2), far]))


@numba.njit(cache=True, nogil=True)
def _inspect(depth: Any) -> Any:
    """Number of pixels that are not finite and positive, and the greatest depth."""
    bad = 0
    deepest = np.float32(0)
    for value in depth.ravel():
        if value > 0 and value < np.inf:
            deepest = max(deepest, value)
        else:
            bad += 1
    return bad, deepest


@numba.njit(cache=True, nogil=True)
def _unproject(depth: Any, uv: Any, lens: Any, vertices: Any) -> None:
    """Put a vertex on the ray of each image position: (>= H*W, 3) from (H, W), (>= H*W, 2)."""
    flat = depth.ravel()
    for k in range(flat.size):
        z = flat[k]
        vertices[k, 0] = (uv[k, 0] - lens[2]) / lens[0] * z
        vertices[k, 1] = (uv[k, 1] - lens[3]) / lens[1] * z
        vertices[k, 2] = z


@numba.njit(cache=True, nogil=True)
def _flag_slivers(vertices: Any, faces: Any, cos_limit: Any, bridge: Any, hidden: Any) -> None:
    """Flag faces whose smallest angle is under the limit, and their three vertices.

    The smallest angle lies opposite the shortest edge `a`; by the law of cosines its cosine is
    (b2 + c2 - a2) / (2 b c), so that comparing squares needs neither arccos nor a root.
    """
    limit = 4.0 * cos_limit * cos_limit
    square = np.empty(3, np.float64)
    for f in range(len(faces)):
        for k in range(3):
            i, j = faces[f, k], faces[f, (k + 1) % 3]
            dx = np.float64(vertices[i, 0]) - vertices[j, 0]
            dy = np.float64(vertices[i, 1]) - vertices[j, 1]
            dz = np.float64(vertices[i, 2]) - vertices[j, 2]
            square[k] = dx * dx + dy * dy + dz * dz
        shortest = min(square[0], min(square[1], square[2]))
        longest = max(square[0], max(square[1], square[2]))
        middle = square[0] + square[1] + square[2] - shortest - longest
        cosine = middle + longest - shortest
        if cosine * cosine > limit * middle * longest:
            bridge[f] = True
            hidden[faces[f, 0]] = True
            hidden[faces[f, 1]] = True
            hidden[faces[f, 2]] = True


@numba.njit(cache=True, nogil=True)
def _flag_bridges(depth: Any, limits: Any, flags: Any) -> None:
    """Set flags (>= 2(H-1)(W-1),) of the grid's triangles from depth (H, W)."""
    height, width = depth.shape
    disparity = np.float32(1) / depth
    half = (height - 1) * (width - 1)
    flags[: 2 * half] = False
    torn = np.empty(max(height, width) - 1, np.bool_)
    for y in range(height):
        _find_tears(disparity[y], limits, torn)
        for x in range(width - 1):
            if torn[x]:
                if y < height - 1:
                    flags[y * (width - 1) + x] = True
                if y > 0:
                    flags[half + (y - 1) * (width - 1) + x] = True
    columns = np.ascontiguousarray(disparity.T)
    for x in range(width):
        _find_tears(columns[x], limits, torn)
        for y in range(height - 1):
            if torn[y]:
                if x < width - 1:
                    flags[y * (width - 1) + x] = True
                if x > 0:
                    flags[half + y * (width - 1) + x - 1] = True


@numba.njit(cache=True, nogil=True)
def _find_tears(line: Any, limits: Any, torn: Any) -> None:
    """Between which neighbours of a row or column of disparities (L,) the surface is torn: (>= L - 1,) bool.

    At scale r the step from r pixels before the edge to r pixels after it is compared with the slopes over the
    r + 1 pixels beyond. On a plane they agree; where two planes meet in a crease, the step over it lies between.
    """
    length = len(line)
    for k in range(length - 1):
        torn[k] = False
        a, b = line[k], line[k + 1]
        step, smaller = b - a, min(a, b)
        for r in range(len(limits)):
            # An edge takes part in a smear if it has at least half of its average step.
            span = 2 * r + 1
            first, last = k - r, k + 1 + r
            if first < 0 or last >= length or 2 * span * abs(step) <= limits[r] * smaller:
                continue
            tolerance = limits[r] * min(line[first], line[last])
            jump = line[last] - line[first]
            if abs(jump) <= tolerance or step * jump <= 0 or 2 * span * abs(step) < abs(jump):
                continue
            before, after = first - (r + 1), last + r + 1
            scale = np.float32(span) / np.float32(r + 1)
            if before >= 0 and after < length:
                left, right = (line[first] - line[before]) * scale, (line[after] - line[last]) * scale
            elif before >= 0:
                left = right = (line[first] - line[before]) * scale
            elif after < length:
                left = right = (line[after] - line[last]) * scale
            else:
                left = right = np.float32(0)
            if jump < min(left, right) - tolerance or jump > max(left, right) + tolerance:
                torn[k] = True
                break
