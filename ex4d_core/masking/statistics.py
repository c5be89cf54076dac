"""What masks look like in numbers, so that simulated ones can be held against true ones."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class MaskStatistics:
    """Of the holes of a clip's masks; lengths and areas as shares of the picture, so that sizes compare."""

    area: float
    """Share of the pixels that are holes, mean over the frames."""
    holes: float
    """Connected holes a frame (of 8 neighbours), mean."""
    median_hole: float
    """Share of the picture that the median hole has; NaN: there is none."""
    largest_hole: float
    """Share of the picture that a frame's largest hole has, mean."""
    boundary: float
    """Length of the border between holes and what is seen, pixel sides per pixel of the picture's width, mean."""
    border: float
    """Share of the holes' area in holes that touch the frame's border."""
    persistence: float
    """Share of a frame's hole pixels that are holes in the next one too, mean; NaN: no two frames in a row have any."""


def mask_statistics(masks: NDArray[np.bool_]) -> MaskStatistics:
    """Measure the masks of a clip.

    Args:
        masks: (T, H, W) bool, True = seen; consecutive frames.
    """
    height, width = masks.shape[1:]
    pixels = height * width
    counts: list[int] = []
    sizes: list[NDArray[np.int64]] = []
    largest: list[float] = []
    at_border = whole = 0
    for mask in masks:
        number, labels, stats, _ = cv2.connectedComponentsWithStats((~mask).astype(np.uint8), connectivity=8)
        areas = stats[1:, cv2.CC_STAT_AREA].astype(np.int64)
        counts.append(number - 1)
        sizes.append(areas)
        largest.append(float(areas.max()) / pixels if len(areas) else 0.0)
        rim = np.unique(np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]]))
        at_border += int(areas[rim[rim > 0] - 1].sum())
        whole += int(areas.sum())
    every = np.concatenate(sizes)
    sides = (masks[:, 1:] != masks[:, :-1]).sum() + (masks[:, :, 1:] != masks[:, :, :-1]).sum()
    holes = ~masks
    kept = [np.count_nonzero(now & then) / np.count_nonzero(now) for now, then in pairwise(holes) if now.any()]
    return MaskStatistics(
        area=float(holes.mean()),
        holes=float(np.mean(counts)),
        median_hole=float(np.median(every)) / pixels if len(every) else float("nan"),
        largest_hole=float(np.mean(largest)),
        boundary=float(sides) / len(masks) / width,
        border=at_border / whole if whole else 0.0,
        persistence=float(np.mean(kept)) if kept else float("nan"),
    )
