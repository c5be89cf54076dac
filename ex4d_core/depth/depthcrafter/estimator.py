"""The estimator `depthcrafter` behind the common protocol."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from ex4d_core.camera import Intrinsics
from ex4d_core.depth import ColorFrames, DepthRequest, DepthResult
from ex4d_core.depth.depthcrafter.conversion import (
    FACTOR,
    FARTHEST,
    NEAREST,
    NUMERATOR,
    REFERENCE,
    normalised,
    working_size,
)
from ex4d_core.depth.depthcrafter.denoising import STEPS
from ex4d_core.depth.depthcrafter.footprint import largest_side, needed_bytes
from ex4d_core.depth.depthcrafter.noise import SEED
from ex4d_core.depth.depthcrafter.pipeline import draw_depth, kept_in
from ex4d_core.depth.depthcrafter.weights import NAME, find_weights
from ex4d_core.depth.depthcrafter.windows import OVERLAP, WINDOW, plan_windows
from ex4d_core.depth.enlarged import EnlargedDepth
from ex4d_core.errors import MissingDependencyError
from ex4d_core.generate.memory import is_out_of_memory, release
from ex4d_core.models import gigabytes
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
        """See `DepthEstimator.check`: the weights have to be there, and memory for the clip."""
        device = find_weights(self._request.model_dir).device
        if device.type == "cuda":
            require_memory(size, frames, torch.cuda.mem_get_info(device)[0])

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
        drawn = normalised(kept.pictures, range(len(frames)))
        depth = EnlargedDepth(drawn, [REFERENCE] * len(frames), frames)
        nearest, farthest = depth.range(cancelled)
        return DepthResult(
            depth=depth,
            nearest=nearest,
            farthest=farthest,
            units="relative",
            conversion={
                "kind": "disparity",
                "formula": "numerator / (factor * (drawn - lowest) / (highest - lowest))",
                "numerator": NUMERATOR,
                "factor": FACTOR,
                "lowest": drawn.lowest,
                "highest": drawn.highest,
                "clipped": [NEAREST, FARTHEST],
                "size": list(size),
                "window": WINDOW,
                "overlap": OVERLAP,
                "steps": STEPS,
                "seed": SEED,
            },
            warnings=(WARNING,),
        )


def require_memory(size: tuple[int, int], frames: int, free: int) -> None:
    """Refuse a clip for which there is not enough video memory for certain.

    Args:
        size: width and height of the clip, pixels.
        frames: of the clip.
        free: bytes of video memory.

    Raises:
        MissingDependencyError: it does not fit; names the size at which it would.
    """
    width, height = working_size(*size)
    needed = needed_bytes((width, height), frames)
    if needed <= free:
        return
    side = largest_side(size, frames, free)
    remedy = "choose another estimator" if side is None else f"choose --max-side {side}"
    raise MissingDependencyError(
        f"DepthCrafter needs {gigabytes(needed)} of video memory at {width}x{height}, and {gigabytes(free)} are free: "
        f"close other programs, or {remedy}."
    )
