"""COLMAP's models, made by COLMAP itself (tests/data/colmap/README.md), and how they become a clip's camera."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ex4d_core.camera import Trajectory, invert_pose, save_trajectory
from ex4d_core.clip import ClipInfo
from ex4d_core.colmap import read_colmap
from ex4d_core.errors import CameraError, CancelledError
from ex4d_core.solve import Solve, load_solve
from ex4d_core.solve_scale import fit_scale

DATA = Path(__file__).parents[1] / "data" / "colmap"
EXPECTED: dict[str, Any] = json.loads((DATA / "expected.json").read_text())
INFO = ClipInfo(Path("clip.mp4"), "video", 640, 360, 4, Fraction(24))
DISTORTED = [name for name in EXPECTED if "PINHOLE" not in name and name != "FOV"]


def _text_model(folder: Path, frames: dict[str, tuple[NDArray[np.float64], str]], cameras: list[str]) -> Path:
    """A COLMAP model in text: image name -> position and "camera id"; every camera looks along z."""
    folder.mkdir(parents=True)
    (folder / "cameras.txt").write_text("# comment\n" + "\n".join(cameras) + "\n")
    lines = []
    for number, (name, (position, camera)) in enumerate(frames.items(), start=1):
        x, y, z = -position
        lines += [f"{number} 1 0 0 0 {x} {y} {z} {camera} {name}", ""]
    (folder / "images.txt").write_text("\n".join(lines) + "\n")
    (folder / "points3D.txt").write_text("# none\n")
    return folder


def _line(folder: Path, numbers: list[int], name: str = "f_%04d.png") -> Path:
    """Frame n stands at x = n."""
    frames = {name % n: (np.array([float(n), 0, 0]), "1") for n in numbers}
    return _text_model(folder, frames, ["1 PINHOLE 640 360 500 500 320 180"])


def _load(path: Path, whole: int, files: list[str] | None = None, **part: Any) -> Solve:
    return load_solve(path, replace(INFO, frames=whole), files, **part)


@pytest.mark.parametrize("folder", ["OPENCV", "OPENCV_text"])
def test_poses_points_and_sightings_are_colmaps_own(folder: str) -> None:
    model = read_colmap(DATA / folder)
    images = EXPECTED["OPENCV"]["images"]
    assert {image.name for image in model.images} == set(images)
    solve = load_solve(DATA / folder, INFO)
    assert solve.distortion is not None
    assert solve.points is not None
    for frame, name in enumerate(sorted(images)):
        w2c = np.array(images[name]["w2c"])
        np.testing.assert_allclose(invert_pose(solve.trajectory.c2w[frame]), w2c, atol=1e-12)
        for pixel, point in images[name]["observed"]:
            x, y, z = w2c[:3, :3] @ point + w2c[:3, 3]
            np.testing.assert_allclose(solve.distortion.distorted(np.array([[x / z, y / z]]))[0], pixel, atol=1e-6)
            distances = np.linalg.norm(solve.points.positions[solve.points.seen[frame]] - point, axis=1)
            assert distances.min() < 1e-9


@pytest.mark.parametrize("model", DISTORTED)
def test_every_model_projects_as_colmap_does(model: str) -> None:
    solve = load_solve(DATA / model, replace(INFO, frames=len(read_colmap(DATA / model).images)))
    assert solve.distortion is not None
    expected = EXPECTED[model]
    np.testing.assert_allclose(solve.distortion.distorted(np.array(expected["rays"])), expected["pixels"], atol=1e-9)
    lens = solve.trajectory.camera(0).intrinsics
    assert lens == solve.distortion.pinhole()


@pytest.mark.parametrize("model", ["PINHOLE", "SIMPLE_PINHOLE"])
def test_a_lens_without_distortion_is_taken_as_it_is(model: str) -> None:
    solve = load_solve(DATA / model, replace(INFO, frames=1))
    assert solve.distortion is None
    fx, fy, cx, cy = solve.trajectory.intrinsics[0]
    pixels = np.array(EXPECTED[model]["rays"]) * [fx, fy] + [cx, cy]
    np.testing.assert_allclose(pixels, EXPECTED[model]["pixels"], atol=1e-9)


def test_other_models_are_refused_by_name() -> None:
    with pytest.raises(CameraError, match="of the model FOV, which is not read: solve with one of SIMPLE_PINHOLE"):
        load_solve(DATA / "FOV", replace(INFO, frames=1))


@pytest.mark.parametrize("place", ["", "sparse", "sparse/0"])
def test_a_projects_folder_will_do(tmp_path: Path, place: str) -> None:
    shutil.copytree(DATA / "OPENCV", tmp_path / "project" / place, dirs_exist_ok=True)
    assert len(load_solve(tmp_path / "project", INFO).trajectory) == 4


def test_several_models_and_none_are_refused(tmp_path: Path) -> None:
    for part in "01":
        shutil.copytree(DATA / "OPENCV", tmp_path / "two" / "sparse" / part)
    with pytest.raises(CameraError, match=r"several COLMAP models \(sparse/0, sparse/1\)"):
        load_solve(tmp_path / "two", INFO)
    (tmp_path / "none").mkdir()
    with pytest.raises(CameraError, match="holds no solved camera"):
        load_solve(tmp_path / "none", INFO)


@pytest.mark.parametrize("name", ["cameras.bin", "images.bin", "points3D.bin"])
@pytest.mark.parametrize("share", [0.4, 0.9])
def test_damage_is_one_sentence(tmp_path: Path, name: str, share: float) -> None:
    folder = tmp_path / "m"
    shutil.copytree(DATA / "OPENCV", folder)
    data = (folder / name).read_bytes()
    (folder / name).write_bytes(data[: int(len(data) * share)])
    with pytest.raises(CameraError, match="damaged or cut short: export it again"):
        load_solve(folder, INFO)


@pytest.mark.parametrize(
    ("numbers", "name", "files"),
    [
        ([1, 2, 3, 4], "f_%04d.png", None),  # as FFmpeg numbers them
        ([0, 1, 2, 3], "%d.jpg", None),
        ([1001, 1002, 1003, 1004], "plate.%d.exr", None),
        ([1, 2, 3, 4], "images/cam/f_%04d.png", [f"f_{n:04d}.png" for n in (1, 2, 3, 4)]),
        ([7, 8, 9, 10], "shot_%d.jpg", [f"shot_{n}.png" for n in (7, 8, 9, 10)]),  # converted; 9 before 10
    ],
)
def test_images_find_their_frames(tmp_path: Path, numbers: list[int], name: str, files: list[str] | None) -> None:
    solve = _load(_line(tmp_path / "m", numbers, name), 4, files)
    np.testing.assert_allclose(solve.trajectory.c2w[:, 0, 3], numbers)
    guessed = f"The images of m are numbered {numbers[0]} to {numbers[-1]} and the clip's frames 1 to 4: "
    assert solve.notes == ((guessed + f"{numbers[0]} is taken for the first.",) if numbers[0] > 1 and not files else ())


def test_images_matched_by_their_order_are_said(tmp_path: Path) -> None:
    frames = {name: (np.array([x, 0.0, 0]), "1") for name, x in (("b.png", 2.0), ("a.png", 1.0), ("c.png", 3.0))}
    solve = _load(_text_model(tmp_path / "m", frames, ["1 PINHOLE 640 360 500 500 320 180"]), 3)
    np.testing.assert_allclose(solve.trajectory.c2w[:, 0, 3], [1, 2, 3])
    assert solve.notes == (
        "The names of the images of m do not tell which frames they are: they are taken in the order of their names, "
        "a.png for the first.",
    )


def test_a_sequences_own_numbers_count(tmp_path: Path) -> None:
    info = replace(INFO, kind="sequence", first_number=1001)
    solve = load_solve(_line(tmp_path / "m", [1002, 1003], "undistorted_%d.png"), info, None, start=1, frames=2)
    np.testing.assert_allclose(solve.trajectory.c2w[:, 0, 3], [1002, 1003])


def test_frames_that_are_missing_are_interpolated_and_said(tmp_path: Path) -> None:
    solve = _load(_line(tmp_path / "m", [1, 2, 5, 6]), 6)
    np.testing.assert_allclose(solve.trajectory.c2w[:, 0, 3], [1, 2, 3, 4, 5, 6])
    assert solve.notes == ("m lacks frames 2 to 3: their cameras are interpolated between neighbours.",)


def test_an_interpolated_camera_turns_about_one_axis(tmp_path: Path) -> None:
    folder = _line(tmp_path / "m", [1, 3])
    text = (folder / "images.txt").read_text().splitlines()
    half = np.radians(40) / 2
    text[2] = f"2 {np.cos(half)} 0 {np.sin(half)} 0 0 0 0 1 f_0003.png"
    (folder / "images.txt").write_text("\n".join(text) + "\n")
    turn = _load(folder, 3).trajectory.c2w[1, :3, :3]
    assert np.degrees(np.arctan2(turn[2, 0], turn[0, 0])) == pytest.approx(20)


@pytest.mark.parametrize(
    ("numbers", "part", "message"),
    [
        (
            [2, 3, 4],
            {},
            "solves frames 1 to 3, but 0 to 5 are taken: solve them all, or take only those with --start 1",
        ),
        ([1, 2, 3, 4], {"start": 4, "frames": 2}, "but 4 to 5 are taken: .* solve the part of the clip"),
    ],
)
def test_ends_that_are_missing_are_refused(
    tmp_path: Path, numbers: list[int], part: dict[str, int], message: str
) -> None:
    with pytest.raises(CameraError, match=message):
        _load(_line(tmp_path / "m", [*numbers]), 6, [f"f_{n:04d}.png" for n in range(1, 7)], **part)


def test_a_part_of_the_clip_needs_only_its_own_frames(tmp_path: Path) -> None:
    solve = _load(_line(tmp_path / "m", [3, 4, 6]), 9, start=3, frames=2)
    np.testing.assert_allclose(solve.trajectory.c2w[:, 0, 3], [4, 5])


def test_a_long_gap_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CameraError, match="lacks frames 1 to 13, more than 12 in a row"):
        _load(_line(tmp_path / "m", [1, 15]), 15)


def test_names_that_do_not_tell_and_doubles_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CameraError, match="do not tell which of the clip's 6 frames they are"):
        _load(_line(tmp_path / "far", [100, 200, 300]), 6)
    frames = {name: (np.zeros(3), "1") for name in ("a/f_0001.png", "b/f_0001.png")}
    twice = _text_model(tmp_path / "twice", frames, ["1 PINHOLE 640 360 500 500 320 180"])
    with pytest.raises(CameraError, match="are both frame 0 of the clip"):
        _load(twice, 6)


def test_a_zoom_keeps_its_lens_of_each_frame_and_a_changing_distortion_is_refused(tmp_path: Path) -> None:
    frames = {f"f_{n}.png": (np.zeros(3), str(n)) for n in (1, 3)}
    zoom = [f"{n} PINHOLE 640 360 {500 + 100 * n} {500 + 100 * n} 320 180" for n in (1, 3)]
    solve = _load(_text_model(tmp_path / "zoom", frames, zoom), 3)
    np.testing.assert_allclose(solve.trajectory.intrinsics[:, 0], [600, 700, 800])
    assert len(solve.notes) == 1  # that a frame is interpolated, not that the lens jumps
    bent = [f"{n} SIMPLE_RADIAL 640 360 500 320 180 {0.01 * n}" for n in (1, 3)]
    with pytest.raises(CameraError, match="several cameras.*single_camera 1"):
        _load(_text_model(tmp_path / "bent", frames, bent), 3)


@pytest.mark.parametrize(("focals", "frame"), [((500, 520, 500, 520), 1), ((500, 500, 520, 520), 2)])
def test_a_lens_that_jumps_is_said(tmp_path: Path, focals: tuple[int, ...], frame: int) -> None:
    frames = {f"f_{n}.png": (np.zeros(3), str(focal)) for n, focal in enumerate(focals, start=1)}
    cameras = [f"{focal} PINHOLE 640 360 {focal} {focal} 320 180" for focal in set(focals)]
    (note,) = _load(_text_model(tmp_path / "m", frames, cameras), 4).notes
    assert note.startswith(f"The lens of m jumps, by 4 % at frame {frame}: ")


def test_a_zoom_that_starts_at_once_does_not_jump(tmp_path: Path) -> None:
    focals = [500.0] * 3 + [500 * 1.08**n for n in range(1, 6)] + [500 * 1.08**5] * 3
    frames = {f"f_{n}.png": (np.zeros(3), str(n)) for n in range(1, 12)}
    cameras = [f"{n} PINHOLE 640 360 {focal} {focal} 320 180" for n, focal in enumerate(focals, start=1)]
    assert _load(_text_model(tmp_path / "m", frames, cameras), 11).notes == ()


def test_a_solved_lens_that_no_camera_has_is_refused(tmp_path: Path) -> None:
    frames = {"f_1.png": (np.zeros(3), "1")}
    folder = _text_model(tmp_path / "m", frames, ["1 PINHOLE 640 360 5 5 320 180"])
    with pytest.raises(CameraError, match=r"Frame 0 of the camera solve .*m has a horizontal field of view of 178"):
        _load(folder, 1)
    path = Trajectory(np.eye(4)[None], np.array([[1e6, 1e6, 320, 180]]), np.zeros(1), 640, 360, Fraction(24))
    save_trajectory(path, tmp_path / "a.json")
    with pytest.raises(CameraError, match=r"a.json has a horizontal field of view of 0.0367 degrees"):
        load_solve(tmp_path / "a.json", INFO)


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("cameras.txt", "1 PINHOLE 640 360 500 500 320"),
        ("cameras.txt", "1 SIMPLE_RADIAL 640 360 500"),
        ("cameras.txt", "1 PINHOLE 640 360 500 500 320 180 0"),
        ("images.txt", "1 1 0 0 0 5 1 f_0001.png"),
    ],
)
def test_a_text_with_too_few_or_too_many_numbers_is_damaged(tmp_path: Path, file: str, text: str) -> None:
    folder = _line(tmp_path / "m", [1])
    (folder / file).write_text(text + "\n")
    with pytest.raises(CameraError, match="damaged or cut short: export it again"):
        _load(folder, 1)


def test_our_own_files_come_whole(tmp_path: Path) -> None:
    poses = np.tile(np.eye(4), (3, 1, 1))
    path = Trajectory(poses, np.tile([500.0, 500, 320, 180], (3, 1)), np.arange(3.0), 640, 360, Fraction(24))
    for name in ("a.json", "a.npz"):
        save_trajectory(path, tmp_path / name)
        solve = load_solve(tmp_path / name, INFO)
        np.testing.assert_allclose(solve.trajectory.c2w, poses, atol=1e-6)
        assert solve.points is None
    with pytest.raises(CameraError, match="no trajectory file"):
        load_solve(tmp_path / "absent", INFO)


def _depth_of_points(solve: Solve, factor: float, noise: float = 0.0) -> Any:
    """Depth maps that are right, times a factor, at the points that the solve saw."""
    rng = np.random.default_rng(0)

    def depth(frame: int) -> NDArray[np.float32]:
        camera = solve.trajectory.camera(frame)
        found = np.full((360, 640), np.inf, np.float32)
        assert solve.points is not None
        w2c = camera.w2c()
        for point in solve.points.positions[solve.points.seen[frame]]:
            x, y, z = w2c[:3, :3] @ point + w2c[:3, 3]
            fx, fy, cx, cy = camera.intrinsics.as_tuple()
            column, row = int(np.floor(fx * x / z + cx)), int(np.floor(fy * y / z + cy))
            if 0 <= column < 640 and 0 <= row < 360:
                found[row, column] = z * factor * (1 + noise * rng.uniform(-1, 1))
        return found

    return depth


@pytest.mark.parametrize("factor", [0.01, 3.7])
def test_points_tell_the_scale_of_the_depth(factor: float) -> None:
    solve = load_solve(DATA / "OPENCV", INFO)
    assert solve.points is not None
    lenses = [solve.trajectory.camera(frame).intrinsics for frame in range(4)]
    fit = fit_scale(solve.points, solve.trajectory.c2w, lenses, _depth_of_points(solve, factor))
    assert fit is not None
    assert fit.scale == pytest.approx(factor, rel=1e-3)
    assert fit.spread < 0.01
    assert "agree within 0 %" in fit.note
    loose = fit_scale(solve.points, solve.trajectory.c2w, lenses, _depth_of_points(solve, factor, 0.9))
    assert loose is not None
    assert "still things may drift" in loose.note


def test_without_depth_at_the_points_there_is_no_scale() -> None:
    solve = load_solve(DATA / "OPENCV", INFO)
    assert solve.points is not None
    lenses = [solve.trajectory.camera(frame).intrinsics for frame in range(4)]
    sky = np.full((360, 640), np.inf, np.float32)
    assert fit_scale(solve.points, solve.trajectory.c2w, lenses, lambda _: sky) is None
    with pytest.raises(CancelledError):
        fit_scale(solve.points, solve.trajectory.c2w, lenses, lambda _: sky, lambda: True)
