# SPDX-License-Identifier: GPL-3.0-or-later
"""Overscan: a larger picture around the frame, through the same lens. Knows nothing of Blender."""

from dataclasses import replace

from ..errors import UserError
from ..shots.properties import MAX_SIDE
from ..shots.trajectory import TrajectorySample


def widened_size(width: int, height: int, overscan: float) -> tuple[int, int]:
    """The size of the picture with overscan: even, as videos want it; without overscan, the frame's own.

    Args:
        width: of the frame, pixels; likewise `height`.
        height: see `width`.
        overscan: how much wider and higher the picture is than the frame, a share.

    Raises:
        UserError: larger than any picture may be.
    """
    if overscan <= 0:
        return width, height
    wide, high = (2 * round(side * (1 + overscan) / 2) for side in (width, height))
    if max(wide, high) > MAX_SIDE:
        raise UserError(
            "With Overscan the picture has {width} x {height} pixels: take less than {limit} a side.",
            width=wide,
            height=high,
            limit=MAX_SIDE,
        )
    return wide, high


def widened(sample: TrajectorySample, overscan: float) -> TrajectorySample:
    """The same camera for the picture with overscan: same focal length, the frame in the middle. Raises: UserError."""
    width, height = widened_size(sample.width, sample.height, overscan)
    margins = (0.0, 0.0, (width - sample.width) / 2, (height - sample.height) / 2)
    return replace(sample, width=width, height=height, intrinsics=sample.intrinsics + margins)
