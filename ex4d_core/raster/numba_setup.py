"""Kernels that prepare a frame: project the vertices, box the grid, clip what crosses the camera plane.

Kernels call only functions of their own file: numba's disk cache notices a change of the file that a kernel is
in, not of one that it imports from. (So after a change of a constant here, touch the other kernels' files.)
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ex4d_core.raster.jit import kernel

Int = int | np.integer
Real = float | np.floating
Singles = NDArray[np.float32]
Doubles = NDArray[np.float64]
Ints = NDArray[np.int32]

SUBPIXEL_BITS = 12
"""Screen positions are snapped to 1/4096 pixel, so that edge functions are exact integers."""

SUBPIXELS = 1 << SUBPIXEL_BITS

GUARD = float(1 << 17)
"""Faces are clipped where they reach further than this many pixels from the image's corner. With it positions
need 30 bits, their differences 31, and an edge function, a sum of two products, 63."""

OUTSIDE = -(1 << 31)
"""Snapped x of a vertex that cannot be projected: nearer than `near`, beyond the guard band, infinite."""

MISSING = OUTSIDE + 1
"""Snapped x of a vertex that is not a number: so a mesh leaves out faces of its grid, and it has to be fast."""

_GREATEST = (1 << 31) - 1
_OFFSET = 1 << 30

STRIP = 64
"""Quads of one grid row that are boxed, and drawn, together."""

_MAX_CORNERS = 8  # a triangle cut by five planes


@kernel
def _snap(position: Real) -> Int:
    """To the nearest 1/4096 pixel, within the guard band.

    Truncation of a positive number: unlike `floor`, the compiler turns it into vector instructions.
    """
    return np.int32(np.int32(position * SUBPIXELS + (_OFFSET + 0.5)) - _OFFSET)


@kernel
def project(
    vertices: Singles, projection: Doubles, near: Real, x: Ints, y: Ints, inverse_w: Doubles, start: Int, stop: Int,
) -> None:  # fmt: skip
    """Snapped screen position and 1/w of vertices start..stop; `OUTSIDE` or `MISSING` where there is none.

    `vertices` (3 N,) float32, flat: of rows of three the compiler would not know the stride, and draw no vectors.
    """
    p00, p01, p02, p03 = projection[0, 0], projection[0, 1], projection[0, 2], projection[0, 3]
    p10, p11, p12, p13 = projection[1, 0], projection[1, 1], projection[1, 2], projection[1, 3]
    p20, p21, p22, p23 = projection[2, 0], projection[2, 1], projection[2, 2], projection[2, 3]
    points, xs, ys, ws = vertices[3 * start : 3 * stop], x[start:stop], y[start:stop], inverse_w[start:stop]
    for i in range(len(xs)):
        vx, vy, vz = np.float64(points[3 * i]), np.float64(points[3 * i + 1]), np.float64(points[3 * i + 2])
        w = p20 * vx + p21 * vy + p22 * vz + p23
        inverse = 1.0 / w
        u = (p00 * vx + p01 * vy + p02 * vz + p03) * inverse
        v = (p10 * vx + p11 * vy + p12 * vz + p13) * inverse
        inside = (w >= near) & (abs(u) <= GUARD) & (abs(v) <= GUARD)
        snapped_u, snapped_v = _snap(u if inside else 0.0), _snap(v if inside else 0.0)
        xs[i] = snapped_u if inside else (np.int32(OUTSIDE) if inverse == inverse else np.int32(MISSING))
        ys[i] = snapped_v
        ws[i] = inverse


@kernel
def box_strips(x: Ints, y: Ints, grid_w: Int, apart: Int, boxes: Ints, row_boxes: Ints, start: Int, stop: Int) -> None:
    """Bounds of the strips of grid rows start..stop, and of those rows; nothing where quads stand apart and the row
    lies between them.

    `boxes` (grid_h - 1, strips, 5) int32: least and greatest snapped x, y of the vertices in reach, and whether any
    vertex is outside. `row_boxes` (grid_h - 1, 3) int32: least and greatest y, any outside.
    """
    for i in range(start, stop):
        row_low, row_high, row_outside = np.int32(_GREATEST), np.int32(OUTSIDE), np.int32(0)
        for s in range(0 if i < apart or (i - apart) & 1 == 0 else boxes.shape[1], boxes.shape[1]):
            first = s * STRIP
            count = min(STRIP, grid_w - 1 - first) + 1
            first += i * grid_w
            x0, y0 = x[first : first + count], y[first : first + count]
            x1, y1 = x[first + grid_w : first + grid_w + count], y[first + grid_w : first + grid_w + count]
            x_least = np.int32(_GREATEST)
            x_low, x_high = np.int32(_GREATEST), np.int32(OUTSIDE)
            y_low, y_high = np.int32(_GREATEST), np.int32(OUTSIDE)
            for k in range(count):
                a, b = x0[k] > MISSING, x1[k] > MISSING
                x_least = min(x_least, min(x0[k], x1[k]))
                x_high = max(x_high, max(x0[k], x1[k]))
                x_low = min(x_low, min(x0[k] if a else np.int32(_GREATEST), x1[k] if b else np.int32(_GREATEST)))
                y_low = min(y_low, min(y0[k] if a else np.int32(_GREATEST), y1[k] if b else np.int32(_GREATEST)))
                y_high = max(y_high, max(y0[k] if a else np.int32(OUTSIDE), y1[k] if b else np.int32(OUTSIDE)))
            outside = np.int32(x_least == OUTSIDE)
            boxes[i, s, 0], boxes[i, s, 1], boxes[i, s, 2], boxes[i, s, 3] = x_low, x_high, y_low, y_high
            boxes[i, s, 4] = outside
            row_low, row_high = min(row_low, y_low), max(row_high, y_high)
            row_outside |= outside
        row_boxes[i, 0], row_boxes[i, 1], row_boxes[i, 2] = row_low, row_high, row_outside


@kernel
def box_faces(
    x: Ints, y: Ints, faces: Ints, first_face: Int, boxes: Ints, chunk_boxes: Ints, chunk: Int, start: Int,
    stop: Int,
) -> bool:  # fmt: skip
    """Bounds of the chunks start..stop of faces from `first_face` on, and of each of their faces.

    `boxes` (F - first_face, 4) int32: least and greatest snapped x, y; empty for a face with a vertex
    outside. `chunk_boxes` (chunks, 3) int32: least and greatest y, any outside.

    Returns:
        False if a face names a vertex that does not exist.
    """
    for c in range(start, stop):
        low, high, outside = np.int32(_GREATEST), np.int32(OUTSIDE), np.int32(0)
        for f in range(c * chunk, min((c + 1) * chunk, len(boxes))):
            i, j, k = faces[first_face + f, 0], faces[first_face + f, 1], faces[first_face + f, 2]
            if min(i, j, k) < 0 or max(i, j, k) >= len(x):
                return False
            boxes[f, 0], boxes[f, 1] = min(x[i], x[j], x[k]), max(x[i], x[j], x[k])
            boxes[f, 2], boxes[f, 3] = min(y[i], y[j], y[k]), max(y[i], y[j], y[k])
            if boxes[f, 0] <= MISSING:
                outside |= np.int32(boxes[f, 0] == OUTSIDE)
                boxes[f, 2], boxes[f, 3] = _GREATEST, OUTSIDE
            low, high = min(low, boxes[f, 2]), max(high, boxes[f, 3])
        chunk_boxes[c, 0], chunk_boxes[c, 1], chunk_boxes[c, 2] = low, high, outside
    return True


@kernel
def _distance(polygon: Doubles, n: Int, plane: Int, near: Real) -> float:
    """Signed distance of corner n to the near plane (0) or a side of the guard band (1 to 4)."""
    if plane == 0:
        return polygon[n, 2] - near
    axis = 0 if plane < 3 else 1
    return GUARD * polygon[n, 2] + (polygon[n, axis] if plane % 2 == 1 else -polygon[n, axis])


@kernel
def _clip(
    vertices: Singles, projection: Doubles, near: Real, width: Real, height: Real, a: Int, b: Int, c: Int,
    polygon: Doubles, spare: Doubles,
) -> Int:  # fmt: skip
    """Cut one face by the near plane and the guard band (Sutherland and Hodgman, 1974).

    `polygon` (8, 6) float64 receives the corners: u w, v w, w and the weights of the face's three vertices.
    A cut is computed from the inner to the outer end of the edge, so that the faces on both sides of an edge get
    the same corner, bit for bit: no cracks.

    Returns:
        How many corners; 0 if nothing is left, or nothing is in the picture.
    """
    outcodes = 31
    for n in range(3):
        i = a if n == 0 else (b if n == 1 else c)
        x, y, z = np.float64(vertices[i, 0]), np.float64(vertices[i, 1]), np.float64(vertices[i, 2])
        for r in range(3):
            polygon[n, r] = projection[r, 0] * x + projection[r, 1] * y + projection[r, 2] * z + projection[r, 3]
            if not np.isfinite(polygon[n, r]):
                return 0
            polygon[n, 3 + r] = 1.0 if r == n else 0.0
        u, v, w = polygon[n, 0], polygon[n, 1], polygon[n, 2]
        outcodes &= (
            (w < near) + 2 * (u < 0) + 4 * (v < 0) + 8 * (u > width * w) + 16 * (v > height * w)
        )  # a face whose corners are all beyond one side of the picture is not in it
    if outcodes != 0:
        return 0
    count = 3
    for plane in range(5):
        kept = 0
        for n in range(count):
            following = (n + 1) % count
            here, there = _distance(polygon, n, plane, near), _distance(polygon, following, plane, near)
            if here >= 0:
                for r in range(6):
                    spare[kept, r] = polygon[n, r]
                kept += 1
            if (here >= 0) != (there >= 0):
                inner, outer = (n, following) if here >= 0 else (following, n)
                d, e = (here, there) if here >= 0 else (there, here)
                for r in range(6):
                    spare[kept, r] = polygon[inner, r] + d / (d - e) * (polygon[outer, r] - polygon[inner, r])
                kept += 1
        for n in range(kept):
            for r in range(6):
                polygon[n, r] = spare[n, r]
        count = kept
        if count == 0:
            return 0
    return count


@kernel
def _emit(
    vertices: Singles, projection: Doubles, near: Real, width: Real, height: Real, a: Int, b: Int, c: Int,
    face: Int, polygon: Doubles, spare: Doubles, made: Int, px: Ints, py: Ints, pw: Doubles, weights: Doubles,
    owner: Ints,
) -> Int:  # fmt: skip
    """Append the pieces of a clipped face; returns the new number of pieces. Counts only where `px` is empty."""
    count = _clip(vertices, projection, near, width, height, a, b, c, polygon, spare)
    for t in range(2, count):
        if len(px) > 0:
            owner[made] = face
            for k in range(3):
                n = 0 if k == 0 else t + k - 2
                inverse = 1.0 / polygon[n, 2]  # the very operations of `project`: a kept vertex must not move
                px[made, k] = _snap(polygon[n, 0] * inverse)
                py[made, k] = _snap(polygon[n, 1] * inverse)
                pw[made, k] = inverse
                for r in range(3):
                    weights[made, k, r] = polygon[n, 3 + r]
        made += 1
    return made


@kernel
def clip_outside(
    vertices: Singles, faces: Ints, projection: Doubles, near: Real, width: Real, height: Real, x: Ints,
    w: Doubles, grid_w: Int, apart: Int, row_boxes: Ints, boxes: Ints, first_face: Int, corners: Ints,
    chunk_boxes: Ints, chunk: Int, px: Ints, py: Ints, pw: Doubles, weights: Doubles, owner: Ints,
) -> Int:  # fmt: skip
    """Clip every face that has a vertex outside the guard band into pieces that lie inside it.

    Call it first with empty `px` to learn the number of pieces, then with arrays of that length: `px`, `py`
    (P, 3) int32 snapped; `pw` (P, 3) float64 1/w; `weights` (P, 3, 3) float64, of the face's vertices at
    each corner; `owner` (P,) int32, the face.

    Returns:
        Number of pieces.
    """
    polygon, spare = np.empty((_MAX_CORNERS, 6)), np.empty((_MAX_CORNERS, 6))
    made = np.int64(0)  # not a literal: `_emit` would be compiled once more for it
    quads = len(row_boxes) * (grid_w - 1)
    for i in range(len(row_boxes)):
        if not row_boxes[i, 2]:
            continue
        for s in range(boxes.shape[1]):
            if not boxes[i, s, 4]:
                continue
            for j in range(s * STRIP, min((s + 1) * STRIP, grid_w - 1), 1 if i < apart else 2):
                o = i * grid_w + j
                if min(x[o], x[o + 1], x[o + grid_w], x[o + grid_w + 1]) != OUTSIDE:
                    continue
                if max(w[o], w[o + 1], w[o + grid_w], w[o + grid_w + 1]) < 0:
                    continue  # all behind the camera
                for side in range(2):
                    a, b, d = o + corners[side, 0], o + corners[side, 1], o + corners[side, 2]
                    if min(x[a], x[b], x[d]) != OUTSIDE or np.isnan(w[a]) or np.isnan(w[b]) or np.isnan(w[d]):
                        continue  # drawn as it is, with the large ones; or nothing
                    made = _emit(
                        vertices, projection, near, width, height, a, b, d,
                        i * (grid_w - 1) + j + side * quads, polygon, spare, made, px, py, pw, weights, owner,
                    )  # fmt: skip
    for c in range(len(chunk_boxes)):
        if not chunk_boxes[c, 2]:
            continue
        for f in range(first_face + c * chunk, min(first_face + (c + 1) * chunk, len(faces))):
            a, b, d = np.int64(faces[f, 0]), np.int64(faces[f, 1]), np.int64(faces[f, 2])
            if min(x[a], x[b], x[d]) == OUTSIDE and not max(w[a], w[b], w[d]) < 0:
                made = _emit(
                    vertices, projection, near, width, height, a, b, d, f, polygon, spare, made,
                    px, py, pw, weights, owner,
                )  # fmt: skip
    return made
