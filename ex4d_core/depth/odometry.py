"""Camera poses of a clip from dense optical flow: one bundle adjustment over all frames.

Every frame has its own sparse grid of points with unknown inverse depth, observed by the flow to a few earlier and
later frames. The points are eliminated (Schur complement), which leaves a banded system with six unknowns per
frame. Starting from a camera that stands still in front of a nearly flat scene is enough for the small motions
between neighbouring frames of a video (Yu and Gallup, "3D Reconstruction from Accidental Motion", 2014).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from ex4d_core.progress import Cancelled, never_cancelled, stop_if

Doubles = NDArray[np.float64]
Floats = NDArray[np.float32]
Integers = NDArray[np.int32]


@dataclass(frozen=True)
class Observations:
    """Where the grid points of each frame were seen in other frames."""

    rays: Doubles
    """(N, 2) float64: x / z and y / z of the grid points, the same grid in all frames."""
    first: Integers
    """(T + 1,) int32: the pairs of source frame s are first[s] to first[s + 1]."""
    target: Integers
    """(P,) int32: the other frame of each pair."""
    seen: Floats
    """(P, N, 2) float32: x / z and y / z at which the point appears there."""
    weight: Floats
    """(P, N) float32, 0..1: how far the observation is trusted."""
    pixel: float
    """One pixel in units of x / z."""

    @property
    def frames(self) -> int:
        """T."""
        return len(self.first) - 1


@dataclass(frozen=True)
class Odometry:
    """A camera path up to scale, and how well it explains what was seen."""

    w2c: Doubles
    """(T, 4, 4) float64 world-to-camera, OpenCV axes; frame 0 is the world; the median inverse depth is 1."""
    inverse_depth: Floats
    """(T, N) float32 at the grid points."""
    residual: Floats
    """(P, N) float32 pixels: distance between where a point was seen and where it should be."""
    parallax: Floats
    """(P, N) float32 pixels: how far the point would be from there, were it at infinity."""


@njit(cache=True, nogil=True, fastmath=False)
def _project(
    x: float, y: float, q: float, rotation: Doubles, shift: Doubles
) -> tuple[float, float, float]:  # pragma: no cover - compiled
    px = rotation[0, 0] * x + rotation[0, 1] * y + rotation[0, 2] + q * shift[0]
    py = rotation[1, 0] * x + rotation[1, 1] * y + rotation[1, 2] + q * shift[1]
    pz = rotation[2, 0] * x + rotation[2, 1] * y + rotation[2, 2] + q * shift[2]
    return px, py, pz


@njit(cache=True, nogil=True, fastmath=False)
def _from_to(
    rotation_a: Doubles, shift_a: Doubles, rotation_b: Doubles, shift_b: Doubles
) -> tuple[Doubles, Doubles]:  # pragma: no cover - compiled
    """The pose of b from a: R_b R_a^T and t_b - R t_a. Written out: compiled `@` would need SciPy."""
    relative, offset = np.zeros((3, 3)), shift_b.copy()
    for i in range(3):
        for j in range(3):
            for k in range(3):
                relative[i, j] += rotation_b[i, k] * rotation_a[j, k]
            offset[i] -= relative[i, j] * shift_a[j]
    return relative, offset


@njit(cache=True, nogil=True, fastmath=False)
def _robust_cost(
    rays: Doubles,
    first: Integers,
    target: Integers,
    seen: Floats,
    weight: Floats,
    q: Doubles,
    rotation: Doubles,
    shift: Doubles,
    sigma: float,
) -> float:  # pragma: no cover - compiled
    """Sum of weighted Geman-McClure costs of all observations; points behind a camera count fully."""
    total = 0.0
    for s in range(len(first) - 1):
        for p in range(first[s], first[s + 1]):
            t = target[p]
            relative, offset = _from_to(rotation[s], shift[s], rotation[t], shift[t])
            for i in range(len(rays)):
                w = weight[p, i]
                if w <= 0.0:
                    continue
                px, py, pz = _project(rays[i, 0], rays[i, 1], q[s, i], relative, offset)
                if pz < 0.05:
                    total += w
                    continue
                rx = seen[p, i, 0] - px / pz
                ry = seen[p, i, 1] - py / pz
                e = (rx * rx + ry * ry) / (sigma * sigma)
                total += w * e / (1.0 + e)
    return total


@njit(cache=True, nogil=True, fastmath=False)
def _linearise(
    rays: Doubles,
    first: Integers,
    target: Integers,
    seen: Floats,
    weight: Floats,
    q: Doubles,
    rotation: Doubles,
    shift: Doubles,
    sigma: float,
    prior: float,
    prior_q: Doubles,
    damping: float,
    band: Doubles,
    right: Doubles,
    point_h: Doubles,
    point_g: Doubles,
    point_p: Floats,
) -> None:  # pragma: no cover - compiled
    """Normal equations with the points eliminated, and what it takes to find the points afterwards.

    Poses change by exp(twist) from the left; a twist is (rotation, translation). `band[r, c]` holds the entry
    (r, r + c) of the symmetric matrix.
    """
    count = len(rays)
    most = point_p.shape[2]
    local = np.zeros((most, most))
    local_g = np.zeros(most)
    jac = np.zeros((2, 12))
    hq = np.zeros(most)
    for s in range(len(first) - 1):
        pairs = first[s + 1] - first[s]
        used = 6 * (pairs + 1)
        local[:] = 0.0
        local_g[:] = 0.0
        relative = np.zeros((pairs, 3, 3))
        offset = np.zeros((pairs, 3))
        for k in range(pairs):
            t = target[first[s] + k]
            relative[k], offset[k] = _from_to(rotation[s], shift[s], rotation[t], shift[t])
        for i in range(count):
            x = rays[i, 0]
            y = rays[i, 1]
            depth = q[s, i]
            hqq = prior
            gq = prior * (prior_q[i] - depth)
            hq[:used] = 0.0
            for k in range(pairs):
                w = weight[first[s] + k, i]
                if w <= 0.0:
                    continue
                m = relative[k]
                px, py, pz = _project(x, y, depth, m, offset[k])
                if pz < 0.05:
                    continue
                u = px / pz
                v = py / pz
                rx = seen[first[s] + k, i, 0] - u
                ry = seen[first[s] + k, i, 1] - v
                e = 1.0 + (rx * rx + ry * ry) / (sigma * sigma)
                w = w / (e * e) / (sigma * sigma)
                inv = 1.0 / pz
                # d(u, v) / dP = [[inv, 0, -u inv], [0, inv, -v inv]]
                for row in range(2):
                    if row == 0:
                        a0, a1, a2 = inv, 0.0, -u * inv
                    else:
                        a0, a1, a2 = 0.0, inv, -v * inv
                    # target twist: dP = omega x P + q v
                    jac[row, 6] = -a1 * pz + a2 * py
                    jac[row, 7] = a0 * pz - a2 * px
                    jac[row, 8] = -a0 * py + a1 * px
                    jac[row, 9] = a0 * depth
                    jac[row, 10] = a1 * depth
                    jac[row, 11] = a2 * depth
                    # source twist: dP = -M (omega x ray + q v)
                    b0 = -(a0 * m[0, 0] + a1 * m[1, 0] + a2 * m[2, 0])
                    b1 = -(a0 * m[0, 1] + a1 * m[1, 1] + a2 * m[2, 1])
                    b2 = -(a0 * m[0, 2] + a1 * m[1, 2] + a2 * m[2, 2])
                    jac[row, 0] = -b1 + b2 * y
                    jac[row, 1] = b0 - b2 * x
                    jac[row, 2] = -b0 * y + b1 * x
                    jac[row, 3] = b0 * depth
                    jac[row, 4] = b1 * depth
                    jac[row, 5] = b2 * depth
                    jq = a0 * offset[k, 0] + a1 * offset[k, 1] + a2 * offset[k, 2]
                    r = rx if row == 0 else ry
                    hqq += w * jq * jq
                    gq += w * jq * r
                    for c in range(6):
                        hq[c] += w * jq * jac[row, c]
                        hq[6 * (k + 1) + c] += w * jq * jac[row, 6 + c]
                    for c in range(12):
                        cc = c if c < 6 else 6 * (k + 1) + c - 6
                        wj = w * jac[row, c]
                        local_g[cc] += wj * r
                        for d in range(12):
                            dd = d if d < 6 else 6 * (k + 1) + d - 6
                            local[cc, dd] += wj * jac[row, d]
            hqq *= 1.0 + damping
            point_h[s, i] = hqq
            point_g[s, i] = gq
            for c in range(used):
                point_p[s, i, c] = hq[c]
                share = hq[c] / hqq
                if share != 0.0:
                    local_g[c] -= share * gq
                    for d in range(used):
                        local[c, d] -= share * hq[d]
        for c in range(used):
            frame_c = s if c < 6 else target[first[s] + c // 6 - 1]
            row = 6 * frame_c + c % 6
            right[row] += local_g[c]
            for d in range(used):
                frame_d = s if d < 6 else target[first[s] + d // 6 - 1]
                column = 6 * frame_d + d % 6
                if column >= row:
                    band[row, column - row] += local[c, d]


@njit(cache=True, nogil=True, fastmath=False)
def solve_banded(band: Doubles, right: Doubles) -> Doubles:  # pragma: no cover - compiled
    """Cholesky solution of a symmetric positive definite system; `band` (n, b) is overwritten."""
    n, width = band.shape
    for i in range(n):
        pivot = band[i, 0]
        if pivot <= 1e-12:
            pivot = 1e12  # an unknown that nothing depends on stays where it is
            band[i, 0] = pivot
        for j in range(1, min(width, n - i)):
            factor = band[i, j] / pivot
            if factor != 0.0:
                for k in range(j, min(width, n - i)):
                    band[i + j, k - j] -= factor * band[i, k]
    x = right.copy()
    for i in range(n):
        for j in range(1, min(width, n - i)):
            x[i + j] -= band[i, j] / band[i, 0] * x[i]
    for i in range(n - 1, -1, -1):
        value = x[i]
        for j in range(1, min(width, n - i)):
            value -= band[i, j] * x[i + j]
        x[i] = value / band[i, 0]
    return x


@njit(cache=True, nogil=True, fastmath=False)
def _back_substitute(
    first: Integers, target: Integers, step: Doubles, point_h: Doubles, point_g: Doubles, point_p: Floats
) -> Doubles:  # pragma: no cover - compiled
    """Change of every inverse depth, given the change of the poses."""
    result = np.empty_like(point_h)
    for s in range(len(first) - 1):
        used = 6 * (first[s + 1] - first[s] + 1)
        for i in range(point_h.shape[1]):
            g = point_g[s, i]
            for c in range(used):
                frame = s if c < 6 else target[first[s] + c // 6 - 1]
                g -= point_p[s, i, c] * step[6 * frame + c % 6]
            result[s, i] = g / point_h[s, i]
    return result


def _rotations(vectors: Doubles) -> Doubles:
    """Rodrigues' formula: (T, 3) axis times angle -> (T, 3, 3)."""
    angle = np.linalg.norm(vectors, axis=1)[:, None, None]
    x, y, z = vectors.T
    zero = np.zeros_like(x)
    cross = np.stack([zero, -z, y, z, zero, -x, -y, x, zero], axis=1).reshape(-1, 3, 3)
    a = np.sinc(angle / math.pi)
    b = 0.5 * np.sinc(angle / (2 * math.pi)) ** 2
    return np.eye(3) + a * cross + b * (cross @ cross)


def solve(
    observations: Observations,
    prior_q: Doubles,
    *,
    prior: float = 0.02,
    rounds: int = 8,
    cancelled: Cancelled = never_cancelled,
) -> Odometry:
    """Find the camera path.

    Args:
        observations: of T frames.
        prior_q: (N,) float64 inverse depth to start from, around 1; also a prior. All 0 is the infinitely
            far scene of a camera that only turns.
        prior: weight of `prior_q`; the default is very weak.
        rounds: iterations at each of three levels of robustness.
        cancelled: asked before each iteration.

    Returns:
        Poses and points; for a camera that only turns the shifts are about 0 and the inverse depths mean nothing.

    Raises:
        CancelledError: `cancelled` said so.
    """
    o = observations
    frames, count = o.frames, len(o.rays)
    rotation = np.tile(np.eye(3), (frames, 1, 1))
    shift = np.zeros((frames, 3))
    q = np.tile(prior_q, (frames, 1))
    pairs = int(np.diff(o.first).max())
    source = np.repeat(np.arange(frames), np.diff(o.first))
    reach = int(np.abs(o.target - source).max()) if len(o.target) else 0
    most, width = 6 * (pairs + 1), 6 * (2 * reach + 1)
    point_h, point_g = np.empty((frames, count)), np.empty((frames, count))
    point_p = np.empty((frames, count, most), np.float32)
    data = (o.rays, o.first, o.target, o.seen, o.weight)
    damping = 1e-3
    for sigma_px in (4.0, 1.5, 0.7):
        sigma = sigma_px * o.pixel
        cost = _robust_cost(*data, q, rotation, shift, sigma)
        for _ in range(rounds):
            stop_if(cancelled)
            band, right = np.zeros((6 * frames, width)), np.zeros(6 * frames)
            _linearise(
                *data, q, rotation, shift, sigma, prior, prior_q, damping, band, right, point_h, point_g, point_p
            )
            band[:6, 0] += 1e9  # frame 0 is the world
            band[:, 0] += damping * np.abs(band[:, 0]) + 1e-6
            step = solve_banded(band, right)
            new_q = np.clip(q + _back_substitute(o.first, o.target, step, point_h, point_g, point_p), 0.0, 30.0)
            twist = step.reshape(frames, 6)
            turn = _rotations(twist[:, :3])
            new_rotation = turn @ rotation
            new_shift = (turn @ shift[..., None])[..., 0] + twist[:, 3:]
            new_cost = _robust_cost(*data, new_q, new_rotation, new_shift, sigma)
            if new_cost < cost:
                gain = (cost - new_cost) / max(cost, 1e-12)
                q, rotation, shift, cost = new_q, new_rotation, new_shift, new_cost
                damping = max(damping * 0.2, 1e-6)
                if gain < 1e-4:
                    break
            else:
                damping = min(damping * 10.0, 1e3)
        middle = float(np.median(q))
        if middle > 1e-6:
            q, shift = q / middle, shift * middle
    w2c = np.tile(np.eye(4), (frames, 1, 1))
    w2c[:, :3, :3], w2c[:, :3, 3] = rotation, shift
    residual, parallax = _explain(o, source, q, rotation, shift)
    return Odometry(w2c, q.astype(np.float32), residual, parallax)


def _explain(
    o: Observations, source: NDArray[np.int64], q: Doubles, rotation: Doubles, shift: Doubles
) -> tuple[Floats, Floats]:
    relative = rotation[o.target] @ np.swapaxes(rotation[source], 1, 2)  # (P, 3, 3)
    offset = shift[o.target] - (relative @ shift[source][..., None])[..., 0]  # (P, 3)
    rays = np.concatenate([o.rays, np.ones((len(o.rays), 1))], axis=1)
    far = np.einsum("pij,nj->pni", relative, rays)
    near = far + q[source][..., None] * offset[:, None]
    at_far = far[..., :2] / np.maximum(far[..., 2:], 0.05)
    at_near = near[..., :2] / np.maximum(near[..., 2:], 0.05)
    residual = np.linalg.norm(o.seen - at_near, axis=-1) / o.pixel
    return residual.astype(np.float32), (np.linalg.norm(at_near - at_far, axis=-1) / o.pixel).astype(np.float32)
