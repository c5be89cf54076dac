"""The depth proxy of a scene folder: what viewports read instead of depth and occlusion.

An image like that of the depth, of the pixels 0, n, 2n, … and the last one of each row and column, where n is `step`:
the vertices of a mesh thinned out so far. The number of a vertex is negative where the block of pixels between it and
the next one to the lower right has bridges in it. So one small file says all that a viewport draws of a frame; like
occlusion/ it can be made again from the depth, and does not count for the content hash.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ex4d_core.scene_format import BRIDGES

MOST_VERTICES = 500_000
"""A mesh of at most this many vertices is fluent in viewports (docs/blender/mesh.md, measured)."""


def proxy_step(width: int, height: int) -> int:
    """The smallest step that thins a frame of that size out to at most `MOST_VERTICES`."""
    step = 1
    while (width // step) * (height // step) > MOST_VERTICES:
        step += 1
    return step


def depth_proxy(
    stored: NDArray[np.float16] | NDArray[np.float32], occlusion: NDArray[np.uint8], step: int
) -> NDArray[np.float16] | NDArray[np.float32]:
    """Thin out a frame.

    Args:
        stored: (H, W) float16 or float32, depth as its file holds it, >= 0.
        occlusion: (H, W) uint8 as a scene holds it, each block's bits at its upper left pixel; only `BRIDGES` count.
        step: see above, at least 1.

    Returns:
        (ceil((H - 1) / step) + 1, ceil((W - 1) / step) + 1) of the dtype of `stored`.
    """
    height, width = stored.shape
    rows, columns = (np.append(np.arange(0, size - 1, step), size - 1) for size in (height, width))
    thin = stored[np.ix_(rows, columns)]
    torn = (occlusion[:-1, :-1] & BRIDGES) > 0
    for axis, starts in ((0, rows[:-1]), (1, columns[:-1])):
        torn = np.logical_or.reduceat(torn, starts, axis=axis)
    smallest = np.finfo(thin.dtype).smallest_subnormal  # a zero has no sign that a reader would see
    thin[:-1, :-1][torn] = -np.maximum(thin[:-1, :-1][torn], smallest)
    return thin
