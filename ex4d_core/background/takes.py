"""One take of a clip: which of its frames are looked at, from where, and what they show to a camera."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from ex4d_core.ahead import beside
from ex4d_core.background.fusing import MOVES, NEAR_MOTION, Layer, Looks, fuse
from ex4d_core.background.motion import Look, color_gain, grown, moving_pixels
from ex4d_core.background.viewpoints import choose_viewpoints, seen_from
from ex4d_core.camera import Camera
from ex4d_core.depth import ColorFrames
from ex4d_core.progress import Cancelled, OnProgress, stop_if

Floats = NDArray[np.float32]
Bools = NDArray[np.bool_]

_MOST_LOOKS, _LEAST_LOOKS = 64, 8
_MOST_BYTES = 400 << 20
_BYTES_PER_PIXEL = 8
"""Of a look: colour, disparity, motion."""
_STEP = 2
"""Frames between the two whose motion is measured."""
_MARGIN = 0.006
"""How far silhouettes and their shadows smear, as a share of the longer side."""


def takes_of(frames: int, cuts: tuple[int, ...]) -> list[tuple[int, int]]:
    """First and last frame of each take."""
    starts = [0, *sorted(cut for cut in set(cuts) if 0 < cut < frames)]
    return [(start, end - 1) for start, end in zip(starts, [*starts[1:], frames], strict=True)]


class Take:
    """A run of frames without a cut; memory is bounded by how many of them are looked at."""

    def __init__(
        self, colors: ColorFrames, depth: Callable[[int], Floats], cameras: Sequence[Camera], first: int, last: int
    ) -> None:
        self._colors, self._depth, self._cameras = colors, depth, cameras
        self.first, self.last = first, last
        lens = cameras[first].intrinsics
        self._size = (lens.height, lens.width)
        fitting = _MOST_BYTES // (lens.height * lens.width * _BYTES_PER_PIXEL)
        most = int(np.clip(fitting, _LEAST_LOOKS, _MOST_LOOKS))
        count = last - first + 1
        self.times = sorted({round(t) for t in np.linspace(first, last, min(most, count))})
        self._margin = max(2, round(_MARGIN * max(self._size)))
        self._moving: dict[int, tuple[Bools, Bools]] = {}

    @property
    def rests(self) -> bool:
        """Whether camera and lens stay as they are."""
        here = self._cameras[self.first]
        return all(
            np.array_equal(camera.c2w, here.c2w) and camera.intrinsics == here.intrinsics
            for camera in self._cameras[self.first : self.last + 1]
        )

    def find_motion(self, on_progress: OnProgress, cancelled: Cancelled) -> None:
        """Find what moves in the frames that are looked at.

        Raises:
            CancelledError: `cancelled` said so.
        """

        def find(t: int) -> tuple[Bools, Bools]:
            later = t + _STEP if t + _STEP <= self.last else max(t - _STEP, self.first)
            return moving_pixels(self.look(t), self.look(later))

        for done, t in enumerate(self.times):
            stop_if(cancelled)
            self._moving[t] = beside(lambda _, t=t: find(t), cancelled, "motion")
            on_progress(done + 1, len(self.times), "finding what moves")

    def viewpoints(self) -> list[Camera]:
        """The cameras that get a layer."""
        if self.rests:
            return [self._cameras[self.first]]
        return choose_viewpoints(self.look, {t: moving for t, (moving, _) in self._moving.items()})

    def fuse(self, camera: Camera, on_progress: OnProgress, cancelled: Cancelled) -> Layer:
        """The background as a camera would have seen it.

        Raises:
            CancelledError: `cancelled` said so.
        """
        count, rests = len(self.times), self.rests
        looks = Looks(
            np.zeros((count, *self._size, 3), np.uint8),
            np.zeros((count, *self._size), np.float32),
            np.zeros((count, *self._size), np.uint8),
        )

        def take_in(k: int) -> None:
            t = self.times[k]
            look, (moving, hidden) = self.look(t), self._moving[t]
            near = grown(moving | hidden, self._margin)
            motion = np.where(moving, MOVES, np.where(near, NEAR_MOTION, np.uint8(0)))
            if rests:
                looks.color[k], looks.disparity[k], looks.motion[k] = look.color, 1 / look.depth, motion
            else:
                looks.color[k], looks.disparity[k], looks.motion[k] = seen_from(camera, look, motion)

        for k in range(count):
            stop_if(cancelled)
            beside(lambda _, k=k: take_in(k), cancelled, "background")
            on_progress(k + 1, count, "gathering the background")
        beside(lambda _: even_out(looks), cancelled, "exposure")
        return fuse(looks, on_progress, cancelled)

    def look(self, t: int) -> Look:
        """One frame with depth and camera."""
        return Look(self._colors[t], self._depth(t), self._cameras[t])


def even_out(looks: Looks) -> None:
    """Bring all looks to the brightness of their median, in place: exposure and light change over time."""
    step = max(1, min(looks.disparity.shape[1:]) // 96)
    colors = looks.color[:, ::step, ::step].astype(np.float32)
    rest = (looks.motion[:, ::step, ::step] == 0) & (looks.disparity[:, ::step, ::step] > 0)
    colors[~rest] = np.nan
    often = rest.mean(axis=0) > 0.5
    if not often.any():
        return
    reference = np.nanmedian(colors[:, often], axis=0)
    for k in range(len(colors)):
        usable = rest[k][often]
        gain = color_gain(colors[k][often][usable], reference[usable])
        if np.abs(gain - 1).max() > 0.004:  # under half a level in most pixels
            looks.color[k] = np.clip(looks.color[k] * gain + 0.5, 0, 255).astype(np.uint8)
