"""Which of EX-4D's four ranges a camera path belongs to: how far it goes round the subject."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

RANGES = {"small": "0 to 30", "large": "0 to 60", "extreme": "0 to 90", "full": "-90 to 90", "other": ""}
"""Name -> degrees of yaw about the subject; `other`: it does not go round, or goes farther."""

_LIMITS = (("small", 30.0), ("large", 60.0), ("extreme", 90.0))
_SLACK = 1.0
"""Degrees: a path ends a little beyond what it is named after."""
_STRAIGHT = 1.0
"""Degrees that a path turns by and still does not go round."""


def range_of(view_from_path: NDArray[np.float64]) -> str:
    """The range of a path.

    A camera that goes round a subject and looks at it turns by the angle that it goes. Where it turns by more than
    30 degrees to both sides (the reference's `--cam 180`), the range is full.

    Args:
        view_from_path: (T, 4, 4) float64: poses in the source camera of each frame, OpenCV axes.

    Returns:
        One of `RANGES`.
    """
    forward = view_from_path[:, :3, 2]
    yaw = np.degrees(np.unwrap(np.arctan2(forward[:, 0], forward[:, 2])))
    low, high = float(yaw.min()), float(yaw.max())
    widest = max(-low, high)
    if widest <= _STRAIGHT or widest > _LIMITS[-1][1] + _SLACK:
        return "other"
    if min(-low, high) > _LIMITS[0][1]:
        return "full"
    return next(name for name, limit in _LIMITS if widest <= limit + _SLACK)
