"""`torch_draw.draw` as two Triton kernels: the same pixels from the same integers, with two launches for a hundred.

One kernel counts the lines of pixels of each triangle, the other draws a line in each lane. Products and sums are kept
apart (`enable_fp_fusion=False`), so that depths round as everywhere else, and the picture is the same, bit for bit.
With TRITON_INTERPRET=1 Triton runs these kernels in NumPy, without a GPU: that is how they are tested.
"""

# Triton's own compiler types the kernels: to Python they are text.
# pyright: reportMissingParameterType=false, reportOperatorIssue=false, reportCallIssue=false

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from ex4d_core.raster import numba_setup
from ex4d_core.raster.torch_setup import CHUNK, Prepared

_BITS = tl.constexpr(numba_setup.SUBPIXEL_BITS)
_SUBPIXELS = tl.constexpr(numba_setup.SUBPIXELS)
_HALF = tl.constexpr(numba_setup.SUBPIXELS // 2)
_OUTSIDE = tl.constexpr(numba_setup.OUTSIDE)

_BLOCK = 32
"""Lanes of a program, one warp: all wait for the longest line among them."""


def draw(scene: Prepared, corners: Tensor, labels: Tensor, width: int, height: int, picture: Tensor) -> None:
    """See `torch_draw.draw`."""
    triangles = len(labels)
    if triangles == 0:
        return
    corners = corners.contiguous()
    lines = torch.empty_like(labels)
    _count[(triton.cdiv(triangles, _BLOCK),)](
        scene.x, scene.y, corners, lines, triangles, width, height, BLOCK=_BLOCK, num_warps=1
    )
    ends = lines.cumsum(0)
    total = int(ends[-1])
    for start in range(0, total, CHUNK):
        count = min(CHUNK, total - start)
        item = torch.arange(start, start + count, device=labels.device)
        owner = torch.searchsorted(ends, item, right=True)
        _draw[(triton.cdiv(count, _BLOCK),)](
            scene.x, scene.y, scene.inverse_w, corners, labels, owner, item - (ends - lines)[owner], picture,
            count, triangles, width, height, BLOCK=_BLOCK, num_warps=1, enable_fp_fusion=False,
        )  # fmt: skip


@triton.jit
def _load(x_ptr, y_ptr, corner_ptr, triangle, triangles, real):
    """Positions of a triangle's corners, int64; all 0 in lanes that have none."""
    a = tl.load(corner_ptr + triangle, mask=real, other=0)
    b = tl.load(corner_ptr + triangles + triangle, mask=real, other=0)
    c = tl.load(corner_ptr + 2 * triangles + triangle, mask=real, other=0)
    xa, ya = tl.load(x_ptr + a, mask=real, other=0).to(tl.int64), tl.load(y_ptr + a, mask=real, other=0).to(tl.int64)
    xb, yb = tl.load(x_ptr + b, mask=real, other=0).to(tl.int64), tl.load(y_ptr + b, mask=real, other=0).to(tl.int64)
    xc, yc = tl.load(x_ptr + c, mask=real, other=0).to(tl.int64), tl.load(y_ptr + c, mask=real, other=0).to(tl.int64)
    return a, b, c, xa, ya, xb, yb, xc, yc


@triton.jit
def _bounds(a, b, c, side):
    """First pixel whose centre is at or beyond the least of three positions, and at or beyond the greatest."""
    low = (tl.minimum(tl.minimum(a, b), c) + (_HALF - 1)) >> _BITS
    high = (tl.maximum(tl.maximum(a, b), c) + (_HALF - 1)) >> _BITS
    return tl.maximum(low, 0), tl.minimum(high, side)


@triton.jit
def _area(xa, ya, xb, yb, xc, yc):
    return (yb - yc) * (xa - xb) + (xc - xb) * (ya - yb)


@triton.jit
def _count(x_ptr, y_ptr, corner_ptr, lines_ptr, triangles, width, height, BLOCK: tl.constexpr):
    """How many lines, along its longer side, a triangle is drawn in; 0 if it has a corner outside or no pixel."""
    triangle = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    real = triangle < triangles
    _, _, _, xa, ya, xb, yb, xc, yc = _load(x_ptr, y_ptr, corner_ptr, triangle, triangles, real)
    left, right = _bounds(xa, xb, xc, width)
    top, bottom = _bounds(ya, yb, yc, height)
    kept = (tl.minimum(tl.minimum(xa, xb), xc) != _OUTSIDE) & (_area(xa, ya, xb, yb, xc, yc) != 0)
    kept = kept & (left < right) & (top < bottom)
    tl.store(lines_ptr + triangle, tl.where(kept, tl.minimum(right - left, bottom - top), 0), mask=real)


@triton.jit
def _edge(x, y, x2, y2, sign, upright, q):
    """One edge on one line of pixels: its value at p = 0, what a pixel adds to it, the first and last pixel inside.

    `torch_draw.Edges` and `torch_draw.draw` say what these are.
    """
    a, b = (y - y2) * sign, (x2 - x) * sign
    along, across = tl.where(upright, b, a), tl.where(upright, a, b)
    slack = tl.where((a > 0) | ((a == 0) & (b > 0)), 0, 1)
    at = along * _HALF + across * (q * _SUBPIXELS + _HALF) - (a * x + b * y)
    step = along * _SUBPIXELS
    room = at - slack
    # Rounded down; the operands are not negative, as Triton's integer division rounds towards 0.
    whole = tl.where(room < 0, -1 - room, room) // tl.maximum(tl.abs(step), 1)
    reach = tl.where(room < 0, -1 - whole, whole)
    first = tl.where(step > 0, -reach, tl.where((step == 0) & (room < 0), 1 << 30, 0))
    return at, step, first, tl.where(step < 0, reach, 1 << 29)


@triton.jit
def _draw(
    x_ptr, y_ptr, w_ptr, corner_ptr, label_ptr, owner_ptr, nth_ptr, picture_ptr, lines, triangles, width, height,
    BLOCK: tl.constexpr,
):  # fmt: skip
    """Offer the pixels of one line of a triangle in each lane."""
    line = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    real = line < lines
    triangle = tl.load(owner_ptr + line, mask=real, other=0)
    a, b, c, xa, ya, xb, yb, xc, yc = _load(x_ptr, y_ptr, corner_ptr, triangle, triangles, real)
    wa = tl.load(w_ptr + a, mask=real, other=1.0)
    wb = tl.load(w_ptr + b, mask=real, other=1.0)
    wc = tl.load(w_ptr + c, mask=real, other=1.0)
    left, right = _bounds(xa, xb, xc, width)
    top, bottom = _bounds(ya, yb, yc, height)
    area = _area(xa, ya, xb, yb, xc, yc)
    sign = tl.where(area < 0, -1, 1).to(tl.int64)
    upright = right - left < bottom - top
    q = tl.where(upright, left, top) + tl.load(nth_ptr + line, mask=real, other=0)
    at0, step0, first0, last0 = _edge(xb, yb, xc, yc, sign, upright, q)
    at1, step1, first1, last1 = _edge(xc, yc, xa, ya, sign, upright, q)
    at2, step2, first2, last2 = _edge(xa, ya, xb, yb, sign, upright, q)
    first = tl.maximum(tl.maximum(first0, first1), tl.maximum(first2, tl.where(upright, top, left)))
    last = tl.minimum(tl.minimum(last0, last1), tl.minimum(last2, tl.where(upright, bottom, right) - 1))
    pixels = tl.where(real, last - first + 1, 0)
    label = tl.load(label_ptr + triangle, mask=real, other=0)
    origin = q * tl.where(upright, 1, width) + first * tl.where(upright, width, 1)
    p_step = tl.where(upright, width, 1)
    size = tl.abs(area).to(tl.float64)
    most = tl.max(pixels, axis=0)
    n = most * 0
    while n < most:
        live = n < pixels
        e0, e1, e2 = at0 + step0 * (first + n), at1 + step1 * (first + n), at2 + step2 * (first + n)
        total = e0.to(tl.float64) * wa + e1.to(tl.float64) * wb + e2.to(tl.float64) * wc
        z = (size * (1.0 / tl.where(live, total, 1.0))).to(tl.float32)
        offer = (z.to(tl.int32, bitcast=True).to(tl.int64) << 32) | label
        tl.atomic_min(picture_ptr + origin + n * p_step, offer, mask=live, sem="relaxed")
        n += 1
