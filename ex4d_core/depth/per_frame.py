"""Depth of a clip from a network that looks at one frame at a time.

Three passes: what the network sees, the same made steady over time (`stabilise`), and depth, enlarged along the edges
of the colour. The first two are kept frame by frame in `DepthRequest.work`, so that a rerun goes on after the last one.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from ex4d_core.ahead import beside
from ex4d_core.camera import Intrinsics
from ex4d_core.depth import ColorFrames, DepthRequest, DepthResult, Units
from ex4d_core.depth.enlarged import EnlargedDepth
from ex4d_core.depth.frame_store import FrameStore
from ex4d_core.depth.scaling import Scaling, metric_scaling, relative_scaling
from ex4d_core.depth.stabilise import stabilise
from ex4d_core.errors import InputError
from ex4d_core.progress import Cancelled, OnProgress

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float32]

_BLANK_LEVELS = 4
"""A frame whose channels all stay within so many of 256 levels shows nothing."""
_BLANK_SPREAD = 1e-4
"""Disparity that varies by less than this share of it is constant."""
_PERCENT = (0.5, 99.5)


@dataclass(frozen=True)
class Prediction:
    """What a network sees in a frame."""

    disparity: Floats
    """(h, w) float32, larger is nearer; up to scale and shift, or 1/metres for a focal length of one image width."""
    focal: float = math.nan
    """Focal length as a share of the image's width; NaN where the network does not tell."""


Network = Callable[[Bytes], Prediction]
"""Looks at a frame, (H, W, 3) uint8 sRGB."""


class PerFrameEstimator(ABC):
    """A `DepthEstimator` around such a network; a subclass names it and loads it."""

    name: str
    revision: int
    units: Units

    def __init__(self, request: DepthRequest) -> None:
        """`request`: where the weights are, what was cut, where to keep what is finished."""
        self._request = request

    @abstractmethod
    def folder(self) -> Path:
        """Where the weights are.

        Raises:
            MissingDependencyError: nowhere.
            InputError: the folder that the user named holds none.
        """

    @abstractmethod
    def load(self) -> Network:
        """Read the weights.

        Raises:
            MissingDependencyError: they are not there.
            InputError: they are damaged, or another model's.
        """

    def check(self, frames: int, size: tuple[int, int], on_progress: OnProgress, cancelled: Cancelled) -> None:
        """See `DepthEstimator.check`."""
        self.folder()

    def estimate(
        self,
        frames: ColorFrames,
        intrinsics: list[Intrinsics],
        source_c2w: NDArray[np.float64] | None,
        on_progress: OnProgress,
        cancelled: Cancelled,
    ) -> DepthResult:
        """See `DepthEstimator.estimate`."""
        count, work = len(frames), self._request.work
        seen = _Seen(
            FrameStore(work, f"{self.name}-{self.revision}-raw", count),
            FrameStore(work, f"{self.name}-{self.revision}-facts", count),
        )
        self._look(frames, seen, on_progress, cancelled)
        takes = _takes(self._request.cuts, count)
        shown = _Shown(seen.raw, _stand_ins(seen.blank(), takes, self.name))
        steady = FrameStore(work, f"{self.name}-{self.revision}-steady", count)
        stabilise(shown, frames, steady, cuts=self._request.cuts, on_progress=on_progress, cancelled=cancelled)
        lenses = self._lenses(seen.focals(), takes, intrinsics)
        scalings = [scaling for take in takes for scaling in self._scalings(steady, take, lenses or intrinsics)]
        depth = EnlargedDepth(steady, scalings, frames)
        nearest, farthest = depth.range(cancelled)
        return DepthResult(
            depth=depth,
            nearest=nearest,
            farthest=farthest,
            units=self.units,
            conversion=self._conversion([scalings[take.start] for take in takes], takes),
            warnings=(*_blank_warnings(seen.blank()), *self.warnings(seen.focals())),
            intrinsics=None if lenses is None else tuple(lenses),
        )

    def warnings(self, focals: NDArray[np.float64]) -> list[str]:
        """What people should know. `focals`: (T,) float64, see `Prediction.focal`."""
        return []

    def _look(self, frames: ColorFrames, seen: _Seen, on_progress: OnProgress, cancelled: Cancelled) -> None:
        """Let the network look at every frame that it has not seen."""
        count, done = len(frames), seen.done()
        if done == count:
            return
        on_progress(done, count, "loading depth model")
        network = beside(lambda _: self.load(), cancelled, "depth")
        for t in range(done, count):
            color, prediction = beside(lambda _, t=t: _looked(network, frames[t]), cancelled, "depth")
            if not np.isfinite(prediction.disparity).all():
                raise InputError(
                    f"{self.name} gives numbers that are no depth (NaN or infinite) for frame {t}: run `ex4d models "
                    f"verify {self.name}`, or choose another estimator with --estimator."
                )
            seen.keep(t, color, prediction)
            on_progress(t + 1, count, "estimating depth")

    def _lenses(
        self, focals: NDArray[np.float64], takes: Sequence[range], assumed: list[Intrinsics]
    ) -> list[Intrinsics] | None:
        """One lens for each take: the median of those of its frames; None where that of the clip is as good."""
        if self._request.lens_known or not np.isfinite(focals).any():
            return None
        found: list[Intrinsics] = []
        for take in takes:
            known = focals[take.start : take.stop]
            known = known[np.isfinite(known)]
            lens = assumed[take.start]
            if known.size:
                lens = Intrinsics.from_focal_px(float(np.median(known)) * lens.width, lens.width, lens.height)
            found += [lens] * len(take)
        return found

    def _scalings(self, steady: FrameStore, take: range, lenses: list[Intrinsics]) -> list[Scaling]:
        """Of the frames of a take."""
        if self.units == "relative":
            return [relative_scaling(steady, take)] * len(take)
        return [metric_scaling(lenses[t].fx / lenses[t].width) for t in take]

    def _conversion(self, scalings: Sequence[Scaling], takes: Sequence[range]) -> dict[str, object]:
        return {
            "kind": "disparity",
            "depth": "1 / clip(scale * disparity + shift, least, most)",
            "takes": [
                {
                    "first": take.start,
                    "scale": scaling.scale,
                    "shift": scaling.shift,
                    "least": scaling.least,
                    "most": scaling.most,
                }
                for scaling, take in zip(scalings, takes, strict=True)
            ],
        }


@dataclass(frozen=True)
class _Seen:
    """What the network saw, on disk."""

    raw: FrameStore
    facts: FrameStore
    """(1, 2) float32 each: focal length, and 1 where there was nothing to see."""

    def done(self) -> int:
        return min(self.raw.done(), self.facts.done())

    def keep(self, frame: int, color: Bytes, prediction: Prediction) -> None:
        blank = _is_blank(color, prediction.disparity)
        self.raw.write(frame, prediction.disparity)
        self.facts.write(frame, np.array([[math.nan if blank else prediction.focal, blank]], np.float32))

    def blank(self) -> list[bool]:
        return [bool(self.facts[t][0, 1]) for t in range(len(self.facts))]

    def focals(self) -> NDArray[np.float64]:
        return np.array([self.facts[t][0, 0] for t in range(len(self.facts))], np.float64)


class _Stored(Protocol):
    def __getitem__(self, index: int, /) -> Floats: ...


@dataclass(frozen=True)
class _Shown:
    """Disparity of the frames, that of others in place of those that show nothing."""

    raw: _Stored
    stand_ins: list[int]

    def __len__(self) -> int:
        return len(self.stand_ins)

    def __getitem__(self, index: int, /) -> Floats:
        return self.raw[self.stand_ins[index]]


def _looked(network: Network, color: Bytes) -> tuple[Bytes, Prediction]:
    """A frame and what the network sees in it, no larger than the frame."""
    prediction = network(color)
    values, (height, width) = prediction.disparity, color.shape[:2]
    fitting = min(width, values.shape[1]), min(height, values.shape[0])
    if fitting != values.shape[::-1]:
        values = np.asarray(cv2.resize(values, fitting, interpolation=cv2.INTER_AREA), np.float32)
    return color, Prediction(values, prediction.focal)


def _is_blank(color: Bytes, disparity: Floats) -> bool:
    """Whether a frame shows nothing (black, one colour), or the network sees nothing in it."""
    dark, bright = np.percentile(color[::2, ::2].reshape(-1, 3), _PERCENT, axis=0)
    if (bright - dark).max() < _BLANK_LEVELS:
        return True
    return bool(np.ptp(disparity) <= _BLANK_SPREAD * np.abs(disparity).max())


def _takes(cuts: Sequence[int], count: int) -> list[range]:
    """Frames from one cut to the next."""
    edges = [0, *sorted(cut for cut in set(cuts) if 0 < cut < count), count]
    return [range(first, end) for first, end in pairwise(edges)]


def _stand_ins(blank: list[bool], takes: Sequence[range], name: str) -> list[int]:
    """For each frame the one whose depth it gets: itself, or the nearest of its take (or else of all) with something.

    Raises:
        InputError: no frame shows anything.
    """
    good = [t for t, nothing in enumerate(blank) if not nothing]
    if not good:
        raise InputError(
            f"{name} sees no depth in any frame (they are black, or of one colour): give another clip, or --depth."
        )
    found: list[int] = []
    for take in takes:
        near = [t for t in good if t in take] or good
        found += [t if not blank[t] else min(near, key=lambda other, t=t: abs(other - t)) for t in take]
    return found


def _blank_warnings(blank: list[bool]) -> list[str]:
    frames = [t for t, nothing in enumerate(blank) if nothing]
    if not frames:
        return []
    which = f"Frame {frames[0]} shows" if len(frames) == 1 else f"{len(frames)} frames, the first is {frames[0]}, show"
    return [f"{which} nothing to tell depth by (black, or of one colour): the depth is that of the nearest that does."]
