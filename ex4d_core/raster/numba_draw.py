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

TILE_ROWS = 16
TILE_COLUMNS = 32

_HITS = 256

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
    xa, ya, wa, xb, yb, wb, xc, yc, wc, label, ka, kb, kc, front_sign, left, top, right, bottom, width, zs,
    face_id, barycentrics, depth, front, piece_owner,
):  # fmt: skip
    """Draw triangle a, b, c into the pixels [left, right) x [top, bottom).

    Positions are snapped (int64), w are 1/w. Weights go to the places ka, kb, kc of `barycentrics`.
    `front_sign` is +1 where a, b, c is an even permutation of the face's own order, else -1. `zs` is scratch.
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
    wide = right - left > 4
    step0, step1, step2 = a0 * SUBPIXELS, a1 * SUBPIXELS, a2 * SUBPIXELS
    f0, f1, f2 = np.float64(step0), np.float64(step1), np.float64(step2)
    r0 = -1.0 / f0 if wide and step0 != 0 else 0.0
    r1 = -1.0 / f1 if wide and step1 != 0 else 0.0
    r2 = -1.0 / f2 if wide and step2 != 0 else 0.0
    span = np.float64(right - left)
    # Below this size edge functions are exact in float64, however they are summed up.
    exact = max(abs(a0), abs(a1), abs(a2), abs(b0), abs(b1), abs(b2)) < 1 << 25
    for y in range(top, bottom):
        first, last = left, right
        if wide:
            # Where each edge crosses this row, in pixels from `left`, rounded outwards: a bound, not a decision.
            low, high = 0.0, span
            t0, t1, t2 = row0 * r0, row1 * r1, row2 * r2
            low = max(low, t0) if a0 > 0 else low
            high = min(high, t0) if a0 < 0 else high
            low = max(low, t1) if a1 > 0 else low
            high = min(high, t1) if a1 < 0 else high
            low = max(low, t2) if a2 > 0 else low
            high = min(high, t2) if a2 < 0 else high
            first = left + np.int64(min(low, span) - 1e-6)
            last = min(left + np.int64(max(high, -1.0) + 1e-6) + 1, right)
        e0 = row0 + (first - left) * step0
        e1 = row1 + (first - left) * step1
        e2 = row2 + (first - left) * step2
        row0 += b0 * SUBPIXELS
        row1 += b1 * SUBPIXELS
        row2 += b2 * SUBPIXELS
        vector = exact and last - first >= 8
        if vector:
            g0, g1, g2 = np.float64(e0 + off0), np.float64(e1 + off1), np.float64(e2 + off2)
            for n in range(last - first):
                t = np.float64(n)
                zs[n] = whole / ((g0 + t * f0) * wa + (g1 + t * f1) * wb + (g2 + t * f2) * wc)
        for x in range(first, last):
            if (e0 | e1 | e2) >= 0:
                p = np.uintp(y * width + x)
                if not vector or zs[x - first] <= depth[p]:
                    n0 = np.float64(e0 + off0) * wa
                    n1 = np.float64(e1 + off1) * wb
                    n2 = np.float64(e2 + off2) * wc
                    total = n0 + n1 + n2
                    z = np.float32(whole / total)
                    if _wins(z, label, p, depth, face_id, piece_owner):
                        scale = 1.0 / total
                        depth[p] = z
                        face_id[p] = label
                        barycentrics[np.uintp(3 * (y * width + x) + ka)] = n0 * scale
                        barycentrics[np.uintp(3 * (y * width + x) + kb)] = n1 * scale
                        barycentrics[np.uintp(3 * (y * width + x) + kc)] = n2 * scale
                        front[p] = seen_front
            e0 += step0
            e1 += step1
            e2 += step2


@njit(nogil=True, cache=True, error_model="numpy")
def _draw_grid(
    x, y, w, grid_h, grid_w, boxes, row_boxes, places, signs, y_first, y_stop, width, zs, late,
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
    left, right = np.empty(STRIP, np.int32), np.empty(STRIP, np.int32)
    top, bottom = np.empty(STRIP, np.int32), np.empty(STRIP, np.int32)
    small = np.empty(STRIP, np.int32)
    f_bd, f_da, f_ab = np.empty(STRIP, np.int32), np.empty(STRIP, np.int32), np.empty(STRIP, np.int32)
    f_be, f_ed, off = np.empty(STRIP, np.int32), np.empty(STRIP, np.int32), np.empty(STRIP, np.int32)
    # Pixels hit by a triangle of the strip: 2 k + side, pixel, edge functions.
    hit_k, hit_p = np.empty(_HITS, np.int32), np.empty(_HITS, np.int32)
    h0, h1, h2 = np.empty(_HITS, np.int32), np.empty(_HITS, np.int32), np.empty(_HITS, np.int32)
    n0, n1, n2 = np.empty(_HITS, np.float32), np.empty(_HITS, np.float32), np.empty(_HITS, np.float32)
    late_count = 0
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
            x0, y0, w0 = x[base : base + count + 1], y[base : base + count + 1], w[base : base + count + 1]
            below = base + grid_w
            x1, y1, w1 = x[below : below + count + 1], y[below : below + count + 1], w[below : below + count + 1]
            for k in range(count):
                x_low = min(min(x0[k], x0[k + 1]), min(x1[k], x1[k + 1]))
                x_high = max(max(x0[k], x0[k + 1]), max(x1[k], x1[k + 1]))
                y_low = min(min(y0[k], y0[k + 1]), min(y1[k], y1[k + 1]))
                y_high = max(max(y0[k], y0[k + 1]), max(y1[k], y1[k + 1]))
                left[k] = max((x_low + _ROUND_UP) >> SUBPIXEL_BITS, 0)
                right[k] = -1 if x_low == OUTSIDE else min((x_high + _ROUND_UP) >> SUBPIXEL_BITS, width)
                top[k] = max((y_low + _ROUND_UP) >> SUBPIXEL_BITS, y_first)
                bottom[k] = min((y_high + _ROUND_UP) >> SUBPIXEL_BITS, y_stop)
                small[k] = max(x_high - x_low, y_high - y_low) < SMALL
            for k in range(count):
                # Corners relative to the first pixel centre: a upper left, b lower left, d upper right, e last.
                cx, cy = np.int32(left[k] * SUBPIXELS + HALF), np.int32(top[k] * SUBPIXELS + HALF)
                ax, ay = np.int32(x0[k] - cx), np.int32(y0[k] - cy)
                bx, by = np.int32(x1[k] - cx), np.int32(y1[k] - cy)
                dx, dy = np.int32(x0[k + 1] - cx), np.int32(y0[k + 1] - cy)
                ex, ey = np.int32(x1[k + 1] - cx), np.int32(y1[k + 1] - cy)
                o_bd = 0 if (by > dy) | ((by == dy) & (dx > bx)) else 1
                o_da = 0 if (dy > ay) | ((dy == ay) & (ax > dx)) else 1
                o_ab = 0 if (ay > by) | ((ay == by) & (bx > ax)) else 1
                o_be = 0 if (by > ey) | ((by == ey) & (ex > bx)) else 1
                o_ed = 0 if (ey > dy) | ((ey == dy) & (dx > ex)) else 1
                f_bd[k] = bx * dy - dx * by - o_bd
                f_da[k] = dx * ay - ax * dy - o_da
                f_ab[k] = ax * by - bx * ay - o_ab
                f_be[k] = bx * ey - ex * by - o_be
                f_ed[k] = ex * dy - dx * ey - o_ed
                off[k] = o_bd + 2 * o_da + 4 * o_ab + 8 * o_be + 16 * o_ed
            hits = 0
            for k in range(count + 1):
                if k == count or hits > _HITS - 2 * (SMALL // SUBPIXELS + 1) ** 2:
                    for n in range(hits):
                        m, side = hit_k[n] >> 1, hit_k[n] & 1
                        m0 = h0[n] * w0[m + side]
                        m1 = h1[n] * w1[m]
                        m2 = h2[n] * (w1[m + 1] if side else w0[m + 1])
                        total = m0 + m1 + m2
                        scale = 1.0 / total
                        zs[n] = (np.float64(h0[n]) + np.float64(h1[n]) + np.float64(h2[n])) / total
                        n0[n] = m0 * scale
                        n1[n] = m1 * scale
                        n2[n] = m2 * scale
                    for n in range(hits):
                        p, side = np.uintp(hit_p[n]), np.int64(hit_k[n] & 1)
                        label = i * (grid_w - 1) + j0 + (hit_k[n] >> 1) + side * quads
                        if _wins(zs[n], label, p, depth, face_id, piece_owner):
                            depth[p] = zs[n]
                            face_id[p] = label
                            area = np.int64(h0[n]) + h1[n] + h2[n]
                            front[p] = (area > 0) != (signs[side] > 0)
                            b = 3 * np.int64(hit_p[n])
                            barycentrics[np.uintp(b + (lower0 if side else upper0))] = n0[n]
                            barycentrics[np.uintp(b + (lower1 if side else upper1))] = n1[n]
                            barycentrics[np.uintp(b + (lower2 if side else upper2))] = n2[n]
                    hits = 0
                    if k == count:
                        break
                if left[k] >= right[k] or top[k] >= bottom[k]:
                    continue
                if not small[k]:
                    late[late_count] = base + k
                    late_count += 1
                    continue
                o = np.int64(off[k])
                first_bd, first_da, first_ab = np.int64(f_bd[k]), np.int64(f_da[k]), np.int64(f_ab[k])
                first_be, first_ed = np.int64(f_be[k]), np.int64(f_ed[k])
                for py in range(top[k], bottom[k]):
                    for px in range(left[k], right[k]):
                        bd, da, ab, be, ed = first_bd, first_da, first_ab, first_be, first_ed
                        if px != left[k] or py != top[k]:
                            right_by, down_by = (px - left[k]) * SUBPIXELS, (py - top[k]) * SUBPIXELS
                            bd += right_by * (y1[k] - y0[k + 1]) + down_by * (x0[k + 1] - x1[k])
                            da += right_by * (y0[k + 1] - y0[k]) + down_by * (x0[k] - x0[k + 1])
                            ab += right_by * (y0[k] - y1[k]) + down_by * (x1[k] - x0[k])
                            be += right_by * (y1[k] - y1[k + 1]) + down_by * (x1[k + 1] - x1[k])
                            ed += right_by * (y1[k + 1] - y0[k + 1]) + down_by * (x0[k + 1] - x1[k + 1])
                        # Written always, kept where hit: no branch to mispredict.
                        e_bd = bd + (o & 1)
                        hit_k[hits], hit_p[hits] = 2 * k, py * width + px
                        h0[hits], h1[hits], h2[hits] = e_bd, da + ((o >> 1) & 1), ab + ((o >> 2) & 1)
                        hits += 1 if ((bd ^ da) | (bd ^ ab)) >= 0 else 0
                        hit_k[hits], hit_p[hits] = 2 * k + 1, py * width + px
                        h0[hits], h1[hits], h2[hits] = be + ((o >> 3) & 1), ed + (o >> 4), -e_bd
                        hits += 1 if ((~bd ^ be) | (~bd ^ ed)) >= 0 else 0
    return late_count


@njit(nogil=True, cache=True, error_model="numpy")
def _slab(pa, qa, wa, pb, qb, wb, pc, qc, wc, low, high):
    """The part of a triangle with low <= p <= high: least and greatest q, and greatest 1/w, in it.

    Its corners lie on the triangle's edges, so each edge is cut to the slab and its ends are looked at.
    """
    q_low, q_high, w_high = np.inf, -np.inf, 0.0
    for n in range(3):
        p, q, w = (pa, qa, wa) if n == 0 else ((pb, qb, wb) if n == 1 else (pc, qc, wc))
        p2, q2, w2 = (pb, qb, wb) if n == 0 else ((pc, qc, wc) if n == 1 else (pa, qa, wa))
        if min(p, p2) > high or max(p, p2) < low:
            continue
        for m in range(2):
            bound = low if m == 0 else high
            t = np.float64(m) if p == p2 else min(max((bound - p) / (p2 - p), 0.0), 1.0)
            end = q + t * (q2 - q)
            q_low, q_high = min(q_low, end), max(q_high, end)
            w_high = max(w_high, w + t * (w2 - w))
    return q_low, q_high, w_high


@njit(nogil=True, cache=True, error_model="numpy")
def _draw_behind(
    xa, ya, wa, xb, yb, wb, xc, yc, wc, label, ka, kb, kc, front_sign, left, top, right, bottom, width, zs,
    y_first, tile_far, face_id, barycentrics, depth, front, piece_owner,
):  # fmt: skip
    """Draw a large face, leaving out the tiles where all of it is behind what is drawn already.

    The triangles that close the mesh at its back are long, and almost all hidden: the face is walked along its
    longer side, one tile wide slab at a time.
    """
    along_x = right - left > bottom - top
    size = TILE_COLUMNS if along_x else TILE_ROWS
    origin = 0 if along_x else y_first
    start, stop = (left, right) if along_x else (top, bottom)
    cross_size, cross_origin = (TILE_ROWS, y_first) if along_x else (TILE_COLUMNS, 0)
    cross_start, cross_stop = (top, bottom) if along_x else (left, right)
    pa, qa = (np.float64(xa), np.float64(ya)) if along_x else (np.float64(ya), np.float64(xa))
    pb, qb = (np.float64(xb), np.float64(yb)) if along_x else (np.float64(yb), np.float64(xb))
    pc, qc = (np.float64(xc), np.float64(yc)) if along_x else (np.float64(yc), np.float64(xc))
    pending = -1  # where a run of visible slabs began
    run_low, run_high = 0, 0
    last_tile = (stop - 1 - origin) // size
    for tile in range((start - origin) // size, last_tile + 1):
        first, last = max(origin + tile * size, start), min(origin + (tile + 1) * size, stop)
        q_low, q_high, w_high = _slab(
            pa, qa, wa, pb, qb, wb, pc, qc, wc,
            np.float64(first * SUBPIXELS + HALF), np.float64((last - 1) * SUBPIXELS + HALF),
        )  # fmt: skip
        visible = False
        low, high = cross_start, cross_stop
        if q_low <= q_high:
            # Two units of slack: these bounds are rounded; integers decide on coverage later.
            low = max(low, np.int64(math.floor(q_low) - 2 + _ROUND_UP) >> SUBPIXEL_BITS)
            high = min(high, np.int64(math.ceil(q_high) + 2 + _ROUND_UP) >> SUBPIXEL_BITS)
            for across in range((low - cross_origin) // cross_size, (high - 1 - cross_origin) // cross_size + 1):
                far = tile_far[across, tile] if along_x else tile_far[tile, across]
                visible = visible or w_high * far >= 1.0 - 1e-6
            visible = visible and low < high
        if visible:
            run_low, run_high = (low, high) if pending < 0 else (min(low, run_low), max(high, run_high))
            pending = first if pending < 0 else pending
        if pending >= 0 and (not visible or tile == last_tile):
            end = last if visible else first
            _draw(
                xa, ya, wa, xb, yb, wb, xc, yc, wc, label, ka, kb, kc, front_sign,
                pending if along_x else run_low, run_low if along_x else pending,
                end if along_x else run_high, run_high if along_x else end,
                width, zs, face_id, barycentrics, depth, front, piece_owner,
            )  # fmt: skip
            pending = -1


@njit(nogil=True, cache=True, error_model="numpy")
def _measure_tiles(y_first, y_stop, width, depth, tile_far):
    """Greatest depth in each tile of the band; inf where a pixel is still empty."""
    tile_far[:] = 0
    for row in range(y_first, y_stop):
        for tile in range(tile_far.shape[1]):
            far = np.float32(0)
            for p in range(row * width + tile * TILE_COLUMNS, row * width + min((tile + 1) * TILE_COLUMNS, width)):
                far = max(far, depth[p])
            tile_row = (row - y_first) // TILE_ROWS
            tile_far[tile_row, tile] = max(tile_far[tile_row, tile], far)


@njit(nogil=True, cache=True, error_model="numpy")
def draw_band(
    x, y, w, faces, grid_h, grid_w, boxes, row_boxes, places, signs, first_face, face_boxes, chunk_boxes, chunk,
    px, py, pw, weights, piece_owner, y_first, y_stop, width, face_id, barycentrics, depth, front,
):  # fmt: skip
    """Fill rows [y_first, y_stop) of the visibility buffer, whose arrays are given flat.

    Order for speed: first the surfaces (pieces of clipped faces, small quads), then the long faces that bridge
    between surfaces, then the faces outside the grid; the later, the more is hidden and can be left out.
    """
    face_id[y_first * width : y_stop * width] = -1
    barycentrics[3 * y_first * width : 3 * y_stop * width] = 0
    depth[y_first * width : y_stop * width] = np.inf
    front[y_first * width : y_stop * width] = False
    zs = np.empty(max(width, _HITS), np.float32)
    tile_far = np.empty(((y_stop - y_first - 1) // TILE_ROWS + 1, (width - 1) // TILE_COLUMNS + 1), np.float32)
    tile_far[:] = np.inf
    band_low, band_high = y_first * SUBPIXELS, y_stop * SUBPIXELS
    quads = max(grid_h - 1, 0) * max(grid_w - 1, 0)
    late = np.empty(quads, np.int32)
    late_count = 0
    if quads > 0:
        late_count = _draw_grid(
            x, y, w, grid_h, grid_w, boxes, row_boxes, places, signs, y_first, y_stop, width, zs, late,
            face_id, barycentrics, depth, front, piece_owner,
        )  # fmt: skip
    # One loop over everything that is left, so that the drawing code is compiled once: pieces, the two
    # triangles of each late quad, other faces.
    late_first = len(px)
    others_first = late_first + 2 * late_count
    item, stop = 0, others_first + len(face_boxes)
    while item < stop:
        if quads > 0 and item in (late_first, others_first):
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
        item += 1
        left = max((min(xa, xb, xc) + _ROUND_UP) >> SUBPIXEL_BITS, 0)
        right = min((max(xa, xb, xc) + _ROUND_UP) >> SUBPIXEL_BITS, width)
        top = max((min(ya, yb, yc) + _ROUND_UP) >> SUBPIXEL_BITS, y_first)
        bottom = min((max(ya, yb, yc) + _ROUND_UP) >> SUBPIXEL_BITS, y_stop)
        if left < right and top < bottom:
            _draw_behind(
                xa, ya, wa, xb, yb, wb, xc, yc, wc, label, ka, kb, kc, sign, left, top, right, bottom, width, zs,
                y_first, tile_far, face_id, barycentrics, depth, front, piece_owner,
            )  # fmt: skip
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
