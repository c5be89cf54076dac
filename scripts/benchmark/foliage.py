"""Leaves in the wind: a tree, bushes and grass before a hill."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .geometry import Array, Mesh, box, line, merged, sheet, tube
from .scene import Look, Part, Scene, resting, sky


def scene() -> Scene:
    """See above."""
    draw = np.random.default_rng(11)
    ground = sheet((-30, -8, 0), (60, 0, 0), (0, 60, 0), (60, 60))
    x, y = ground.vertices[:, 0], ground.vertices[:, 1]
    hill = 0.05 * np.sin(2 * x + y) + 5 * np.clip((np.hypot(x, y - 5) - 9) / 20, 0, 1) ** 1.5 * (
        1 + 0.3 * np.sin(x / 3)
    )
    ground.vertices[:, 2] = np.where(np.hypot(x, y - 4) < 7, 0.03 * np.sin(2 * x + y), hill)
    crown = _scattered(draw, (0.5, 5.2, 2.75), (1.5, 1.3, 0.95), 1500)
    bushes = np.concatenate([
        _scattered(draw, (-1.7, 4.1, 0.45), (0.6, 0.55, 0.45), 420),
        _scattered(draw, (1.9, 3.7, 0.35), (0.45, 0.45, 0.35), 260),
        _scattered(draw, (-4.5, 6.0, 0.8), (1.1, 1.0, 0.8), 450),
    ])  # fmt: skip
    posts = [line((px, 7.5, 0), (px, 7.5, 1.1), 0.05, 8) for px in np.arange(-6, 6.1, 1.5)]
    posts += [box((0, 7.5, z), (12, 0.04, 0.1)) for z in (0.5, 0.9)]
    house = merged(
        [box((-7.5, 11, 1.5), (4, 4, 3)), box((7.5, 12, 1.2), (3, 3, 2.4)), box((-8, 3.0, 1.2), (2, 3, 2.4))]
    )
    return Scene(
        parts=(
            sky(90),
            resting(Look("mottled", (0.12, 0.16, 0.05), (0.22, 0.17, 0.09), 0.7), ground, smooth=True),
            resting(Look("brick", (0.5, 0.42, 0.35), (0.35, 0.28, 0.24), 0.45), house),
            resting(Look("mottled", (0.3, 0.2, 0.12), (0.2, 0.13, 0.08), 0.1), merged(posts)),
            resting(Look("stripes", (0.15, 0.1, 0.07), (0.08, 0.06, 0.04), 0.07), _trunk(), smooth=True),
            Part(Look("mottled", (0.1, 0.24, 0.03), (0.2, 0.3, 0.04), 0.25), _leaves(crown, 0.13, 1, 0.09), True),
            Part(Look("mottled", (0.05, 0.16, 0.06), (0.12, 0.22, 0.05), 0.2), _leaves(bushes, 0.1, 2, 0.04), True),
            Part(Look("mottled", (0.2, 0.28, 0.06), (0.1, 0.2, 0.04), 0.15), _grass(), True),
        ),
        eye=(0, 0, 1.5),
        aim=(0.1, 4.6, 1.5),
        dolly=(0.6, -0.15, 0.7),
        side=-1,
    )


def _scattered(draw: np.random.Generator, center: tuple, radii: tuple, count: int) -> Array:
    """(count, 3) points in an ellipsoid, more of them outside."""
    points = draw.normal(size=(count, 3))
    points *= draw.uniform(0.35, 1.0, (count, 1)) ** 0.5 / np.linalg.norm(points, axis=1, keepdims=True)
    return np.asarray(center) + points * np.asarray(radii)


def _trunk() -> Mesh:
    draw = np.random.default_rng(4)
    fork = np.array([0.45, 5.2, 1.9])
    parts = [tube([(0.3, 5.2, 0), (0.38, 5.2, 0.9), fork], [0.15, 0.11, 0.09], 10)]
    for _ in range(12):
        tip = np.array([0.5, 5.2, 2.8]) + draw.normal(size=3) * (0.75, 0.65, 0.4)
        bend = (fork + tip) / 2 + draw.normal(size=3) * 0.08
        parts.append(tube([fork, bend, tip], [0.05, 0.03, 0.012], 6))
    return merged(parts)


def _wind(points: Array, seconds: float) -> Array:
    """(N, 3): how far the wind carries what is at `points`, for an amplitude of 1."""
    x, y, z = points.T
    gust = 0.6 + 0.4 * np.sin(1.1 * seconds + 0.4 * x)
    along = gust * (np.sin(2.6 * seconds + 1.3 * x + 0.7 * z) + 0.35 * np.sin(6.1 * seconds + 3 * x + 2 * y))
    return np.stack(
        [along, 0.5 * np.sin(2.1 * seconds + 1.7 * y + z), 0.3 * np.sin(3.3 * seconds + 2 * x + y)], axis=-1
    )


def _leaves(places: Array, size: float, seed: int, strength: float) -> Callable[[float], Mesh]:
    """Leaves of four corners, folded along the middle, each turning a little in the wind."""
    draw = np.random.default_rng(seed)
    count = len(places)
    stem = draw.normal(size=(count, 3)) + (0, 0, -0.5)
    stem /= np.linalg.norm(stem, axis=1, keepdims=True)
    wide = np.cross(stem, draw.normal(size=(count, 3)))
    wide /= np.linalg.norm(wide, axis=1, keepdims=True)
    lift = np.cross(stem, wide)
    lengths = size * draw.uniform(0.7, 1.3, (count, 1))
    late = draw.uniform(0, 6.3, (count, 1))
    base = np.arange(count)[:, None] * 4
    faces = np.concatenate([base + (0, 1, 2), base + (0, 2, 3)]).astype(np.int32)
    uv = (
        places[:, None, :2]
        + draw.uniform(-1, 1, (count, 1, 2))
        + np.array([(0, 0), (0.04, 0.05), (0, 0.1), (-0.04, 0.05)])
    ).reshape(-1, 2)

    def build(seconds: float) -> Mesh:
        flutter = 0.35 * np.sin(7 * seconds + late)
        side = wide * np.cos(flutter) + lift * np.sin(flutter)
        up = lift * np.cos(flutter) - wide * np.sin(flutter)
        at = places + strength * _wind(places, seconds)
        half, fold = 0.32 * lengths, 0.1 * lengths
        middle = at + stem * lengths * 0.5
        corners = [at, middle + side * half + up * fold, at + stem * lengths, middle - side * half + up * fold]
        return Mesh(np.stack(corners, axis=1).reshape(-1, 3), faces, uv)

    return build


def _grass() -> Callable[[float], Mesh]:
    """Blades of three corners that bend."""
    draw = np.random.default_rng(7)
    count = 2600
    root = np.stack([draw.uniform(-4.5, 4.5, count), draw.uniform(1.6, 7.2, count), np.full(count, -0.03)], axis=-1)
    height = draw.uniform(0.12, 0.38, (count, 1))
    around = draw.uniform(0, np.pi, count)
    half = np.stack([np.cos(around), np.sin(around), 0 * around], axis=-1) * 0.011
    lean = draw.normal(0, 0.3, (count, 3)) * (1, 1, 0)
    faces = (np.arange(count)[:, None] * 3 + (0, 1, 2)).astype(np.int32)
    uv = (root[:, None, :2] + np.array([(0, 0), (0.02, 0), (0.01, 0.3)])).reshape(-1, 2)

    def build(seconds: float) -> Mesh:
        bent = lean + 0.3 * _wind(root, seconds) * (1, 1, 0)
        tip = root + height * (bent + (0, 0, 1)) / np.sqrt(1 + (bent**2).sum(axis=1, keepdims=True))
        return Mesh(np.stack([root - half, root + half, tip], axis=1).reshape(-1, 3), faces, uv)

    return build
