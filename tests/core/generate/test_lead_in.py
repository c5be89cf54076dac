"""Lead-ins: from what the source camera saw to where a path begins."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from around_cases import LENS, sideways, smooth_scene

from ex4d_core.camera import Camera, Intrinsics, look_at
from ex4d_core.generate.lead_in import between, lead_in, source_view
from ex4d_core.scene import Scene


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    return smooth_scene(tmp_path_factory.mktemp("lead"))


def test_a_path_from_the_source_view_needs_none(scene: Scene) -> None:
    assert lead_in(scene, sideways(5), 40) is None
    assert lead_in(scene, sideways(5, begin=0.005), 40) is None, "a fifth of a pixel at 2 units"


@pytest.mark.parametrize("begin", [0.2, 1.0])
def test_a_path_from_elsewhere_is_led_to_at_the_time_at_which_it_begins(scene: Scene, begin: float) -> None:
    path = sideways(5, begin=begin)
    path = replace(path, source_time=path.source_time + 3)
    led = lead_in(scene, path, 40)
    assert led is not None
    np.testing.assert_allclose(led.c2w[0], np.eye(4), atol=1e-12)
    assert (led.source_time == 3).all()
    np.testing.assert_allclose(led.intrinsics, np.tile(LENS.as_tuple(), (len(led), 1)))
    assert (led.width, led.height, led.fps) == (path.width, path.height, path.fps)
    # It goes on evenly: no step, the last one to the path included, is much longer than the mean.
    way = np.concatenate([led.c2w[:, :3, 3], path.c2w[:1, :3, 3]])
    steps = np.linalg.norm(np.diff(way, axis=0), axis=1)
    assert (steps > 0).all()
    assert steps.max() < 2 * steps.mean()


def test_its_length_grows_with_the_way_and_is_limited(scene: Scene) -> None:
    lengths = [len(lead_in(scene, sideways(5, begin=b), 40) or []) for b in (0.1, 0.4, 1.0)]
    assert lengths == sorted(set(lengths))
    far = lead_in(scene, sideways(5, begin=8.0), 16)
    assert far is not None
    assert len(far) == 16


def test_a_zoom_is_a_jump_too(scene: Scene) -> None:
    path = sideways(5, end=0.0)
    led = lead_in(scene, replace(path, intrinsics=path.intrinsics * [2, 2, 1, 1]), 40)
    assert led is not None
    assert led.intrinsics[0, 0] == LENS.fx
    ratios = led.intrinsics[1:, 0] / led.intrinsics[:-1, 0]
    assert (ratios > 1).all()
    assert led.intrinsics[-1, 0] < 2 * LENS.fx


def test_the_way_to_the_other_side_leads_around(scene: Scene) -> None:
    del scene
    pivot = np.array([0.0, 0.0, 3.0])
    source = Camera(np.eye(4), LENS)
    for degrees in (170, 180, -120):
        a = np.radians(degrees)
        eye = pivot + 3 * np.array([np.sin(a), 0, -np.cos(a)])
        poses, _ = between(source, Camera(look_at(eye, pivot), LENS), 3.0, np.linspace(0, 1, 9))
        np.testing.assert_allclose(poses[-1], look_at(eye, pivot), atol=1e-9)
        np.testing.assert_allclose(np.linalg.norm(poses[:, :3, 3] - pivot, axis=1), 3.0, atol=1e-9)
        towards = (pivot - poses[:, :3, 3]) / 3.0
        assert (np.einsum("ti,ti->t", towards, poses[:, :3, 2]) > 0.99).all(), "it looks at what it goes around"


def test_a_shot_of_another_aspect_is_led_from_the_middle_of_the_source(scene: Scene) -> None:
    square = Intrinsics.from_focal_px(60.0, 48, 48)
    view = source_view(scene, sideways(5, lens=square), 0)
    assert view.intrinsics == square
    assert lead_in(scene, sideways(5, lens=square), 40) is None
    wide = source_view(scene, sideways(5, lens=Intrinsics.from_focal_px(60.0, 128, 48)), 0).intrinsics
    assert (wide.fx, wide.fy, wide.cx, wide.cy) == (120, 120, 64, 24)


def test_it_begins_at_a_solved_source_camera(tmp_path: Path) -> None:
    scene = smooth_scene(tmp_path)
    poses = np.tile(np.eye(4), (6, 1, 1))
    poses[:, 1, 3] = np.arange(6)
    object.__setattr__(scene, "source_c2w", poses)
    path = sideways(5)
    led = lead_in(scene, replace(path, source_time=path.source_time + 2), 40)
    assert led is not None
    np.testing.assert_allclose(led.c2w[0], poses[2], atol=1e-12)
