"""Intrinsics, poses and trajectory files."""

import json
import math
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ex4d_core.camera import (
    Intrinsics,
    Trajectory,
    invert_pose,
    load_trajectory,
    look_at,
    save_trajectory,
    trajectory_from_document,
    trajectory_to_document,
)
from ex4d_core.errors import CameraError
from ex4d_core.import_request import ImportOptions

angles = st.floats(-3.1, 3.1)
lengths = st.floats(-50, 50)


def pose(ax: float, ay: float, az: float, x: float, y: float, z: float) -> np.ndarray:
    """A rigid pose from Euler angles in radians and a position."""
    (ca, sa), (cb, sb), (cc, sc) = ((np.cos(a), np.sin(a)) for a in (ax, ay, az))
    rx = np.array([[1, 0, 0], [0, ca, -sa], [0, sa, ca]])
    ry = np.array([[cb, 0, sb], [0, 1, 0], [-sb, 0, cb]])
    rz = np.array([[cc, -sc, 0], [sc, cc, 0], [0, 0, 1]])
    c2w = np.eye(4)
    c2w[:3, :3] = rz @ ry @ rx
    c2w[:3, 3] = x, y, z
    return c2w


poses = st.builds(pose, angles, angles, angles, lengths, lengths, lengths)


def trajectory(c2w: np.ndarray, **changes) -> Trajectory:
    frames = len(c2w)
    fields = {
        "intrinsics": np.tile([500.0, 510.0, 320.0, 200.0], (frames, 1)),
        "source_time": np.arange(frames) * 0.5,
        "width": 640,
        "height": 400,
        "fps": Fraction(24000, 1001),
        "frame_start": 1001,
        "scene_hash": "abc",
    }
    return Trajectory(c2w=c2w, **(fields | changes))


@given(st.lists(poses, min_size=1, max_size=4))
def test_inverse_pose_is_the_inverse(list_of_poses: list[np.ndarray]) -> None:
    c2w = np.stack(list_of_poses)
    np.testing.assert_allclose(invert_pose(c2w) @ c2w, np.tile(np.eye(4), (len(c2w), 1, 1)), atol=1e-10)
    np.testing.assert_allclose(invert_pose(invert_pose(c2w)), c2w, atol=1e-10)


@given(eye=st.tuples(lengths, st.floats(-5, 5), lengths), target=st.tuples(lengths, st.floats(-5, 5), lengths))
def test_look_at_puts_the_target_on_the_axis_and_keeps_the_horizon(eye, target) -> None:
    eye, target = np.array(eye), np.array(target)
    flat = np.linalg.norm((target - eye)[[0, 2]])
    if flat < 1e-2:
        return  # straight up or down is an error, tested below
    c2w = look_at(eye, target)
    seen = invert_pose(c2w) @ np.append(target, 1.0)
    np.testing.assert_allclose(seen[:2], 0, atol=1e-7)
    assert seen[2] > 0
    assert c2w[1, 0] == pytest.approx(0, abs=1e-9), "right stays horizontal"
    assert c2w[1, 1] > 0, "down in the image is down in the world"
    assert np.linalg.det(c2w[:3, :3]) == pytest.approx(1)


def test_look_at_refuses_the_undefined() -> None:
    with pytest.raises(CameraError, match="straight up or down"):
        look_at(np.zeros(3), np.array([0.0, 1.0, 0.0]))
    with pytest.raises(CameraError, match="stands on the point"):
        look_at(np.ones(3), np.ones(3))


@pytest.mark.parametrize(
    "options",
    [
        {"fov_degrees": 0.5},
        {"fov_degrees": 176},
        {"fov_degrees": math.nan},
        {"focal_mm": 1e5, "sensor_mm": 36},
        {"focal_mm": 0.5, "sensor": "full frame"},
        {"focal_px": 1},
        {"focal_px": 1e9},
    ],
)
def test_lenses_that_no_camera_has_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(CameraError, match=r"field of view of \S+ degrees.* impossible: give .*1 to 175"):
        ImportOptions(**options).lens(1920, 1080)  # type: ignore[arg-type]


@pytest.mark.parametrize("options", [{"focal_mm": 50, "sensor_mm": 36}, {"focal_mm": 50, "sensor": "full frame"}])
def test_a_camera_held_upright_has_the_same_sensor(options: dict[str, float]) -> None:
    upright = ImportOptions(**options).lens(1080, 1920)  # type: ignore[arg-type]
    assert upright is not None
    assert upright.fx == pytest.approx(50 / 36 * 1920)


def test_lenses_agree() -> None:
    by_mm = Intrinsics.from_lens_mm(50, 36, 1920, 1080)
    assert by_mm.fx == pytest.approx(50 / 36 * 1920)
    by_fov = Intrinsics.from_fov_x_degrees(by_mm.fov_x_degrees, 1920, 1080)
    assert by_fov.fx == pytest.approx(by_mm.fx)
    assert (by_mm.cx, by_mm.cy) == (960, 540)
    assert Intrinsics.from_lens_mm(50, 36, 1080, 1920).fx == pytest.approx(by_mm.fx)
    assert Intrinsics.unknown_lens(512, 512).fx == 500
    assert Intrinsics.unknown_lens(480, 832).fy == pytest.approx(812.5)


def test_resizing_keeps_the_rays() -> None:
    big = Intrinsics(900, 910, 950, 560, 1920, 1080)
    small = big.resized(960, 270)
    assert (small.fx, small.fy, small.cx, small.cy) == (450, 227.5, 475, 140)
    assert small.fov_x_degrees == pytest.approx(big.fov_x_degrees)


@given(st.lists(poses, min_size=1, max_size=4))
def test_json_round_trip_is_exact(list_of_poses: list[np.ndarray]) -> None:
    before = trajectory(np.stack(list_of_poses))
    after = trajectory_from_document(json.loads(json.dumps(trajectory_to_document(before))))
    for name in ("c2w", "intrinsics", "source_time"):
        np.testing.assert_array_equal(getattr(after, name), getattr(before, name))
    assert (after.width, after.height, after.fps) == (640, 400, Fraction(24000, 1001))
    assert (after.frame_start, after.scene_hash) == (1001, "abc")


def test_document_has_the_contracts_fields() -> None:
    document = trajectory_to_document(trajectory(np.eye(4)[None]))
    assert set(document) == {"schema", "width", "height", "fps", "frame_start", "scene_hash", "frames"}
    assert document["fps"] == [24000, 1001]
    frame = document["frames"][0]  # type: ignore[index]
    assert frame == {
        "c2w": np.eye(4).tolist(),
        "intrinsics": [500.0, 510.0, 320.0, 200.0],
        "source_time": 0.0,
    }


@given(st.lists(poses, min_size=1, max_size=3))
def test_npz_round_trip(tmp_path_factory, list_of_poses: list[np.ndarray]) -> None:
    before = trajectory(np.stack(list_of_poses), source_time=np.arange(len(list_of_poses), dtype=float))
    path = tmp_path_factory.mktemp("npz") / "c.npz"
    save_trajectory(before, path)
    after = load_trajectory(path, 640, 400, Fraction(24))
    np.testing.assert_allclose(after.c2w, before.c2w, atol=2e-5)
    np.testing.assert_allclose(after.intrinsics, before.intrinsics)
    np.testing.assert_array_equal(after.source_time, before.source_time)


def test_npz_is_the_references(tmp_path: Path) -> None:
    c2w = np.stack([np.eye(4), pose(0.1, 0.2, 0.3, 1, 2, 3)])
    save_trajectory(trajectory(c2w), tmp_path / "c.npz")
    with np.load(tmp_path / "c.npz") as data:
        assert data["extrinsics"].dtype == np.float32
        assert data["intrinsics"].shape == (3, 3)
        np.testing.assert_allclose(data["extrinsics"], np.diag([1, -1, -1, 1]) @ np.linalg.inv(c2w), atol=1e-6)
    zoom = np.array([[500.0, 500, 320, 200], [600.0, 600, 320, 200]])
    save_trajectory(trajectory(c2w, intrinsics=zoom), tmp_path / "z.npz")
    with np.load(tmp_path / "z.npz") as data:
        assert data["intrinsics"][1, 0, 0] == 600


def test_source_frame_rounds_half_up_and_clamps() -> None:
    t = trajectory(np.tile(np.eye(4), (5, 1, 1)), source_time=np.array([-3.0, 0.49, 0.5, 2.5, 99]))
    assert [t.source_frame(i, 10) for i in range(5)] == [0, 0, 1, 3, 9]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"source_time": np.array([np.nan])}, "Frame 0 .* source time .* finite"),
        ({"intrinsics": np.array([[0.0, 1, 1, 1]])}, "focal length"),
        ({"intrinsics": np.array([[np.inf, 1, 1, 1]])}, "finite"),
        ({"width": 0}, "impossible"),
        ({"width": 1_000_000}, "impossible"),
        ({"fps": Fraction(0)}, "frame rate"),
        ({"source_time": np.zeros(3)}, "disagree in shape"),
        ({"c2w": np.zeros((0, 4, 4))}, "no frames"),
        ({"c2w": np.diag([2.0, 2, 2, 1])[None]}, "scaled, mirrored or sheared"),
        ({"c2w": np.diag([-1.0, 1, 1, 1])[None]}, "scaled, mirrored or sheared"),
        ({"c2w": np.full((1, 4, 4), np.nan)}, "Frame 0 .* pose .* finite"),
    ],
)
def test_a_bad_trajectory_is_named(changes: dict, says: str) -> None:
    with pytest.raises(CameraError, match=says):
        trajectory(**({"c2w": np.eye(4)[None]} | changes))


def test_bad_files_are_named(tmp_path: Path) -> None:
    def load(path: Path) -> None:
        load_trajectory(path, 64, 64, Fraction(24))

    with pytest.raises(CameraError, match="no trajectory file"):
        load(tmp_path / "missing.json")
    (tmp_path / "broken.json").write_text("{")
    with pytest.raises(CameraError, match="not readable as JSON"):
        load(tmp_path / "broken.json")
    (tmp_path / "other.json").write_text('{"schema": "ex4d.scene/1"}')
    with pytest.raises(CameraError, match="not a trajectory: schema"):
        load(tmp_path / "other.json")
    document = trajectory_to_document(trajectory(np.eye(4)[None]))
    document["frames"][0]["c2w"][1][1] = float("nan")  # type: ignore[index]
    (tmp_path / "nan.json").write_text(json.dumps(document))
    with pytest.raises(CameraError, match="Frame 0 .* finite"):
        load(tmp_path / "nan.json")
    (tmp_path / "text.npz").write_text("hello")
    with pytest.raises(CameraError, match="needs the arrays"):
        load(tmp_path / "text.npz")
    np.savez(tmp_path / "evil.npz", extrinsics=np.array([{}], object), intrinsics=np.eye(3))
    with pytest.raises(CameraError, match="needs the arrays"):
        load(tmp_path / "evil.npz")
    (tmp_path / "c.txt").write_text("x")
    with pytest.raises(CameraError, match=r"\.json or \.npz"):
        load(tmp_path / "c.txt")
    with pytest.raises(CameraError, match=r"\.json or \.npz"):
        save_trajectory(trajectory(np.eye(4)[None]), tmp_path / "c.csv")
