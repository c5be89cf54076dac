"""Bundle adjustment: its derivatives are those of its residuals, and it finds its way back."""

import numpy as np
import pytest
from camera_cases import LENS, walk

from ex4d_core import bundle
from ex4d_core.bundle import Sightings, adjust, project
from ex4d_core.camera import invert_pose


def case(frames: int, count: int) -> tuple[Sightings, np.ndarray, np.ndarray]:
    """Points seen in all frames, where they truly are, and the true poses."""
    rng = np.random.default_rng(0)
    points = rng.uniform((-2, -1.5, 3), (2, 1.5, 8), (count, 3))
    w2c = invert_pose(walk(frames, (0.5, -0.2, 0.4), 6.0))
    frame, point = np.repeat(np.arange(frames), count), np.tile(np.arange(count), frames)
    lens = np.tile(LENS.as_tuple(), (frames, 1))
    blank = Sightings(frame, point, np.zeros((len(frame), 2)), np.ones(len(frame)), np.full(len(frame), 0.05), lens)
    at, z = project(blank, w2c, points)
    return Sightings(frame, point, at, z, blank.sigma, lens), w2c, points


def test_derivatives_are_those_of_the_residuals() -> None:
    sightings, w2c, points = case(3, 5)
    free = np.array([False, True, True])
    model = bundle._Model(sightings, w2c, points, free)
    at = np.random.default_rng(1).normal(scale=0.02, size=model.unknowns)
    exact = model.derivatives(at).toarray()
    step = 1e-6
    for column, change in enumerate(np.eye(model.unknowns) * step):
        numeric = (model.residuals(at + change) - model.residuals(at - change)) / (2 * step)
        assert exact[:, column] == pytest.approx(numeric, abs=1e-2, rel=1e-3), column


def test_it_finds_poses_and_points_again_though_some_sightings_are_wrong() -> None:
    sightings, w2c, points = case(6, 60)
    rng = np.random.default_rng(2)
    wrong = rng.random(len(sightings)) < 0.05
    sightings.at[wrong] += rng.normal(scale=40, size=(int(wrong.sum()), 2))
    free = np.arange(6) > 0
    start = w2c.copy()
    start[1:, :3, 3] += rng.normal(scale=0.01, size=(5, 3))
    found, placed = adjust(sightings, start, points * rng.normal(1, 0.005, (60, 1)), free, rounds=40)
    assert np.array_equal(found[0], w2c[0])
    assert np.abs(start - w2c).max() > 0.015
    assert np.abs(found - w2c).max() < 0.005
    at, _ = project(sightings, found, placed)
    assert np.median(np.linalg.norm(at - sightings.at, axis=1)[~wrong]) < 0.1
