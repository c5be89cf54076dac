"""Points followed through a clip whose camera is known: where they are, and which of them cannot be told."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

from ex4d_core import triangulate as module
from ex4d_core.camera import Intrinsics, look_at
from ex4d_core.errors import CancelledError
from ex4d_core.progress import never_cancelled, silent
from ex4d_core.solve import SolvedPoints
from ex4d_core.tracks import Seen, follow
from ex4d_core.triangulate import triangulate

LENS = Intrinsics(500.0, 510.0, 318.0, 185.0, 640, 360)
FRAMES = 8


def _poses(step: float = 0.2) -> NDArray[np.float64]:
    eyes = np.array([[step * t, step * t / 10, 0] for t in range(FRAMES)])
    return look_at(eyes, np.array([0.5, 0, 5.0]))


def _sightings(points: NDArray[np.float64], poses: NDArray[np.float64]) -> list[Seen]:
    """What each frame sees of points (T, N, 3), which may move."""
    found = []
    for t, pose in enumerate(poses):
        x, y, z = ((points[t] - pose[:3, 3]) @ pose[:3, :3]).T
        at = np.stack([LENS.fx * x / z + LENS.cx, LENS.fy * y / z + LENS.cy], axis=1)
        found.append(Seen(t, np.arange(len(at)), at))
    return found


def _run(monkeypatch: pytest.MonkeyPatch, points: NDArray[np.float64], poses: NDArray[np.float64]) -> SolvedPoints:
    def sightings(*_: object) -> Iterator[Seen]:
        return iter(_sightings(points, poses))

    monkeypatch.setattr(module, "follow", sightings)
    frames = np.zeros((FRAMES, 360, 640, 3), np.uint8)
    return triangulate(frames, poses, [LENS] * FRAMES, (), silent, never_cancelled)


def test_points_are_where_they_are_and_movers_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    still = rng.uniform([-2, -1, 4], [3, 1, 8], (50, 3))
    points = np.tile(still, (FRAMES, 1, 1))
    points[:, :10, 1] += 0.2 * np.arange(FRAMES)[:, None]  # these walk downwards
    found = _run(monkeypatch, points, _poses())
    np.testing.assert_allclose(found.positions[10:], still[10:], atol=1e-9)
    for seen in found.seen:
        np.testing.assert_array_equal(seen, np.arange(10, 50))


def test_a_camera_that_hardly_moves_tells_no_distance(monkeypatch: pytest.MonkeyPatch) -> None:
    points = np.tile(np.random.default_rng(0).uniform([-2, -1, 4], [3, 1, 8], (50, 3)), (FRAMES, 1, 1))
    assert all(len(seen) == 0 for seen in _run(monkeypatch, points, _poses(0.002)).seen)


def test_each_take_has_points_of_its_own() -> None:
    rng = np.random.default_rng(0)
    takes = [np.kron(rng.integers(0, 256, (18, 32)), np.ones((20, 20))).astype(np.uint8) for _ in range(2)]
    frames = np.stack([np.roll(takes[t // 4], 5 * t, axis=1) for t in range(FRAMES)])[..., None].repeat(3, -1)
    counts = [max(seen.point.max() for seen in follow(frames, a, a + 4, never_cancelled)) + 1 for a in (0, 4)]
    found = triangulate(frames, _poses(), [LENS] * FRAMES, (4,), silent, never_cancelled)
    assert len(found.positions) == sum(counts)
    assert not set(np.concatenate(found.seen[:4])) & set(np.concatenate(found.seen[4:]))
    with pytest.raises(CancelledError):
        triangulate(frames, _poses(), [LENS] * FRAMES, (), silent, lambda: True)
