"""How far the camera of a video is off the wanted path: exact for paths, and estimated from rendered pictures."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
from shot_cases import pictures, room

from ex4d_core.evaluation.shot_camera import estimate_path, path_error
from ex4d_core.progress import never_cancelled, silent

FRAMES = 20


def similar(poses: np.ndarray, scale: float, seed: int) -> np.ndarray:
    """The same path in another world."""
    draw = np.random.default_rng(seed)
    turn = cv2.Rodrigues(draw.normal(size=3))[0]
    moved = poses.copy()
    moved[:, :3, :3] = turn @ poses[:, :3, :3]
    moved[:, :3, 3] = scale * poses[:, :3, 3] @ turn.T + draw.normal(size=3)
    return moved


def bent(poses: np.ndarray, degrees: float) -> np.ndarray:
    """A path whose camera turns away more and more."""
    away = poses.copy()
    for share, pose in zip(np.linspace(0, 1, len(poses)), away, strict=True):
        pose[:3, :3] = pose[:3, :3] @ cv2.Rodrigues(np.array([0.0, math.radians(degrees) * share, 0.0]))[0]
    return away


def test_a_path_in_another_world_and_scale_is_the_same_path() -> None:
    wanted = room(FRAMES).c2w
    same = path_error(similar(wanted, 7.5, 1), wanted)
    assert same.rotation == pytest.approx(0, abs=1e-6)
    assert same.position == pytest.approx(0, abs=1e-9)
    line = np.tile(np.eye(4), (9, 1, 1))
    line[:, 0, 3] = np.arange(9)
    assert path_error(similar(line, 0.1, 2), line).rotation == pytest.approx(0, abs=1e-6)  # no roll about the line


def test_errors_are_measured() -> None:
    wanted = room(FRAMES).c2w
    turned = path_error(similar(bent(wanted, 20), 2, 3), wanted)
    assert turned.rotation == pytest.approx(5, abs=0.3)  # 20 degrees spread evenly, the mean taken out
    assert turned.position < 0.12
    shifted = np.tile(np.eye(4), (11, 1, 1))
    shifted[:, 0, 3] = np.arange(11)
    wrong = shifted.copy()
    wrong[5, 1, 3] = 1.0
    found = path_error(wrong, shifted)
    assert found.rotation == 0
    assert found.positions[5] == pytest.approx((1 - 1 / 11) / 10, rel=0.01)
    assert int(np.argmax(found.positions)) == 5


def test_a_path_that_does_not_move_has_no_share() -> None:
    still = np.tile(np.eye(4), (5, 1, 1))
    found = path_error(still, still)
    assert found.rotation == 0
    assert math.isnan(found.position)
    walked = room(5).c2w
    stuck = path_error(still, walked)  # a video that did not move at all
    assert 0.2 < stuck.position < 0.5


def test_the_path_of_rendered_pictures_is_found_and_another_is_told_from_it() -> None:
    world = room(FRAMES)
    found = estimate_path(pictures(world), world.lenses, "embedded", None, silent, never_cancelled)
    good = path_error(found, world.c2w)
    assert good.rotation < 1
    assert good.position < 0.05
    slightly, badly = path_error(found, bent(world.c2w, 10)), path_error(found, bent(world.c2w, 30))
    assert good.rotation + 1 < slightly.rotation < badly.rotation
    elsewhere = path_error(found, room(FRAMES, (-0.2, -0.8, -0.5), 10).c2w)
    assert elsewhere.position > 4 * good.position
    assert elsewhere.rotation > good.rotation + 2
