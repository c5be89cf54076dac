"""Kernels that draw all that is not a small quad of the grid: bridges, clipped faces, faces outside the grid.

The same rules as in `numba_grid`: nearest face, then lowest index; coverage by integers, all else from them.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from ex4d_core.raster.jit import kernel
from ex4d_core.raster.numba_setup import OUTSIDE, SUBPIXEL_BITS, SUBPIXELS

Int = int | np.integer
Real = float | np.floating
Singles = NDArray[np.float32]
Doubles = NDArray[np.float64]
Ints = NDArray[np.int32]
Bools = NDArray[np.bool_]

HALF = SUBPIXELS // 2

TILE = 8
"""Side of the tiles for which the greatest depth is kept, pixels."""

SLAB_ROWS = 16
SLAB_COLUMNS = 32

_FAR = 1e30

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
    kb: Int, kc: Int, front_sign: Int, left: Int, top: Int, right: Int, bottom: Int, width: Int, zs: Singles,
    spans: Ints, face_id: Ints, barycentrics: Singles, depth: Singles, front: Bools, piece_owner: Ints,
) -> None:  # fmt: skip
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


@kernel
def _cut(
    p: Real, q: Real, w: Real, p2: Real, q2: Real, w2: Real, inverse: Real, low: Real, high: Real,
    q_low: Real, q_high: Real, w_high: Real,
) -> tuple[Real, Real, Real]:  # fmt: skip
    """Widen the bounds of q and 1/w by the part of one edge with low <= p <= high."""
    if min(p, p2) > high or max(p, p2) < low:
        return q_low, q_high, w_high
    t = min(max((low - p) * inverse, 0.0), 1.0)
    t2 = min(max((high - p) * inverse, 0.0), 1.0) if p != p2 else 1.0
    end, end2 = q + t * (q2 - q), q + t2 * (q2 - q)
    q_low, q_high = min(q_low, min(end, end2)), max(q_high, max(end, end2))
    return q_low, q_high, max(w_high, max(w + t * (w2 - w), w + t2 * (w2 - w)))


@kernel
def _draw_behind(
    xa: Int, ya: Int, wa: Real, xb: Int, yb: Int, wb: Real, xc: Int, yc: Int, wc: Real, label: Int, ka: Int, kb: Int,
    kc: Int, front_sign: Int, left: Int, top: Int, right: Int, bottom: Int, width: Int, zs: Singles, spans: Ints,
    y_first: Int, tile_far: Singles, face_id: Ints, barycentrics: Singles, depth: Singles, front: Bools,
    piece_owner: Ints,
) -> None:  # fmt: skip
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
                xa, ya, wa, xb, yb, wb, xc, yc, wc, label, ka, kb, kc, front_sign,
                pending if along_x else run_low, run_low if along_x else pending,
                end if along_x else run_high, run_high if along_x else end,
                width, zs, spans, face_id, barycentrics, depth, front, piece_owner,
            )  # fmt: skip
            pending = -1


@kernel
def _measure_tiles(y_first: Int, y_stop: Int, width: Int, depth: Singles, tile_far: Singles) -> None:
    """Greatest depth in each tile of the band; inf where a pixel is still empty."""
    tile_far[:] = 0
    for row in range(y_first, y_stop):
        line, far = depth[row * width : (row + 1) * width], tile_far[(row - y_first) // TILE]
        for column in range(width):
            far[column // TILE] = max(far[column // TILE], line[column])


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
    zs, spans = np.empty(width, np.float32), np.empty((3, y_stop - y_first), np.int32)
    tile_far = np.empty(((y_stop - y_first - 1) // TILE + 1, (width - 1) // TILE + 1), np.float32)
    band_low, band_high = y_first * SUBPIXELS, y_stop * SUBPIXELS
    # One loop over all the rest, because each call of `_draw` adds to the time to compile: pieces, the two
    # triangles of each late quad, other faces.
    late_first = len(px)
    others_first = late_first + 2 * len(late)
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
                xa, ya, wa, xb, yb, wb, xc, yc, wc, label, ka, kb, kc, sign, left, top, right, bottom, width, zs, spans,
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
