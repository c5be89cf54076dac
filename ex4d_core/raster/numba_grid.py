"""The kernel that draws the small quads of a grid: nearly all of a DW-Mesh.

A pixel's winner is the nearest face and, of equals, the one with the lowest index: no order of drawing, and so
no split into bands, changes the result. Coverage is decided by integers; 1/w and the weights follow from the same
integers, in float64.

The work is cut into loops without branches over short lists, which the compiler turns into vector instructions: where
are the quads of a strip, and then, pixel by pixel of their boxes but all quads at once, which of them hit it. A branch
per quad would be a coin toss, and costs more than the work that it saves. What remains are the hits themselves.
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

SMALL = 16 * SUBPIXELS
_SMALL_AREA = 100
"""A quad is small if its box is smaller than this across and down, and has at most this area in pixels: then its edge
functions fit 32 bits. They are twice the area of triangles within its box, so for up to 128 pixels."""

_SIDE = 4
"""Quads whose box has more columns or rows of pixels are looked at apart from the others of their strip; where few have
three or more of them, those too."""

_GROUP = 16
"""So many of those together."""

# Where the rows of `draw_grid`'s scratch begin. `c` has an entry for each quad of a strip, and a second one for some:
# its upper left vertex, the first pixel of its box, how many columns and rows that has (0: it is not drawn here); its
# corners (upper left, lower left, upper right, lower right) from that pixel's centre; for each edge 0 where a centre on
# it (e = 0) counts as inside, else -1: with it added, the sign of e alone is the top-left rule.
# Where an index is a `uintp`, numba makes no check for one from the end, which would cost a vector loop its vectors.
_ROWS_OF_C = 17
QUAD, PIXEL, COLUMNS, ROWS, AX, AY, BX, BY, DX, DY, EX, EY, ON_BD, ON_DA, ON_AB, ON_BE, ON_ED = (
    n * 2 * STRIP for n in range(_ROWS_OF_C)
)
# `t` has an entry for each quad of a strip: its first pixel, how it is drawn; a list of some.
LEFT, TOP, KIND, LIST = (n * (STRIP + 8) for n in range(4))
# `d` has, for each place in the boxes (each twice), an entry for each quad: which triangle hits that pixel (1 the upper
# left, 2 the lower right one, and 4 if its front is seen), its edge functions there. Then how far each place is from
# the first pixel, and a list.
_PLACES = 2 * 16 * 16
CODE, E0, E1, E2, HIT = (n * _PLACES * STRIP for n in range(5))
STEP = 5 * _PLACES * STRIP
_DENSE = STEP + _PLACES

_FEW = 32
"""Of up to so many quads a list is made, so that no time is lost with the others of their strip."""

_PROBE = 8
"""Each so many-th quad of a strip is tried first for whether it is hidden."""

_ROUND_UP = HALF - 1  # (x + _ROUND_UP) >> SUBPIXEL_BITS is the first pixel whose centre is at or right of x


@kernel
def _hit_place(c: Ints, d: Ints, count: Int, u: Int, v: Int, place: Int, again: Int, turns: Int) -> Int:
    """Which of `count` quads hit the pixel `u` right of and `v` below their first one: place `place` of `d`.

    A folded quad may hit it with both triangles: with its upper left one, and `again` with its lower right one.
    If the front of an upper left triangle with a negative area is seen, `turns` has bit 1; if of a lower right one, 2.

    Returns:
        Not 0 if any quad hits it with both.
    """
    folded = np.int32(0)
    across, down = np.int32(u * SUBPIXELS), np.int32(v * SUBPIXELS)
    column, row, once = np.int32(u), np.int32(v), np.int32(-1 if again == 0 else 0)
    turn_upper, turn_lower = np.int32(-(turns & 1)), np.int32(-(turns >> 1))
    out = d[place * STRIP :]
    for n in range(count):
        ax, ay = np.int32(c[AX + n] - across), np.int32(c[AY + n] - down)
        bx, by = np.int32(c[BX + n] - across), np.int32(c[BY + n] - down)
        dx, dy = np.int32(c[DX + n] - across), np.int32(c[DY + n] - down)
        ex, ey = np.int32(c[EX + n] - across), np.int32(c[EY + n] - down)
        bd, be, ed = np.int32(bx * dy - dx * by), np.int32(bx * ey - ex * by), np.int32(ex * dy - dx * ey)
        da, ab = np.int32(dx * ay - ax * dy), np.int32(ax * by - bx * ay)
        f_bd, f_da, f_ab = np.int32(bd + c[ON_BD + n]), np.int32(da + c[ON_DA + n]), np.int32(ab + c[ON_AB + n])
        f_be, f_ed = np.int32(be + c[ON_BE + n]), np.int32(ed + c[ON_ED + n])
        in_box = (column < c[COLUMNS + n]) & (row < c[ROWS + n])
        area_upper, area_lower = np.int32(bd + da + ab), np.int32(be + ed - bd)
        upper = (((f_bd ^ f_da) | (f_bd ^ f_ab)) >= 0) & (area_upper != 0)  # 0: all on one line
        lower = (((~f_bd ^ f_be) | (~f_bd ^ f_ed)) >= 0) & (area_lower != 0)
        both = upper & lower & in_box
        folded = np.int32(folded | both)
        first = upper & (once != 0)
        area, turn = area_upper if first else area_lower, turn_upper if first else turn_lower
        hit = np.int32(1) if first else (np.int32(2) if lower else np.int32(0))
        hit |= np.int32(4) if (np.int32(area ^ turn) >= 0) & (hit != 0) else np.int32(0)
        out[CODE + n] = (hit if in_box else np.int32(0)) & (once | np.int32(-1 if both else 0))
        out[E0 + n] = bd if first else be
        out[E1 + n] = da if first else ed
        out[E2 + n] = ab if first else np.int32(-bd)
    return folded


@kernel
def _hit_pixels(c: Ints, d: Ints, count: Int, columns: Int, rows: Int, width: Int, turns: Int) -> Int:
    """Find which pixels of their boxes, of up to `columns` by `rows`, quads hit; the list of entries stands in `HIT`.

    Returns:
        How many.
    """
    to, place = np.uintp(HIT), np.int64(0)
    for v in range(rows):
        for u in range(columns):
            for again in range(2):
                d[STEP + place] = v * width + u
                folded = _hit_place(c, d, count, u, v, place, again, turns)
                for n in range(place * STRIP, place * STRIP + count):
                    # Written always, kept where true: no branch to mispredict.
                    d[to] = np.int32(n)
                    to += np.uintp(1) if d[np.uintp(n)] != 0 else np.uintp(0)
                place += 1
                if folded == 0:
                    break
    return np.int64(to) - HIT


@kernel
def _set_apart(c: Ints, listed: Ints, several: Int) -> None:
    """Move the quads that are listed to entries from `STRIP` on."""
    for m in range(several):
        k = np.int64(listed[m])
        for r in range(_ROWS_OF_C):
            c[r * 2 * STRIP + STRIP + m] = c[r * 2 * STRIP + k]
        c[COLUMNS + k] = 0
    while several % _GROUP != 0:
        c[COLUMNS + STRIP + several], c[ROWS + STRIP + several] = 0, 0
        several += 1


@kernel
def _is_hidden(c: Ints, t: Ints, k: Int, base: Int, below: Int, w: Doubles, width: Int, depth: Singles) -> bool:
    """Whether something nearer was drawn at each pixel of quad k's box; True where it is not drawn."""
    nearest = max(max(w[base + k], w[base + k + 1]), max(w[below + k], w[below + k + 1]))
    limit = np.float32((1.0 - 1e-6) / nearest)
    columns, first = np.int64(c[COLUMNS + k]), np.int64(t[TOP + k]) * width + t[LEFT + k]
    for v in range(np.int64(c[ROWS + k])):
        for p in range(first + v * width, first + v * width + columns):
            if depth[np.uintp(p)] >= limit:
                return False
    return True


@kernel
def _drop_hidden(c: Ints, t: Ints, count: Int, base: Int, below: Int, w: Doubles, width: Int, depth: Singles) -> None:
    """Draw no quad that is hidden; looked for only where one of some is."""
    probed = False
    for k in range(_PROBE // 2, count, _PROBE):
        if c[COLUMNS + k] > 0 and _is_hidden(c, t, k, base, below, w, width, depth):
            probed = True
            break
    if probed:
        for k in range(count):
            if c[COLUMNS + k] > 0 and _is_hidden(c, t, k, base, below, w, width, depth):
                c[COLUMNS + k] = 0


@kernel
def _keep_nearest(
    c: Ints, d: Ints, hits: Int, w: Doubles, row: Int, grid_w: Int, quads: Int, places: Ints, face_id: Ints,
    barycentrics: Singles, depth: Singles, front: Bools,
) -> None:  # fmt: skip
    """Draw what `_hit_pixels` found in one row of the grid; no barycentrics if there is no place for them."""
    weights = len(barycentrics) > 0
    for h in range(hits):
        m = np.uintp(d[HIT + h])
        n, place = m & np.uintp(STRIP - 1), m // np.uintp(STRIP)
        code, a = np.int64(d[np.uintp(CODE) + m]), np.int64(c[np.uintp(QUAD) + n])
        side = (code >> 1) & 1
        p = np.uintp(c[np.uintp(PIXEL) + n] + d[np.uintp(STEP) + place])
        e0, e1, e2 = np.float64(d[np.uintp(E0) + m]), np.float64(d[np.uintp(E1) + m]), np.float64(d[np.uintp(E2) + m])
        m0 = e0 * w[np.uintp(a + side)]
        m1 = e1 * w[np.uintp(a + grid_w)]
        m2 = e2 * w[np.uintp(a + 1 + side * grid_w)]
        scale = 1.0 / (m0 + m1 + m2)
        z = np.float32((e0 + e1 + e2) * scale)
        label = a - row + side * quads
        if z < depth[p] or (z == depth[p] and label < face_id[p]):
            depth[p] = z
            face_id[p] = label
            front[p] = code > 2
            if weights:
                q = 3 * np.int64(p)
                barycentrics[np.uintp(q + places[side, 0])] = m0 * scale
                barycentrics[np.uintp(q + places[side, 1])] = m1 * scale
                barycentrics[np.uintp(q + places[side, 2])] = m2 * scale


@kernel
def _empty(first: Int, stop: Int, face_id: Ints, barycentrics: Singles, depth: Singles, front: Bools) -> Int:
    """See nothing in the pixels first..stop; returns up to where the buffer is ready for drawing.

    Called just ahead of the drawing: what is written then lies in the cache.
    """
    if stop <= first:
        return first
    face_id[first:stop], depth[first:stop], front[first:stop] = -1, np.inf, False
    barycentrics[3 * first : 3 * stop] = 0
    return stop


@kernel
def draw_grid(
    x: Ints, y: Ints, w: Doubles, grid_h: Int, grid_w: Int, apart: Int, boxes: Ints, row_boxes: Ints, places: Ints,
    signs: Ints, y_first: Int, y_stop: Int, width: Int, late: Ints, face_id: Ints, barycentrics: Singles,
    depth: Singles, front: Bools,
) -> Int:  # fmt: skip
    """Empty rows [y_first, y_stop) of the visibility buffer, whose arrays are given flat, and draw the grid's small
    quads into them. From row `apart` of the grid on only every second cell is a quad.

    Returns:
        How many larger quads were left to `numba_draw`; `late` holds their upper left vertices.
    """
    ready = y_first * width
    band_low, band_high = y_first * SUBPIXELS, y_stop * SUBPIXELS
    quads = (grid_h - 1) * (grid_w - 1)
    # Scratch in few arrays: the compiler has to prove that what a vector loop reads and writes does not overlap.
    c, t, d = (
        np.zeros(_ROWS_OF_C * 2 * STRIP, np.int32),
        np.empty(4 * (STRIP + 8), np.int32),
        np.empty(_DENSE, np.int32),
    )
    turns = np.int64((signs[0] > 0) + 2 * (signs[1] > 0))
    late_count = 0
    row_width, row_first, row_stop = np.int32(width), np.int32(y_first), np.int32(y_stop)
    for i in range(grid_h - 1):
        if row_boxes[i, 0] >= band_high or row_boxes[i, 1] < band_low:
            continue
        ready = _empty(
            ready, min((np.int64(row_boxes[i, 1]) >> SUBPIXEL_BITS) + 1, y_stop) * width, face_id, barycentrics, depth,
            front,
        )  # fmt: skip
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
            first_quad = np.int32(base)
            # Slices, because an index that starts at 0 is known not to be negative, and so loads are contiguous.
            x0, x1 = x[base : base + count + 1], x[below : below + count + 1]
            y0, y1 = y[base : base + count + 1], y[below : below + count + 1]
            most_x, most_y, largest = np.int32(0), np.int32(0), np.int32(0)
            between = np.int32(0 if i < apart else 1)
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
                # 0: no pixel, 1: small, 2: too large for 32 bits.
                # In sixteenths of a pixel, of which 16 * 16 make a pixel's area.
                area = np.int32(np.int32(across >> (SUBPIXEL_BITS - 4)) * np.int32(down >> (SUBPIXEL_BITS - 4)))
                kind = np.int32(1) if (across < SMALL) & (down < SMALL) & (area < _SMALL_AREA * 256) else np.int32(2)
                kind = kind if (columns > 0) & (rows > 0) else np.int32(0)
                # A triangle without the corner that cannot be drawn: as with large ones.
                kind = (
                    np.int32(2)
                    if (x_low <= MISSING) & (min(x0[k + 1], x1[k]) > MISSING) & (max(x0[k], x1[k + 1]) > MISSING)
                    else kind
                )
                kind = kind if (np.int32(k) & between) == 0 else np.int32(0)
                columns, rows = columns if kind == 1 else np.int32(0), rows if kind == 1 else np.int32(0)
                most_x, most_y, largest = max(most_x, columns), max(most_y, rows), max(largest, kind)
                t[KIND + k], t[LEFT + k], t[TOP + k] = kind, x_first, y_start
                c[COLUMNS + k], c[ROWS + k] = columns, rows
            if largest > 1:
                large = 0
                for k in range(count):  # written always, kept where true: no branch to mispredict
                    t[LIST + large] = k
                    large += 1 if t[KIND + k] == 2 else 0
                for n in range(large):
                    late[late_count + n] = base + t[LIST + n]
                late_count += large
            if most_x == 0:
                continue
            _drop_hidden(c, t, count, base, below, w, width, depth)
            live, over_two, over_three = np.int32(0), np.int32(0), np.int32(0)
            for k in range(count):
                longer = max(c[COLUMNS + k], c[ROWS + k]) if c[COLUMNS + k] > 0 else np.int32(0)
                live += np.int32(1) if longer > 0 else np.int32(0)
                over_two += np.int32(1) if longer > 2 else np.int32(0)
                over_three += np.int32(1) if longer > 3 else np.int32(0)
            if live == 0:
                continue
            side = np.int32(2 if over_two <= _GROUP else (3 if over_three <= _GROUP else _SIDE))
            side = np.int32(0) if live <= _FEW else side
            for k in range(count):
                px, py = t[LEFT + k], t[TOP + k]
                cx, cy = np.int32(px * SUBPIXELS + HALF), np.int32(py * SUBPIXELS + HALF)
                ax, ay, bx, by = x0[k], y0[k], x1[k], y1[k]
                dx, dy, ex, ey = x0[k + 1], y0[k + 1], x1[k + 1], y1[k + 1]
                c[AX + k], c[AY + k] = np.int32(ax - cx), np.int32(ay - cy)
                c[BX + k], c[BY + k] = np.int32(bx - cx), np.int32(by - cy)
                c[DX + k], c[DY + k] = np.int32(dx - cx), np.int32(dy - cy)
                c[EX + k], c[EY + k] = np.int32(ex - cx), np.int32(ey - cy)
                c[ON_BD + k] = np.int32(0) if (by > dy) | ((by == dy) & (dx > bx)) else np.int32(-1)
                c[ON_DA + k] = np.int32(0) if (dy > ay) | ((dy == ay) & (ax > dx)) else np.int32(-1)
                c[ON_AB + k] = np.int32(0) if (ay > by) | ((ay == by) & (bx > ax)) else np.int32(-1)
                c[ON_BE + k] = np.int32(0) if (by > ey) | ((by == ey) & (ex > bx)) else np.int32(-1)
                c[ON_ED + k] = np.int32(0) if (ey > dy) | ((ey == dy) & (dx > ex)) else np.int32(-1)
                c[PIXEL + k] = np.int32(py * row_width + px)
                c[QUAD + k] = np.int32(first_quad + np.int32(k))
            for k in range(count, STRIP):
                c[COLUMNS + k] = 0
            several = 0
            if max(most_x, most_y) > side:
                for k in range(count):
                    t[LIST + several] = k
                    several += 1 if (c[COLUMNS + k] > 0) & (max(c[COLUMNS + k], c[ROWS + k]) > side) else 0
                _set_apart(c, t[LIST:], several)
            # In a loop, because each call adds to the time to compile.
            for group in range(0 if several < live else 1, 1 + (several + _GROUP - 1) // _GROUP):
                if group == 0:
                    some, entries = c[0:], STRIP
                    columns_most, rows_most = min(most_x, side), min(most_y, side)
                else:
                    some, entries = c[STRIP + (group - 1) * _GROUP :], _GROUP
                    columns_most, rows_most = np.int32(0), np.int32(0)
                    for k in range(_GROUP):
                        columns_most, rows_most = max(columns_most, some[COLUMNS + k]), max(rows_most, some[ROWS + k])
                hits = _hit_pixels(some, d, entries, columns_most, rows_most, width, turns)
                _keep_nearest(some, d, hits, w, i, grid_w, quads, places, face_id, barycentrics, depth, front)
    _empty(ready, y_stop * width, face_id, barycentrics, depth, front)
    return late_count
