"""Camera moves: the reference's own output, geometry of each move, time, and bad input."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ex4d_core.camera import Intrinsics, Trajectory, invert_pose, load_trajectory
from ex4d_core.errors import CameraError
from ex4d_core.presets import (
    EASINGS,
    PRESETS,
    Move,
    make_trajectory,
    progress_of,
    reference_radius,
    source_times,
    subject_distance,
)

LENS = Intrinsics.from_focal_px(500, 512, 512)


def path(move: Move, frames: int = 49, radius: float = 2.0, base: np.ndarray | None = None) -> Trajectory:
    return make_trajectory(move, LENS, np.arange(frames, dtype=float), radius=radius, fps=Fraction(30), base=base)


def project(trajectory: Trajectory, point: np.ndarray) -> np.ndarray:
    """(T, 2) pixel positions of a world point."""
    p = invert_pose(trajectory.c2w) @ np.append(point, 1.0)
    return trajectory.intrinsics[:, :2] * p[:, :2] / p[:, 2:3] + trajectory.intrinsics[:, 2:]


def test_180_matches_the_references_own_file(shared: Path) -> None:
    file = shared / "data/flower/camera_180.npz"
    reference = load_trajectory(file, 512, 512, Fraction(30))
    ours = path(Move("180"), radius=2.7401)
    extrinsics = np.load(file)["extrinsics"]
    np.testing.assert_allclose(np.diag([1, -1, -1, 1]) @ invert_pose(ours.c2w), extrinsics, atol=1e-5)
    np.testing.assert_allclose(ours.c2w, reference.c2w, atol=1e-5)


@pytest.mark.parametrize("scene", ["room", "vase", "landscape"])
@pytest.mark.parametrize("name", ["30", "60", "90", "180", "zoom_in", "zoom_out"])
def test_reference_presets_match_ground_truth_paths(shared: Path, scene: str, name: str) -> None:
    import json

    folder = shared / "data/gt" / scene
    radius = json.loads((folder / "meta.json").read_text())["radius"]
    truth = np.load(folder / "target_from_source.npz")[f"path_{name}"]
    np.testing.assert_allclose(invert_pose(path(Move(name), radius=radius).c2w), truth, atol=1e-6)


def test_60_by_hand() -> None:
    eye = path(Move("60"), radius=2.0).c2w[-1, :3, 3]
    np.testing.assert_allclose(eye, [2 * np.sin(np.pi / 3), -0.2, 1.0], atol=1e-12)


@pytest.mark.parametrize("name", PRESETS)
def test_every_move_is_rigid_and_all_but_arc_start_at_the_source(name: str) -> None:
    trajectory = path(Move(name))
    rotation = trajectory.c2w[:, :3, :3]
    np.testing.assert_allclose(rotation @ np.swapaxes(rotation, 1, 2), np.tile(np.eye(3), (49, 1, 1)), atol=1e-12)
    start = 24 if name == "arc" else 0
    np.testing.assert_allclose(trajectory.c2w[start], np.eye(4), atol=1e-12)
    np.testing.assert_allclose(trajectory.intrinsics[start], LENS.as_tuple())
    if name != "static":
        moved = np.abs(trajectory.c2w - np.eye(4)).max() + np.abs(trajectory.intrinsics - LENS.as_tuple()).max()
        assert moved > 0.1


@given(yaw=st.floats(-170, 170), pitch=st.floats(-80, 80))
def test_orbit_turns_by_the_named_degrees_at_constant_distance(yaw: float, pitch: float) -> None:
    target = np.array([0.0, 0.0, 2.0])
    trajectory = path(Move("orbit", yaw=yaw, pitch=pitch), frames=5)
    arm = trajectory.c2w[:, :3, 3] - target
    np.testing.assert_allclose(np.linalg.norm(arm, axis=1), 2.0, atol=1e-9)
    x, y, z = arm[-1]
    assert np.degrees(np.arcsin(-y / 2)) == pytest.approx(pitch, abs=1e-6)
    assert np.degrees(np.arctan2(x, -z)) == pytest.approx(yaw, abs=1e-6)
    np.testing.assert_allclose(project(trajectory, target), np.tile([256.0, 256.0], (5, 1)), atol=1e-6)


def test_orbit_goes_right_and_up_for_positive_angles() -> None:
    x, y, _ = path(Move("orbit", yaw=30, pitch=20)).c2w[-1, :3, 3]
    assert x > 0
    assert y < 0


def test_orbit_keeps_an_off_axis_point_in_its_place() -> None:
    point = (0.3, -0.2, 3.0)
    pixels = project(path(Move("orbit", yaw=50, look_at=point)), np.array(point))
    np.testing.assert_allclose(pixels, np.tile(pixels[0], (49, 1)), atol=1e-9)


def test_arc_passes_the_source_view_in_the_middle() -> None:
    c2w = path(Move("arc", yaw=40)).c2w
    np.testing.assert_allclose(c2w[0, 0, 3], -c2w[-1, 0, 3])
    assert c2w[0, 0, 3] < 0


def test_dolly_zoom_keeps_the_subjects_size() -> None:
    trajectory = path(Move("dolly_zoom", amount=0.5))
    width = project(trajectory, np.array([0.4, 0, 2.0])) - project(trajectory, np.array([0, 0, 2.0]))
    np.testing.assert_allclose(width[:, 0], width[0, 0])
    assert trajectory.intrinsics[-1, 0] == pytest.approx(250)


def test_zoom_changes_only_the_lens() -> None:
    trajectory = path(Move("zoom", zoom=2.0))
    np.testing.assert_array_equal(trajectory.c2w, np.tile(np.eye(4), (49, 1, 1)))
    assert trajectory.intrinsics[-1, 0] == pytest.approx(1000)
    np.testing.assert_array_equal(trajectory.intrinsics[:, 2:], np.full((49, 2), 256.0))


@pytest.mark.parametrize(
    ("move", "eye"),
    [
        (Move("dolly", amount=-0.5), (0, 0, -1.0)),
        (Move("truck", amount=0.5), (1.0, 0, 0)),
        (Move("crane", amount=0.5), (0, -1.0, 0)),
    ],
)
def test_lengths_are_shares_of_the_radius(move: Move, eye: tuple[float, float, float]) -> None:
    np.testing.assert_allclose(path(move, radius=2.0).c2w[-1, :3, 3], eye, atol=1e-12)


def test_there_and_back_ends_where_it_began() -> None:
    c2w = path(Move("orbit", yaw=70, there_and_back=True)).c2w
    np.testing.assert_allclose(c2w[0], c2w[-1], atol=1e-12)
    np.testing.assert_allclose(c2w[10], c2w[-11], atol=1e-12)
    assert np.degrees(np.arccos(c2w[24, 0, 0])) == pytest.approx(70)


@pytest.mark.parametrize("easing", EASINGS)
def test_easings_are_monotonic_from_0_to_1(easing: str) -> None:
    u = progress_of(Move("orbit", easing=easing), 33)
    assert (u[0], u[-1]) == (0, 1)
    assert (np.diff(u) > 0).all()


def test_a_base_carries_the_move_into_the_world() -> None:
    base = path(Move("orbit", yaw=33, pitch=5)).c2w[-1]
    np.testing.assert_allclose(path(Move("60"), base=base).c2w, base @ path(Move("60")).c2w)


def test_source_times() -> None:
    np.testing.assert_array_equal(source_times(5, None, None, 1.0), [0, 1, 2, 3, 4])
    np.testing.assert_array_equal(source_times(3, None, None, 0.5), [0, 0.5, 1, 1.5, 2])
    np.testing.assert_array_equal(source_times(5, None, None, 2.0), [0, 2, 4])
    np.testing.assert_array_equal(source_times(2, 4, None, 1.0), [0, 1, 1, 1])
    np.testing.assert_array_equal(source_times(9, 3, 7, 1.0), [7, 7, 7])
    assert len(source_times(1, None, None, 1.0)) == 49


def test_radii() -> None:
    depth = np.full((9, 9), 8.0, np.float32)
    depth[2:7, 3:6] = 3.0
    depth[1, 1] = 10000 / 3900
    depth[0, 3] = 1.0  # the reference moves the border away before it looks
    assert subject_distance(depth) == 3.0
    assert subject_distance(np.full((1, 1), 4.0, np.float32)) == 4.0
    assert reference_radius(depth, 10000 / 3900) == pytest.approx(2.5641 + 0.15, abs=1e-4)
    assert reference_radius(7 * depth, 70000 / 3900) == pytest.approx(7 * 2.7141, abs=1e-3)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Move("orbti"), "no preset 'orbti'"),
        (lambda: Move("orbit", easing="bouncy"), "no easing"),
        (lambda: Move("60", yaw=30), "does not use --yaw"),
        (lambda: Move("zoom", zoom=-1), "--zoom must be positive"),
        (lambda: Move("orbit", yaw=float("nan")), "finite"),
        (lambda: path(Move("orbit"), radius=0), "radius"),
        (lambda: path(Move("orbit"), radius=float("nan")), "radius"),
        (lambda: path(Move("dolly_zoom", amount=1.0)), "below 1"),
        (lambda: source_times(5, None, 9, 1.0), "outside the clip"),
        (lambda: source_times(5, None, None, 0.0), "--speed"),
        (lambda: source_times(5, 0, None, 1.0), "--frames"),
        (lambda: source_times(5, None, 2, 0.5), "choose one"),
    ],
)
def test_bad_input_is_named(make, says: str) -> None:
    with pytest.raises(CameraError, match=says):
        make()
