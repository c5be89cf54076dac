"""Kernels that draw one band of rows into the visibility buffer, and blend attributes over it.

A pixel's winner is the nearest face and, of equals, the one with the lowest index: no order of drawing, and so
no split into bands, changes the result. Coverage is decided by integers; 1/w and the weights follow from the same
integers, in float64.

Kernels call only functions of their own file (see `numba_setup`).
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

SUBPIXEL_BITS = 12
SUBPIXELS = 1 << SUBPIXEL_BITS
HALF = SUBPIXELS // 2
OUTSIDE = -(1 << 31)
STRIP = 64

SMALL = 4 * SUBPIXELS
"""A quad smaller than this has edge functions that fit 32 bits."""

TILE = 8
"""Side of the tiles for which the greatest depth is kept, pixels."""

SLAB_ROWS = 16
SLAB_COLUMNS = 32

_HITS = 256
_FAR = 1e30

# Rows of `_draw_grid`'s scratch, one entry a quad of the strip.
LEFT, RIGHT, TOP, BOTTOM, KIND, CODE, F_BD, F_DA, F_AB, F_BE, F_ED, OFF, S0, S1, S2, S3, S4, SEVERAL = range(18)
# One entry a pixel that a triangle of the strip hits: 2 k + side, pixel, edge functions, sign of the area ...
HIT_K, HIT_P, H0, H1, H2, SIGN = range(6)
# ... and depth, weights.
ZS, N0, N1, N2 = range(4)

_ROUND_UP = HALF - 1  # (x + _ROUND_UP) >> SUBPIXEL_BITS is the first pixel whose centre is at or right of x


@njit(nogil=True, cache=True, error_model="numpy")
def _wins(z, label, p, depth, face_id, piece_owner):
    """Whether a face at depth z takes pixel p. A label below -1 stands for the owner of piece -2 - label."""
    if z != depth[p]:
        return z < depth[p]
    before = np.int64(face_id[p])
    mine = label if label >= -1 else np.int64(piece_owner[-2 - label])
    return mine < (before if before >= -1 else np.int64(piece_owner[-2 - before]))


@njit(nogil=True, cache=True, error_model="numpy")
def _draw(
    xa, ya, wa, xb, yb, wb, xc, yc, wc, label, ka, kb, kc, front_sign, left, top, right, bottom, width, zs, spans,
    face_id, barycentrics, depth, front, piece_owner,
):  # fmt: skip
    """Draw triangle a, b, c into the pixels [left, right) x [top, bottom).

    Positions are snapped (int64), w are 1/w. Weights go to the places ka, kb, kc of `barycentrics`.
    `front_sign` is +1 where a, b, c is an even permutation of the face's own order, else -1. `zs`, `spans`: scratch.
    """
    area = (xb - xa) * (yc - ya) - (xc - xa) * (yb - ya)
    if area == 0:
        return
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
    row0 = a0 * (px - xb) + b0 * (py - yb) - off0
    row1 = a1 * (px - xc) + b1 * (py - yc) - off1
    row2 = a2 * (px - xa) + b2 * (py - ya) - off2
    whole = np.float64(s * area)
    seen_front = s * front_sign < 0
    step0, step1, step2 = a0 * SUBPIXELS, a1 * SUBPIXELS, a2 * SUBPIXELS
    f0, f1, f2 = np.float64(step0), np.float64(step1), np.float64(step2)
    # Below this size edge functions are exact in float64, however they are summed up.
    exact = max(abs(a0), abs(a1), abs(a2), abs(b0), abs(b1), abs(b2)) < 1 << 25
    if exact:
        # Where each edge crosses each row, in pixels from `left`, rounded outwards: a bound, not a decision. It
        # leaves most rows of a thin face empty.
        r0 = -1.0 / f0 if a0 != 0 else 0.0
        r1 = -1.0 / f1 if a1 != 0 else 0.0
        r2 = -1.0 / f2 if a2 != 0 else 0.0
        low0, low1, low2 = 0.0 if a0 > 0 else -_FAR, 0.0 if a1 > 0 else -_FAR, 0.0 if a2 > 0 else -_FAR
        high0, high1, high2 = 0.0 if a0 < 0 else _FAR, 0.0 if a1 < 0 else _FAR, 0.0 if a2 < 0 else _FAR
        g0, g1, g2 = np.float64(row0 + off0), np.float64(row1 + off1), np.float64(row2 + off2)
        d0, d1, d2 = np.float64(b0 * SUBPIXELS), np.float64(b1 * SUBPIXELS), np.float64(b2 * SUBPIXELS)
        span = np.float64(right - left)
        for n in range(bottom - top):
            t = np.float64(n)
            t0, t1, t2 = (g0 + t * d0) * r0, (g1 + t * d1) * r1, (g2 + t * d2) * r2
            low = max(max(t0 + low0, t1 + low1), max(t2 + low2, 0.0))
            high = min(min(t0 + high0, t1 + high1), min(t2 + high2, span - 1.0))
            spans[0, n] = np.int32(min(low, span) + (1.0 - 1e-6))
            spans[1, n] = np.int32(max(high, -1.0) + (1.0 + 1e-6))
        rows = 0
        for n in range(bottom - top):
            spans[2, rows] = n
            rows += 1 if spans[0, n] < spans[1, n] else 0
    else:
        rows = bottom - top
    for n in range(rows):
        row = np.int64(spans[2, n]) if exact else n
        first = left + spans[0, row] if exact else left
        last = left + spans[1, row] if exact else right
        y = top + row
        e0 = row0 + row * b0 * SUBPIXELS + (first - left) * step0
        e1 = row1 + row * b1 * SUBPIXELS + (first - left) * step1
        e2 = row2 + row * b2 * SUBPIXELS + (first - left) * step2
        base = y * width + first
        count = last - first
        vector = exact and count >= 8
        if vector:
            # Depths of the whole span at once: most of a long face is behind something, and done with here.
            g0, g1, g2 = np.float64(e0 + off0), np.float64(e1 + off1), np.float64(e2 + off2)
            nearer = 0
            for n in range(count):
                t = np.float64(n)
                z = np.float32(whole * (1.0 / ((g0 + t * f0) * wa + (g1 + t * f1) * wb + (g2 + t * f2) * wc)))
                zs[n] = z
                nearer += 1 if z <= depth[base + n] else 0
            count = count if nearer > 0 else 0
        for n in range(count):
            if vector and zs[n] > depth[base + n]:
                continue
            i0, i1, i2 = e0 + n * step0, e1 + n * step1, e2 + n * step2
            if (i0 | i1 | i2) < 0:
                continue
            n0, n1, n2 = np.float64(i0 + off0) * wa, np.float64(i1 + off1) * wb, np.float64(i2 + off2) * wc
            total = n0 + n1 + n2
            p = np.uintp(base + n)
            if whole > total * (1.0 + 1e-6) * depth[p]:
                continue  # clearly behind, without a division
            scale = 1.0 / total
            z = np.float32(whole * scale)
            if _wins(z, label, p, depth, face_id, piece_owner):
                depth[p] = z
                face_id[p] = label
                barycentrics[np.uintp(3 * (base + n) + ka)] = n0 * scale
                barycentrics[np.uintp(3 * (base + n) + kb)] = n1 * scale
                barycentrics[np.uintp(3 * (base + n) + kc)] = n2 * scale
                front[p] = seen_front


@njit(nogil=True, cache=True, error_model="numpy")
def _draw_grid(
    x, y, w, grid_h, grid_w, boxes, row_boxes, places, signs, y_first, y_stop, width, late,
    face_id, barycentrics, depth, front, piece_owner,
):  # fmt: skip
    """Draw the grid's small quads that reach into rows [y_first, y_stop).

    The edge functions of a strip of quads, each at its quad's first pixel, are computed in straight-line 32-bit
    integers, which the compiler turns into vector instructions. Stored is f = e where a centre exactly on the
    edge (e = 0) counts as inside, else e - 1: the sign alone is the top-left rule, and ~f is the same edge the
    other way round.

    Returns:
        How many larger quads were left to the caller, in `late`.
    """
    band_low, band_high = y_first * SUBPIXELS, y_stop * SUBPIXELS
    quads = (grid_h - 1) * (grid_w - 1)
    # Scratch in few arrays: the compiler has to prove that what a vector loop reads and writes does not overlap.
    t, hit, weight = np.empty((18, STRIP), np.int32), np.empty((6, _HITS), np.int32), np.empty((4, _HITS), np.float32)
    late_count = 0
    row_width, row_first, row_stop = np.int32(width), np.int32(y_first), np.int32(y_stop)
    upper0, upper1, upper2 = np.int64(places[0, 0]), np.int64(places[0, 1]), np.int64(places[0, 2])
    lower0, lower1, lower2 = np.int64(places[1, 0]), np.int64(places[1, 1]), np.int64(places[1, 2])
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
                        side, m = np.int64(hit[HIT_K, h] & 1), np.int64(base + (hit[HIT_K, h] >> 1))
                        m0 = hit[H0, h] * w[np.uintp(m + side)]
                        m1 = hit[H1, h] * w[np.uintp(m + grid_w)]
                        m2 = hit[H2, h] * w[np.uintp(m + 1 + side * grid_w)]
                        scale = 1.0 / (m0 + m1 + m2)
                        area = np.float64(hit[H0, h]) + np.float64(hit[H1, h]) + np.float64(hit[H2, h])
                        weight[ZS, h] = area * scale
                        weight[N0, h], weight[N1, h], weight[N2, h] = m0 * scale, m1 * scale, m2 * scale
                        hit[SIGN, h] = 1 if area > 0 else 0
                    for h in range(hits):
                        p, side = np.uintp(hit[HIT_P, h]), np.int64(hit[HIT_K, h] & 1)
                        label = i * (grid_w - 1) + j0 + (hit[HIT_K, h] >> 1) + side * quads
                        if _wins(weight[ZS, h], label, p, depth, face_id, piece_owner):
                            depth[p] = weight[ZS, h]
                            face_id[p] = label
                            front[p] = (hit[SIGN, h] == 1) != (signs[side] > 0)
                            q = 3 * np.int64(hit[HIT_P, h])
                            barycentrics[np.uintp(q + (lower0 if side else upper0))] = weight[N0, h]
                            barycentrics[np.uintp(q + (lower1 if side else upper1))] = weight[N1, h]
                            barycentrics[np.uintp(q + (lower2 if side else upper2))] = weight[N2, h]
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


@njit(nogil=True, cache=True, error_model="numpy")
def _cut(p, q, w, p2, q2, w2, inverse, low, high, q_low, q_high, w_high):
    """Widen the bounds of q and 1/w by the part of one edge with low <= p <= high."""
    if min(p, p2) > high or max(p, p2) < low:
        return q_low, q_high, w_high
    t = min(max((low - p) * inverse, 0.0), 1.0)
    t2 = min(max((high - p) * inverse, 0.0), 1.0) if p != p2 else 1.0
    end, end2 = q + t * (q2 - q), q + t2 * (q2 - q)
    q_low, q_high = min(q_low, min(end, end2)), max(q_high, max(end, end2))
    return q_low, q_high, max(w_high, max(w + t * (w2 - w), w + t2 * (w2 - w)))


@njit(nogil=True, cache=True, error_model="numpy")
def _draw_behind(
    xa, ya, wa, xb, yb, wb, xc, yc, wc, label, left, top, right, bottom, width, zs, spans, y_first, tile_far,
    face_id, barycentrics, depth, front, piece_owner,
):  # fmt: skip
    """Draw a long face, leaving out the slabs where all of it is behind what is drawn already.

    The triangles that close the mesh at its back are long, and almost all hidden: the face is walked along its
    longer side, one slab at a time.
    """
    along_x = right - left > bottom - top
    size = SLAB_COLUMNS if along_x else SLAB_ROWS
    origin, cross_origin = (0, y_first) if along_x else (y_first, 0)
    start, stop = (left, right) if along_x else (top, bottom)
    cross_start, cross_stop = (top, bottom) if along_x else (left, right)
    pa, qa = (np.float64(xa), np.float64(ya)) if along_x else (np.float64(ya), np.float64(xa))
    pb, qb = (np.float64(xb), np.float64(yb)) if along_x else (np.float64(yb), np.float64(xb))
    pc, qc = (np.float64(xc), np.float64(yc)) if along_x else (np.float64(yc), np.float64(xc))
    inverse_ab = 1.0 / (pb - pa) if pa != pb else 0.0
    inverse_bc = 1.0 / (pc - pb) if pb != pc else 0.0
    inverse_ca = 1.0 / (pa - pc) if pc != pa else 0.0
    pending = -1  # where a run of visible slabs began
    run_low, run_high = 0, 0
    last_slab = (stop - 1 - origin) // size
    for slab in range((start - origin) // size, last_slab + 1):
        first, last = max(origin + slab * size, start), min(origin + (slab + 1) * size, stop)
        # The corners of the face's part in this slab lie on its edges.
        slab_low, slab_high = np.float64(first * SUBPIXELS + HALF), np.float64((last - 1) * SUBPIXELS + HALF)
        q_low, q_high, w_high = np.inf, -np.inf, 0.0
        q_low, q_high, w_high = _cut(pa, qa, wa, pb, qb, wb, inverse_ab, slab_low, slab_high, q_low, q_high, w_high)
        q_low, q_high, w_high = _cut(pb, qb, wb, pc, qc, wc, inverse_bc, slab_low, slab_high, q_low, q_high, w_high)
        q_low, q_high, w_high = _cut(pc, qc, wc, pa, qa, wa, inverse_ca, slab_low, slab_high, q_low, q_high, w_high)
        visible = False
        low, high = cross_start, cross_stop
        if q_low <= q_high:
            # Two units of slack: these bounds are rounded; integers decide on coverage later.
            low = max(low, np.int64(math.floor(q_low) - 2 + _ROUND_UP) >> SUBPIXEL_BITS)
            high = min(high, np.int64(math.ceil(q_high) + 2 + _ROUND_UP) >> SUBPIXEL_BITS)
            for i in range((first - origin) // TILE, (last - 1 - origin) // TILE + 1):
                for j in range((low - cross_origin) // TILE, (high - 1 - cross_origin) // TILE + 1):
                    far = tile_far[j, i] if along_x else tile_far[i, j]
                    visible = visible or w_high * far >= 1.0 - 1e-6
            visible = visible and low < high
        if visible:
            run_low, run_high = (low, high) if pending < 0 else (min(low, run_low), max(high, run_high))
            pending = first if pending < 0 else pending
        if pending >= 0 and (not visible or slab == last_slab):
            end = last if visible else first
            _draw(
                xa, ya, wa, xb, yb, wb, xc, yc, wc, label, 0, 1, 2, 1,
                pending if along_x else run_low, run_low if along_x else pending,
                end if along_x else run_high, run_high if along_x else end,
                width, zs, spans, face_id, barycentrics, depth, front, piece_owner,
            )  # fmt: skip
            pending = -1


@njit(nogil=True, cache=True, error_model="numpy")
def _measure_tiles(y_first, y_stop, width, depth, tile_far):
    """Greatest depth in each tile of the band; inf where a pixel is still empty."""
    tile_far[:] = 0
    for row in range(y_first, y_stop):
        line, far = depth[row * width : (row + 1) * width], tile_far[(row - y_first) // TILE]
        for column in range(width):
            far[column // TILE] = max(far[column // TILE], line[column])


@njit(nogil=True, cache=True, error_model="numpy")
def draw_band(
    x, y, w, faces, grid_h, grid_w, boxes, row_boxes, places, signs, first_face, face_boxes, chunk_boxes, chunk,
    px, py, pw, weights, piece_owner, y_first, y_stop, width, face_id, barycentrics, depth, front,
):  # fmt: skip
    """Fill rows [y_first, y_stop) of the visibility buffer, whose arrays are given flat.

    Order for speed: first the small quads, which are the surfaces, then pieces of clipped faces and the long
    quads that bridge between surfaces, then the faces outside the grid; the later, the more is hidden.
    """
    face_id[y_first * width : y_stop * width] = -1
    barycentrics[3 * y_first * width : 3 * y_stop * width] = 0
    depth[y_first * width : y_stop * width] = np.inf
    front[y_first * width : y_stop * width] = False
    zs, spans = np.empty(width, np.float32), np.empty((3, y_stop - y_first), np.int32)
    tile_far = np.empty(((y_stop - y_first - 1) // TILE + 1, (width - 1) // TILE + 1), np.float32)
    tile_far[:] = np.inf
    band_low, band_high = y_first * SUBPIXELS, y_stop * SUBPIXELS
    quads = max(grid_h - 1, 0) * max(grid_w - 1, 0)
    late = np.empty(quads, np.int32)
    late_count = 0
    if quads > 0:
        late_count = _draw_grid(
            x, y, w, grid_h, grid_w, boxes, row_boxes, places, signs, y_first, y_stop, width, late,
            face_id, barycentrics, depth, front, piece_owner,
        )  # fmt: skip
    # One loop over all the rest, because each call of `_draw` adds to the time to compile: pieces, the two
    # triangles of each late quad, other faces.
    late_first = len(px)
    others_first = late_first + 2 * late_count
    item, stop = 0, others_first + len(face_boxes)
    while item < stop:
        if item == others_first and quads > 0:
            _measure_tiles(y_first, y_stop, width, depth, tile_far)
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
                a, b, c = a + side, a + grid_w, a + 1 + side * grid_w
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
                a, b, c = np.int64(faces[label, 0]), np.int64(faces[label, 1]), np.int64(faces[label, 2])
                if min(x[a], x[b], x[c]) == OUTSIDE:
                    item += 1
                    continue
            xa, ya, wa = np.int64(x[a]), np.int64(y[a]), w[a]
            xb, yb, wb = np.int64(x[b]), np.int64(y[b]), w[b]
            xc, yc, wc = np.int64(x[c]), np.int64(y[c]), w[c]
        left = max((min(xa, xb, xc) + _ROUND_UP) >> SUBPIXEL_BITS, 0)
        right = min((max(xa, xb, xc) + _ROUND_UP) >> SUBPIXEL_BITS, width)
        top = max((min(ya, yb, yc) + _ROUND_UP) >> SUBPIXEL_BITS, y_first)
        bottom = min((max(ya, yb, yc) + _ROUND_UP) >> SUBPIXEL_BITS, y_stop)
        if left >= right or top >= bottom:
            item += 1
            continue
        if quads > 0 and item >= others_first and right - left + bottom - top > SLAB_COLUMNS:
            _draw_behind(
                xa, ya, wa, xb, yb, wb, xc, yc, wc, label, left, top, right, bottom, width, zs, spans,
                y_first, tile_far, face_id, barycentrics, depth, front, piece_owner,
            )  # fmt: skip
        else:
            _draw(
                xa, ya, wa, xb, yb, wb, xc, yc, wc, label, ka, kb, kc, sign, left, top, right, bottom, width, zs,
                spans, face_id, barycentrics, depth, front, piece_owner,
            )  # fmt: skip
        item += 1
    if len(px) > 0:
        for p in range(y_first * width, y_stop * width):
            label = np.int64(face_id[p])
            if label < -1:
                piece = -2 - label
                face_id[p] = piece_owner[piece]
                b0, b1, b2 = barycentrics[3 * p], barycentrics[3 * p + 1], barycentrics[3 * p + 2]
                for n in range(3):
                    barycentrics[3 * p + n] = (
                        b0 * weights[piece, 0, n] + b1 * weights[piece, 1, n] + b2 * weights[piece, 2, n]
                    )
