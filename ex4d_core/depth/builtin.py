"""The estimator `embedded` behind the common protocol, with memory bounded for long clips."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from ex4d_core.camera import Intrinsics
from ex4d_core.depth import ColorFrames, DepthRequest, DepthResult
from ex4d_core.depth.edgeaware import upsample
from ex4d_core.depth.embedded import WORKING_SIDE, EmbeddedDepth, estimate_depth
from ex4d_core.images import resize
from ex4d_core.progress import Cancelled, OnProgress

MAX_BYTES = 512 * 2**20
"""Depth of a whole clip held at once; a clip beyond it is estimated small and enlarged frame by frame."""

WARNING = (
    "Depth comes from the embedded estimator, which needs no weights and is a rough guess: "
    "ex4d depth list names better ones, and --depth takes depth from other programs."
)


class EmbeddedEstimator:
    """Depth of any clip, from parallax where there is some."""

    name = "embedded"
    revision = 3

    def __init__(self, request: DepthRequest) -> None:
        """`request`: only its cuts count."""
        self._request = request

    def check(self, frames: int, size: tuple[int, int], on_progress: OnProgress, cancelled: Cancelled) -> None:
        """See `DepthEstimator.check`: any clip will do."""

    def estimate(
        self,
        frames: ColorFrames,
        intrinsics: list[Intrinsics],
        source_c2w: NDArray[np.float64] | None,
        on_progress: OnProgress,
        cancelled: Cancelled,
    ) -> DepthResult:
        """See `DepthEstimator.estimate`."""
        lens, total = intrinsics[0], len(frames)
        small = _Smaller(frames, lens)
        disparity = np.empty((total, *small.size[::-1]), np.float32)
        found: list[EmbeddedDepth] = []
        for first, end in pairwise([0, *sorted(c for c in set(self._request.cuts) if 0 < c < total), total]):
            take = _Take(small, range(first, end))
            found.append(estimate_depth(take, lens.resized(*small.size), on_progress, cancelled))
            disparity[first:end] = found[-1].disparity
            found[-1] = replace(found[-1], disparity=disparity[first:end])
        methods = {take.method for take in found}
        return DepthResult(
            depth=_Enlarged(disparity, small, frames),
            nearest=1.0 / float(disparity.max()),
            farthest=1.0 / float(disparity.min()),
            units="relative",
            conversion={"kind": "disparity", "method": methods.pop() if len(methods) == 1 else "mixed"},
            warnings=(WARNING, *dict.fromkeys(take.notes for take in found)),
        )


class _Smaller:
    """A clip at its own size if the depth of all of it fits into memory, else at the estimator's."""

    def __init__(self, frames: ColorFrames, lens: Intrinsics) -> None:
        self._frames = frames
        fits = len(frames) * lens.width * lens.height * 4 <= MAX_BYTES
        scale = 1.0 if fits else min(1.0, WORKING_SIDE / max(lens.width, lens.height))
        self.size = (max(1, round(lens.width * scale)), max(1, round(lens.height * scale)))

    def __len__(self) -> int:
        return len(self._frames)

    def __getitem__(self, index: int, /) -> NDArray[np.uint8]:
        frame = self._frames[index]
        if frame.shape[1::-1] == self.size:
            return frame
        return resize(frame, self.size).astype(np.uint8, copy=False)


@dataclass(frozen=True)
class _Take:
    """The frames between two cuts."""

    frames: _Smaller
    span: range

    def __len__(self) -> int:
        return len(self.span)

    def __getitem__(self, index: int, /) -> NDArray[np.uint8]:
        return self.frames[self.span[index]]


@dataclass(frozen=True)
class _Enlarged:
    """Depth at the clip's size, along the edges of its colour."""

    disparity: NDArray[np.float32]
    small: _Smaller
    frames: ColorFrames

    def __len__(self) -> int:
        return len(self.disparity)

    def iterate(self, start: int = 0) -> Iterator[NDArray[np.float32]]:
        """See `DepthFrames.iterate`."""
        for t in range(start, len(self)):
            color = self.frames[t]
            values = self.disparity[t]
            if values.shape != color.shape[:2]:
                values = upsample(values, self.small[t], color)
            yield np.float32(1) / values
