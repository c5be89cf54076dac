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

_LEAST_WEIGHT = 0.8
"""Least weight that a surface's own pixels need in the cubic kernel; with less, they are blended bilinearly."""

_AVERAGED, _ALONE = 1, 2
"""What samples are wanted for, see `_choose`."""

_CHUNK = 128
"""Samples that are blended together."""

# The rows of a scratch of `_sample`'s, of numbers for each sample: which it is; the pixel in the upper left corner of
# its 4x4 kernel; its links, shifted so that bit 0 is that pixel's; what a pixel of the kernel has.
_SAMPLE, _BASE, _BITS, _TAPS = range(4)


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


def shade(
    raster: Raster,
    solid: Solid,
    color: NDArray[np.uint8],
    links: NDArray[np.int32],
    source_from_sample: NDArray[np.float64],
) -> Shaded:
    """Resolve samples into pixels.

    Seen is the front of a quad. Colours are sampled with a cubic kernel that takes pixels of the quad's own surface
    only; those of unseen samples take no part.

    Args:
        raster: (2h + 1, 2w + 1) visibility of the solid, barycentrics not needed.
        solid: the quads.
        color: (H, W, 3) uint8 sRGB, the source frame, see `mixture.separate`.
        links: (H, W) int32, see `find_links`.
        source_from_sample: (3, 4) float64, takes (x z, y z, z, 1) of a sample at (x, y), pixels of `raster`, and depth
            z to (u w, v w, w), where the source camera sees it, pixels.
    """
    rows, columns = raster.face_id.shape
    height, width = rows // 2, columns // 2
    position, own = np.empty((rows, columns, 2), np.float32), np.empty((rows, columns), np.int32)
    _locate(raster.depth, tuple(source_from_sample.ravel().tolist()), position.reshape(-1))
    _find_owners(
        raster.face_id.reshape(-1), raster.front.reshape(-1), *solid.size, solid.grid[1] - 1, len(solid.faces) // 2,
        solid.apart, solid.pixel, own.reshape(-1),
    )  # fmt: skip
    wanted, samples = np.zeros((rows, columns), np.uint8), np.empty((rows, columns, 3), np.float32)
    _choose(links, position, own, np.float32(_PLAIN), wanted)
    packed = np.zeros((*color.shape[:2], 4), np.uint8)
    packed[..., :3] = color
    _sample(
        color,
        packed.view(np.int32).reshape(-1),
        links,
        position,
        own,
        wanted,
        np.float32(_SHARPNESS),
        np.float32(_LEAST_WEIGHT),
        samples,
    )
    shaded = Shaded(
        color=np.zeros((height, width, 3), np.uint8),
        mask=np.zeros((height, width), np.bool_),
        depth=np.empty((height, width), np.float32),
        source_xy=np.zeros((height, width, 2), np.float32),
        face=np.full((height, width), -1, np.int32),
    )
    _resolve(
        samples, wanted, own, raster.depth, raster.face_id, position,
        shaded.color, shaded.mask, shaded.depth, shaded.source_xy, shaded.face,
    )  # fmt: skip
    return shaded


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _locate(depth: Any, matrix: Any, at: Any) -> None:  # pragma: no cover
    """Where the source camera sees each sample: what stands there at its depth; rubbish where nothing does."""
    m00, m01, m02, m03, m10, m11, m12, m13, m20, m21, m22, m23 = matrix
    columns = depth.shape[1]
    for row in range(len(depth)):
        y = row + 0.5
        u0, v0, w0 = m01 * y + m02, m11 * y + m12, m21 * y + m22
        line, out = depth[row], at[2 * row * columns : 2 * (row + 1) * columns]
        for n in range(columns):
            x, z = np.float64(np.int32(n)) + 0.5, np.float64(line[n])
            inverse = 1.0 / ((m20 * x + w0) * z + m23)
            out[2 * n] = ((m00 * x + u0) * z + m03) * inverse
            out[2 * n + 1] = ((m10 * x + v0) * z + m13) * inverse


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _find_owners(
    faces: Any, fronts: Any, height: Any, width: Any, cells: Any, half: Any, apart: Any, pixel: Any, own: Any
) -> None:  # pragma: no cover
    """Whose quad each sample sees the front of: its pixel, or -1, nobody's.

    `cells` a row of the grid, `half` as many as it has; the rows of it from `apart` on are the loose ones'.
    """
    share, least, first_loose = 1.0 / cells, np.int32(half), np.int32(apart)
    row_cells, row_pixels, rows = np.int32(cells), np.int32(width), np.int32(height)
    each = np.int32((cells + 1) // 2)
    for n in range(len(faces)):
        f = faces[n]
        cell = np.int32(f - least) if f >= least else f
        row = np.int32((np.float64(cell) + 0.5) * share)  # exact: half a cell is more than what rounding makes
        column = np.int32(cell - np.int32(row * row_cells))
        quad = np.int32(np.int32(np.int32(row - first_loose) >> 1) * each + (column >> 1))
        owner = np.int32(row * row_pixels + column) if row < rows else np.int32(-1)
        owner = np.int32(-2 - quad) if row >= first_loose else owner
        # The winding's normal points away from the source camera.
        own[n] = owner if (f >= 0) & (not fronts[n]) else np.int32(-1)
    for n in range(len(own)):
        if own[n] < -1:
            own[n] = pixel[-2 - own[n]]


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _choose(links: Any, position: Any, own: Any, limit: Any, wanted: Any) -> None:  # pragma: no cover
    """Which samples need a colour: `_AVERAGED` those around pixels that are seen, `_ALONE` the centres of plain ones.

    Plain is a pixel whose nine samples are of one surface, and no further apart in the source than `limit`.
    """
    flat_links, at, owner, out = links.reshape(-1), position.reshape(-1), own.reshape(-1), wanted.reshape(-1)
    rows, columns = own.shape
    for y in range(1, rows, 2):
        for x in range(1, columns, 2):
            n = y * columns + x
            corners = np.int32(owner[n - columns - 1] >= 0) + np.int32(owner[n - columns + 1] >= 0)
            corners += np.int32(owner[n + columns - 1] >= 0) + np.int32(owner[n + columns + 1] >= 0)
            sides = np.int32(owner[n - 1] >= 0) + np.int32(owner[n + 1] >= 0)
            sides += np.int32(owner[n - columns] >= 0) + np.int32(owner[n + columns] >= 0)
            middle = np.int32(owner[n] >= 0)
            if corners + 2 * sides + 4 * middle <= 8:
                continue
            if corners + sides + middle == 9 and flat_links[owner[n]] == ALL:
                u, v = at[2 * n], at[2 * n + 1]
                near = True
                for j in (n - columns, n, n + columns):
                    for m in range(j - 1, j + 2):
                        near = near and max(abs(at[2 * m] - u), abs(at[2 * m + 1] - v)) <= limit
                if near:
                    out[n] = _ALONE
                    continue
            for j in (n - columns, n, n + columns):
                out[j - 1] = out[j] = out[j + 1] = _AVERAGED


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _look_up(color: Any, links: Any, u: Any, v: Any, p: Any, sharpness: Any, least: Any) -> Any:  # pragma: no cover
    """Red, green and blue at the source position (u, v) on the quad of pixel p, anywhere in the frame."""
    height, width, _ = color.shape
    half, one, zero = np.float32(0.5), np.float32(1), np.float32(0)
    row, column = p // width, p % width
    u, v = u - half, v - half
    x0, y0 = int(np.floor(u)), int(np.floor(v))
    tx, ty = np.float32(u - x0), np.float32(v - y0)
    bits = links[row, column]
    for attempt in range(2):
        total, red, green, blue = zero, zero, zero, zero
        for j in range(attempt, 4 - attempt):
            for i in range(attempt, 4 - attempt):
                dy, dx = y0 - 1 + j - row + REACH, x0 - 1 + i - column + REACH
                if not (0 <= dy < SIDE and 0 <= dx < SIDE) or not (bits >> (dy * SIDE + dx)) & 1:
                    continue
                if attempt == 0:
                    weight = _cubic(tx - np.float32(i - 1), sharpness) * _cubic(ty - np.float32(j - 1), sharpness)
                else:
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


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _cubic(t: Any, b: Any) -> Any:  # pragma: no cover
    """Weight of a pixel whose centre is t pixels away, at most 2. All float32: a bare number would make it float64."""
    d, b3 = abs(t), np.float32(3) * b
    near = ((np.float32(9) - b3 - b3) * d + (b3 + b3 + b3 - np.float32(15))) * d * d + (np.float32(6) - b - b)
    far = ((b + b - np.float32(3)) * d + (np.float32(15) - b3 - b3 - b3)) * d
    far = (far + (np.float32(12) * b - np.float32(24))) * d + (np.float32(12) - b3 - b)
    return (near if d < np.float32(1) else far) * np.float32(1 / 6)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _blend(packed: Any, width: Any, count: Any, ints: Any, at: Any, weights: Any, s: Any) -> None:  # pragma: no cover
    """Red, green, blue and the sum of the weights at some positions, which are at least a pixel inside of the frame.

    For the arrays see `_sample`. The compiler makes vectors of loops where it can prove that what they write is not
    what they read: sums stand in one array at constant distances, all else in others.
    """
    for k in range(8):
        line, row = weights[k * _CHUNK : (k + 1) * _CHUNK], at[(k >> 2) * _CHUNK : ((k >> 2) + 1) * _CHUNK]
        sharp = at[2 * _CHUNK : 3 * _CHUNK]
        place = np.float32((k & 3) - 1)
        for n in range(count):
            line[n] = _cubic(row[n] - place, sharp[n])
    s[:] = 0
    base, bits = ints[_BASE * _CHUNK : _BITS * _CHUNK], ints[_BITS * _CHUNK : _TAPS * _CHUNK]
    taps = ints[_TAPS * _CHUNK :]
    for j in range(4):
        down = weights[(4 + j) * _CHUNK : (5 + j) * _CHUNK]
        for i in range(4):
            offset = j * width + i
            for n in range(count):
                taps[i * _CHUNK + n] = packed[np.uintp(base[n] + offset)]
        for n in range(count):
            red, green, blue, total = s[n], s[_CHUNK + n], s[2 * _CHUNK + n], s[3 * _CHUNK + n]
            for i in range(4):
                tap, linked = taps[i * _CHUNK + n], np.int32(bits[n] & np.int32(1 << (j * SIDE + i))) != 0
                weight = weights[i * _CHUNK + n] * down[n] if linked else np.float32(0)
                red += weight * np.float32(np.int32(tap & np.int32(255)))
                green += weight * np.float32(np.int32((tap >> np.int32(8)) & np.int32(255)))
                blue += weight * np.float32(np.int32((tap >> np.int32(16)) & np.int32(255)))
                total += weight
            s[n], s[_CHUNK + n], s[2 * _CHUNK + n], s[3 * _CHUNK + n] = red, green, blue, total


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _sample(
    color: Any, packed: Any, links: Any, position: Any, own: Any, wanted: Any, sharpness: Any, least: Any,
    samples: Any,
) -> None:  # pragma: no cover  # fmt: skip
    """The colour of each sample that is wanted and sees a quad.

    Most go through `_blend` in lists of up to `_CHUNK`, with scratch of rows of that many: `ints`; `between` pixels
    across and down, and the filter; four `weights` across and four down; `s`, red, green, blue and weight summed up.
    `packed` (HW,) int32 is `color` with a pixel a number.
    """
    height, width = links.shape
    flat_links, at, owner, out = links.reshape(-1), position.reshape(-1), own.reshape(-1), samples.reshape(-1)
    want = wanted.reshape(-1)
    ints, between = np.empty(7 * _CHUNK, np.int32), np.empty(3 * _CHUNK, np.float32)
    weights, s = np.empty(8 * _CHUNK, np.float32), np.empty(4 * _CHUNK, np.float32)
    half, count, columns = np.float32(0.5), 0, np.uint32(width)
    for n in range(len(owner) + 1):
        if count == _CHUNK or n == len(owner):
            _blend(packed, width, count, ints, between, weights, s)
            for k in range(count):
                m = np.int64(ints[_SAMPLE * _CHUNK + k])
                total = s[3 * _CHUNK + k]
                if total >= least:
                    out[3 * m] = s[k] / total
                    out[3 * m + 1] = s[_CHUNK + k] / total
                    out[3 * m + 2] = s[2 * _CHUNK + k] / total
                else:
                    b = between[2 * _CHUNK + k]
                    out[3 * m], out[3 * m + 1], out[3 * m + 2] = _look_up(
                        color, links, at[2 * m], at[2 * m + 1], np.int64(owner[m]), b, least
                    )
            count = 0
        if n == len(owner) or want[n] == 0 or owner[n] < 0:
            continue
        p = np.int64(owner[n])
        b = np.float32(0) if want[n] == _ALONE else sharpness
        u, v = at[2 * n] - half, at[2 * n + 1] - half
        x0, y0 = np.int64(np.floor(u)), np.int64(np.floor(v))
        row = np.int64(np.uint32(p) // columns)
        dy, dx = y0 - 1 - row + REACH, x0 - 1 - (p - row * width) + REACH
        if not (0 <= dy < 2 and 0 <= dx < 2 and 1 <= y0 < height - 2 and 1 <= x0 < width - 2):
            out[3 * n], out[3 * n + 1], out[3 * n + 2] = _look_up(color, links, at[2 * n], at[2 * n + 1], p, b, least)
            continue
        ints[_SAMPLE * _CHUNK + count] = n
        ints[_BASE * _CHUNK + count] = (y0 - 1) * width + x0 - 1
        ints[_BITS * _CHUNK + count] = flat_links[p] >> (dy * SIDE + dx)
        between[count], between[_CHUNK + count] = u - np.float32(x0), v - np.float32(y0)
        between[2 * _CHUNK + count] = b
        count += 1


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _resolve(
    samples: Any, wanted: Any, own: Any, depth: Any, face_id: Any, position: Any, shown: Any, mask: Any, depths: Any,
    source: Any, face: Any,
) -> None:  # pragma: no cover  # fmt: skip
    """Average the nine samples around each pixel's centre that see something; of plain ones take the centre."""
    height, width = mask.shape
    half, zero, most = np.float32(0.5), np.float32(0), np.float32(255)
    for y in range(height):
        for x in range(width):
            at_y, at_x = 2 * y + 1, 2 * x + 1
            depths[y, x] = depth[at_y, at_x]
            if wanted[at_y, at_x] == 0:
                continue
            red, green, blue = samples[at_y, at_x, 0], samples[at_y, at_x, 1], samples[at_y, at_x, 2]
            if wanted[at_y, at_x] == _AVERAGED:
                total, red, green, blue = zero, zero, zero, zero
                nearest, hidden = np.float32(np.inf), own[at_y, at_x] < 0
                for j in range(2 * y, 2 * y + 3):
                    for i in range(2 * x, 2 * x + 3):
                        if own[j, i] < 0:
                            continue
                        weight = np.float32((2 - abs(j - 2 * y - 1)) * (2 - abs(i - 2 * x - 1)))
                        total += weight
                        red += weight * samples[j, i, 0]
                        green += weight * samples[j, i, 1]
                        blue += weight * samples[j, i, 2]
                        if hidden and depth[j, i] < nearest:
                            nearest = depth[j, i]
                            at_y, at_x = j, i
                red, green, blue = red / total, green / total, blue / total
            mask[y, x] = True
            depths[y, x] = depth[at_y, at_x]
            face[y, x] = face_id[at_y, at_x]
            source[y, x, 0], source[y, x, 1] = position[at_y, at_x, 0], position[at_y, at_x, 1]
            shown[y, x, 0] = np.uint8(min(max(red, zero), most) + half)
            shown[y, x, 1] = np.uint8(min(max(green, zero), most) + half)
            shown[y, x, 2] = np.uint8(min(max(blue, zero), most) + half)
