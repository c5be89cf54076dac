"""What is done around every video diffusion model, once: lead-in, windows, sizes, keeping the source.

A shot goes through in windows. Nothing of a whole clip is kept: each window is read, generated, scaled back, blended
with the one before and handed out.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ex4d_core.generate.engine import GeneratedFrame, Shot
from ex4d_core.generate.keeping import keep_source
from ex4d_core.generate.lead_in import lead_in
from ex4d_core.generate.profiles import Profile
from ex4d_core.generate.sizing import Fit, fit
from ex4d_core.generate.video_model import Limits, OnPreview, Report, Window, no_preview
from ex4d_core.generate.windows import blended, cut, window_seed
from ex4d_core.progress import Cancelled, OnProgress, stop_if

Video = Callable[[Window, Report], NDArray[np.uint8]]
"""Generates one window; see `VideoModel.video`."""

_CODING_SHARE = 12
"""Encoding and decoding take about a twelfth of the time of 25 steps each (facts: VAE 304 of 12,200 TFLOP, in float32
a few times slower)."""
_LED = 2
"""At most one of so many frames of a window goes to the lead-in."""
_WHOLE = 0.95
"""A first frame of which less is seen is no picture to go on from."""
_DRIFTED = 8.0
"""Drift of the colours against the first window that an artist sees, 8-bit levels."""

_log = logging.getLogger(__name__)


def model_size(width: int, height: int, frames: int, limits: Limits) -> tuple[int, int, int]:
    """Width, height and frames of the windows in which a model makes a shot without lead-in; for plans.

    Args:
        width: of the shot, pixels.
        height: of the shot, pixels.
        frames: of the shot.
        limits: of the model.
    """
    return *fit(width, height, limits).model, cut(frames, limits.frames).length


def generate(
    shot: Shot,
    limits: Limits,
    profile: Profile,
    video: Video,
    on_progress: OnProgress,
    cancelled: Cancelled,
    on_preview: OnPreview,
    facts: dict[str, Any] | None = None,
) -> Iterator[GeneratedFrame]:
    """Generate a shot with a model, window by window.

    Args:
        shot: the conditioning.
        limits: of the model.
        profile: how it denoises.
        video: the model.
        on_progress: told the work done over all windows, with the stage of the window.
        cancelled: asked between windows and frames, and by the model.
        on_preview: shown each window while it is made, without padding.
        facts: filled with how the shot was cut, for `Engine.settings`: `size`, `frames`, `windows`, `overlap`,
            `lead_in` and `drift` (see `_Drift`), JSON values.

    Raises:
        CancelledError: `cancelled` said so.
    """
    size = fit(shot.mask.shape[2], shot.mask.shape[1], limits)
    source = _Source(shot, size, _lead(shot, size, limits, cancelled))
    pieces, drift = cut(len(source), limits.frames), _Drift()
    told = {} if facts is None else facts
    told |= {"size": list(size.model), "frames": pieces.length, "windows": pieces.count, "overlap": pieces.overlap}
    told |= {"lead_in": len(source.lead), "drift": drift.levels}

    def cropped(frames: NDArray[np.uint8]) -> None:
        on_preview(size.cropped(frames))

    show = no_preview if on_preview is no_preview else cropped  # where nobody looks, none are made
    tail: NDArray[np.uint8] | None = None
    for index in range(pieces.count):
        stop_if(cancelled)
        numbers, fresh = pieces.frames(index), pieces.fresh(index)
        window = source.window(numbers, tail, window_seed(shot.seed, index), profile)
        share = _Share(on_progress, index, pieces.count, profile.steps)
        if index == 0:
            share(0, 1, "loading")
        made = video(window, Report(share, show, cancelled))
        if made.shape != window.color.shape:
            raise ValueError(f"The model gave {made.shape} for a window of {window.color.shape}.")
        drift.add(made, window, 0 if tail is None else len(tail))
        if tail is not None:
            made = np.concatenate([blended(tail, made[: len(tail)]), made[len(tail) :]])
        tail = made[fresh : fresh + pieces.overlap]
        if shot.keep_source:  # the next window goes on from what is shown
            seen = zip(tail, window.color[fresh:], window.mask[fresh:], strict=False)
            tail = np.stack([keep_source(*parts) for parts in seen]) if len(tail) else tail
        del window
        yield from source.finished(made[:fresh], numbers, cancelled)
        share.finish()
    drift.warn()


@dataclass(frozen=True)
class _Source:
    """The frames of a lead-in and a shot, one after the other, as a model gets them and gives them back."""

    shot: Shot
    size: Fit
    lead: list[tuple[NDArray[np.uint8], NDArray[np.bool_]]]
    """Colour and mask of the lead-in, at the model's size."""

    def __len__(self) -> int:
        return len(self.lead) + len(self.shot)

    def window(self, numbers: list[int], tail: NDArray[np.uint8] | None, seed: int, profile: Profile) -> Window:
        """The frames of these numbers; the first are those of `tail`, wholly known, where there is one."""
        width, height = self.size.model
        color = np.empty((len(numbers), height, width, 3), np.uint8)
        mask = np.empty(color.shape[:3], np.bool_)
        for t, number in enumerate(numbers):
            color[t], mask[t] = self._frame(number)
        if tail is not None:
            color[: len(tail)], mask[: len(tail)] = tail, True
        footage = self.shot.source_frame(max(numbers[0] - len(self.lead), 0))
        reference = None if footage is None else self.size.picture(footage)
        return Window(color, mask, self.shot.prompt, seed, profile, reference)

    def finished(self, made: NDArray[np.uint8], numbers: list[int], cancelled: Cancelled) -> Iterator[GeneratedFrame]:
        """The frames of the shot among those of a window, at its size."""
        for number, frame in zip(numbers, made, strict=False):
            index = number - len(self.lead)
            if index < 0:
                continue
            stop_if(cancelled)
            mask, color = self.shot.mask[index], self.size.enlarge(frame)
            if self.shot.keep_source:
                color = keep_source(color, self.shot.color[index], mask)
            yield GeneratedFrame(color, np.zeros_like(mask), ~mask)

    def _frame(self, number: int) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        if number < len(self.lead):
            return self.lead[number]
        index = number - len(self.lead)
        return self.size.shrink(self.shot.color[index], self.shot.mask[index])


def _lead(
    shot: Shot, size: Fit, limits: Limits, cancelled: Cancelled
) -> list[tuple[NDArray[np.uint8], NDArray[np.bool_]]]:
    """The frames of the lead-in, where one is needed."""
    if shot.scene is None or shot.trajectory is None:
        if shot.mask[0].mean() < _WHOLE:
            _log.warning(
                "The first frame has holes and the shot has no scene for a lead-in from the source view: "
                "what the model goes on from is not whole."
            )
        return []
    path = lead_in(shot.scene, shot.trajectory, (limits.frames - 1) // _LED)
    frames: list[tuple[NDArray[np.uint8], NDArray[np.bool_]]] = []
    for frame in () if path is None else shot.render(path):
        stop_if(cancelled)
        frames.append(size.shrink(frame.color, frame.mask))
    return frames


@dataclass
class _Share:
    """Turns the progress of one window into that of all: one unit for each step, a few for each end."""

    on_progress: OnProgress
    index: int
    count: int
    steps: int
    _stage: str = "encoding"

    def __call__(self, done: int, total: int, stage: str) -> None:
        """See `OnProgress`."""
        self._stage = stage
        coding = self._coding()
        begins, units = {"denoising": (coding, self.steps), "decoding": (coding + self.steps, coding)}.get(
            stage, (0, coding)
        )
        self._tell(begins + int(units * done / max(total, 1)))

    def finish(self) -> None:
        """The window is written."""
        self._tell(self._units())

    def _tell(self, units: int) -> None:
        self.on_progress(self.index * self._units() + units, self.count * self._units(), self._stage)

    def _coding(self) -> int:
        return max(1, round(self.steps / _CODING_SHARE))

    def _units(self) -> int:
        return self.steps + 2 * self._coding()


@dataclass
class _Drift:
    """How far the colours of later windows move away from the first: chained windows carry their errors on.

    Measured where the footage is seen, so that what the shot itself does makes no difference: the mean deviation from
    the footage of each channel, compared with the first window's, the three channels' mean.
    """

    levels: list[float] = field(default_factory=list[float])
    """Of each window, 8-bit levels; the first is 0."""
    _first: NDArray[np.float64] | None = None

    def add(self, made: NDArray[np.uint8], window: Window, known: int) -> None:
        """Measure a window whose first `known` frames are not footage."""
        total, pixels = np.zeros(3), 0
        for frame, color, mask in zip(made[known:], window.color[known:], window.mask[known:], strict=True):
            total += frame[mask].sum(axis=0, dtype=np.float64) - color[mask].sum(axis=0, dtype=np.float64)
            pixels += int(mask.sum())
        deviation = total / max(pixels, 1)
        first = self._first = deviation if self._first is None else self._first
        self.levels.append(round(float(np.abs(deviation - first).mean()), 3) if pixels else 0.0)

    def warn(self) -> None:
        """Say so where it can be seen."""
        if max(self.levels) > _DRIFTED:
            worst = int(np.argmax(self.levels))
            _log.warning(
                "The colours of window %d of %d are %.0f levels away from the first's: keep the source, or make the "
                "shot in shorter pieces.",
                worst + 1,
                len(self.levels),
                self.levels[worst],
            )
