# SPDX-License-Identifier: GPL-3.0-or-later
"""What a rendered shot's `shot.json` says of each frame: how much was never seen, and how much is stretched."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import UserError

STRETCHED = 0.5
"""A pixel with fewer pixels of the footage than this is stretched more than twice: `ex4d_core.frame.STRETCHED`."""


@dataclass(frozen=True)
class Numbers:
    """Of each frame."""

    unseen: np.ndarray
    """(T,) float64, share of the picture that was never seen, 0 to 1."""
    stretched: np.ndarray | None
    """(T,) float64, share of what is seen that is stretched more than twice; None: not measured."""


def read(folder: Path, finer: float = 1.0) -> Numbers:
    """Read a shot's numbers.

    Args:
        folder: of the shot.
        finer: pixels of the plate for each pixel of the shot, over source pixels for each pixel as rendered.

    Raises:
        UserError: the file is missing or damaged.
    """
    file = folder / "shot.json"
    try:
        frames = json.loads(file.read_text("utf-8"))["frames"]
        unseen = np.array([frame["unseen"] for frame in frames], np.float64)
        if not (np.isfinite(unseen).all() and unseen.size):
            raise ValueError("it has no shares")
        return Numbers(unseen, _stretched(frames, finer))
    except OSError as error:
        raise UserError(
            "Cannot read {file} ({reason}): render the coverage again.", file=file, reason=error.strerror
        ) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError("{file} is damaged ({reason}): render the coverage again.", file=file, reason=error) from error


def _stretched(frames: list[dict[str, Any]], finer: float) -> np.ndarray | None:
    """None where a frame has no numbers: rendered by an older sidecar, or without the risk pass."""
    if any(frame.get("stretched") is None or frame.get("resolution") is None for frame in frames):
        return None
    if finer == 1.0:
        shares = np.array([frame["stretched"] for frame in frames], np.float64)
    else:
        shares = np.array([_share_below(frame["resolution"], STRETCHED / finer) for frame in frames], np.float64)
    if not np.isfinite(shares).all():
        raise ValueError("a share is no number")
    return shares


def _share_below(percentiles: dict[str, float], value: float) -> float:
    """The share of pixels below a value, between the percentiles that are known; 0 and 1 outside of them."""
    if not percentiles:
        return 0.0
    known = sorted((float(percent) / 100, float(limit)) for percent, limit in percentiles.items())
    return float(np.interp(value, [limit for _, limit in known], [share for share, _ in known], left=0.0, right=1.0))
