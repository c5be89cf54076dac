"""Kernels that draw one band of rows into the visibility buffer, and blend attributes over it.

A pixel's winner is the nearest face and, of equals, the one with the lowest index: no order of drawing, and so
no split into bands, changes the result. Coverage is decided by integers; 1/w and the weights follow from the same
integers, in float64.

Kernels call only functions of their own file (see `numba_setup`).
"""

from __future__ import annotations

import numpy as np
from numba import njit

SUBPIXEL_BITS = 12
SUBPIXELS = 1 << SUBPIXEL_BITS
HALF = SUBPIXELS // 2
OUTSIDE = -(1 << 31)
STRIP = 64

TILE_ROWS = 16
TILE_COLUMNS = 32

_ROUND_UP = HALF - 1  # (x + _ROUND_UP) >> SUBPIXEL_BITS is the first pixel whose centre is at or right of x


@njit(nogil=True, cache=True, error_model="numpy")
def _owner(label, piece_owner):
    """The face behind a label: itself, or that of piece -2 - label."""
    return label if label >= -1 else piece_owner[-2 - label]


@njit(nogil=True, cache=True, error_model="numpy")
def _draw(
    xa, ya, wa, xb, yb, wb, xc, yc, wc, label, ka, kb, kc, front_sign, left, top, right, bottom,
    face_id, barycentrics, depth, front, piece_owner,
):  # fmt: skip
    """Draw triangle a, b, c into the pixels [left, right) x [top, bottom).

    Positions are snapped (int64), w are 1/w. Weights go to the places ka, kb, kc of `barycentrics`.
    `front_sign` is +1 where a, b, c is an even permutation of the face's own order, else -1.
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
    r0 = -1.0 / step0 if wide and step0 != 0 else 0.0
    r1 = -1.0 / step1 if wide and step1 != 0 else 0.0
    r2 = -1.0 / step2 if wide and step2 != 0 else 0.0
    span = np.float64(right - left)
    for y in range(top, bottom):
        first, last = left, right
        if wide:
            # Where each edge crosses this row, in pixels from `left`, rounded outwards: a bound, not a decision.
            low, high = 0.0, span
            t0, t1, t2 = row0 * r0, row1 * r1, row2 * r2
            if a0 > 0:
                low = max(low, t0)
            elif a0 < 0:
                high = min(high, t0)
            if a1 > 0:
                low = max(low, t1)
            elif a1 < 0:
                high = min(high, t1)
            if a2 > 0:
                low = max(low, t2)
            elif a2 < 0:
                high = min(high, t2)
            first = left + np.int64(min(low, span) - 1e-6)
            last = min(left + np.int64(max(high, -1.0) + 1e-6) + 1, right)
        e0 = row0 + (first - left) * step0
        e1 = row1 + (first - left) * step1
        e2 = row2 + (first - left) * step2
        for x in range(first, last):
            if (e0 | e1 | e2) >= 0:
                n0, n1, n2 = np.float64(e0 + off0) * wa, np.float64(e1 + off1) * wb, np.float64(e2 + off2) * wc
                total = n0 + n1 + n2
                z = np.float32(whole / total)
                old = depth[y, x]
                if z < old or (z == old and _owner(label, piece_owner) < _owner(np.int64(face_id[y, x]), piece_owner)):
                    scale = 1.0 / total
                    depth[y, x] = z
                    face_id[y, x] = label
                    barycentrics[y, x, ka] = n0 * scale
                    barycentrics[y, x, kb] = n1 * scale
                    barycentrics[y, x, kc] = n2 * scale
                    front[y, x] = seen_front
            e0 += step0
            e1 += step1
            e2 += step2
        row0 += b0 * SUBPIXELS
        row1 += b1 * SUBPIXELS
        row2 += b2 * SUBPIXELS


@njit(nogil=True, cache=True, error_model="numpy")
def _draw_grid(
    x, y, w, grid_h, grid_w, boxes, row_boxes, places, signs, y_first, y_stop,
    face_id, barycentrics, depth, front, piece_owner,
):  # fmt: skip
    """Draw the grid's quads that reach into rows [y_first, y_stop).

    Most quads hold at most one pixel centre. For those, all of a strip's edge functions are computed in
    straight-line float64, which is exact (they fit 27 bits) and which the compiler turns into vector
    instructions; a centre exactly on an edge, and any larger quad, is left to `_draw`.
    """
    width = face_id.shape[1]
    band_low, band_high = y_first * SUBPIXELS, y_stop * SUBPIXELS
    quads = (grid_h - 1) * (grid_w - 1)
    left, right = np.empty(STRIP, np.int32), np.empty(STRIP, np.int32)
    top, bottom = np.empty(STRIP, np.int32), np.empty(STRIP, np.int32)
    hit = np.empty(STRIP, np.int32)
    n0, n1, n2 = np.empty(STRIP, np.float64), np.empty(STRIP, np.float64), np.empty(STRIP, np.float64)
    zs = np.empty(STRIP, np.float32)
    upper0, upper1, upper2 = places[0]
    lower0, lower1, lower2 = places[1]
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
            for k in range(count):
                cx, cy = np.float64(left[k] * SUBPIXELS + HALF), np.float64(top[k] * SUBPIXELS + HALF)
                ax, ay = x0[k] - cx, y0[k] - cy  # upper left
                bx, by = x1[k] - cx, y1[k] - cy  # lower left
                dx, dy = x0[k + 1] - cx, y0[k + 1] - cy  # upper right
                ex, ey = x1[k + 1] - cx, y1[k + 1] - cy  # lower right
                bd = bx * dy - dx * by
                da = dx * ay - ax * dy
                ab = ax * by - bx * ay
                be = bx * ey - ex * by
                ed = ex * dy - dx * ey
                upper_in = (min(bd, min(da, ab)) > 0) | (max(bd, max(da, ab)) < 0)
                lower_in = (min(-bd, min(be, ed)) > 0) | (max(-bd, max(be, ed)) < 0)
                on_edge = bd * da * ab * be * ed == 0
                e0 = bd if upper_in else be
                e1 = da if upper_in else ed
                e2 = ab if upper_in else -bd
                m0 = e0 * (w0[k] if upper_in else w0[k + 1])
                m1 = e1 * w1[k]
                m2 = e2 * (w0[k + 1] if upper_in else w1[k + 1])
                area = e0 + e1 + e2
                total = m0 + m1 + m2
                scale = 1.0 / total
                zs[k] = area / total
                n0[k] = m0 * scale
                n1[k] = m1 * scale
                n2[k] = m2 * scale
                code = (1 if upper_in else 0) + (2 if lower_in else 0)
                code = 4 if on_edge else code
                hit[k] = code + (8 if area > 0 else 0)
            for k in range(count):
                if left[k] >= right[k] or top[k] >= bottom[k]:
                    continue
                code = hit[k] & 7
                if code == 0 and right[k] - left[k] == 1 and bottom[k] - top[k] == 1:
                    continue
                q = i * (grid_w - 1) + j0 + k
                if code < 3 and right[k] - left[k] == 1 and bottom[k] - top[k] == 1:
                    label = q if code == 1 else q + quads
                    px, py = left[k], top[k]
                    z = zs[k]
                    old = depth[py, px]
                    if z < old or (z == old and label < _owner(np.int64(face_id[py, px]), piece_owner)):
                        depth[py, px] = z
                        face_id[py, px] = label
                        if code == 1:
                            barycentrics[py, px, upper0] = n0[k]
                            barycentrics[py, px, upper1] = n1[k]
                            barycentrics[py, px, upper2] = n2[k]
                            front[py, px] = (hit[k] >= 8) != (signs[0] > 0)
                        else:
                            barycentrics[py, px, lower0] = n0[k]
                            barycentrics[py, px, lower1] = n1[k]
                            barycentrics[py, px, lower2] = n2[k]
                            front[py, px] = (hit[k] >= 8) != (signs[1] > 0)
                    continue
                ax, ay, aw = np.int64(x0[k]), np.int64(y0[k]), w0[k]
                bx, by, bw = np.int64(x1[k]), np.int64(y1[k]), w1[k]
                dx, dy, dw = np.int64(x0[k + 1]), np.int64(y0[k + 1]), w0[k + 1]
                ex, ey, ew = np.int64(x1[k + 1]), np.int64(y1[k + 1]), w1[k + 1]
                for side in range(2):
                    if side == 1:
                        ax, ay, aw = dx, dy, dw  # lower right: upper right, lower left, lower right
                    _draw(
                        ax, ay, aw, bx, by, bw,
                        dx if side == 0 else ex, dy if side == 0 else ey, dw if side == 0 else ew,
                        q + side * quads, places[side, 0], places[side, 1], places[side, 2], signs[side],
                        np.int64(left[k]), np.int64(top[k]), np.int64(right[k]), np.int64(bottom[k]),
                        face_id, barycentrics, depth, front, piece_owner,
                    )  # fmt: skip


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
    xa, ya, wa, xb, yb, wb, xc, yc, wc, label, left, top, right, bottom, y_first, tile_far,
    face_id, barycentrics, depth, front, piece_owner,
):  # fmt: skip
    """Draw a large face, leaving out the tiles where all of it is behind what is drawn already.

    The triangles that close the mesh at its back are long, and almost all hidden: the face is walked along its
    longer side, one tile wide slab at a time.
    """
    along_x = right - left > bottom - top
    size = TILE_COLUMNS if along_x else TILE_ROWS
    origin = 0 if along_x else y_first
    start, stop = (left, right) if along_x else (top, bottom)
    fxa, fya, fxb, fyb = np.float64(xa), np.float64(ya), np.float64(xb), np.float64(yb)
    fxc, fyc = np.float64(xc), np.float64(yc)
    for tile in range((start - origin) // size, (stop - 1 - origin) // size + 1):
        first, last = max(origin + tile * size, start), min(origin + (tile + 1) * size, stop)
        low, high = np.float64(first * SUBPIXELS + HALF), np.float64((last - 1) * SUBPIXELS + HALF)
        if along_x:
            q_low, q_high, w_high = _slab(fxa, fya, wa, fxb, fyb, wb, fxc, fyc, wc, low, high)
        else:
            q_low, q_high, w_high = _slab(fya, fxa, wa, fyb, fxb, wb, fyc, fxc, wc, low, high)
        if q_low > q_high:
            continue
        across_start, across_stop = (top, bottom) if along_x else (left, right)
        # One unit of slack: the bounds come from rounded arithmetic, coverage is decided by integers later.
        across_start = max(across_start, (np.int64(q_low) - 2 + _ROUND_UP) >> SUBPIXEL_BITS)
        across_stop = min(across_stop, (np.int64(q_high) + 2 + _ROUND_UP) >> SUBPIXEL_BITS)
        if across_start >= across_stop:
            continue
        hidden = True
        if along_x:
            for row in range((across_start - y_first) // TILE_ROWS, (across_stop - 1 - y_first) // TILE_ROWS + 1):
                hidden = hidden and w_high * tile_far[row, tile] < 1.0 - 1e-6
            if not hidden:
                _draw(
                    xa, ya, wa, xb, yb, wb, xc, yc, wc, label, 0, 1, 2, 1, first, across_start, last, across_stop,
                    face_id, barycentrics, depth, front, piece_owner,
                )  # fmt: skip
        else:
            for column in range(across_start // TILE_COLUMNS, (across_stop - 1) // TILE_COLUMNS + 1):
                hidden = hidden and w_high * tile_far[tile, column] < 1.0 - 1e-6
            if not hidden:
                _draw(
                    xa, ya, wa, xb, yb, wb, xc, yc, wc, label, 0, 1, 2, 1, across_start, first, across_stop, last,
                    face_id, barycentrics, depth, front, piece_owner,
                )  # fmt: skip


@njit(nogil=True, cache=True, error_model="numpy")
def draw_band(
    x, y, w, faces, grid_h, grid_w, boxes, row_boxes, places, signs, first_face, face_boxes, chunk_boxes, chunk,
    px, py, pw, weights, piece_owner, y_first, y_stop, face_id, barycentrics, depth, front,
):  # fmt: skip
    """Fill rows [y_first, y_stop) of the visibility buffer: pieces of clipped faces, the grid, other faces."""
    width = face_id.shape[1]
    face_id[y_first:y_stop] = -1
    barycentrics[y_first:y_stop] = 0
    depth[y_first:y_stop] = np.inf
    front[y_first:y_stop] = False
    band_low, band_high = y_first * SUBPIXELS, y_stop * SUBPIXELS
    for p in range(len(px)):
        left = max((np.int64(min(px[p, 0], px[p, 1], px[p, 2])) + _ROUND_UP) >> SUBPIXEL_BITS, 0)
        right = min((np.int64(max(px[p, 0], px[p, 1], px[p, 2])) + _ROUND_UP) >> SUBPIXEL_BITS, width)
        top = max((np.int64(min(py[p, 0], py[p, 1], py[p, 2])) + _ROUND_UP) >> SUBPIXEL_BITS, y_first)
        bottom = min((np.int64(max(py[p, 0], py[p, 1], py[p, 2])) + _ROUND_UP) >> SUBPIXEL_BITS, y_stop)
        if left < right and top < bottom:
            _draw(
                np.int64(px[p, 0]), np.int64(py[p, 0]), pw[p, 0], np.int64(px[p, 1]), np.int64(py[p, 1]), pw[p, 1],
                np.int64(px[p, 2]), np.int64(py[p, 2]), pw[p, 2], -2 - p, 0, 1, 2, 1, left, top, right, bottom,
                face_id, barycentrics, depth, front, piece_owner,
            )  # fmt: skip
    if grid_h > 1 and grid_w > 1:
        _draw_grid(
            x, y, w, grid_h, grid_w, boxes, row_boxes, places, signs, y_first, y_stop,
            face_id, barycentrics, depth, front, piece_owner,
        )  # fmt: skip
    tile_far = np.zeros(((y_stop - y_first - 1) // TILE_ROWS + 1, (width - 1) // TILE_COLUMNS + 1), np.float32)
    if grid_h > 1 and grid_w > 1 and len(face_boxes) > 0:
        for row in range(y_first, y_stop):
            for column in range(width):
                tile = column // TILE_COLUMNS
                far = tile_far[(row - y_first) // TILE_ROWS, tile]
                tile_far[(row - y_first) // TILE_ROWS, tile] = max(far, depth[row, column])
    else:
        tile_far[:] = np.inf
    for c in range(len(chunk_boxes)):
        if chunk_boxes[c, 0] >= band_high or chunk_boxes[c, 1] < band_low:
            continue
        for f in range(c * chunk, min((c + 1) * chunk, len(face_boxes))):
            if face_boxes[f, 2] >= band_high or face_boxes[f, 3] < band_low:
                continue
            left = max((np.int64(face_boxes[f, 0]) + _ROUND_UP) >> SUBPIXEL_BITS, 0)
            right = min((np.int64(face_boxes[f, 1]) + _ROUND_UP) >> SUBPIXEL_BITS, width)
            top = max((np.int64(face_boxes[f, 2]) + _ROUND_UP) >> SUBPIXEL_BITS, y_first)
            bottom = min((np.int64(face_boxes[f, 3]) + _ROUND_UP) >> SUBPIXEL_BITS, y_stop)
            if left >= right or top >= bottom:
                continue
            label = first_face + f
            i, j, k = faces[label]
            if right - left + bottom - top > 24:
                _draw_behind(
                    np.int64(x[i]), np.int64(y[i]), w[i], np.int64(x[j]), np.int64(y[j]), w[j],
                    np.int64(x[k]), np.int64(y[k]), w[k], label, left, top, right, bottom, y_first, tile_far,
                    face_id, barycentrics, depth, front, piece_owner,
                )  # fmt: skip
            else:
                _draw(
                    np.int64(x[i]), np.int64(y[i]), w[i], np.int64(x[j]), np.int64(y[j]), w[j],
                    np.int64(x[k]), np.int64(y[k]), w[k], label, 0, 1, 2, 1, left, top, right, bottom,
                    face_id, barycentrics, depth, front, piece_owner,
                )  # fmt: skip
    if len(px) > 0:
        for row in range(y_first, y_stop):
            for column in range(width):
                label = face_id[row, column]
                if label < -1:
                    piece = -2 - label
                    face_id[row, column] = piece_owner[piece]
                    b0, b1, b2 = barycentrics[row, column]
                    for n in range(3):
                        barycentrics[row, column, n] = (
                            b0 * weights[piece, 0, n] + b1 * weights[piece, 1, n] + b2 * weights[piece, 2, n]
                        )
