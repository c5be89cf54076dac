"""How far a rasterizer agrees with the NumPy reference, in windows of the whole picture.

The reference tries every face on every pixel, which at full size would take hours. So it draws a window, with the
faces that may touch it: the camera's own, moved to the window, at the picture's own scale.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from benchmark.raster_scene import Frame
from ex4d_core.camera import Camera
from ex4d_core.raster import NEAR, Raster, rasterize

SIDE = 64
"""Of a window, pixels."""

LEAST_IOU = 0.9995
MOST_MISMATCH = 5e-4
MOST_DEPTH = 1e-4
DEPTH_SHARE = 0.995


@dataclass(frozen=True)
class Window:
    """A part of one frame as the reference sees it."""

    rows: slice
    columns: slice
    truth: Raster
    stretched: NDArray[np.bool_]
    """(F + 1,), of the frame's faces; the last is nothing, which is not seen either."""


@dataclass(frozen=True)
class Agreement:
    """Over all windows."""

    pixels: int
    mismatch: float
    """Share of pixels where one sees a face and the other none."""
    iou: float
    """Of the masks: pixels that show a face which is not stretched."""
    same_face: float
    """Share of pixels with the same face; ties and corners that are snapped make it less than 1."""
    depth: float
    """Greatest relative difference of depth in `DEPTH_SHARE` of the pixels where both see a face."""

    def failures(self) -> list[str]:
        """What is not as close as it has to be."""
        return [
            text
            for text, bad in (
                (f"coverage differs in {self.mismatch:.5f} of the pixels", self.mismatch > MOST_MISMATCH),
                (f"IoU of the masks {self.iou:.5f}", self.iou < LEAST_IOU),
                (f"depth differs by {self.depth:.1e}", self.depth > MOST_DEPTH),
            )
            if bad
        ]


def window(frame: Frame, seed: int) -> Window:
    """A window about a vertex at random that is in the picture, drawn by the reference."""
    height, width = frame.grid
    camera, lens = frame.camera, frame.camera.intrinsics
    u, v, w = _homogeneous(frame, camera)
    shown = (w > NEAR) & (u > 0) & (v > 0) & (u < width * w) & (v < height * w)
    one = np.random.default_rng(seed).choice(np.flatnonzero(shown))
    columns, rows = min(SIDE, width), min(SIDE, height)
    left = int(np.clip(u[one] / w[one] - columns / 2, 0, width - columns))
    top = int(np.clip(v[one] / w[one] - rows / 2, 0, height - rows))
    crop = Camera(camera.c2w, replace(lens, cx=lens.cx - left, cy=lens.cy - top, width=columns, height=rows))
    # No side of the window, nor the camera, has all of a face behind it: it may cover a pixel.
    u, v, w = _homogeneous(frame, crop)
    beyond = np.stack([w < NEAR, u < 0, v < 0, u > columns * w, v > rows * w])
    touching = np.flatnonzero(~beyond[:, frame.faces].all(axis=2).any(axis=0))
    seen = rasterize(frame.vertices, frame.faces[touching], crop, backend="numpy")
    names = np.append(touching, -1).astype(np.int32)  # the last stands for -1, nothing
    return Window(
        slice(top, top + rows),
        slice(left, left + columns),
        replace(seen, face_id=names[seen.face_id]),
        np.append(frame.stretched, True),
    )


def _homogeneous(frame: Frame, camera: Camera) -> NDArray[np.float64]:
    """(3, N): u w, v w, w, pixels."""
    matrix = camera.intrinsics.matrix() @ camera.w2c()[:3]
    return matrix[:, :3] @ frame.vertices.T.astype(np.float64) + matrix[:, 3:]


def compare(rasters: Sequence[Raster], windows: Sequence[Window]) -> Agreement:
    """One whole picture for each window."""
    mismatched, same, pixels, either, both = 0, 0, 0, 0, 0
    gaps: list[NDArray[np.float64]] = []
    for raster, place in zip(rasters, windows, strict=True):
        ours, truth = raster.face_id[place.rows, place.columns], place.truth.face_id
        pixels += truth.size
        mismatched += int(((ours >= 0) != (truth >= 0)).sum())
        same += int((ours == truth).sum())
        mine, its = (~place.stretched[ids] for ids in (ours, truth))
        either, both = either + int((mine | its).sum()), both + int((mine & its).sum())
        hit = (ours >= 0) & (truth >= 0)
        depth = raster.depth[place.rows, place.columns][hit].astype(np.float64)
        gaps.append(np.abs(depth / place.truth.depth[hit] - 1))
    return Agreement(
        pixels=pixels,
        mismatch=mismatched / pixels,
        iou=both / either if either else 1.0,
        same_face=same / pixels,
        depth=float(np.quantile(np.concatenate(gaps), DEPTH_SHARE)) if gaps else 0.0,
    )
