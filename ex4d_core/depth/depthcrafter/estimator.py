"""The estimator `depthcrafter` behind the common protocol."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ex4d_core.camera import Intrinsics
from ex4d_core.depth import ColorFrames, DepthRequest, DepthResult
from ex4d_core.depth.depthcrafter.conversion import (
    FARTHEST,
    NEAREST,
    NUMERATOR,
    SCALE,
    depth_from_disparity,
    disparity,
    working_size,
)
from ex4d_core.depth.depthcrafter.denoising import STEPS
from ex4d_core.depth.depthcrafter.noise import SEED
from ex4d_core.depth.depthcrafter.pipeline import draw_depth, kept_in
from ex4d_core.depth.depthcrafter.weights import NAME, find_weights
from ex4d_core.depth.depthcrafter.windows import OVERLAP, WINDOW, plan_windows
from ex4d_core.depth.edgeaware import upsample
from ex4d_core.depth.frame_store import FrameStore
from ex4d_core.errors import InputError, MissingDependencyError
from ex4d_core.generate.memory import is_out_of_memory, release
from ex4d_core.images import resize
from ex4d_core.progress import Cancelled, OnProgress

WARNING = (
    "Depth comes from DepthCrafter, whose licence allows academic and educational use alone, no commercial work: "
    "for that choose depth-anything-v2-small."
)


class DepthCrafterEstimator:
    """Depth of a clip as a whole, steady in time, without a scale."""

    name = NAME
    revision = 1

    def __init__(self, request: DepthRequest) -> None:
        """`request`: its `model_dir`, `work` and `cuts` count."""
        self._request = request

    def check(self, frames: int, size: tuple[int, int], on_progress: OnProgress, cancelled: Cancelled) -> None:
        """See `DepthEstimator.check`: the weights have to be there."""
        find_weights(self._request.model_dir)

    def estimate(
        self,
        frames: ColorFrames,
        intrinsics: list[Intrinsics],
        source_c2w: NDArray[np.float64] | None,
        on_progress: OnProgress,
        cancelled: Cancelled,
    ) -> DepthResult:
        """See `DepthEstimator.estimate`."""
        size = working_size(intrinsics[0].width, intrinsics[0].height)
        plan = plan_windows(len(frames), self._request.cuts)
        name = f"{NAME}-{self.revision}-{size[0]}x{size[1]}"
        kept = kept_in(self._request.work, name, plan)
        try:
            draw_depth(frames, size, plan, find_weights(self._request.model_dir), kept, on_progress, cancelled)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            release()
            raise MissingDependencyError(
                f"DepthCrafter needs more memory than this GPU has free at {size[0]}x{size[1]}: "
                "close other programs, or choose a smaller --max-side."
            ) from error
        lowest, highest = _range(kept.pictures)
        depth = _Depth(kept.pictures, lowest, highest, frames, size)
        return DepthResult(
            depth=depth,
            nearest=float(depth_from_disparity(np.ones(1, np.float32))[0]),
            farthest=float(depth_from_disparity(np.zeros(1, np.float32))[0]),
            units="relative",
            conversion={
                "kind": "disparity",
                "formula": "10000 / (3900 * (drawn - lowest) / (highest - lowest))",
                "numerator": NUMERATOR,
                "scale": SCALE,
                "clipped": [NEAREST, FARTHEST],
                "lowest": lowest,
                "highest": highest,
                "size": list(size),
                "window": WINDOW,
                "overlap": OVERLAP,
                "steps": STEPS,
                "seed": SEED,
            },
            warnings=(WARNING,),
        )


@dataclass(frozen=True)
class _Depth:
    """Depth at the clip's size, along the edges of its colour."""

    pictures: FrameStore
    lowest: float
    highest: float
    frames: ColorFrames
    size: tuple[int, int]

    def __len__(self) -> int:
        return len(self.pictures)

    def iterate(self, start: int = 0) -> Iterator[NDArray[np.float32]]:
        """See `DepthFrames.iterate`."""
        for t in range(start, len(self)):
            values = disparity(self.pictures[t], self.lowest, self.highest)
            color = self.frames[t]
            if values.shape != color.shape[:2]:
                values = upsample(values, resize(color, self.size).astype(np.uint8, copy=False), color)
            yield depth_from_disparity(values)


def _range(pictures: FrameStore) -> tuple[float, float]:
    """Lowest and highest number that the model drew.

    Raises:
        InputError: it drew the same everywhere.
    """
    found = [(picture.min(), picture.max()) for picture in (pictures[t] for t in range(len(pictures)))]
    lowest, highest = float(min(low for low, _ in found)), float(max(high for _, high in found))
    if highest <= lowest:
        raise InputError("DepthCrafter sees the same depth everywhere in this clip: choose another estimator.")
    return lowest, highest
