"""The kernel that blends vertex attributes over a visibility buffer."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ex4d_core.raster.jit import kernel

Int = int | np.integer
Singles = NDArray[np.float32]
Ints = NDArray[np.int32]


@kernel
def blend(
    face_id: Ints, barycentrics: Singles, faces: Ints, attributes: Singles, grid_w: Int, grid_faces: Int,
    corners: Ints, result: Singles,
) -> None:  # fmt: skip
    """`interpolate` over a run of pixels; the first 2 `grid_faces` faces are the grid's, unread."""
    channels = attributes.shape[1]
    columns = np.uint32(max(grid_w - 1, 1))
    for p in range(len(face_id)):
        f = np.int64(face_id[p])
        if f < 0:
            for c in range(channels):
                result[p, c] = 0
            continue
        if f < 2 * grid_faces:
            side = 0 if f < grid_faces else 1
            quad = f - side * grid_faces
            origin = quad + np.int64(np.uint32(quad) // columns)  # row * grid_w + column
            i, j, k = origin + corners[side, 0], origin + corners[side, 1], origin + corners[side, 2]
        else:
            i, j, k = np.int64(faces[f, 0]), np.int64(faces[f, 1]), np.int64(faces[f, 2])
        b0, b1, b2 = barycentrics[p, 0], barycentrics[p, 1], barycentrics[p, 2]
        v0, v1, v2 = np.uintp(i), np.uintp(j), np.uintp(k)  # unsigned: no check for indices from the end
        for c in range(channels):
            result[p, c] = b0 * attributes[v0, c] + b1 * attributes[v1, c] + b2 * attributes[v2, c]
