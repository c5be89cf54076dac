"""Simulated masks: what a camera on a random path would still see of a clip, and what masks look like in numbers."""

from __future__ import annotations

import math
from fractions import Fraction

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from ex4d_core.camera import Camera, Intrinsics
from ex4d_core.errors import CameraError, InputError
from ex4d_core.masking import Mixture, Wander, mask_statistics, rendering_masks, simulated_masks, still_seen, wander
from ex4d_core.presets import Move, make_trajectory, path_of
from ex4d_core.quads import build_quads

LENS = Intrinsics(48.0, 48.0, 24.0, 20.0, 48, 40)


def plate_scene() -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """A plate 2 away in front of a wall 4 away."""
    depth = np.full((40, 48), 4, np.float32)
    depth[10:30, 14:34] = 2
    color = np.where(depth[..., None] < 3, (200, 20, 20), (20, 20, 200)).astype(np.uint8)
    return color, depth


def camera_at(x: float, y: float = 0.0) -> Camera:
    c2w = np.eye(4)
    c2w[:2, 3] = x, y
    return Camera(c2w, LENS)


def test_the_own_camera_sees_every_pixel() -> None:
    color, depth = plate_scene()
    rough = depth * np.random.default_rng(4).uniform(0.7, 1.3, depth.shape).astype(np.float32)
    for d in (depth, rough):
        assert still_seen(build_quads(color, d, LENS), d, camera_at(0.0)).all()


@pytest.mark.parametrize(("x", "y"), [(0.5, 0.0), (-0.8, 0.0), (0.3, -0.4)])
def test_what_another_camera_sees_is_what_rays_say(x: float, y: float) -> None:
    color, depth = plate_scene()
    seen = still_seen(build_quads(color, depth, LENS), depth, camera_at(x, y))
    v, u = np.mgrid[:40, :48] + 0.5
    at = np.stack([(u - 24) / 48 * depth, (v - 20) / 48 * depth], axis=-1)
    from_camera = at - (x, y)
    place = from_camera / depth[..., None] * 48 + (24, 20)
    inside = (place >= 0).all(axis=-1) & (place[..., 0] < 48) & (place[..., 1] < 40)
    through = np.array([x, y]) + from_camera / 2  # where a ray to the wall crosses the plane of the plate
    plate = np.abs(through[..., 0]) < 20 / 48
    plate &= np.abs(through[..., 1]) < 20 / 48
    expected = inside & ~((depth > 3) & plate)
    # The plate is taken to be up to a tenth of its depth thick: edges of its shadow may lie elsewhere.
    edge = cv2.dilate(expected.astype(np.uint8), np.ones((7, 7))) != cv2.erode(
        expected.astype(np.uint8), np.ones((7, 7))
    )
    assert (~expected & ~edge).sum() > 50
    np.testing.assert_array_equal(seen[~edge], expected[~edge])


def test_a_surface_seen_from_behind_is_not_seen() -> None:
    color, depth = plate_scene()
    c2w = np.diag([-1.0, 1.0, -1.0, 1.0])
    c2w[2, 3] = 8.0  # behind the wall, looking back at it
    assert not still_seen(build_quads(color, depth, LENS), depth, Camera(c2w, LENS)).any()


def test_masks_of_a_clip_begin_whole_and_open_gradually() -> None:
    color, depth = plate_scene()
    masks = rendering_masks([(color, depth)] * 7, LENS, Move("truck", amount=0.3), 7, radius=3.0)
    assert masks.shape == (7, 40, 48)
    assert masks[0].all()
    holes = (~masks).mean(axis=(1, 2))
    assert (np.diff(holes) >= 0).all()
    assert holes[-1] > 0.1
    assert mask_statistics(masks[1:]).persistence > 0.9


def test_a_clip_of_another_length_is_an_error() -> None:
    with pytest.raises(ValueError, match="shorter"):
        rendering_masks([plate_scene()] * 3, LENS, Move("truck"), 4, radius=3.0)
    with pytest.raises(CameraError, match="radius"):
        rendering_masks([plate_scene()], LENS, Move("truck"), 1, radius=0.0)


def test_a_path_is_that_of_its_trajectory() -> None:
    move = Move("orbit", yaw=40, easing="ease_in_out")
    trajectory = make_trajectory(move, LENS, np.arange(9.0), radius=2.5, fps=Fraction(24))
    np.testing.assert_array_equal(path_of(move, 9, 2.5), trajectory.c2w)


def test_random_paths_are_of_their_seed_and_within_bounds() -> None:
    how = Wander(yaw=(20, 80), pitch=10, amount=0.3)
    moves = [wander(seed, how) for seed in range(300)]
    assert moves == [wander(seed, how) for seed in range(300)]
    assert {move.preset for move in moves} == {"orbit", "dolly"}
    around = [move for move in moves if move.preset != "dolly"]
    assert all(20 <= abs(move.yaw or 0) <= 80 and abs(move.pitch or 99) <= 10 for move in around)
    assert all(abs(move.amount or 99) <= 0.3 for move in moves if move.preset == "dolly")
    assert {math.copysign(1, move.yaw or 0) for move in around} == {-1.0, 1.0}
    for move in moves:
        path = path_of(move, 5, 1.7)
        assert np.isfinite(path).all()
        np.testing.assert_allclose(path[0], np.eye(4), atol=1e-12)  # as the clip is, and then away from it
        assert np.abs(path[1] - path[0]).max() > 1e-4


def test_statistics_of_masks_that_one_can_count() -> None:
    masks = np.ones((2, 20, 40), np.bool_)
    masks[0, 5:9, 10:15] = False  # 20 pixels inside
    masks[:, :, :2] = False  # 40 at the border
    found = mask_statistics(masks)
    assert found.area == pytest.approx((60 + 40) / 2 / 800)
    assert found.holes == 1.5
    assert found.median_hole == pytest.approx(40 / 800)
    assert found.largest_hole == pytest.approx(40 / 800)
    assert found.boundary == pytest.approx(((2 * (4 + 5) + 20) + 20) / 2 / 40)
    assert found.border == pytest.approx(80 / 100)
    assert found.persistence == pytest.approx(40 / 60)


def test_whole_masks_have_no_holes_to_measure() -> None:
    found = mask_statistics(np.ones((3, 8, 8), np.bool_))
    assert (found.area, found.holes, found.largest_hole, found.boundary, found.border) == (0, 0, 0, 0, 0)
    assert math.isnan(found.median_hole)
    assert math.isnan(found.persistence)


def clip_of_plates(count: int = 6) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    color, depth = plate_scene()
    grain = np.random.default_rng(0).integers(0, 40, (40, 48, 1), np.uint8)
    return np.stack([color + grain] * count), np.stack([depth] * count)


def only(kind: str, weather: str = "plain") -> Mixture:
    nothing = dict.fromkeys(("rendering", "tracking", "both", "eroded", "dilated", "plain"), 0.0)
    return Mixture(**nothing | {kind: 1.0, weather: 1.0})


@pytest.mark.parametrize("kind", ["rendering", "tracking", "both"])
def test_masks_of_each_kind_begin_whole_and_are_of_their_seed(kind: str) -> None:
    frames, depths = clip_of_plates()
    drawn = [simulated_masks(frames, depths, LENS, 3.0, seed, only(kind)) for seed in range(12)]
    again = simulated_masks(frames, depths, LENS, 3.0, 5, only(kind))
    np.testing.assert_array_equal(again.masks, drawn[5].masks)
    assert all(one.masks[0].all() for one in drawn)
    assert sum((~one.masks).any() for one in drawn) > 8
    assert len({one.masks.tobytes() for one in drawn}) > 8
    for one in drawn:
        assert one.kind == kind
        assert (one.move is None) == (kind == "tracking")


def test_rims_are_weathered() -> None:
    frames, depths = clip_of_plates()
    for seed in range(4):
        plain, less, more = (
            simulated_masks(frames, depths, LENS, 3.0, seed, only("rendering", weather)).masks[1:]
            for weather in ("plain", "eroded", "dilated")
        )
        assert not (less & ~plain).any()
        assert not (plain & ~more).any()
        assert less.sum() < plain.sum() < more.sum()


def test_shares_are_kept() -> None:
    frames, depths = clip_of_plates(1)
    drawn = [
        simulated_masks(frames, depths, LENS, 3.0, seed, Mixture(wander=Wander(yaw=(1, 2)))) for seed in range(400)
    ]
    kinds = [one.kind for one in drawn]
    weathers = [one.weather for one in drawn]
    assert kinds.count("rendering") / 400 == pytest.approx(0.6, abs=0.08)
    assert kinds.count("tracking") / 400 == pytest.approx(0.15, abs=0.06)
    assert weathers.count("eroded") / 400 == pytest.approx(0.7, abs=0.08)
    assert weathers.count("dilated") / 400 == pytest.approx(0.1, abs=0.05)


@pytest.mark.parametrize(
    "shares", [{"rendering": -1}, {"eroded": math.nan}, {"rendering": 0, "tracking": 0, "both": 0}]
)
def test_a_mixture_of_nothing_is_refused(shares: dict[str, float]) -> None:
    with pytest.raises(InputError, match="shares of 0 or more"):
        Mixture(**shares)
