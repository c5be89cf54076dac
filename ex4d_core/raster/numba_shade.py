"""The kernel that blends vertex attributes over a visibility buffer."""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(nogil=True, cache=True, error_model="numpy")
def blend(face_id, barycentrics, faces, attributes, grid_w, grid_faces, corners, start, stop, result):
    """Rows start..stop of `interpolate`; the first 2 `grid_faces` faces are the grid's, unread."""
    channels = attributes.shape[1]
    columns = max(grid_w - 1, 1)
    for y in range(start, stop):
        for x in range(face_id.shape[1]):
            f = np.int64(face_id[y, x])
            if f < 0:
                for c in range(channels):
                    result[y, x, c] = 0
                continue
            if f < 2 * grid_faces:
                side = 0 if f < grid_faces else 1
                quad = f - side * grid_faces
                origin = quad + np.int64(np.uint32(quad) // np.uint32(columns))  # row * grid_w + column
                i, j, k = origin + corners[side, 0], origin + corners[side, 1], origin + corners[side, 2]
            else:
                i, j, k = np.int64(faces[f, 0]), np.int64(faces[f, 1]), np.int64(faces[f, 2])
            b0, b1, b2 = barycentrics[y, x, 0], barycentrics[y, x, 1], barycentrics[y, x, 2]
            for c in range(channels):
                result[y, x, c] = b0 * attributes[i, c] + b1 * attributes[j, c] + b2 * attributes[k, c]
