"""The kernel that draws the small quads of a grid: nearly all of a DW-Mesh.

A pixel's winner is the nearest face and, of equals, the one with the lowest index: no order of drawing, and so
no split into bands, changes the result. Coverage is decided by integers; 1/w and the weights follow from the same
integers, in float64.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ex4d_core.raster.jit import kernel
from ex4d_core.raster.numba_setup import OUTSIDE, STRIP, SUBPIXEL_BITS, SUBPIXELS

Int = int | np.integer
Singles = NDArray[np.float32]
Doubles = NDArray[np.float64]
Ints = NDArray[np.int32]
Bools = NDArray[np.bool_]

HALF = SUBPIXELS // 2

SMALL = 4 * SUBPIXELS
"""A quad smaller than this has edge functions that fit 32 bits."""

_HITS = 256

# Rows of `_draw_grid`'s scratch, one entry a quad of the strip.
LEFT, RIGHT, TOP, BOTTOM, KIND, CODE, F_BD, F_DA, F_AB, F_BE, F_ED, OFF, S0, S1, S2, S3, S4, SEVERAL = range(18)
# One entry a pixel that a triangle of the strip hits: 2 k + side, pixel, edge functions.
HIT_K, HIT_P, H0, H1, H2 = range(5)

_ROUND_UP = HALF - 1  # (x + _ROUND_UP) >> SUBPIXEL_BITS is the first pixel whose centre is at or right of x


@kernel
def draw_grid(
    x: Ints, y: Ints, w: Doubles, grid_h: Int, grid_w: Int, boxes: Ints, row_boxes: Ints, places: Ints, signs: Ints,
    y_first: Int, y_stop: Int, width: Int, late: Ints, face_id: Ints, barycentrics: Singles, depth: Singles,
    front: Bools,
) -> Int:  # fmt: skip
    """Empty rows [y_first, y_stop) of the visibility buffer, whose arrays are given flat, and draw the grid's small
    quads into them.

    The edge functions of a strip of quads, each at its quad's first pixel, are computed in straight-line 32-bit
    integers, which the compiler turns into vector instructions. Stored is f = e where a centre exactly on the
    edge (e = 0) counts as inside, else e - 1: the sign alone is the top-left rule, and ~f is the same edge the
    other way round.

    Returns:
        How many larger quads were left to `numba_draw`; `late` holds their upper left vertices.
    """
    for p in range(y_first * width, y_stop * width):
        face_id[p], depth[p], front[p] = -1, np.inf, False
    for p in range(3 * y_first * width, 3 * y_stop * width):
        barycentrics[p] = 0
    band_low, band_high = y_first * SUBPIXELS, y_stop * SUBPIXELS
    quads = (grid_h - 1) * (grid_w - 1)
    # Scratch in few arrays: the compiler has to prove that what a vector loop reads and writes does not overlap.
    t, hit = np.empty((18, STRIP), np.int32), np.empty((5, _HITS), np.int32)
    late_count = 0
    row_width, row_first, row_stop = np.int32(width), np.int32(y_first), np.int32(y_stop)
    for i in range(grid_h - 1):
        if row_boxes[i, 0] >= band_high or row_boxes[i, 1] < band_low:
            continue
        for strip in range(boxes.shape[1]):
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
                x_stop = np.int32(-1) if x_low == OUTSIDE else min(x_stop, row_width)
                y_end = min(y_end, row_stop)
                t[LEFT, k], t[RIGHT, k], t[TOP, k], t[BOTTOM, k] = x_first, x_stop, y_start, y_end
                # 0: no pixel, 1: one, 2: several, 3: too large for 32 bits.
                columns, rows = np.int32(x_stop - x_first), np.int32(y_end - y_start)
                across, down = np.int32(x_high - x_low), np.int32(y_high - y_low)
                size = np.int32(1) if (columns == 1) & (rows == 1) else np.int32(2)
                size = size if (across < SMALL) & (down < SMALL) else np.int32(3)
                t[KIND, k] = size if (columns > 0) & (rows > 0) else np.int32(0)
            for k in range(count):
                # Corners relative to the first pixel centre: a upper left, b lower left, d upper right, e last.
                cx, cy = np.int32(t[LEFT, k] * SUBPIXELS + HALF), np.int32(t[TOP, k] * SUBPIXELS + HALF)
                ax, ay = np.int32(x0[k] - cx), np.int32(y0[k] - cy)
                bx, by = np.int32(x1[k] - cx), np.int32(y1[k] - cy)
                dx, dy = np.int32(x0[k + 1] - cx), np.int32(y0[k + 1] - cy)
                ex, ey = np.int32(x1[k + 1] - cx), np.int32(y1[k + 1] - cy)
                o_bd = 0 if (by > dy) | ((by == dy) & (dx > bx)) else 1
                o_da = 0 if (dy > ay) | ((dy == ay) & (ax > dx)) else 1
                o_ab = 0 if (ay > by) | ((ay == by) & (bx > ax)) else 1
                o_be = 0 if (by > ey) | ((by == ey) & (ex > bx)) else 1
                o_ed = 0 if (ey > dy) | ((ey == dy) & (dx > ex)) else 1
                bd = np.int32(bx * dy - dx * by)
                da = np.int32(dx * ay - ax * dy)
                ab = np.int32(ax * by - bx * ay)
                be = np.int32(bx * ey - ex * by)
                ed = np.int32(ex * dy - dx * ey)
                t[F_BD, k], t[F_DA, k], t[F_AB, k] = bd - o_bd, da - o_da, ab - o_ab
                t[F_BE, k], t[F_ED, k] = be - o_be, ed - o_ed
                t[OFF, k] = o_bd + 2 * o_da + 4 * o_ab + 8 * o_be + 16 * o_ed
                t[S0, k], t[S1, k], t[S2, k] = bd, da, ab
                t[S3, k], t[S4, k] = be, ed
            for k in range(count):
                upper = ((t[F_BD, k] ^ t[F_DA, k]) | (t[F_BD, k] ^ t[F_AB, k])) >= 0
                lower = ((~t[F_BD, k] ^ t[F_BE, k]) | (~t[F_BD, k] ^ t[F_ED, k])) >= 0
                bd = t[S0, k]
                t[S0, k] = bd if upper else t[S3, k]
                t[S1, k] = t[S1, k] if upper else t[S4, k]
                t[S2, k] = t[S2, k] if upper else -bd
                # The quad's one pixel is hit by: 1 the upper triangle, 2 the lower, 3 both (it is folded).
                t[CODE, k] = (1 if upper else 0) + (2 if lower else 0)
                fold = (t[CODE, k] == 3) | (t[S0, k] + t[S1, k] + t[S2, k] == 0)  # or it has no area: look closer
                t[KIND, k] = 2 if (t[KIND, k] == 1) & fold else t[KIND, k]
            hits, more = 0, 0
            for k in range(count):  # written always, kept where true: no branch to mispredict
                hit[HIT_K, hits], hit[HIT_P, hits] = 2 * k + (t[CODE, k] >> 1), t[TOP, k] * width + t[LEFT, k]
                hit[H0, hits], hit[H1, hits], hit[H2, hits] = t[S0, k], t[S1, k], t[S2, k]
                hits += 1 if (t[KIND, k] == 1) & (t[CODE, k] != 0) else 0
                t[SEVERAL, more] = k
                more += 1 if t[KIND, k] > 1 else 0
            for n in range(more + 1):
                if n == more or hits > _HITS - 2 * (SMALL // SUBPIXELS + 1) ** 2:
                    for h in range(hits):
                        k, p = np.int64(hit[HIT_K, h]), np.uintp(hit[HIT_P, h])
                        side = k & 1
                        m = base + (k >> 1)
                        e0, e1, e2 = np.float64(hit[H0, h]), np.float64(hit[H1, h]), np.float64(hit[H2, h])
                        m0 = e0 * w[np.uintp(m + side)]
                        m1 = e1 * w[np.uintp(m + grid_w)]
                        m2 = e2 * w[np.uintp(m + 1 + side * grid_w)]
                        area = e0 + e1 + e2
                        scale = 1.0 / (m0 + m1 + m2)
                        z = np.float32(area * scale)
                        label = m - i + side * quads
                        if z < depth[p] or (z == depth[p] and label < face_id[p]):
                            depth[p] = z
                            face_id[p] = label
                            front[p] = (area > 0) != (signs[side] > 0)
                            q = 3 * np.int64(hit[HIT_P, h])
                            barycentrics[np.uintp(q + places[side, 0])] = m0 * scale
                            barycentrics[np.uintp(q + places[side, 1])] = m1 * scale
                            barycentrics[np.uintp(q + places[side, 2])] = m2 * scale
                    hits = 0
                    if n == more:
                        break
                k = np.int64(t[SEVERAL, n])
                if t[KIND, k] == 3:
                    late[late_count] = base + k
                    late_count += 1
                    continue
                o = np.int64(t[OFF, k])
                o_bd, o_da, o_ab, o_be, o_ed = o & 1, (o >> 1) & 1, (o >> 2) & 1, (o >> 3) & 1, o >> 4
                row_bd, row_da, row_ab = np.int64(t[F_BD, k]), np.int64(t[F_DA, k]), np.int64(t[F_AB, k])
                row_be, row_ed = np.int64(t[F_BE, k]), np.int64(t[F_ED, k])
                ax, ay, bx, by = (
                    np.int64(x0[k]),
                    np.int64(y0[k]),
                    np.int64(x1[k]),
                    np.int64(y1[k]),
                )
                dx, dy = np.int64(x0[k + 1]), np.int64(y0[k + 1])
                ex, ey = np.int64(x1[k + 1]), np.int64(y1[k + 1])
                for py in range(t[TOP, k], t[BOTTOM, k]):
                    bd, da, ab, be, ed = row_bd, row_da, row_ab, row_be, row_ed
                    for px in range(t[LEFT, k], t[RIGHT, k]):
                        upper = ((bd ^ da) | (bd ^ ab)) >= 0
                        lower = ((~bd ^ be) | (~bd ^ ed)) >= 0
                        e_bd = bd + o_bd
                        hit[HIT_K, hits], hit[HIT_P, hits] = 2 * k + (0 if upper else 1), py * width + px
                        e0 = e_bd if upper else be + o_be
                        e1 = da + o_da if upper else ed + o_ed
                        e2 = ab + o_ab if upper else -e_bd
                        hit[H0, hits], hit[H1, hits], hit[H2, hits] = e0, e1, e2
                        hits += 1 if (upper | lower) & (e0 + e1 + e2 != 0) else 0  # 0: all on one line
                        if upper & lower:  # a folded quad
                            hit[HIT_K, hits], hit[HIT_P, hits] = 2 * k + 1, py * width + px
                            hit[H0, hits], hit[H1, hits], hit[H2, hits] = be + o_be, ed + o_ed, -e_bd
                            hits += 1 if be + o_be + ed + o_ed - e_bd != 0 else 0
                        bd += SUBPIXELS * (by - dy)
                        da += SUBPIXELS * (dy - ay)
                        ab += SUBPIXELS * (ay - by)
                        be += SUBPIXELS * (by - ey)
                        ed += SUBPIXELS * (ey - dy)
                    row_bd += SUBPIXELS * (dx - bx)
                    row_da += SUBPIXELS * (ax - dx)
                    row_ab += SUBPIXELS * (bx - ax)
                    row_be += SUBPIXELS * (ex - bx)
                    row_ed += SUBPIXELS * (dx - ex)
    return late_count
