"""Depth from camera motion, on a scene ray-cast here: textured walls, floor and boxes, true depth known."""

from dataclasses import dataclass

import numpy as np
import pytest

from ex4d_core.camera import Intrinsics
from ex4d_core.depth.embedded import EmbeddedDepth, estimate_depth

WIDTH, HEIGHT, FRAMES = 160, 120, 15
LENS = Intrinsics.unknown_lens(WIDTH, HEIGHT)


@dataclass(frozen=True)
class Plane:
    """A textured parallelogram: points corner + u * edge_u + v * edge_v, u and v in 0..1."""

    corner: tuple[float, float, float]
    edge_u: tuple[float, float, float]
    edge_v: tuple[float, float, float]
    color: tuple[float, float, float]
    seed: int


ROOM = (
    Plane((-9, -4, 8), (18, 0, 0), (0, 6, 0), (0.6, 0.7, 0.8), 1),  # back wall
    Plane((-9, 1.2, 1), (18, 0, 0), (0, 0, 7), (0.7, 0.6, 0.4), 2),  # floor
    Plane((-1.6, -0.4, 4), (1.2, 0, 0.5), (0, 1.6, 0), (0.8, 0.3, 0.3), 3),  # a slanted board
    Plane((0.5, -0.9, 3), (0.9, 0, 0), (0, 2.1, 0), (0.3, 0.6, 0.4), 4),  # an upright board, nearer
    Plane((1.4, -0.9, 3), (0, 0, 0.9), (0, 2.1, 0), (0.2, 0.5, 0.3), 5),  # its side: together a box
    Plane((-2.7, 0.3, 2.6), (0.7, 0, 0), (0, 0.9, 0), (0.4, 0.4, 0.9), 6),  # low and near
)
FLAT = (Plane((-9, -7, 5), (18, 0, 0), (0, 14, 0), (0.6, 0.6, 0.5), 7),)


def texture(plane: Plane, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Value noise on the plane, three octaves, the same size in the world on every plane: (..., 3) in 0..1."""
    random = np.random.default_rng(plane.seed)
    length_u, length_v = np.linalg.norm(plane.edge_u), np.linalg.norm(plane.edge_v)
    total = np.zeros(u.shape)
    for cell, weight in ((0.6, 0.45), (0.25, 0.35), (0.1, 0.2)):
        size = (int(length_v / cell) + 3, int(length_u / cell) + 3)
        lattice = random.random(size)
        x, y = np.clip(u, 0, 1) * length_u / cell, np.clip(v, 0, 1) * length_v / cell
        i, j = x.astype(int), y.astype(int)
        a, b = x - i, y - j
        a, b = a * a * (3 - 2 * a), b * b * (3 - 2 * b)
        top = lattice[j, i] * (1 - a) + lattice[j, i + 1] * a
        bottom = lattice[j + 1, i] * (1 - a) + lattice[j + 1, i + 1] * a
        total += weight * (top * (1 - b) + bottom * b)
    return np.clip(np.array(plane.color) * (0.35 + 1.1 * total[..., None]), 0, 1)


def cast(planes: tuple[Plane, ...], eye: np.ndarray, yaw: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """A picture (H, W, 3) uint8 and its z-depth (H, W), from a camera at `eye` turned by `yaw` radians.

    Colour is averaged over 2x2 rays, depth is that of the pixel's centre.
    """
    turn = np.array([[np.cos(yaw), 0, np.sin(yaw)], [0, 1, 0], [-np.sin(yaw), 0, np.cos(yaw)]])

    def shoot(dx: float, dy: float) -> tuple[np.ndarray, np.ndarray]:
        x, y = np.meshgrid(np.arange(WIDTH) + dx, np.arange(HEIGHT) + dy)
        rays = np.stack([(x - LENS.cx) / LENS.fx, (y - LENS.cy) / LENS.fy, np.ones_like(x)], axis=-1) @ turn.T
        color, depth = np.full((HEIGHT, WIDTH, 3), 0.5), np.full((HEIGHT, WIDTH), 30.0)
        for plane in planes:
            edges = np.array([plane.edge_u, plane.edge_v])
            normal = np.cross(*edges)
            slope = rays @ normal
            z = ((np.array(plane.corner) - eye) @ normal) / np.where(np.abs(slope) < 1e-9, 1e-9, slope)
            local = eye + z[..., None] * rays - np.array(plane.corner)
            u, v = (local @ edge / (edge @ edge) for edge in edges)
            hit = (z > 0.1) & (z < depth) & (u >= 0) & (u <= 1) & (v >= 0) & (v <= 1)
            depth[hit] = z[hit]
            color[hit] = texture(plane, u[hit], v[hit])
        return color, depth

    color = np.mean([shoot(dx, dy)[0] for dx in (0.25, 0.75) for dy in (0.25, 0.75)], axis=0)
    return np.round(color * 255).astype(np.uint8), shoot(0.5, 0.5)[1]


def clip(planes: tuple[Plane, ...], eyes: np.ndarray, yaws: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Frames (T, H, W, 3) uint8 with a little noise, and z-depth (T, H, W)."""
    shots = [cast(planes, eye, yaw) for eye, yaw in zip(eyes, yaws, strict=True)]
    frames = np.stack([color for color, _ in shots]).astype(np.float32)
    noise = np.random.default_rng(0).normal(0, 2, frames.shape)
    return np.clip(frames + noise, 0, 255).astype(np.uint8), np.stack([depth for _, depth in shots])


def abs_rel(disparity: np.ndarray, depth: np.ndarray) -> float:
    """AbsRel of depth after aligning disparity by scale and shift over the clip (least squares)."""
    truth = 1 / depth
    x = np.stack([disparity.ravel(), np.ones(disparity.size)], axis=1).astype(np.float64)
    scale, shift = np.linalg.lstsq(x, truth.ravel(), rcond=None)[0]
    aligned = np.clip(scale * disparity + shift, truth.min(), truth.max())
    return float(np.abs(truth / aligned - 1).mean())


def ramp_error(depth: np.ndarray) -> float:
    """AbsRel of a ramp from the top to the bottom of the picture."""
    return abs_rel(np.broadcast_to(np.linspace(0, 1, HEIGHT)[None, :, None], depth.shape), depth)


def steps(*per_frame: float) -> np.ndarray:
    """(T, 3) eye positions: a straight line through the origin in the middle of the clip."""
    return (np.arange(FRAMES)[:, None] - FRAMES // 2) * np.array(per_frame)


@pytest.fixture(scope="module")
def sideways() -> tuple[np.ndarray, np.ndarray, EmbeddedDepth]:
    """A clip whose camera moves sideways, its true depth, and the estimate."""
    frames, depth = clip(ROOM, steps(0.04, 0, 0), np.zeros(FRAMES))
    return frames, depth, estimate_depth(frames, LENS)


def test_sideways_is_measured_and_beats_half_the_ramp(
    sideways: tuple[np.ndarray, np.ndarray, EmbeddedDepth],
) -> None:
    _, depth, result = sideways
    assert result.method == "parallax"
    assert abs_rel(result.disparity, depth) <= 0.5 * ramp_error(depth)


def test_measured_disparity_needs_no_shift(sideways: tuple[np.ndarray, np.ndarray, EmbeddedDepth]) -> None:
    _, depth, result = sideways
    scale = np.median(1 / depth) / np.median(result.disparity)
    assert np.median(np.abs(scale * result.disparity * depth - 1)) < 0.08
    assert 0.8 < np.quantile(result.disparity, 0.995) < 1.25


def test_edges_of_depth_lie_on_edges_of_things(
    sideways: tuple[np.ndarray, np.ndarray, EmbeddedDepth],
) -> None:
    """Across the true silhouettes the estimate jumps within three pixels."""
    _, depth, result = sideways
    truth, found = 1 / depth[7], result.disparity[7]
    jump = np.abs(np.diff(truth, axis=1)) > 0.1
    y, x = np.nonzero(jump)
    inner = (x > 4) & (x < WIDTH - 6)
    y, x = y[inner], x[inner]
    true_step = truth[y, x + 3] - truth[y, x - 2]
    found_step = found[y, x + 3] - found[y, x - 2]
    share = found_step / true_step * np.median(truth) / np.median(found)
    assert np.median(share) > 0.6


def test_same_surface_keeps_its_depth_over_time(
    sideways: tuple[np.ndarray, np.ndarray, EmbeddedDepth],
) -> None:
    """The back wall is parallel to the path: its disparity does not change from frame to frame."""
    _, depth, result = sideways
    wall = (depth > 7.9).all(axis=0)
    assert wall.sum() > 500
    over_time = result.disparity[:, wall]
    assert np.abs(np.diff(over_time, axis=0)).mean() < 0.02 * over_time.mean()


@pytest.mark.parametrize(
    ("step", "yaw"),
    [((0.0, 0.0, 0.06), 0.0), ((0.04, 0.0, 0.0), -0.008), ((0.02, 0.015, 0.03), 0.004)],
    ids=["forwards", "orbit", "oblique"],
)
def test_other_moves_are_measured(step: tuple[float, float, float], yaw: float) -> None:
    frames, depth = clip(ROOM, steps(*step), yaw * (np.arange(FRAMES) - FRAMES // 2))
    result = estimate_depth(frames, LENS)
    assert result.method in ("parallax", "mixed")
    assert abs_rel(result.disparity, depth) <= 0.6 * ramp_error(depth)


@pytest.mark.parametrize("yaw", [0.0, 0.01], ids=["static", "pan"])
def test_a_camera_that_stays_in_place_is_owned_up_to(yaw: float) -> None:
    frames, _ = clip(ROOM, steps(0, 0, 0), yaw * np.arange(FRAMES))
    assert estimate_depth(frames, LENS).method == "heuristic"


def test_what_moves_stands_where_it_touches_the_floor() -> None:
    """A board slides over the floor before a camera that stands still: one disparity, that of its foot."""
    shots = []
    for t in range(FRAMES):
        board = Plane((-2.4 + 0.28 * t, -0.3, 3.2), (0.8, 0, 0), (0, 1.5, 0), (0.9, 0.2, 0.2), 8)
        shots.append(cast((*ROOM[:2], board), np.zeros(3)))
    frames, depth = np.stack([s[0] for s in shots]), np.stack([s[1] for s in shots])
    result = estimate_depth(frames, LENS)
    assert result.method == "heuristic"
    inside = np.abs(depth[7] - 3.2) < 1e-6
    inside &= np.indices(inside.shape)[0] < 0.6 * HEIGHT  # the upright part, well above the floor around its foot
    foot_row = np.nonzero(np.abs(depth[7] - 3.2) < 1e-6)[0].max()
    beside = result.disparity[7, foot_row, :10].mean()
    assert np.abs(np.median(result.disparity[7][inside]) / beside - 1) < 0.2
    assert np.median(result.disparity[7][inside]) > 1.5 * result.disparity[7, 5:25].mean()
