"""Depth measured from the motion of the camera.

Flow to several earlier and later frames gives the camera's path; with the path known, every pixel's inverse depth
follows from where it went along its epipolar lines. What strays from those lines moves by itself.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from ex4d_core.camera import Intrinsics
from ex4d_core.depth import odometry
from ex4d_core.depth.motion import ClipFlow, sample, texture
from ex4d_core.progress import Cancelled, never_cancelled, stop_if

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Bytes = NDArray[np.uint8]

GRID_POINTS = 1000
"""Points per frame that decide on the camera's path."""

LEAST_PARALLAX = 0.12
"""Pixels at working size by which the nearer part of a frame has to shift against the farther for depth to be
measured; flow is good to about a tenth of that."""

FLOW_ERROR = 0.15
"""Pixels: standard deviation of the flow where it is trusted."""

STRAYS = 0.67
"""Share of the frames that a pixel's flow goes to which agree on how far it strays; the rest may be wrong."""

FADING = 0.8
"""Share of a measurement that is still believed one frame on."""


@dataclass(frozen=True)
class CameraPath:
    """How the camera moved, and where that tells depth."""

    w2c: Doubles
    """(T, 4, 4) float64 world-to-camera, OpenCV axes, up to scale."""
    signal: Floats
    """(T,) float32 pixels of parallax in each frame, beyond what turning explains; below LEAST_PARALLAX is none."""
    turning: Doubles
    """(T, 4, 4) float64 world-to-camera of the best camera that only turns."""


@dataclass(frozen=True)
class Measured:
    """One frame's inverse depth from parallax."""

    inverse_depth: Floats
    """(H, W) float32, units of the camera path, may be about 0 for what is far."""
    information: Floats
    """(H, W) float32: 1 / variance of `inverse_depth`; 0 where nothing was measured."""
    stray: Floats
    """(H, W) float32 pixels by which the pixel misses the path's epipolar lines, but for the worst of the flow
    that it was measured with."""


def find_path(
    frames: Sequence[Bytes], flow: ClipFlow, intrinsics: Intrinsics, cancelled: Cancelled = never_cancelled
) -> CameraPath:
    """Camera path of a clip, and whether it shows parallax.

    Args:
        frames: T frames (H, W, 3) uint8 sRGB at working size.
        flow: between them.
        intrinsics: at working size.
        cancelled: asked before each frame and each iteration.

    Raises:
        CancelledError: `cancelled` said so.
    """
    observations, rows = _observe(frames, flow, intrinsics, cancelled)
    points = len(rows)
    turning = odometry.solve(observations, np.zeros(points), prior=1e9, rounds=4, cancelled=cancelled)
    # the lower part of most pictures is nearer: enough of a hint not to turn the scene inside out
    moving = odometry.solve(observations, 0.7 + 0.6 * rows / flow.height, cancelled=cancelled)
    signal = np.zeros(len(frames), np.float32)
    for s in range(len(frames)):
        pairs = slice(observations.first[s], observations.first[s + 1])
        weight = observations.weight[pairs]
        seen = weight > 0.3
        if seen.sum() < 0.2 * points:
            continue
        before, after = turning.residual[pairs][seen], moving.residual[pairs][seen]
        # the upper half of what turning leaves unexplained, as far as moving explains it
        signal[s] = max(0.0, float(np.quantile(before, 0.7)) - 2.0 * float(np.quantile(after, 0.7)))
    return CameraPath(moving.w2c, signal, turning.w2c)


def _observe(
    frames: Sequence[Bytes], flow: ClipFlow, intrinsics: Intrinsics, cancelled: Cancelled
) -> tuple[odometry.Observations, Doubles]:
    """Flow at a grid of points, and the (N,) pixel rows of those points."""
    height, width = flow.height, flow.width
    stride = max(1, math.ceil(math.sqrt(height * width / GRID_POINTS)))
    y, x = (a.ravel() for a in np.mgrid[stride // 2 : height : stride, stride // 2 : width : stride].astype(np.intp))
    focal = np.array([intrinsics.fx, intrinsics.fy])
    centre = np.array([intrinsics.cx, intrinsics.cy])
    start = np.stack([x, y], axis=1) + 0.5
    first, target, seen, weight = [0], [], [], []
    for s in range(len(frames)):
        stop_if(cancelled)
        structure = texture(frames[s])[y, x]
        for t in flow.targets(s):
            vectors, trust = flow.flow(s, t)
            target.append(t)
            seen.append(((start + vectors[y, x] - centre) / focal).astype(np.float32))
            weight.append((trust[y, x] * structure).astype(np.float32))
        first.append(len(target))
    pairs = len(target)
    return (
        odometry.Observations(
            (start - centre) / focal,
            np.array(first, np.int32),
            np.array(target, np.int32),
            np.array(seen, np.float32).reshape(pairs, len(x), 2),
            np.array(weight, np.float32).reshape(pairs, len(x)),
            1.0 / intrinsics.fx,
        ),
        y.astype(np.float64),
    )


@njit(cache=True, fastmath=False)
def _most(values: Doubles, weights: Doubles) -> float:  # pragma: no cover - compiled
    """The value that STRAYS of the weight do not exceed; 0 without weight. Meant for few values."""
    enough = STRAYS * weights.sum()
    best = 0.0
    found = False
    for i in range(len(values)):
        if weights[i] <= 0.0 or (found and values[i] >= best):
            continue
        below = 0.0
        for j in range(len(values)):
            if values[j] <= values[i]:
                below += weights[j]
        if below >= enough:
            best, found = values[i], True
    return best


@njit(cache=True, fastmath=False)
def _triangulate(
    flows: Floats, weights: Floats, rotations: Doubles, shifts: Doubles, k: Doubles
) -> tuple[Floats, Floats, Floats]:  # pragma: no cover - compiled
    """Robust least-squares inverse depth along the epipolar lines of (M, H, W, 2) flows."""
    pairs, height, width = weights.shape
    inverse_depth = np.zeros((height, width), np.float32)
    information = np.zeros((height, width), np.float32)
    stray = np.zeros((height, width), np.float32)
    fx, fy, cx, cy = k
    far = np.empty((pairs, 3))
    misses = np.zeros(pairs)
    believed = np.empty(pairs)
    for v in range(height):
        for u in range(width):
            x = (u + 0.5 - cx) / fx
            y = (v + 0.5 - cy) / fy
            for m in range(pairs):
                for c in range(3):
                    far[m, c] = rotations[m, c, 0] * x + rotations[m, c, 1] * y + rotations[m, c, 2]
            q = 0.0
            info = 0.0
            for iteration in range(4):
                numerator = 0.0
                info = 0.0
                believed[:] = 0.0
                for m in range(pairs):
                    w = weights[m, v, u]
                    pz = far[m, 2] + q * shifts[m, 2]
                    if w < 0.01 or pz < 0.05:
                        continue
                    seen_x = (u + 0.5 + flows[m, v, u, 0] - cx) / fx
                    seen_y = (v + 0.5 + flows[m, v, u, 1] - cy) / fy
                    # fx (X - seen_x Z) / pz is the distance in pixels, and linear in q
                    bx = fx * (shifts[m, 0] - seen_x * shifts[m, 2]) / pz
                    by = fy * (shifts[m, 1] - seen_y * shifts[m, 2]) / pz
                    ax = fx * (far[m, 0] - seen_x * far[m, 2]) / pz
                    ay = fy * (far[m, 1] - seen_y * far[m, 2]) / pz
                    rx = ax + q * bx
                    ry = ay + q * by
                    e = rx * rx + ry * ry
                    misses[m] = math.sqrt(e)
                    believed[m] = w
                    if iteration > 0:
                        w = w / (1.0 + e)
                    numerator -= w * (ax * bx + ay * by)
                    info += w * (bx * bx + by * by)
                if iteration < 3 and info > 0.0:
                    q = numerator / (info + 1e-6)
            inverse_depth[v, u] = q
            information[v, u] = info
            stray[v, u] = _most(misses, believed)
    return inverse_depth, information, stray


def triangulate(frame: Bytes, source: int, flow: ClipFlow, w2c: Doubles, intrinsics: Intrinsics) -> Measured:
    """Inverse depth of one frame from its flow to the others.

    Args:
        frame: (H, W, 3) uint8 sRGB at working size.
        source: its number.
        flow: of the clip.
        w2c: (T, 4, 4) float64 world-to-camera.
        intrinsics: at working size.
    """
    targets = flow.targets(source)
    structure = texture(frame)
    measured = [flow.flow(source, t) for t in targets]
    relative = np.stack([w2c[t] @ np.linalg.inv(w2c[source]) for t in targets])
    q, information, stray = _triangulate(
        np.stack([vectors for vectors, _ in measured]),
        np.stack([trust * structure for _, trust in measured]),
        np.ascontiguousarray(relative[:, :3, :3]),
        np.ascontiguousarray(relative[:, :3, 3]),
        np.array(intrinsics.as_tuple()),
    )
    return Measured(q, information / FLOW_ERROR**2, stray)


def carry(inverse_depth: Floats, back: Floats, w2c_from: Doubles, w2c_to: Doubles, intrinsics: Intrinsics) -> Floats:
    """Bring a frame's inverse depth into a neighbouring frame, seen from the neighbour's camera.

    Args:
        inverse_depth: (H, W) float32 of the frame it comes from.
        back: (H, W, 2) float32 flow from the neighbour to that frame, pixels.
        w2c_from: (4, 4) of the frame it comes from.
        w2c_to: (4, 4) of the neighbour.
        intrinsics: at working size.

    Returns:
        (H, W) float32.
    """
    height, width = inverse_depth.shape
    relative = w2c_to @ np.linalg.inv(w2c_from)
    q = sample(inverse_depth, back)
    x = (np.arange(width) + 0.5 + back[..., 0] - intrinsics.cx) / intrinsics.fx
    y = (np.arange(height)[:, None] + 0.5 + back[..., 1] - intrinsics.cy) / intrinsics.fy
    depth = relative[2, 0] * x + relative[2, 1] * y + relative[2, 2] + q * relative[2, 3]
    return np.asarray(q / np.maximum(depth, 0.2), np.float32)


def fuse(
    inverse_depth: Sequence[Floats],
    information: Sequence[Floats],
    flow: ClipFlow,
    w2c: Doubles,
    intrinsics: Intrinsics,
    cancelled: Cancelled = never_cancelled,
) -> tuple[list[Floats], list[Floats]]:
    """Let every frame profit from what was measured before and after it.

    An information filter along the flow, forwards and backwards: measurements add up, but fade by a part with every
    frame, because flow is not perfect and its errors are not independent.

    Args:
        inverse_depth: T times (H, W) float32.
        information: T times (H, W) float32, 1 / variance.
        flow: between the frames.
        w2c: (T, 4, 4) float64 world-to-camera.
        intrinsics: at working size.
        cancelled: asked before each frame of each pass.

    Returns:
        The same two, fused.

    Raises:
        CancelledError: `cancelled` said so.
    """
    frames = len(inverse_depth)
    total = [i.copy() for i in information]
    weighted = [q * i for q, i in zip(inverse_depth, information, strict=True)]
    for order in (range(frames), range(frames - 1, -1, -1)):
        past_q, past_i = inverse_depth[order[0]], information[order[0]]
        for before, t in itertools.pairwise(order):
            stop_if(cancelled)
            back, trust = flow.flow(t, before)
            carried = carry(past_q, back, w2c[before], w2c[t], intrinsics)
            weight = FADING * trust * trust * sample(past_i, back)
            # what contradicts a good measurement of the present belongs to another surface
            gap = np.square(carried - inverse_depth[t]) * information[t]
            weight = weight / (1.0 + gap / 9.0)
            weighted[t] += carried * weight
            total[t] += weight
            past_i = np.asarray(information[t] + weight, np.float32)
            past_q = np.asarray(
                (inverse_depth[t] * information[t] + carried * weight) / np.maximum(past_i, 1e-9), np.float32
            )
    fused = [(w / np.maximum(i, 1e-9)).astype(np.float32) for w, i in zip(weighted, total, strict=True)]
    return fused, [i.astype(np.float32) for i in total]
