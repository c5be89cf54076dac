"""The scale that a solve without one has in common with the depth.

A solve from pictures alone knows the camera's path up to its size, and relative depth is depth up to its size: they
stand still in one world only at one ratio of the two. The points that the solve found tell it: each has a z-depth in
the solve's units and, at its pixel, one in the depth's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ex4d_core.camera import Intrinsics, invert_pose
from ex4d_core.progress import Cancelled, never_cancelled, stop_if
from ex4d_core.solve import SolvedPoints

Floats = NDArray[np.float64]

FEWEST = 20
"""Points that tell a scale."""

LOOSE = 0.15
"""Beyond this spread the depth and the solve disagree in more than scale."""


CLOSE = 1.1
"""A solve whose scale is within this factor of the depth's has the depth's units."""

UNKNOWN_SCALE = (
    "The scale of the solve could not be told from the depth, so that still things may drift: give depth in the "
    "solve's units, or a solve in the depth's."
)


@dataclass(frozen=True)
class ScaleFit:
    """How the solve's units relate to the depth's."""

    scale: float
    """Multiply the solve's positions by it."""
    spread: float
    """Half the interquartile range of the points' own ratios, as a share of `scale`."""
    points: int
    """Observations compared."""

    @property
    def close(self) -> bool:
        """Whether the solve has the depth's units."""
        return 1 / CLOSE < self.scale < CLOSE

    @property
    def metric_note(self) -> str:
        """A sentence where both should be in metres, and are not."""
        return (
            f"The solve would fit the depth at {self.scale:.4g} times its size, though the depth is in metres, so that "
            "still things may drift: give --depth-kind relative to fit one to the other, or check the solve's units."
        )

    @property
    def note(self) -> str:
        """A sentence for people."""
        found = f"The solve was scaled by {self.scale:.4g} to fit the depth at {self.points} of its points"
        if self.spread <= LOOSE:
            return f"{found}, which agree within {100 * self.spread:.0f} %."
        return (
            f"{found}, which disagree by {100 * self.spread:.0f} %, so that still things may drift: "
            "give depth that fits the solve, such as metric depth."
        )


def fit_scale(
    points: SolvedPoints,
    c2w: Floats,
    lenses: list[Intrinsics],
    depth: Callable[[int], NDArray[np.float32]],
    cancelled: Cancelled = never_cancelled,
    most_frames: int = 50,
) -> ScaleFit | None:
    """Find the factor that brings a solve to the scale of the depth.

    Args:
        points: of the solve.
        c2w: (T, 4, 4) float64 of the solve.
        lenses: T lenses of the depth maps, without distortion.
        depth: gives the z-depth (H, W) float32 of a frame; infinite is sky.
        cancelled: asked for each frame.
        most_frames: looks at this many, spread over the clip.

    Returns:
        None where there are too few points to tell.

    Raises:
        CancelledError: `cancelled` said so.
    """
    frames = np.unique(np.linspace(0, len(c2w) - 1, min(most_frames, len(c2w))).astype(int))
    ratios: list[Floats] = []
    for frame in frames:
        stop_if(cancelled)
        if len(points.seen[frame]):
            ratios.append(_ratios(points.positions[points.seen[frame]], c2w[frame], lenses[frame], depth(int(frame))))
    found = np.concatenate(ratios) if ratios else np.empty(0)
    if len(found) < FEWEST:
        return None
    low, scale, high = np.percentile(found, [25, 50, 75])
    return ScaleFit(float(scale), float((high - low) / (2 * scale)), len(found))


def _ratios(positions: Floats, c2w: Floats, lens: Intrinsics, depth: NDArray[np.float32]) -> Floats:
    """Depth of the map over that of the solve, of the points that lie in the picture and before the sky."""
    w2c = invert_pose(c2w)
    x, y, z = (positions @ w2c[:3, :3].T + w2c[:3, 3]).T
    with np.errstate(all="ignore"):
        column, row = np.floor(lens.fx * x / z + lens.cx), np.floor(lens.fy * y / z + lens.cy)
        inside = (z > 0) & (column >= 0) & (row >= 0) & (column < lens.width) & (row < lens.height)
    at = depth[row[inside].astype(int), column[inside].astype(int)].astype(np.float64)
    known = np.isfinite(at) & (at > 0)
    return at[known] / z[inside][known]
