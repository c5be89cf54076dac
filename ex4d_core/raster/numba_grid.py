"""The kernel that draws the small quads of a grid: nearly all of a DW-Mesh.

A pixel's winner is the nearest face and, of equals, the one with the lowest index: no order of drawing, and so
no split into bands, changes the result. Coverage is decided by integers; 1/w and the weights follow from the same
integers, in float64.

The work is cut into loops without branches over short lists, which the compiler turns into vector instructions:
which pixels may a quad hit, which does it hit, how deep is it there. A branch per quad would be a coin toss, and
costs more than the work that it saves.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ex4d_core.raster.jit import kernel
from ex4d_core.raster.numba_setup import MISSING, STRIP, SUBPIXEL_BITS, SUBPIXELS

Int = int | np.integer
Singles = NDArray[np.float32]
Doubles = NDArray[np.float64]
Ints = NDArray[np.int32]
Bools = NDArray[np.bool_]

HALF = SUBPIXELS // 2

SMALL = 8 * SUBPIXELS
"""A quad smaller than this has edge functions that fit 32 bits: twice the area of triangles within its box."""

_MANY = 25
"""Pixels of a box that it pays to look at one by one."""

_MOST = STRIP * _MANY  # pairs of a strip, if all its quads are as large as can be
_ENOUGH = 4 * STRIP  # pairs that are worth a look
_PAIRS = 2 * (_ENOUGH + _MOST)

# Where the rows of `draw_grid`'s scratch begin. An entry is a pair of a quad and a pixel in its box: the quad's upper
# left vertex, the pixel; which triangles count; the quad's corners (upper left, lower left, upper right, lower right)
# from the pixel's centre; which triangles hit it, the edge functions there; a list of such pairs.
# Where an index is a `uintp`, numba makes no check for one from the end, which would cost a vector loop its vectors.
QUAD, PIXEL, LIVE, AX, AY, BX, BY, DX, DY, EX, EY, CODE, E0, E1, E2, HIT = (n * _PAIRS for n in range(16))
# `t` has an entry for each quad of a strip: its first pixel, how many columns and rows of pixels its box has; lists.
LEFT, TOP, COLUMNS, ROWS, KIND, SEVERAL, LARGE = (n * (STRIP + 8) for n in range(7))

# What LIVE and CODE hold: 1 for the upper left triangle, 2 for the lower right one.
BOTH = 3

_ROUND_UP = HALF - 1  # (x + _ROUND_UP) >> SUBPIXEL_BITS is the first pixel whose centre is at or right of x


@kernel
def _add_pixels(c: Ints, t: Ints, first: Int, last: Int, several: Int, width: Int) -> Int:
    """Pairs from `last` on for all but the first pixel of the quads listed in `SEVERAL`, whose pairs start at `first`.

    Returns:
        How many pairs there are now.
    """
    to = np.uintp(last)
    for m in range(several):
        k = np.uintp(t[SEVERAL + m])
        columns, rows = t[np.uintp(COLUMNS) + k], t[np.uintp(ROWS) + k]
        n = k + np.uintp(first)
        ax, ay, bx, by = c[np.uintp(AX) + n], c[np.uintp(AY) + n], c[np.uintp(BX) + n], c[np.uintp(BY) + n]
        dx, dy, ex, ey = c[np.uintp(DX) + n], c[np.uintp(DY) + n], c[np.uintp(EX) + n], c[np.uintp(EY) + n]
        quad, pixel, column, down = c[np.uintp(QUAD) + n], c[np.uintp(PIXEL) + n], 0, 0
        for _ in range(columns * rows - 1):  # one loop, not two: half as many branches to mispredict
            column += 1
            wrap = column == columns
            column = 0 if wrap else column
            pixel += width - columns + 1 if wrap else 1
            down += SUBPIXELS if wrap else 0
            across = column * SUBPIXELS
            c[np.uintp(QUAD) + to], c[np.uintp(PIXEL) + to], c[np.uintp(LIVE) + to] = quad, pixel, BOTH
            c[np.uintp(AX) + to], c[np.uintp(AY) + to] = ax - across, ay - down
            c[np.uintp(BX) + to], c[np.uintp(BY) + to] = bx - across, by - down
            c[np.uintp(DX) + to], c[np.uintp(DY) + to] = dx - across, dy - down
            c[np.uintp(EX) + to], c[np.uintp(EY) + to] = ex - across, ey - down
            to += np.uintp(1)
    return np.int64(to)


@kernel
def _hit_pixels(c: Ints, pairs: Int) -> Int:
    """Find the pairs whose quad hits its pixel; the list stands in `HIT`.

    f = e where a centre exactly on the edge (e = 0) counts as inside, else e - 1: its sign alone is the top-left
    rule, and ~f is the same edge the other way round.

    Returns:
        How many.
    """
    folded = np.int32(0)
    for n in range(pairs):
        ax, ay, bx, by = c[AX + n], c[AY + n], c[BX + n], c[BY + n]
        dx, dy, ex, ey = c[DX + n], c[DY + n], c[EX + n], c[EY + n]
        bd, be, ed = np.int32(bx * dy - dx * by), np.int32(bx * ey - ex * by), np.int32(ex * dy - dx * ey)
        da, ab = np.int32(dx * ay - ax * dy), np.int32(ax * by - bx * ay)
        f_bd = bd if (by > dy) | ((by == dy) & (dx > bx)) else np.int32(bd - 1)
        f_da = da if (dy > ay) | ((dy == ay) & (ax > dx)) else np.int32(da - 1)
        f_ab = ab if (ay > by) | ((ay == by) & (bx > ax)) else np.int32(ab - 1)
        f_be = be if (by > ey) | ((by == ey) & (ex > bx)) else np.int32(be - 1)
        f_ed = ed if (ey > dy) | ((ey == dy) & (dx > ex)) else np.int32(ed - 1)
        upper = (((f_bd ^ f_da) | (f_bd ^ f_ab)) >= 0) & (np.int32(bd + da + ab) != 0)  # 0: all on one line
        lower = (((~f_bd ^ f_be) | (~f_bd ^ f_ed)) >= 0) & (np.int32(be + ed - bd) != 0)
        c[E0 + n] = bd if upper else be
        c[E1 + n] = da if upper else ed
        c[E2 + n] = ab if upper else np.int32(-bd)
        c[CODE + n] = np.int32((1 if upper else 0) + (2 if lower else 0)) & c[LIVE + n]
        folded = np.int32(folded | (upper & lower & (c[LIVE + n] != 0)))
    last = pairs
    if folded > 0:
        for n in range(pairs):
            if c[CODE + n] == BOTH:  # both triangles of a folded quad: the lower one gets a pair of its own
                ax, ay, bx, by = c[AX + n], c[AY + n], c[BX + n], c[BY + n]
                dx, dy, ex, ey = c[DX + n], c[DY + n], c[EX + n], c[EY + n]
                c[CODE + n], c[CODE + last] = 1, 2
                c[QUAD + last], c[PIXEL + last] = c[QUAD + n], c[PIXEL + n]
                c[E0 + last], c[E1 + last], c[E2 + last] = bx * ey - ex * by, ex * dy - dx * ey, -c[E0 + n]
                last += 1
    hits = 0
    for n in range(last):  # written always, kept where true: no branch to mispredict
        c[HIT + hits] = n
        hits += 1 if c[CODE + n] != 0 else 0
    return hits


@kernel
def _keep_nearest(
    c: Ints, hits: Int, w: Doubles, row: Int, grid_w: Int, quads: Int, places: Ints, signs: Ints, face_id: Ints,
    barycentrics: Singles, depth: Singles, front: Bools,
) -> None:  # fmt: skip
    """Draw what `_hit_pixels` found in one row of the grid."""
    for h in range(hits):
        n = np.uintp(c[HIT + h])
        side, a = np.int64(c[np.uintp(CODE) + n]) >> 1, np.int64(c[np.uintp(QUAD) + n])
        p = np.uintp(c[np.uintp(PIXEL) + n])
        e0, e1, e2 = np.float64(c[np.uintp(E0) + n]), np.float64(c[np.uintp(E1) + n]), np.float64(c[np.uintp(E2) + n])
        m0 = e0 * w[np.uintp(a + side)]
        m1 = e1 * w[np.uintp(a + grid_w)]
        m2 = e2 * w[np.uintp(a + 1 + side * grid_w)]
        area = e0 + e1 + e2
        scale = 1.0 / (m0 + m1 + m2)
        z = np.float32(area * scale)
        label = a - row + side * quads
        if z < depth[p] or (z == depth[p] and label < face_id[p]):
            depth[p] = z
            face_id[p] = label
            front[p] = (area > 0) != (signs[side] > 0)
            q = 3 * np.int64(p)
            barycentrics[np.uintp(q + places[side, 0])] = m0 * scale
            barycentrics[np.uintp(q + places[side, 1])] = m1 * scale
            barycentrics[np.uintp(q + places[side, 2])] = m2 * scale


@kernel
def draw_grid(
    x: Ints, y: Ints, w: Doubles, grid_h: Int, grid_w: Int, boxes: Ints, row_boxes: Ints, places: Ints, signs: Ints,
    y_first: Int, y_stop: Int, width: Int, late: Ints, face_id: Ints, barycentrics: Singles, depth: Singles,
    front: Bools,
) -> Int:  # fmt: skip
    """Empty rows [y_first, y_stop) of the visibility buffer, whose arrays are given flat, and draw the grid's small
    quads into them.

    Returns:
        How many larger quads were left to `numba_draw`; `late` holds their upper left vertices.
    """
    first, last = y_first * width, y_stop * width
    face_id[first:last], depth[first:last], front[first:last] = -1, np.inf, False
    barycentrics[3 * first : 3 * last] = 0
    band_low, band_high = y_first * SUBPIXELS, y_stop * SUBPIXELS
    quads = (grid_h - 1) * (grid_w - 1)
    # Scratch in few arrays: the compiler has to prove that what a vector loop reads and writes does not overlap.
    c, t = np.empty(16 * _PAIRS, np.int32), np.empty(7 * (STRIP + 8), np.int32)
    late_count = 0
    row_width, row_first, row_stop = np.int32(width), np.int32(y_first), np.int32(y_stop)
    for i in range(grid_h - 1):
        if row_boxes[i, 0] >= band_high or row_boxes[i, 1] < band_low:
            continue
        pairs = 0
        for strip in range(boxes.shape[1] + 1):
            if strip == boxes.shape[1] or pairs > _ENOUGH:
                while pairs % 16 != 0:
                    c[LIVE + pairs] = 0
                    pairs += 1
                _keep_nearest(
                    c, _hit_pixels(c, pairs), w, i, grid_w, quads, places, signs, face_id, barycentrics, depth, front
                )
                pairs = 0
                if strip == boxes.shape[1]:
                    break
            if (
                boxes[i, strip, 2] >= band_high
                or boxes[i, strip, 3] < band_low
                or boxes[i, strip, 0] >= width * SUBPIXELS
                or boxes[i, strip, 1] < 0
            ):
                continue
            j0 = strip * STRIP
            count = min(STRIP, grid_w - 1 - j0)
            base = i * grid_w + j0
            below = base + grid_w
            first_quad = np.int32(base)
            # Slices, because an index that starts at 0 is known not to be negative, and so loads are contiguous.
            x0, x1 = x[base : base + count + 1], x[below : below + count + 1]
            y0, y1 = y[base : base + count + 1], y[below : below + count + 1]
            for k in range(count):
                x_low = min(min(x0[k], x0[k + 1]), min(x1[k], x1[k + 1]))
                x_high = max(max(x0[k], x0[k + 1]), max(x1[k], x1[k + 1]))
                y_low = min(min(y0[k], y0[k + 1]), min(y1[k], y1[k + 1]))
                y_high = max(max(y0[k], y0[k + 1]), max(y1[k], y1[k + 1]))
                # Without the casts these would be 64-bit, for which AVX2 has neither shift nor maximum.
                x_first = np.int32(np.int32(x_low + _ROUND_UP) >> SUBPIXEL_BITS)
                x_stop = np.int32(np.int32(x_high + _ROUND_UP) >> SUBPIXEL_BITS)
                y_start = np.int32(np.int32(y_low + _ROUND_UP) >> SUBPIXEL_BITS)
                y_end = np.int32(np.int32(y_high + _ROUND_UP) >> SUBPIXEL_BITS)
                x_first, y_start = max(x_first, np.int32(0)), max(y_start, row_first)
                x_stop = np.int32(-1) if x_low <= MISSING else min(x_stop, row_width)
                columns, rows = np.int32(x_stop - x_first), np.int32(min(y_end, row_stop) - y_start)
                across, down = np.int32(x_high - x_low), np.int32(y_high - y_low)
                # 0: no pixel, 1: one, 2: several, 3: too large, for 32 bits or to pay.
                kind = np.int32(1) if (columns == 1) & (rows == 1) else np.int32(2)
                kind = kind if (across < SMALL) & (down < SMALL) & (columns * rows <= _MANY) else np.int32(3)
                kind = kind if (columns > 0) & (rows > 0) else np.int32(0)
                # A triangle without the corner that cannot be drawn: as with large ones.
                kind = (
                    np.int32(3)
                    if (x_low <= MISSING) & (min(x0[k + 1], x1[k]) > MISSING) & (max(x0[k], x1[k + 1]) > MISSING)
                    else kind
                )
                t[KIND + k], t[COLUMNS + k], t[ROWS + k] = kind, columns, rows
                t[LEFT + k], t[TOP + k] = x_first, y_start
            start = np.uintp(pairs)
            for k in range(count):
                n = start + np.uintp(k)
                px, py, kind = t[LEFT + k], t[TOP + k], t[KIND + k]
                cx, cy = np.int32(px * SUBPIXELS + HALF), np.int32(py * SUBPIXELS + HALF)
                c[np.uintp(AX) + n], c[np.uintp(AY) + n] = np.int32(x0[k] - cx), np.int32(y0[k] - cy)
                c[np.uintp(BX) + n], c[np.uintp(BY) + n] = np.int32(x1[k] - cx), np.int32(y1[k] - cy)
                c[np.uintp(DX) + n], c[np.uintp(DY) + n] = np.int32(x0[k + 1] - cx), np.int32(y0[k + 1] - cy)
                c[np.uintp(EX) + n], c[np.uintp(EY) + n] = np.int32(x1[k + 1] - cx), np.int32(y1[k + 1] - cy)
                c[np.uintp(LIVE) + n] = np.int32(BOTH) if (kind == 1) | (kind == 2) else np.int32(0)
                c[np.uintp(PIXEL) + n] = np.int32(py * row_width + px)
                c[np.uintp(QUAD) + n] = np.int32(first_quad + np.int32(k))
            several, large = 0, 0
            for k in range(count):  # written always, kept where true: no branch to mispredict
                t[SEVERAL + several], t[LARGE + large] = k, k
                several += 1 if t[KIND + k] == 2 else 0
                large += 1 if t[KIND + k] == 3 else 0
            for n in range(large):
                late[late_count + n] = base + t[LARGE + n]
            late_count += large
            pairs = _add_pixels(c, t, pairs, pairs + count, several, width)
    return late_count
