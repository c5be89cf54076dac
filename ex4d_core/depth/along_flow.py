"""What the frames around a frame say of its depth, carried to it along the flow."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from ex4d_core.depth.motion import FlowMeter, length, pixel_grid, sample

Floats = NDArray[np.float32]
Bytes = NDArray[np.uint8]

FLOW_SIDE = 512
"""Flow is measured with the longer side at most this many pixels."""

OWN_SHARE = 0.25
"""Share of the weight around a pixel's own value that is enough to keep to it: at edges the flow may be wrong for
more than half of the frames around."""

ROUNDS = 3
"""Steps from there to the middle of what lies around."""

LOST = 0.02
"""Trust below which a pixel is not followed any farther."""


@dataclass(frozen=True)
class Step:
    """Flow from a frame to another."""

    vectors: Floats
    """(h, w, 2) float32 pixels."""
    trust: Floats
    """(h, w) float32, 0..1: 0 where hidden, beyond the frame or of another colour."""

    def then(self, other: Step) -> Step:
        """This step and then another."""
        vectors = self.vectors + sample(other.vectors, self.vectors)
        return Step(vectors, self.trust * sample(other.trust, self.vectors))


def measure_steps(a: Bytes, b: Bytes) -> tuple[Step, Step]:
    """The flow from `a` to `b`, and from `b` to `a`; both (h, w, 3) uint8 sRGB of one size."""
    meter = FlowMeter([a, b])
    there, back = meter.flow(0, 1), meter.flow(1, 0)
    return _step(a, b, there, back), _step(b, a, back, there)


def _step(a: Bytes, b: Bytes, there: Floats, back: Floats) -> Step:
    height, width = there.shape[:2]
    target = pixel_grid(height, width) + there
    x, y = target[..., 0], target[..., 1]
    inside = (x >= -0.5) & (y >= -0.5) & (x <= width - 0.5) & (y <= height - 0.5)
    miss = length(there + sample(back, there))
    color = np.abs(sample(b.astype(np.float32), there) - a).sum(axis=2) / np.float32(255)
    trust = np.exp(-np.square(miss / (0.6 + 0.02 * length(there))) - np.square(color / 0.35)) * inside
    return Step(there, trust.astype(np.float32))


@njit(cache=True, nogil=True, fastmath=False)
def _settle(values: Floats, weights: Floats, own: Floats, noise: float) -> Floats:  # pragma: no cover - compiled
    """See `settle`."""
    count, height, width = values.shape
    result = np.empty((height, width), np.float32)
    taken = np.empty(count, np.float32)
    heavy = np.empty(count, np.float32)
    for y in range(height):
        for x in range(width):
            n = 0
            total = 0.0
            for k in range(count):
                w = weights[k, y, x]
                if w <= 0.0:
                    continue
                value = values[k, y, x]
                i = n
                while i > 0 and taken[i - 1] > value:
                    taken[i] = taken[i - 1]
                    heavy[i] = heavy[i - 1]
                    i -= 1
                taken[i] = value
                heavy[i] = w
                total += w
                n += 1
            if n == 0:
                result[y, x] = own[y, x]
                continue
            support = 0.0
            for i in range(n):
                if abs(taken[i] - own[y, x]) < 0.5 * noise:
                    support += heavy[i]
            middle = own[y, x]
            if support < OWN_SHARE * total:
                running = 0.0
                for i in range(n):
                    running += heavy[i]
                    middle = taken[i]
                    if running >= 0.5 * total:
                        break
            for _ in range(ROUNDS):
                mean = 0.0
                mass = 0.0
                for i in range(n):
                    far = (taken[i] - middle) / noise
                    if far * far < 1.0:
                        w = heavy[i] * (1.0 - far * far) * (1.0 - far * far)
                        mean += w * taken[i]
                        mass += w
                if mass > 0.0:
                    middle = mean / mass
            result[y, x] = middle
    return result


def settle(values: Floats, weights: Floats, own: Floats, noise: float) -> Floats:
    """The value that several frames agree on: the middle of those around their weighted median.

    Where enough of them lie around the frame's own value, it is the middle of those.

    Args:
        values: (K, h, w) float32, of K frames.
        weights: (K, h, w) float32, >= 0.
        own: (h, w) float32, the frame's own value; kept where there is no weight.
        noise: distance from the median at which a value does not count any more.
    """
    return _settle(values, weights, own, max(noise, 1e-12))
