"""Depth of any video without weights, GPU or network.

Where the camera moves, depth is measured from parallax (`parallax`); where it does not, it is guessed (`monocular`);
what moves by itself is put onto the surface it stands on. All of it is made steady along the flow, and brought to full
size along colour edges. The result says how it was made.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from ex4d_core.ahead import beside
from ex4d_core.camera import Intrinsics
from ex4d_core.depth import edgeaware, monocular, movers, parallax
from ex4d_core.depth.motion import ClipFlow, measure_flow
from ex4d_core.progress import Cancelled, OnProgress, never_cancelled, silent, stop_if

Floats = NDArray[np.float32]
Bytes = NDArray[np.uint8]
Method = Literal["parallax", "heuristic", "mixed"]

WORKING_SIDE = 320
"""Depth is worked out with the longer side at most this many pixels, then brought to full size."""

FARTHEST = 1.0 / 40.0
"""Measured disparity does not go below this share of the nearest: beyond, parallax is noise."""

FAR_SKY = 0.12
"""Mean measured disparity up to which what looks like sky may be it; the nearest surface is at 1."""

STEADINESS = 0.85
"""Weight of the neighbouring frame against the present one in the filter along the flow."""

NOTES: dict[Method, str] = {
    "parallax": "Depth was measured from the parallax of the moving camera, up to scale; "
    "things that move by themselves stand where they touch the ground.",
    "mixed": "Depth was measured from the parallax of the moving camera where that was possible, and guessed from "
    "position in the picture, colour, focus and motion in the rest.",
    "heuristic": "The camera shows too little parallax to measure depth: it is a guess from position in the "
    "picture, colour, focus and motion, good for a preview with small camera moves.",
}


class Frames(Protocol):
    """Frames (H, W, 3) uint8 sRGB, all of one size: an array (T, H, W, 3), or anything that reads them lazily."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Bytes: ...


@dataclass(frozen=True)
class EmbeddedDepth:
    """What the embedded estimator found."""

    disparity: Floats
    """(T, H, W) float32, finite and > 0, relative units: 1 / z up to scale, nearest about 1."""
    method: Method
    """Measured from camera motion, guessed, or some of each."""
    notes: str
    """One or two sentences for people: what was done, and how far to trust it."""


@dataclass(frozen=True)
class WorkingDepth:
    """The result at working size; `at` brings one frame to full size, so that memory stays bounded."""

    disparity: Sequence[Floats]
    """T times (h, w) float32."""
    pictures: Sequence[Bytes]
    """T times (h, w, 3) uint8 sRGB."""
    method: Method
    notes: str

    def at(self, index: int, frame: Bytes) -> Floats:
        """(H, W) float32 disparity of one frame at the size of `frame` (H, W, 3) uint8 sRGB."""
        return edgeaware.upsample(self.disparity[index], self.pictures[index], np.asarray(frame))


def estimate_depth(
    frames: Frames,
    intrinsics: Intrinsics,
    on_progress: OnProgress = silent,
    cancelled: Cancelled = never_cancelled,
) -> EmbeddedDepth:
    """Estimate the disparity of every frame.

    Args:
        frames: T frames, (H, W, 3) uint8 sRGB each; every frame is read twice, in order.
        intrinsics: of the camera, at the frames' size.
        on_progress: told about each frame of each stage.
        cancelled: asked before each frame of each stage.

    Returns:
        Disparity at the frames' size, and how it was made.

    Raises:
        CancelledError: `cancelled` said so.
    """
    work = estimate_working_depth(frames, intrinsics, on_progress, cancelled)
    total = len(frames)
    disparity = np.empty((total, *np.shape(frames[0])[:2]), np.float32)
    for t in _steps(range(total), total, "enlarging depth", on_progress, cancelled):
        disparity[t] = beside(lambda _, t=t: work.at(t, frames[t]), cancelled, "enlarge")  # large frames take a second
    return EmbeddedDepth(disparity, work.method, work.notes)


def estimate_working_depth(
    frames: Frames,
    intrinsics: Intrinsics,
    on_progress: OnProgress = silent,
    cancelled: Cancelled = never_cancelled,
) -> WorkingDepth:
    """As `estimate_depth`, at working size: for clips whose depth does not fit into memory at full size."""
    total = len(frames)
    pictures = [_reduced(frames[t]) for t in _steps(range(total), total, "reading", on_progress, cancelled)]
    height, width = pictures[0].shape[:2]
    camera = intrinsics.resized(width, height)
    flow = measure_flow(pictures, on_progress, cancelled)
    # one piece of work over all frames, which takes seconds for a long clip
    path = beside(lambda unwanted: parallax.find_path(pictures, flow, camera, unwanted), cancelled, "camera path")
    shares = np.clip(path.signal / parallax.LEAST_PARALLAX, 0.0, 1.0)
    if total > 1 and float(shares.mean()) > 0.2:
        layers = list(_measured(pictures, flow, path, camera, on_progress, cancelled))
        trusted = float(np.mean([layer.trust.mean() for layer in layers]))
        method: Method = "parallax" if trusted > 0.6 else "mixed"
        poses = path.w2c
    else:
        layers = list(_guessed(pictures, flow, path, camera, on_progress, cancelled))
        method, poses = "heuristic", path.turning
    steady = _steadied(layers, flow, poses, camera, cancelled)
    radius = 2 if method == "heuristic" else _smear(pictures[0])
    sharp: list[Floats] = []
    for d, picture in zip(steady, pictures, strict=True):
        stop_if(cancelled)
        sharp.append(np.clip(edgeaware.snap(d, picture, radius), FARTHEST, None))
    return WorkingDepth(sharp, pictures, method, NOTES[method])


@dataclass(frozen=True)
class _Layer:
    disparity: Floats
    """(h, w)"""
    trust: Floats
    """(h, w), 0 guessed to 1 measured."""
    moving: Floats
    """(h, w), 0 still to 1 moving by itself."""


def _guessed(
    pictures: Sequence[Bytes],
    flow: ClipFlow,
    path: parallax.CameraPath,
    camera: Intrinsics,
    on_progress: OnProgress,
    cancelled: Cancelled,
) -> Iterator[_Layer]:
    """Frames whose camera does not change place."""
    total = len(pictures)
    nothing = np.zeros(pictures[0].shape[:2], np.float32)
    backdrop = movers.backdrop(pictures) if movers.stands_still(flow) else None
    # what rests looks the same in all frames: one guess, without what passes before it, and without flicker
    resting = behind = nothing
    if backdrop is not None:
        still = np.rint(backdrop).astype(np.uint8)
        resting, behind = monocular.guess(still), monocular.sky(still)
    for t in _steps(range(total), total, "estimating depth", on_progress, cancelled):
        moving = nothing
        if backdrop is not None:
            clouds = np.minimum(behind, monocular.sky(pictures[t]))
            before = movers.whole(movers.change(pictures[t], backdrop), pictures[t])
            moving = np.asarray(before * (1.0 - clouds), np.float32)
        elif flow.targets(t):
            stray = parallax.triangulate(pictures[t], t, flow, path.turning, camera).stray
            moving = movers.whole(movers.straying(stray, movers.travel(flow, t)), pictures[t])
        surface = monocular.guess(pictures[t]) if backdrop is None else resting
        yield _Layer(monocular.stand(moving, surface), nothing, moving)


def _measured(
    pictures: Sequence[Bytes],
    flow: ClipFlow,
    path: parallax.CameraPath,
    camera: Intrinsics,
    on_progress: OnProgress,
    cancelled: Cancelled,
) -> Iterator[_Layer]:
    """Frames of a camera that changes place."""
    total = len(pictures)
    radius = _smear(pictures[0])
    inverse_depth: list[Floats] = []
    information: list[Floats] = []
    moving: list[Floats] = []
    for t in _steps(range(total), total, "estimating depth", on_progress, cancelled):
        found = parallax.triangulate(pictures[t], t, flow, path.w2c, camera)
        backwards = found.inverse_depth * np.sqrt(found.information) < -4.0
        moving.append(
            movers.whole(np.maximum(movers.straying(found.stray, movers.travel(flow, t)), backwards), pictures[t])
        )
        inverse_depth.append(np.maximum(found.inverse_depth, 0.0))
        share = np.float32(np.clip(path.signal[t] / parallax.LEAST_PARALLAX, 0.0, 1.0))
        information.append(found.information * share)
    moving = movers.remembered(moving, flow, cancelled)
    rim = np.ones((radius, radius), np.uint8)
    skies = _skies(pictures, inverse_depth, information)
    for t in range(total):
        # open sky alone: between the leaves of a tree that moves there is some, too
        open_sky = cv2.morphologyEx(skies[t], cv2.MORPH_OPEN, np.ones((2 * radius + 1,) * 2, np.uint8))
        moving[t] = np.asarray(moving[t] * (1.0 - open_sky), np.float32)
        information[t] *= np.clip(1.0 - 2.0 * cv2.dilate(moving[t], rim), 0.0, 1.0)
    inverse_depth, information = parallax.fuse(inverse_depth, information, flow, path.w2c, camera, cancelled)
    near = _near(inverse_depth, information)
    good = 1.0 / (0.08 * near) ** 2
    for t in _steps(range(total), total, "filling depth", on_progress, cancelled):
        trust = np.asarray(information[t] / (information[t] + good), np.float32)
        q = np.clip(inverse_depth[t] / near, 0.0, 1.5)
        guess = _fitted(monocular.guess(pictures[t]), q, trust)
        reach = 0.1 * max(q.shape)
        filled, arrived = edgeaware.fill(q, trust, pictures[t], reach, 0.2)
        filled = (filled * arrived + guess * 0.01) / (arrived + 0.01)
        surface = q * trust + filled * (1.0 - trust)
        surface = np.clip(surface + skies[t] * (FARTHEST - surface), FARTHEST, 1.5).astype(np.float32)
        yield _Layer(monocular.stand(moving[t], surface), trust, moving[t])


def _skies(pictures: Sequence[Bytes], inverse_depth: Sequence[Floats], information: Sequence[Floats]) -> list[Floats]:
    """T times (h, w) float32, 0..1: sky. What looks like it counts for the clip if measured depth does not deny it.

    Flow takes the rim of the sky along with what stands before it, and its middle has little to go by.
    """
    near = _near(inverse_depth, information)
    skies = [monocular.sky(picture) for picture in pictures]
    rim = np.ones((2 * _smear(pictures[0]) + 1,) * 2, np.uint8)
    heard = total = 0.0
    for sky, q, info in zip(skies, inverse_depth, information, strict=True):
        weight = np.where(cv2.erode(sky, rim) > 0.5, np.minimum(info * near * near, 100.0), 0.0)
        heard += float((weight * np.clip(q / near, 0.0, 1.0)).sum())
        total += float(weight.sum())
    denied = heard > FAR_SKY * total
    return [np.zeros_like(sky) for sky in skies] if denied else skies


def _near(inverse_depth: Sequence[Floats], information: Sequence[Floats]) -> float:
    """Inverse depth of the nearest surfaces of the clip, but for outliers."""
    some = slice(None, None, max(1, len(inverse_depth) // 16))
    q = np.stack(inverse_depth[some])
    certain = np.stack(information[some]) * np.square(q) > 25.0
    return max(float(np.quantile(q[certain], 0.995) if certain.any() else q.max()), 1e-6)


def _fitted(guess: Floats, q: Floats, trust: Floats) -> Floats:
    """The guess, scaled and shifted onto what was measured."""
    some = slice(None, None, 3)
    weight = trust[some, some].ravel().astype(np.float64) + 1e-9
    weight /= weight.sum()
    x, y = (a[some, some].ravel().astype(np.float64) for a in (guess, q))
    x0, y0 = float(weight @ x), float(weight @ y)
    spread = float(weight @ np.square(x - x0))
    slope = float(weight @ ((x - x0) * (y - y0))) / (spread + 1e-4)
    return np.clip(y0 + max(slope, 0.0) * (guess - x0), FARTHEST, 1.0).astype(np.float32)


def _steadied(
    layers: Sequence[_Layer],
    flow: ClipFlow,
    poses: NDArray[np.float64],
    camera: Intrinsics,
    cancelled: Cancelled,
) -> list[Floats]:
    """Average along the flow, forwards and backwards, so that nothing flickers and nothing lags."""
    total = len(layers)
    disparity = [layer.disparity for layer in layers]
    passes: list[list[Floats]] = []
    for order in (range(total), range(total - 1, -1, -1)):
        result = list(disparity)
        for before, t in itertools.pairwise(order):
            stop_if(cancelled)
            back, trust = flow.flow(t, before)
            carried = parallax.carry(result[before], back, poses[before], poses[t], camera)
            # a surface that was elsewhere is not averaged away; a moving thing's foothold is, it is uncertain
            alike = np.exp(-np.square((carried - disparity[t]) / (0.15 * disparity[t] + 0.05)))
            alike = np.maximum(alike, layers[t].moving)
            change = STEADINESS * trust * alike * (carried - disparity[t])
            result[t] = np.asarray(disparity[t] + change, np.float32)
        passes.append(result)
    return [0.5 * (a + b) for a, b in zip(*passes, strict=True)]


def _smear(picture: Bytes) -> int:
    """Pixels by which flow smears an edge."""
    return max(2, round(0.016 * max(picture.shape)))


def _reduced(frame: Bytes) -> Bytes:
    frame = np.ascontiguousarray(frame)
    height, width = frame.shape[:2]
    scale = WORKING_SIDE / max(height, width)
    if scale >= 1.0:
        return frame
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(cv2.resize(frame, size, interpolation=cv2.INTER_AREA), np.uint8)


def _steps(
    indices: Sequence[int], total: int, stage: str, on_progress: OnProgress, cancelled: Cancelled
) -> Iterator[int]:
    """Go through `indices`, reporting each as it is done, and stopping when asked to."""
    for done, index in enumerate(indices, start=1):
        stop_if(cancelled)
        yield index
        on_progress(done, total, stage)
