"""What EX-4D's released renderer does beyond its mesh: it opens each path with the source frame itself."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ex4d_core.camera import Camera, Intrinsics
from ex4d_core.frame import RenderedFrame
from ex4d_core.mesh import pixel_centres

# A camera this near to the source's (in radians, and as a share of the nearest depth) is the source's: what is left
# of a pose after float32, as in the reference's own files.
_SAME_POSE = 1e-5


def opening_frame(
    frame: RenderedFrame, color: NDArray[np.uint8], camera: Camera, lens: Intrinsics, nearest: float
) -> RenderedFrame:
    """Frame 0 as recon.py has it: the source frame with a full mask, whatever its mesh shows.

    There every path begins at the source camera. One that begins elsewhere keeps what was rendered.

    Args:
        frame: as rendered.
        color: (H, W, 3) uint8 sRGB, the source frame.
        camera: who looks, posed in the space of the source camera.
        lens: the source camera's.
        nearest: smallest depth of the source frame, scene units.
    """
    off = camera.c2w - np.eye(4)
    off[:3, 3] /= nearest
    if np.abs(off).max() > _SAME_POSE or not np.allclose(camera.intrinsics.as_tuple(), lens.as_tuple(), rtol=1e-6):
        return frame
    if frame.mask.shape != color.shape[:2]:
        return frame
    return replace(
        frame,
        color=color.copy(),
        mask=np.ones_like(frame.mask),
        source_xy=pixel_centres(*frame.mask.shape).reshape(*frame.mask.shape, 2).copy(),
        resolution=None if frame.resolution is None else np.ones_like(frame.resolution),
    )
