"""Kernels that draw all that is not a small quad of the grid: bridges, clipped faces, faces outside the grid.

The same rules as in `numba_grid`: nearest face, then lowest index; coverage by integers, all else from them.

Most of it are long slivers: a hundred pixels from end to end, one or two in each row, most of them behind something.
Edge functions at each pixel of them would be wasted, and a loop over the rows with one over their pixels inside
mispredicted at each row. So where the edges cross the rows is computed exactly, all rows at once; then the pixels are
listed and compared with the depths there, and the few that are not clearly behind are looked at.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ex4d_core.raster.jit import kernel
from ex4d_core.raster.numba_setup import MISSING, SUBPIXEL_BITS, SUBPIXELS

Int = int | np.integer
Real = float | np.floating
Singles = NDArray[np.float32]
Doubles = NDArray[np.float64]
Ints = NDArray[np.int32]
Bools = NDArray[np.bool_]

HALF = SUBPIXELS // 2

_FAR = 1e30

MOST_ROWS = 512
"""Of a band."""

_ENOUGH = 256
"""Pixels of a face that are worth a look."""

_FEW = 4
"""Pixels of a box that are not worth the arithmetic that leaves some of them out."""

_WHOLE = 8
"""Rows are looked at in multiples of this: vector loops without a rest."""

_EXACT = 1 << 25
"""Differences of corners below which edge functions are exact in float64, however they are summed up."""

_NUDGE = 2.0**-38
"""What is less than this above a whole number of pixels is that number, where an edge crosses a row: it does at a
fraction over at most 4096 * 2^25 = 2^37, and in a box of 2^13 pixels float64 is within 2^-39 of it."""

# Where the rows of `_draw`'s scratch begin. For each row of the face's box: the first column that is covered, the one
# after the last. For each of some pixels: its number in the picture; which are not clearly behind.
_FIRST, _STOP = (n * (MOST_ROWS + _WHOLE) for n in range(2))
_PIXEL, _NEARER = (2 * (MOST_ROWS + _WHOLE) + n * _ENOUGH for n in range(2))
_INTS = 2 * (MOST_ROWS + _WHOLE) + 2 * _ENOUGH

_COLUMN_BITS = 16
_COLUMN = (1 << _COLUMN_BITS) - 1
"""A pixel of the box is listed as row << 16 | column."""

_ROUND_UP = HALF - 1  # (x + _ROUND_UP) >> SUBPIXEL_BITS is the first pixel whose centre is at or right of x


@kernel
def _wins(z: Real, label: Int, p: Int, depth: Singles, face_id: Ints, piece_owner: Ints) -> bool | np.bool_:
    """Whether a face at depth z takes pixel p. A label below -1 stands for the owner of piece -2 - label."""
    if z != depth[p]:
        return z < depth[p]
    before = np.int64(face_id[p])
    mine = label if label >= -1 else np.int64(piece_owner[-2 - label])
    return mine < (before if before >= -1 else np.int64(piece_owner[-2 - before]))


@kernel
def _draw(
    xa: Int, ya: Int, wa: Real, xb: Int, yb: Int, wb: Real, xc: Int, yc: Int, wc: Real, label: Int, ka: Int,
    kb: Int, kc: Int, front_sign: Int, left: Int, top: Int, right: Int, bottom: Int, width: Int, c: Ints,
    pixels: Ints, v: Doubles, face_id: Ints, barycentrics: Singles, depth: Singles, front: Bools, piece_owner: Ints,
) -> None:  # fmt: skip
    """Draw triangle a, b, c into the pixels [left, right) x [top, bottom).

    Positions are snapped (int64), w are 1/w. Weights go to the places ka, kb, kc of `barycentrics`, if it has any.
    `front_sign` is +1 where a, b, c is an even permutation of the face's own order, else -1. `c`, `pixels` and `v` are
    scratch.
    """
    area = (xb - xa) * (yc - ya) - (xc - xa) * (yb - ya)
    if area == 0:
        return
    weights = len(barycentrics) > 0
    s = 1 if area > 0 else -1
    # Edge functions e = a x + b y + c, positive inside; one step to the right adds a pixel's worth of a.
    a0, b0 = -s * (yc - yb), s * (xc - xb)
    a1, b1 = -s * (ya - yc), s * (xa - xc)
    a2, b2 = -s * (yb - ya), s * (xb - xa)
    px, py = left * SUBPIXELS + HALF, top * SUBPIXELS + HALF
    # Top-left rule: a centre on an edge belongs to the face that lies right of the edge, or below it.
    off0 = 0 if (a0 > 0 or (a0 == 0 and b0 > 0)) else 1
    off1 = 0 if (a1 > 0 or (a1 == 0 and b1 > 0)) else 1
    off2 = 0 if (a2 > 0 or (a2 == 0 and b2 > 0)) else 1
    i0 = a0 * (px - xb) + b0 * (py - yb)
    i1 = a1 * (px - xc) + b1 * (py - yc)
    i2 = a2 * (px - xa) + b2 * (py - ya)
    whole = np.float64(s * area)
    seen_front = s * front_sign < 0
    right0, right1, right2 = a0 * SUBPIXELS, a1 * SUBPIXELS, a2 * SUBPIXELS
    down0, down1, down2 = b0 * SUBPIXELS, b1 * SUBPIXELS, b2 * SUBPIXELS
    g0, g1, g2 = np.float64(i0), np.float64(i1), np.float64(i2)
    f0, f1, f2 = np.float64(right0), np.float64(right1), np.float64(right2)
    d0, d1, d2 = np.float64(down0), np.float64(down1), np.float64(down2)
    span, rows = right - left, bottom - top
    largest = max(max(abs(a0), abs(a1), abs(a2)), max(abs(b0), abs(b1), abs(b2)))
    # Where it is not, or does not pay, each pixel of the box is looked at.
    exact = largest < _EXACT and span <= 1 << 13 and span * rows > _FEW
    q_start, q_right, q_down = np.inf, 0.0, 0.0
    if exact:
        # 1/z is linear over the face. Where rounding could add up, for lack of area, it is taken for larger.
        inverse = 1.0 / whole
        va, vb, vc = wa * inverse, wb * inverse, wc * inverse
        reach, fall = np.float64(span), np.float64(rows)
        slack = (abs(g0) + fall * abs(d0) + reach * abs(f0)) * va
        slack += (abs(g1) + fall * abs(d1) + reach * abs(f1)) * vb
        slack += (abs(g2) + fall * abs(d2) + reach * abs(f2)) * vc
        q_start = g0 * va + g1 * vb + g2 * vc + 2.0**-49 * slack
        q_right = f0 * va + f1 * vb + f2 * vc
        q_down = d0 * va + d1 * vb + d2 * vc
        r0 = -1.0 / f0 if a0 != 0 else 0.0
        r1 = -1.0 / f1 if a1 != 0 else 0.0
        r2 = -1.0 / f2 if a2 != 0 else 0.0
        # Columns at or right of where a left edge crosses the row, and left of where a right one does: that is the
        # top-left rule. Level edges bound the rows, which the box does already, to half open [top, bottom).
        low0, low1, low2 = 0.0 if a0 > 0 else -_FAR, 0.0 if a1 > 0 else -_FAR, 0.0 if a2 > 0 else -_FAR
        high0, high1, high2 = 0.0 if a0 < 0 else _FAR, 0.0 if a1 < 0 else _FAR, 0.0 if a2 < 0 else _FAR
        for n in range((rows + _WHOLE - 1) // _WHOLE * _WHOLE):
            t = np.float64(np.int32(n))
            t0, t1, t2 = (g0 + t * d0) * r0, (g1 + t * d1) * r1, (g2 + t * d2) * r2
            low = max(max(t0 + low0, t1 + low1), max(t2 + low2, 0.0))
            high = min(min(t0 + high0, t1 + high1), min(t2 + high2, reach))
            c[_FIRST + n] = np.int32(min(low, reach) + (1.0 - _NUDGE))
            c[_STOP + n] = np.int32(max(high, 0.0) + (1.0 - _NUDGE))
    else:
        for n in range(rows):
            c[_FIRST + n], c[_STOP + n] = 0, span
    base, stride = np.int32(top * width + left), np.int32(width)
    listed = np.uintp(0)
    for row in range(rows):
        at = np.uintp(row)
        first, stop = np.int64(c[np.uintp(_FIRST) + at]), np.int64(c[np.uintp(_STOP) + at])
        k, pixel = listed, np.int32((row << _COLUMN_BITS) + first)
        listed += np.uintp(max(stop - first, 0))
        while True:  # four at a time, mostly too many: the next row overwrites them
            pixels[k] = pixel
            pixels[k + np.uintp(1)] = pixel + 1
            pixels[k + np.uintp(2)] = pixel + 2
            pixels[k + np.uintp(3)] = pixel + 3
            k, pixel = k + np.uintp(4), np.int32(pixel + 4)
            if k >= listed:
                break
        if listed < _ENOUGH and row + 1 < rows:
            continue
        for start in range(0, np.int64(listed), _ENOUGH):
            count = min(np.int64(listed) - start, _ENOUGH)
            some = np.uintp(start)
            for n in range((count + _WHOLE - 1) // _WHOLE * _WHOLE):
                pixel = pixels[some + np.uintp(n)]
                down, across = np.int32(pixel >> _COLUMN_BITS), np.int32(pixel & np.int32(_COLUMN))
                c[_PIXEL + n] = np.int32(base + np.int32(down * stride) + across)
                v[n] = q_start + np.float64(down) * q_down + np.float64(across) * q_right
            near = np.uintp(0)
            for n in range(count):  # written always, kept where true: no branch to mispredict
                c[np.uintp(_NEARER) + near] = n
                near += np.uintp(1) if v[n] * depth[np.uintp(c[_PIXEL + n])] >= 1.0 - 1e-6 else np.uintp(0)
            for m in range(np.int64(near)):
                n = np.uintp(c[_NEARER + m])
                pixel, p = np.int64(pixels[some + n]), np.uintp(c[np.uintp(_PIXEL) + n])
                t, u = pixel >> _COLUMN_BITS, pixel & _COLUMN
                e0, e1, e2 = i0 + t * down0 + u * right0, i1 + t * down1 + u * right1, i2 + t * down2 + u * right2
                if not exact and min(e0 - off0, e1 - off1, e2 - off2) < 0:
                    continue
                n0, n1, n2 = np.float64(e0) * wa, np.float64(e1) * wb, np.float64(e2) * wc
                scale = 1.0 / (n0 + n1 + n2)
                z = np.float32(whole * scale)
                if _wins(z, label, p, depth, face_id, piece_owner):
                    depth[p] = z
                    face_id[p] = label
                    front[p] = seen_front
                    if weights:
                        b = 3 * np.int64(p)
                        barycentrics[np.uintp(b + ka)] = n0 * scale
                        barycentrics[np.uintp(b + kb)] = n1 * scale
                        barycentrics[np.uintp(b + kc)] = n2 * scale
        listed = np.uintp(0)


@kernel
def draw_rest(
    x: Ints, y: Ints, w: Doubles, faces: Ints, grid_w: Int, quads: Int, late: Ints, places: Ints,
    signs: Ints, first_face: Int, face_boxes: Ints, chunk_boxes: Ints, chunk: Int, px: Ints, py: Ints, pw: Doubles,
    weights: Doubles, piece_owner: Ints, y_first: Int, y_stop: Int, width: Int, face_id: Ints, barycentrics: Singles,
    depth: Singles, front: Bools,
) -> None:  # fmt: skip
    """Draw into rows [y_first, y_stop) all that `numba_grid` has not drawn.

    Pieces of clipped faces and the `late` large quads, which bridge between surfaces, come first, the faces outside
    the grid last: by then most of them is hidden.
    """
    c, pixels, v = np.empty(_INTS, np.int32), np.empty(_ENOUGH + width + _WHOLE, np.int32), np.empty(_ENOUGH)
    band_low, band_high = y_first * SUBPIXELS, y_stop * SUBPIXELS
    # One loop over all the rest, because each call of `_draw` adds to the time to compile: pieces, the two
    # triangles of each late quad, other faces.
    late_first = len(px)
    others_first = late_first + 2 * len(late)
    item, stop = 0, others_first + len(face_boxes)
    while item < stop:
        ka, kb, kc, sign = 0, 1, 2, 1
        if item < late_first:
            xa, ya, wa = np.int64(px[item, 0]), np.int64(py[item, 0]), pw[item, 0]
            xb, yb, wb = np.int64(px[item, 1]), np.int64(py[item, 1]), pw[item, 1]
            xc, yc, wc = np.int64(px[item, 2]), np.int64(py[item, 2]), pw[item, 2]
            label = -2 - item
        else:
            if item < others_first:
                a = np.int64(late[(item - late_first) >> 1])
                side = (item - late_first) & 1
                label = a - a // grid_w + side * quads
                a, b, d = a + side, a + grid_w, a + 1 + side * grid_w
                ka, kb, kc = np.int64(places[side, 0]), np.int64(places[side, 1]), np.int64(places[side, 2])
                sign = np.int64(signs[side])
            else:
                f = item - others_first
                if f % chunk == 0 and (
                    chunk_boxes[f // chunk, 0] >= band_high or chunk_boxes[f // chunk, 1] < band_low
                ):
                    item += chunk
                    continue
                label = first_face + f
                a, b, d = np.int64(faces[label, 0]), np.int64(faces[label, 1]), np.int64(faces[label, 2])
            if min(x[a], x[b], x[d]) <= MISSING:
                item += 1
                continue
            xa, ya, wa = np.int64(x[a]), np.int64(y[a]), w[a]
            xb, yb, wb = np.int64(x[b]), np.int64(y[b]), w[b]
            xc, yc, wc = np.int64(x[d]), np.int64(y[d]), w[d]
        left = max((min(xa, xb, xc) + _ROUND_UP) >> SUBPIXEL_BITS, 0)
        right = min((max(xa, xb, xc) + _ROUND_UP) >> SUBPIXEL_BITS, width)
        top = max((min(ya, yb, yc) + _ROUND_UP) >> SUBPIXEL_BITS, y_first)
        bottom = min((max(ya, yb, yc) + _ROUND_UP) >> SUBPIXEL_BITS, y_stop)
        item += 1
        if left < right and top < bottom:
            _draw(
                xa, ya, wa, xb, yb, wb, xc, yc, wc, label, ka, kb, kc, sign, left, top, right, bottom, width, c, pixels,
                v, face_id, barycentrics, depth, front, piece_owner,
            )  # fmt: skip
    if len(px) > 0:
        for p in range(y_first * width, y_stop * width):
            label = np.int64(face_id[p])
            if label < -1:
                piece = -2 - label
                face_id[p] = piece_owner[piece]
                if len(barycentrics) == 0:
                    continue
                b0, b1, b2 = barycentrics[3 * p], barycentrics[3 * p + 1], barycentrics[3 * p + 2]
                for n in range(3):
                    barycentrics[3 * p + n] = (
                        b0 * weights[piece, 0, n] + b1 * weights[piece, 1, n] + b2 * weights[piece, 2, n]
                    )
