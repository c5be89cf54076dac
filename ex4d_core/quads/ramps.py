"""Edges that the depth smears over several pixels, put back to one step (method `quads`).

Networks and blurs make a ramp of the jump between two surfaces. Its pixels lie on neither, and drawn where they are
they show as streaks across the gap. Of a ramp the disparity changes over a few pixels by far more than the surfaces on
both sides of it do, and not in one step as at the edges of true depth, which stay as they are. Each of its pixels goes
to that surface, continued, whose disparity is nearer to its own: the edge stands where the jump is half done.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from ex4d_core.quads.cuts import turned

REACH = 3
"""A pixel's ramp is looked for this far on both sides, and the slopes of the surfaces as far again beyond."""

JUMP = 0.1
"""Least share of its smaller disparity that a ramp rises by, beyond twice the steeper of the slopes beside it."""

STEP = 0.35
"""Largest share of a ramp's rise that one step of it has. A box blur of 5 pixels has 0.2, true edges nearly 1; the
larger, the more of them are taken for ramps."""

_MOST = 1.15
"""How many times as near or as far as its nearest known pixel a surface may get where it is continued."""


def steepen(disparity: NDArray[np.float32]) -> NDArray[np.float32]:
    """Put the pixels of ramps onto the surfaces beside them.

    Args:
        disparity: (H, W) float32, 1/z, positive.

    Returns:
        (H, W) float32, a copy; where ramps along the row and along the column meet, the higher one decides.
    """
    steep, rise = disparity.copy(), np.zeros_like(disparity)
    limits = np.float32(JUMP), np.float32(STEP), np.float32(_MOST)
    _steepen_lines(disparity, *limits, rise, steep)
    _steepen_lines(turned(disparity), *limits, rise.T, steep.T)
    return steep


@numba.njit(cache=True, nogil=True)
def _steepen_lines(
    disparity: Any, least: Any, largest: Any, most: Any, rise: Any, steep: Any
) -> None:  # pragma: no cover
    """Steepen along rows; `rise` (H, W) float32: of the ramp that each pixel of `steep` is due to, 0 of none."""
    rows, length = disparity.shape
    listed = np.empty(length + 1, np.int32)
    for y in range(rows):
        line = disparity[y]
        several = 0
        for k in range(REACH, length - REACH):  # written always, kept where true: no branch to mispredict
            low, high = line[k - REACH], line[k + REACH]
            listed[several] = k
            several += 1 if abs(high - low) > least * min(low, high) else 0
        for n in range(several):
            k = np.int64(listed[n])
            low, high = line[k - REACH], line[k + REACH]
            jump, small = high - low, least * min(low, high)
            if abs(jump) <= rise[y, k]:
                continue
            before = low - line[max(k - 2 * REACH, 0)]
            after = line[min(k + 2 * REACH, length - 1)] - high
            sign = np.float32(1) if jump > 0 else np.float32(-1)
            if abs(jump) <= np.float32(2) * max(sign * before, sign * after, np.float32(0)) + small:
                continue
            step = np.float32(0)
            for m in range(k - REACH, k + REACH):
                step = max(step, abs(line[m + 1] - line[m]))
            if step >= largest * abs(jump):
                continue
            one = min(max(low + before, low / most), low * most)
            other = min(max(high - after, high / most), high * most)
            rise[y, k] = abs(jump)
            steep[y, k] = one if abs(line[k] - one) < abs(line[k] - other) else other
