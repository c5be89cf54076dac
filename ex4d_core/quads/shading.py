"""From the quads that samples hit to colour and mask (method `quads`): compiled loops over one frame.

Samples stand at the centres of the target's pixels, half way to their neighbours, and at their corners: two by two a
pixel, nine around each, as neighbours share them. The centre decides most on the mask; with a grid of samples that
leaves the centre out, every straight edge would be moved by up to a quarter of a pixel.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from ex4d_core.quads.links import ALL, REACH, SIDE
from ex4d_core.quads.solid import Solid
from ex4d_core.raster import Raster

_SHARPNESS = -0.4
"""B of the cubic filters of Mitchell and Netravali (1988), with 2 C = 1 - B. Measured on rendered truth: below 0 it
makes up for the softness of samples that are averaged; PSNR is flat from -0.2 to -0.6."""

_PLAIN = 0.51
"""Where samples are no further apart than this, in source pixels, and no edge is near, the centre alone is sampled, by
a kernel that interpolates: there is nothing to average, and the source view stays what it is."""

_LEAST_WEIGHT = 0.5
"""Least weight that a surface's own pixels need in the cubic kernel; with less, they are blended bilinearly."""


@dataclass(frozen=True)
class Shaded:
    """What the pixels of the target show."""

    color: NDArray[np.uint8]
    """(h, w, 3) uint8 sRGB, black where the mask is False."""
    mask: NDArray[np.bool_]
    """(h, w), True = the source camera saw more than half of the pixel, samples weighed 4 (centre), 2 and 1."""
    depth: NDArray[np.float32]
    """(h, w) float32, z-depth; of the centre, or where that is unseen of the nearest seen sample; inf: nothing."""
    source_xy: NDArray[np.float32]
    """(h, w, 2) float32, where that sample is in the source frame, pixels; 0 where the mask is False."""
    face: NDArray[np.int32]
    """(h, w), the face that it hits; -1 where the mask is False."""


def shade(raster: Raster, solid: Solid, color: NDArray[np.uint8], links: NDArray[np.int32]) -> Shaded:
    """Resolve samples into pixels.

    Seen is the front of a quad. Colours are sampled with a cubic kernel that takes pixels of the quad's own surface
    only; those of unseen samples take no part.

    Args:
        raster: (2h + 1, 2w + 1) visibility of the solid.
        solid: the quads.
        color: (H, W, 3) uint8 sRGB, the source frame, see `mixture.separate`.
        links: (H, W) int32, see `find_links`.
    """
    rows, columns = raster.face_id.shape
    height, width = rows // 2, columns // 2
    position, own = np.empty((rows, columns, 2), np.float32), np.empty((rows, columns), np.int32)
    _locate(raster.face_id, raster.barycentrics, raster.front, solid.faces, solid.uv, solid.pixel, *solid.size,
            position, own)  # fmt: skip
    samples = np.empty((rows, columns, 3), np.float32)
    _sample(color, links, position, own, np.float32(_SHARPNESS), np.float32(_LEAST_WEIGHT), samples)
    shaded = Shaded(
        color=np.zeros((height, width, 3), np.uint8),
        mask=np.zeros((height, width), np.bool_),
        depth=np.empty((height, width), np.float32),
        source_xy=np.zeros((height, width, 2), np.float32),
        face=np.full((height, width), -1, np.int32),
    )
    _resolve(
        color, links, samples, own, raster.depth, raster.face_id, position, np.float32(_PLAIN),
        shaded.color, shaded.mask, shaded.depth, shaded.source_xy, shaded.face,
    )  # fmt: skip
    return shaded


@numba.njit(cache=True, nogil=True)
def _locate(
    face_id: Any, weights: Any, front: Any, faces: Any, uv: Any, pixel: Any, height: Any, width: Any, position: Any,
    own: Any,
) -> None:  # pragma: no cover  # fmt: skip
    """The source position of each sample, and whose quad it sees the front of; -1: nobody's."""
    quads = height * width
    lattice = (height + 1) * (width + 1)
    for y in range(face_id.shape[0]):
        for x in range(face_id.shape[1]):
            f = face_id[y, x]
            own[y, x] = -1
            if f < 0 or front[y, x]:  # the winding's normal points away from the source camera
                continue
            if f < 2 * quads:
                # Corners on the lattice: below, here, right; or below, right, last.
                lower = f >= quads
                p = f - quads if lower else f
                own[y, x] = p
                row, column = p // width, p % width
                b0, b1, b2 = weights[y, x, 0], weights[y, x, 1], weights[y, x, 2]
                position[y, x, 0] = column + (b1 + b2 if lower else b2)
                position[y, x, 1] = row + (b0 + b2 if lower else b0)
            elif pixel[f - 2 * quads] >= 0:
                own[y, x] = pixel[f - 2 * quads]
                u, v = np.float32(0), np.float32(0)
                for k in range(3):
                    i = faces[f, k] - lattice
                    u += weights[y, x, k] * uv[i, 0]
                    v += weights[y, x, k] * uv[i, 1]
                position[y, x, 0], position[y, x, 1] = u, v


@numba.njit(cache=True, nogil=True)
def _cubic(t: Any, b: Any, kernel: Any) -> None:  # pragma: no cover
    """Weights of the four pixels around a point, t pixels right of the second one's centre."""
    c = (1 - b) / 2
    for n in range(4):
        d = abs(t - np.float32(n - 1))
        if d < 1:
            value = ((12 - 9 * b - 6 * c) * d + (12 * b + 6 * c - 18)) * d * d + (6 - 2 * b)
        else:
            value = (((-b - 6 * c) * d + (6 * b + 30 * c)) * d + (-12 * b - 48 * c)) * d + (8 * b + 24 * c)
        kernel[n] = value / np.float32(6) if d < 2 else np.float32(0)


@numba.njit(cache=True, nogil=True)
def _look_up(
    color: Any, links: Any, u: Any, v: Any, p: Any, sharpness: Any, least: Any, across: Any, down: Any
) -> Any:  # pragma: no cover
    """Red, green and blue at the source position (u, v) on the quad of pixel p; `across`, `down` (4,): scratch."""
    height, width, _ = color.shape
    half, one, zero = np.float32(0.5), np.float32(1), np.float32(0)
    row, column = p // width, p % width
    u, v = u - half, v - half
    x0, y0 = int(np.floor(u)), int(np.floor(v))
    tx, ty = np.float32(u - x0), np.float32(v - y0)
    _cubic(tx, sharpness, across)
    _cubic(ty, sharpness, down)
    red, green, blue = zero, zero, zero
    bits = links[row, column]
    if bits == ALL and 1 <= y0 < height - 2 and 1 <= x0 < width - 2:
        for j in range(4):
            r, g, b = zero, zero, zero
            for i in range(4):
                r += across[i] * color[y0 - 1 + j, x0 - 1 + i, 0]
                g += across[i] * color[y0 - 1 + j, x0 - 1 + i, 1]
                b += across[i] * color[y0 - 1 + j, x0 - 1 + i, 2]
            red, green, blue = red + down[j] * r, green + down[j] * g, blue + down[j] * b
        return red, green, blue
    total = zero
    for attempt in range(2):
        total, red, green, blue = zero, zero, zero, zero
        for j in range(attempt, 4 - attempt):
            for i in range(attempt, 4 - attempt):
                dy, dx = y0 - 1 + j - row + REACH, x0 - 1 + i - column + REACH
                if not (0 <= dy < SIDE and 0 <= dx < SIDE) or not (bits >> (dy * SIDE + dx)) & 1:
                    continue
                weight = across[i] * down[j]
                if attempt == 1:
                    weight = (tx if i == 2 else one - tx) * (ty if j == 2 else one - ty)
                r, c = min(max(y0 - 1 + j, 0), height - 1), min(max(x0 - 1 + i, 0), width - 1)
                total += weight
                red += weight * color[r, c, 0]
                green += weight * color[r, c, 1]
                blue += weight * color[r, c, 2]
        if total >= (least if attempt == 0 else np.float32(1e-3)):
            return red / total, green / total, blue / total
    # An edge that was moved further than its own pixel.
    return np.float32(color[row, column, 0]), np.float32(color[row, column, 1]), np.float32(color[row, column, 2])


@numba.njit(cache=True, nogil=True)
def _sample(
    color: Any, links: Any, position: Any, own: Any, sharpness: Any, least: Any, samples: Any
) -> None:  # pragma: no cover
    """The colour of each sample that sees a quad."""
    across, down = np.empty(4, np.float32), np.empty(4, np.float32)
    for y in range(own.shape[0]):
        for x in range(own.shape[1]):
            if own[y, x] >= 0:
                samples[y, x, 0], samples[y, x, 1], samples[y, x, 2] = _look_up(
                    color, links, position[y, x, 0], position[y, x, 1], own[y, x], sharpness, least, across, down
                )


@numba.njit(cache=True, nogil=True)
def _is_plain(links: Any, position: Any, own: Any, j: Any, i: Any, limit: Any) -> Any:  # pragma: no cover
    """Whether the nine samples around (j, i) are of one surface, and no further apart in the source than `limit`."""
    width = links.shape[1]
    if own[j, i] < 0 or links[own[j, i] // width, own[j, i] % width] != ALL:
        return False
    for n in range(j - 1, j + 2):
        for m in range(i - 1, i + 2):
            if own[n, m] < 0:
                return False
            if abs(position[n, m, 0] - position[j, i, 0]) > limit or abs(position[n, m, 1] - position[j, i, 1]) > limit:
                return False
    return True


@numba.njit(cache=True, nogil=True)
def _resolve(
    color: Any, links: Any, samples: Any, own: Any, depth: Any, face_id: Any, position: Any, limit: Any, shown: Any,
    mask: Any, depths: Any, source: Any, face: Any,
) -> None:  # pragma: no cover  # fmt: skip
    """Average the nine samples around each pixel's centre that see something."""
    height, width = mask.shape
    across, down = np.empty(4, np.float32), np.empty(4, np.float32)
    half = np.float32(0.5)
    for y in range(height):
        for x in range(width):
            total, red, green, blue = np.float32(0), np.float32(0), np.float32(0), np.float32(0)
            at_y, at_x = 2 * y + 1, 2 * x + 1
            nearest = np.float32(np.inf)
            for j in range(2 * y, 2 * y + 3):
                for i in range(2 * x, 2 * x + 3):
                    if own[j, i] < 0:
                        continue
                    weight = np.float32((2 - abs(j - 2 * y - 1)) * (2 - abs(i - 2 * x - 1)))
                    total += weight
                    red += weight * samples[j, i, 0]
                    green += weight * samples[j, i, 1]
                    blue += weight * samples[j, i, 2]
                    if own[2 * y + 1, 2 * x + 1] < 0 and depth[j, i] < nearest:
                        nearest = depth[j, i]
                        at_y, at_x = j, i
            if total <= 8:
                depths[y, x] = depth[2 * y + 1, 2 * x + 1]
                continue
            mask[y, x] = True
            depths[y, x] = depth[at_y, at_x]
            face[y, x] = face_id[at_y, at_x]
            source[y, x, 0], source[y, x, 1] = position[at_y, at_x, 0], position[at_y, at_x, 1]
            red, green, blue = red / total, green / total, blue / total
            if _is_plain(links, position, own, 2 * y + 1, 2 * x + 1, limit):
                u, v = position[2 * y + 1, 2 * x + 1, 0], position[2 * y + 1, 2 * x + 1, 1]
                red, green, blue = _look_up(
                    color, links, u, v, own[2 * y + 1, 2 * x + 1], np.float32(0), half, across, down
                )
            shown[y, x, 0] = np.uint8(min(max(red, np.float32(0)), np.float32(255)) + half)
            shown[y, x, 1] = np.uint8(min(max(green, np.float32(0)), np.float32(255)) + half)
            shown[y, x, 2] = np.uint8(min(max(blue, np.float32(0)), np.float32(255)) + half)
