"""Depth of single frames made steady: one scale and shift for each take, and no flicker along the flow.

For each take (nothing is carried over a cut): every frame gets the scale and shift that the pairs of frames around
agree on (`gauge`); under a camera that stands still, what does not move has one depth for the whole take (`still`);
everything else takes what the frames around, followed along the flow, agree on (`along_flow`). A frame that fits
none of the others takes its depth from them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from ex4d_core.ahead import beside
from ex4d_core.depth import ColorFrames
from ex4d_core.depth.along_flow import FLOW_SIDE, LOST, Step, measure_steps, settle
from ex4d_core.depth.edgeaware import purity
from ex4d_core.depth.frame_store import FrameStore
from ex4d_core.depth.gauge import BASELINES, Gauge, Relation, relate, solve_gauge
from ex4d_core.depth.motion import sample
from ex4d_core.depth.own_edges import compare_sharpness, sharpness, smooth_correction
from ex4d_core.depth.still import Backdrop, change, find_backdrop, stands_still
from ex4d_core.progress import Cancelled, OnProgress, never_cancelled, silent, stop_if

Floats = NDArray[np.float32]
Bytes = NDArray[np.uint8]

PAIR_SIDE = 320
"""Pixels of the longer side at which pairs of frames are compared."""

REACH = 8
"""Frames before and after that a frame listens to."""

FADING = 6.0
"""Distance in frames at which a frame counts 1/e."""

HOLD = 1e-3
"""Weight of the next frames where nothing was followed: all there is for a frame that fits none of the others."""

SURFACES = 4.0
"""Two surfaces lie as many times apart as values of one surface at most."""

LEAST_STEP = 0.002
"""Differences of disparity that do not matter, as a share of its spread."""

LEAST_PURE = 0.05
"""Weight of a value half-way between two surfaces."""

BACKDROP_BYTES = 256 * 2**20
"""Frames held at once to find the backdrop; at most 25 of them."""


class DisparityFrames(Protocol):
    """Disparity of a clip's frames, (h, w) float32 each, each up to a scale and a shift of its own."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Floats: ...


def stabilise(
    raw: DisparityFrames,
    frames: ColorFrames,
    store: FrameStore,
    *,
    cuts: Sequence[int] = (),
    on_progress: OnProgress = silent,
    cancelled: Cancelled = never_cancelled,
) -> None:
    """Bring every frame's disparity to one scale and shift for its take, steady along the flow.

    Args:
        raw: T times (h, w) float32 disparity, each up to scale and shift; read several times.
        frames: T frames (H, W, 3) uint8 sRGB.
        store: where the T steady frames (h, w) float32 go; what it has is kept. They have the mean scale and shift
            of their take, and stay >= 0 where `raw` was.
        cuts: first frames of later takes.
        on_progress: told about each frame.
        cancelled: asked several times a second.

    Raises:
        CancelledError: `cancelled` said so.
        OutputError: the store cannot be written.
    """
    total = len(raw)
    for first, end in pairwise([0, *sorted(c for c in set(cuts) if 0 < c < total), total]):
        if any(not store.has(t) for t in range(first, end)):
            _Take(raw, frames, range(first, end), total, on_progress, cancelled).write(store)


class _Take:
    """A part of a clip without cuts; frames are counted from its first."""

    def __init__(
        self,
        raw: DisparityFrames,
        frames: ColorFrames,
        span: range,
        total: int,
        on_progress: OnProgress,
        cancelled: Cancelled,
    ) -> None:
        self._raw, self._frames, self._span, self._total = raw, frames, span, total
        self._on_progress, self._cancelled = on_progress, cancelled
        self._shape = np.shape(raw[span[0]])
        self._own = lru_cache(2 * REACH + 2)(self._read)
        self._picture = lru_cache(2 * REACH + 2)(self._read_picture)
        self._steps = lru_cache(2 * REACH + 2)(self._measure_steps)
        still = stands_still(self._thumbnail, range(len(span)), cancelled)
        self._least = np.float32(0.0)
        self._gauge, spread, self._noise = self._compare(anchored=not still)
        self._least_step = LEAST_STEP * spread + 1e-12
        self._good = [int(t) for t in np.flatnonzero(self._gauge.good)]
        self._aligned = lru_cache(2 * REACH + 2)(self._align)
        self._pure = lru_cache(2 * REACH + 2)(self._measure_purity)
        self._sharp = lru_cache(2 * REACH + 2)(self._measure_sharpness)
        self._known = lru_cache(2 * REACH + 2)(self._know)
        self._backdrop = beside(lambda _: self._find_backdrop(), cancelled, "backdrop") if still else None

    def write(self, store: FrameStore) -> None:
        for t, frame in enumerate(self._span):
            if not store.has(frame):
                store.write(frame, beside(lambda _, t=t: self._steady(t), self._cancelled, "steady"))
            self._on_progress(frame + 1, self._total, "steadying depth")

    def _steady(self, t: int) -> Floats:
        """(h, w) float32: the steady disparity of a frame."""
        around = list(self._around(t))
        shares, alike = compare_sharpness([self._sharp(s) for s in (t, *(other for other, _ in around))])
        own, pure = np.moveaxis(self._known(t), 2, 0)
        values, weights = [own], [pure * np.float32(shares[0] * self._gauge.good[t])]
        for (other, step), share in zip(around, shares[1:], strict=True):
            vectors, trust = _enlarged(step, self._shape)
            near = share * math.exp(-abs(other - t) / FADING)
            followed = np.where(trust > LOST, trust, np.float32(HOLD))
            value, pure = np.moveaxis(sample(self._known(other), vectors), 2, 0)
            values.append(value)
            weights.append(np.asarray(near * followed * pure, np.float32))
        steady = settle(np.stack(values), np.stack(weights), own, self._noise)
        if alike and self._gauge.good[t]:
            smooth, enough = smooth_correction(own, steady, self._least_step)
            steady = np.where(enough, own + smooth, steady)
        if self._backdrop is not None:
            shown = 1.0 - change(self._picture(t, max(self._shape)), self._backdrop.color)
            shown = np.clip(2.0 * shown - 0.8, 0.0, 1.0)
            # what has the colour of what is behind it is told by its depth
            shown *= np.exp(-np.square((self._backdrop.disparity - steady) / self._noise))
            steady += np.asarray(shown * (self._backdrop.disparity - steady), np.float32)
        return np.maximum(steady, self._least)

    def _know(self, t: int) -> Floats:
        """(h, w, 2) float32: a frame's disparity, and how surely it lies on a surface."""
        return np.dstack([self._aligned(t), self._pure(t)])

    def _around(self, t: int) -> Iterator[tuple[int, Step]]:
        """The frames around that are fit to be listened to, and how to get to them from frame `t`."""
        earlier = [g for g in reversed(self._good) if t - REACH <= g < t]
        later = [g for g in self._good if t < g <= t + REACH]
        for side in (earlier, later):
            way: Step | None = None
            for here, there in pairwise([t, *side]):
                low, high = min(here, there), max(here, there)
                step = self._steps(low, high)[0 if here < there else 1]
                way = step if way is None else way.then(step)
                yield there, way

    def _compare(self, anchored: bool) -> tuple[Gauge, float, float]:
        """Scale and shift of every frame, the spread of disparity, and what takes a value to another surface."""
        relations: list[Relation] = []
        spreads: list[float] = []
        for t in range(len(self._span)):
            spreads.append(float(np.std(self._own(t))))
            if float(self._own(t).min()) < 0.0:
                self._least = np.float32(-np.inf)
            for distance in BASELINES:
                if t >= distance:
                    stop_if(self._cancelled)
                    relations.append(self._relation(t - distance, t))
            self._on_progress(self._span[t] + 1, self._total, "measuring flicker")
        gauge = solve_gauge(relations, np.array(spreads), anchored)
        spread = float(np.median(gauge.scale * spreads))
        usual = [r.miss for r in relations if r.second - r.first == 1 and math.isfinite(r.miss)]
        return gauge, spread, spread * max(0.02, 5.0 * float(np.median(usual))) if usual else 1.0

    def _relation(self, first: int, second: int) -> Relation:
        a, b = self._picture(first, PAIR_SIDE), self._picture(second, PAIR_SIDE)
        there, _ = measure_steps(a, b)
        x, y = (_smaller(self._own(t), a.shape) for t in (first, second))
        some = (slice(None, None, 2), slice(None, None, 2))
        scale, shift, miss = relate(x[some].ravel(), sample(y, there.vectors)[some].ravel(), there.trust[some].ravel())
        return Relation(first, second, scale, shift, miss)

    def _find_backdrop(self) -> Backdrop:
        height, width = self._shape
        most = int(np.clip(BACKDROP_BYTES // (height * width * 20), 5, 25))
        some = [self._good[i] for i in sorted({int(i) for i in np.linspace(0, len(self._good) - 1, most)})]
        pictures = [self._picture(t, max(self._shape)) for t in some]
        shares, _ = compare_sharpness([self._sharp(t) for t in some])
        weights = [self._pure(t) * np.float32(share) for t, share in zip(some, shares, strict=True)]
        return find_backdrop(pictures, [self._aligned(t) for t in some], weights, self._noise)

    def _align(self, t: int) -> Floats:
        return self._gauge.apply(t, self._own(t))

    def _measure_purity(self, t: int) -> Floats:
        """(h, w) float32: what lies on a smeared edge counts less than what lies on a surface."""
        return np.float32(LEAST_PURE) + purity(self._aligned(t), SURFACES * self._noise)

    def _measure_sharpness(self, t: int) -> float:
        return sharpness(self._aligned(t))

    def _read(self, t: int) -> Floats:
        """A frame's disparity as it came; what is no number counts as the smallest."""
        values = np.asarray(self._raw[self._span[t]], np.float32)
        finite = np.isfinite(values)
        return values if finite.all() else np.where(finite, values, values[finite].min() if finite.any() else 0.0)

    def _read_picture(self, t: int, side: int) -> Bytes:
        """(h, w, 3) uint8 sRGB of a frame, in the shape of the disparity, the longer side `side` pixels at most."""
        height, width = self._shape
        scale = min(1.0, side / max(height, width))
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        frame = np.ascontiguousarray(self._frames[self._span[t]])
        return np.asarray(cv2.resize(frame, size, interpolation=cv2.INTER_AREA), np.uint8)

    def _thumbnail(self, t: int) -> Bytes:
        return self._picture(t, PAIR_SIDE)

    def _measure_steps(self, first: int, second: int) -> tuple[Step, Step]:
        return measure_steps(self._picture(first, FLOW_SIDE), self._picture(second, FLOW_SIDE))


def _smaller(values: Floats, shape: tuple[int, ...]) -> Floats:
    if values.shape == shape[:2]:
        return values
    return np.asarray(cv2.resize(values, (shape[1], shape[0]), interpolation=cv2.INTER_AREA), np.float32)


def _enlarged(step: Step, shape: tuple[int, ...]) -> tuple[Floats, Floats]:
    """Flow and trust at the size of the disparity."""
    height, width = shape
    if step.trust.shape == (height, width):
        return step.vectors, step.trust
    vectors = cv2.resize(step.vectors, (width, height), interpolation=cv2.INTER_LINEAR)
    vectors = np.asarray(vectors * np.float32(width / step.trust.shape[1]), np.float32)
    return vectors, np.asarray(cv2.resize(step.trust, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)
