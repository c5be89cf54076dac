"""The `torch` backend's second half: which triangle wins each pixel, exactly, on any device.

A triangle is cut into lines of pixels, along its longer side, and the ends of each line are found by integer division:
what is between them is covered, nothing else is, so that a long sliver costs no more than its pixels. Each covered
pixel offers one 64-bit number, the bits of its depth (which order as the depth does, being positive) above the
triangle's own; the least offer wins. No order of work changes that, so it is done in whatever order the device likes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from ex4d_core.raster.numba_setup import OUTSIDE, SUBPIXEL_BITS, SUBPIXELS
from ex4d_core.raster.torch_setup import CHUNK, Prepared

HALF = SUBPIXELS // 2
_ROUND_UP = HALF - 1  # (x + _ROUND_UP) >> SUBPIXEL_BITS is the first pixel whose centre is at or right of x


@dataclass(frozen=True)
class Edges:
    """Edge functions a x + b y + c of triangles, positive inside; edge k is the one that does not meet corner k."""

    a: Tensor
    """(3, P) int64."""
    b: Tensor
    c: Tensor
    slack: Tensor
    """(3, P) int64, 0 or 1, the top-left rule: a pixel is covered where no edge function is less than this."""
    area: Tensor
    """(P,) int64, twice the area; negative where the corners turn left in the picture."""

    @classmethod
    def of(cls, x: Tensor, y: Tensor) -> Edges:
        """From corners (3, P) int32: differences need 31 bits, products 61."""
        x, y = x.long(), y.long()
        x_next, x_last, y_next, y_last = x.roll(-1, 0), x.roll(1, 0), y.roll(-1, 0), y.roll(1, 0)
        a, b = y_next - y_last, x_last - x_next
        area = a[0] * (x[0] - x[1]) + b[0] * (y[0] - y[1])
        sign = torch.where(area < 0, -1, 1)
        a, b = a * sign, b * sign
        # A centre on an edge belongs to the face that lies right of the edge, or below it.
        slack = torch.where((a > 0) | ((a == 0) & (b > 0)), 0, 1)
        return cls(a, b, -(a * x_next + b * y_next), slack, area)


def clear(width: int, height: int, device: torch.device) -> Tensor:
    """A picture (height * width,) int64 without offers: infinitely far, and no label is lower."""
    empty = torch.tensor([torch.inf], device=device).view(torch.int32).long() << 32
    return empty.repeat(width * height)


def draw(scene: Prepared, corners: Tensor, labels: Tensor, width: int, height: int, picture: Tensor) -> None:
    """Offer the pixels of triangles to a picture.

    Args:
        scene: what the corners are of.
        corners: (3, P) int64, of each triangle; one with a corner outside is left out.
        labels: (P,) int64, 0 to 2^32 - 1: of two triangles at one depth the lower one wins.
        width: of the picture.
        height: of the picture.
        picture: see `clear`.
    """
    box, kept = _boxes(scene.x[corners], scene.y[corners], width, height)
    corners, labels = corners[:, kept], labels[kept]
    edges, inverse_w = Edges.of(scene.x[corners], scene.y[corners]), scene.inverse_w[corners]
    area = edges.area.abs().double()
    left, right, top, bottom = box
    # Along a line runs p, from line to line goes q.
    upright = right - left < bottom - top
    along, across = torch.where(upright, edges.b, edges.a), torch.where(upright, edges.a, edges.b)
    p_low, p_high = torch.where(upright, top, left), torch.where(upright, bottom, right)
    q_low, q_high = torch.where(upright, left, top), torch.where(upright, right, bottom)
    p_step, q_step = torch.where(upright, width, 1), torch.where(upright, 1, width)
    at_start = edges.c + along * HALF + across * (q_low * SUBPIXELS + HALF)  # (3, P), at p = 0 of the first line
    for owner, nth in expand(torch.where(edges.area == 0, 0, q_high - q_low)):
        step = along[:, owner] * SUBPIXELS  # (3, L)
        at_line = at_start[:, owner] + across[:, owner] * (nth * SUBPIXELS)
        room = at_line - edges.slack[:, owner]
        reach = room.div(step.abs().clamp(min=1), rounding_mode="floor")  # steps until the edge
        first, last = torch.where(step > 0, -reach, 0), torch.where(step < 0, reach, width + height)
        first = torch.maximum(torch.maximum(first[0], first[1]), torch.maximum(first[2], p_low[owner]))
        last = torch.minimum(torch.minimum(last[0], last[1]), torch.minimum(last[2], p_high[owner] - 1))
        missed = (step == 0) & (room < 0)
        pixels = torch.where(missed[0] | missed[1] | missed[2], 0, (last - first + 1).clamp(min=0))
        origin = (q_low[owner] + nth) * q_step[owner]
        for line, further in expand(pixels):
            triangle, p = owner[line], first[line] + further
            total, _ = weigh(at_line[:, line] + step[:, line] * p, inverse_w[:, triangle])
            z = (area[triangle] * (1.0 / total)).float()
            offer = (z.view(torch.int32).long() << 32) | labels[triangle]
            picture.scatter_reduce_(0, origin[line] + p * p_step[triangle], offer, "amin")


def _boxes(x: Tensor, y: Tensor, width: int, height: int) -> tuple[tuple[Tensor, ...], Tensor]:
    """Bounds of triangles, corners (3, P) int32, in pixels, for those that may cover a pixel's centre; and which
    these are (half of a mesh lies between the centres).

    Returns:
        Left, right, top, bottom, each (Q,) int64, and (Q,) int64.
    """
    low_x = torch.minimum(torch.minimum(x[0], x[1]), x[2])
    left = ((low_x + _ROUND_UP) >> SUBPIXEL_BITS).clamp(min=0)
    right = ((torch.maximum(torch.maximum(x[0], x[1]), x[2]) + _ROUND_UP) >> SUBPIXEL_BITS).clamp(max=width)
    top = ((torch.minimum(torch.minimum(y[0], y[1]), y[2]) + _ROUND_UP) >> SUBPIXEL_BITS).clamp(min=0)
    bottom = ((torch.maximum(torch.maximum(y[0], y[1]), y[2]) + _ROUND_UP) >> SUBPIXEL_BITS).clamp(max=height)
    kept = ((low_x != OUTSIDE) & (left < right) & (top < bottom)).nonzero()[:, 0]
    return tuple(side[kept].long() for side in (left, right, top, bottom)), kept


def weigh(e: Tensor, inverse_w: Tensor) -> tuple[Tensor, Tensor]:
    """Edge functions and 1/w, both (3, P) -> their products' sum (P,), and the products (3, P), float64."""
    n = e.double() * inverse_w
    return n[0] + n[1] + n[2], n


def expand(counts: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Owner and place 0..count - 1 of each of an owner's items, about `CHUNK` items at a time.

    Args:
        counts: (P,) int64, items of each owner, at most 65536 (`MAX_SIDE`): by so much may a chunk be larger.
    """
    ends = counts.cumsum(0)
    total = int(ends[-1]) if len(ends) else 0
    if total == 0:
        return
    cuts, before = [0], [0]
    if total > CHUNK:
        at = torch.searchsorted(ends, torch.arange(CHUNK, total, CHUNK, device=ends.device)).unique()
        cuts, before = [0, *at.tolist()], [0, *(ends - counts)[at].tolist()]
    for low, high, start, stop in zip(cuts, [*cuts[1:], len(counts)], before, [*before[1:], total], strict=True):
        owners = torch.arange(low, high, device=counts.device)
        owner = owners.repeat_interleave(counts[low:high], output_size=stop - start)
        yield owner, torch.arange(start, stop, device=counts.device) - (ends - counts)[owner]
