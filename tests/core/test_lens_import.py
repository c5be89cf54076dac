"""From bent footage and its solve to a straight scene that stands still, and back over the plate."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import OpenEXR
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray

from ex4d_core.camera import Intrinsics, Trajectory, invert_pose, look_at, save_trajectory
from ex4d_core.cli import ex4d
from ex4d_core.clip import load_clip
from ex4d_core.distortion import Distortion
from ex4d_core.errors import InputError
from ex4d_core.images import read_image, write_png
from ex4d_core.import_request import ImportOptions, request_fingerprint
from ex4d_core.ingest import import_scene
from ex4d_core.redistort import distort_result
from ex4d_core.scene import Scene
from ex4d_core.shot import SceneReference, ShotDocument, ShotRequest, ShotResult, write_shot

WIDTH, HEIGHT, FRAMES = 120, 80, 4
DISTORTION = Distortion("opencv", (-0.18, 0.04, 0.001, -0.001), Intrinsics(95.0, 95.0, 61.0, 39.0, WIDTH, HEIGHT))
DEPTH_UNIT = 3.7
"""The depth's units in one of the solve's."""
FLOOR = np.array([0.0, 0.8, 0.6])
"""A plane that everything is painted on: FLOOR @ X = 3."""


def _poses() -> NDArray[np.float64]:
    eyes = np.array([[0.15 * t, -0.1 * t, 0.05 * t] for t in range(FRAMES)])
    return look_at(eyes, eyes + np.array([0.05, 0.3, 1.0]))


def _seen(rays: NDArray[np.float64], pose: NDArray[np.float64]) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Colour and z-depth that a camera sees along rays (H, W, 2)."""
    directions = np.concatenate([rays, np.ones((*rays.shape[:2], 1))], -1) @ pose[:3, :3].T
    depth = (3.0 - FLOOR @ pose[:3, 3]) / (directions @ FLOOR)
    points = pose[:3, 3] + directions * depth[..., None]
    waves = np.stack([np.sin(2.2 * points @ axis) for axis in ([1, 0, 0], [0, 1, 1], [1, 1, 0])], -1)
    spots = np.sin(9 * points @ [1, 0.2, 0]) * np.sin(9 * points @ [0.2, 0.6, -0.8])  # something to follow
    return np.rint(127 + 60 * waves + 60 * spots[..., None]).astype(np.uint8), depth.astype(np.float32)


def _grid() -> NDArray[np.float64]:
    x, y = np.meshgrid(np.arange(WIDTH) + 0.5, np.arange(HEIGHT) + 0.5)
    return np.stack([x.ravel(), y.ravel()], 1)


def _pinhole_rays(lens: Intrinsics) -> NDArray[np.float64]:
    return ((_grid() - [lens.cx, lens.cy]) / [lens.fx, lens.fy]).reshape(HEIGHT, WIDTH, 2)


def _colmap(folder: Path) -> Path:
    folder.mkdir()
    k = DISTORTION.intrinsics.as_tuple()
    numbers = " ".join(str(number) for number in (*k, *DISTORTION.parameters))
    (folder / "cameras.txt").write_text(f"1 OPENCV {WIDTH} {HEIGHT} {numbers}\n")
    rng, lines, points = np.random.default_rng(0), [], []
    for t, pose in enumerate(_poses()):
        w2c = invert_pose(pose)
        w = np.sqrt(1 + np.trace(w2c[:3, :3])) / 2
        r = w2c[:3, :3]
        q = [w, (r[2, 1] - r[1, 2]) / (4 * w), (r[0, 2] - r[2, 0]) / (4 * w), (r[1, 0] - r[0, 1]) / (4 * w)]
        rays = rng.uniform([-0.4, -0.25], [0.4, 0.25], (12, 1, 2))
        _, depth = _seen(rays, pose)
        in_world = (np.concatenate([rays, np.ones((12, 1, 1))], -1) * depth[..., None])[:, 0] @ pose[:3, :3].T
        pixels = DISTORTION.distorted(rays[:, 0])
        first = len(points)
        points += [f"{first + n} {x} {y} {z} 0 0 0 0.1" for n, (x, y, z) in enumerate(in_world + pose[:3, 3])]
        seen = " ".join(f"{x} {y} {first + n}" for n, (x, y) in enumerate(pixels))
        lines += [f"{t + 1} {' '.join(map(str, [*q, *w2c[:3, 3]]))} 1 plate_{t + 1001}.png", seen]
    (folder / "images.txt").write_text("\n".join(lines) + "\n")
    (folder / "points3D.txt").write_text("\n".join(points) + "\n")
    return folder


@dataclass(frozen=True)
class Case:
    scene: Scene
    footage: NDArray[np.uint8]
    folder: Path


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    """Footage of a bent lens with depth of the same bent pictures, imported with its solve."""
    folder = tmp_path_factory.mktemp("bent")
    (folder / "plate").mkdir()
    rays = DISTORTION.undistorted(_grid()).reshape(HEIGHT, WIDTH, 2)
    footage, depth = (np.stack(arrays) for arrays in zip(*(_seen(rays, pose) for pose in _poses()), strict=True))
    for t, image in enumerate(footage):
        write_png(folder / "plate" / f"plate_{t + 1001}.png", image)
    np.savez(folder / "depth.npz", depth=depth * DEPTH_UNIT)
    scene = import_scene(
        folder / "plate",
        folder / "a.ex4d",
        depth=folder / "depth.npz",
        source_camera=_colmap(folder / "solve"),
        plate=True,
    )
    return Case(scene, footage, folder)


def _psnr(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> float:
    return float(10 * np.log10(255**2 / ((a.astype(float) - b) ** 2).mean()))


def test_the_scene_is_what_a_pinhole_camera_would_have_seen(case: Case) -> None:
    for t, pose in enumerate(_poses()):
        lens = case.scene.intrinsics(t)
        color, depth = _seen(_pinhole_rays(lens), pose)
        assert _psnr(case.scene.color(t), color) > 38
        assert _psnr(read_image(case.scene.path / f"plate/{t:06d}.png"), color) > 38
        np.testing.assert_allclose(case.scene.depth(t), depth * DEPTH_UNIT, rtol=0.02)
    assert case.scene.document.distortion == DISTORTION.document()
    assert case.scene.intrinsics(0) == DISTORTION.pinhole()


def test_the_solve_comes_to_the_depths_scale_and_the_world_stands_still(case: Case) -> None:
    assert any("scaled by 3.7" in note for note in case.scene.document.notes)
    first, last = case.scene.source_camera(0), case.scene.source_camera(FRAMES - 1)
    np.testing.assert_allclose(last.c2w[:3, 3], _poses()[-1][:3, 3] * DEPTH_UNIT, rtol=0.01)
    grids = [_pinhole_rays(camera.intrinsics) for camera in (first, last)]
    worlds = []
    for camera, rays, t in zip((first, last), grids, (0, FRAMES - 1), strict=True):
        points = np.concatenate([rays, np.ones((HEIGHT, WIDTH, 1))], -1) * case.scene.depth(t)[..., None]
        worlds.append(points @ camera.c2w[:3, :3].T + camera.c2w[:3, 3])
    heights = [world @ FLOOR / (3.0 * DEPTH_UNIT) for world in worlds]  # every point lies on the floor, at any time
    assert max(np.abs(height - 1).max() for height in heights) < 0.01


def _shot(case: Case, name: str, lens: Intrinsics) -> Path:
    """A shot of the source camera itself, with a lens of its own."""
    folder = case.folder / "a.ex4d" / "shots" / name
    (folder / "output").mkdir(parents=True)
    poses = np.array([case.scene.source_camera(t).c2w for t in range(FRAMES)])
    for t, pose in enumerate(_poses()):
        write_png(folder / "output" / f"{t:06d}.png", _seen(_pinhole_rays(lens), pose)[0])
    path = Trajectory(poses, np.tile(lens.as_tuple(), (FRAMES, 1)), np.arange(4.0), WIDTH, HEIGHT, case.scene.fps)
    save_trajectory(path, folder / "trajectory.json")
    reference = SceneReference(path="../..", content_hash=case.scene.content_hash)
    write_shot(folder, ShotDocument(scene=reference, request=ShotRequest(), result=ShotResult(), frames=()))
    return folder


def test_a_shot_lies_over_the_plate_again(case: Case) -> None:
    shot = _shot(case, "same", case.scene.intrinsics(0))
    made = distort_result(shot, case.folder / "over")
    assert 0.01 < made.missing < 0.2
    assert made.fills_degrees is not None
    for t in range(FRAMES):
        bent = read_image(case.folder / f"over/{t:06d}.png")
        seen = bent.any(axis=-1)
        assert seen.mean() == pytest.approx(1 - made.missing, abs=0.01)
        assert _psnr(bent[seen], case.footage[t][seen]) > 36
    lens = DISTORTION.pinhole()
    wide = Intrinsics.from_fov_x_degrees(made.fills_degrees + 1, WIDTH, HEIGHT)
    wide = Intrinsics(wide.fx, wide.fx, lens.cx, lens.cy, WIDTH, HEIGHT)
    filled = distort_result(_shot(case, "wide", wide), case.folder / "filled")
    assert filled.missing == 0
    assert _psnr(read_image(case.folder / "filled/000002.png"), case.footage[2]) > 36


def test_a_video_to_look_at_and_a_video_from_elsewhere(case: Case) -> None:
    shot = _shot(case, "video", case.scene.intrinsics(0))
    runner = CliRunner()
    called = runner.invoke(ex4d, ["distort", str(shot), "-o", str(case.folder / "v.mp4")])
    assert called.exit_code == 0, called.output
    assert "of the frame, at its border, lies outside of the shot: a shot with a lens of" in called.output
    video = load_clip(case.folder / "v.mp4")
    assert video.frames.shape == (FRAMES, HEIGHT, WIDTH, 3)
    assert video.fps == case.scene.fps
    with pytest.raises(InputError, match="does not say of which scene it is: name the scene folder with --scene"):
        distort_result(case.folder / "v.mp4", case.folder / "w")
    again = distort_result(shot / "output", case.folder / "w", scene=case.scene.path)
    assert again.frames == FRAMES
    np.testing.assert_array_equal(
        read_image(case.folder / "w/000001.png"),
        read_image(distort_result(shot, case.folder / "x").path / "000001.png"),
    )


def test_every_channel_of_exr_frames_is_bent_in_its_way(case: Case) -> None:
    folder = case.folder / "exr"
    folder.mkdir()
    color, depth = _seen(_pinhole_rays(case.scene.intrinsics(0)), _poses()[0])
    linear = (color / 255.0).astype(np.float16)
    layers = {name: linear[..., i].copy() for i, name in enumerate("RGB")}  # OpenEXR ignores strides
    layers |= {"A": linear[..., 0] * 0 + 1, "depth.Z": depth, "mask.Y": (depth > depth.mean()).astype(np.float16)}
    with OpenEXR.File({"type": OpenEXR.scanlineimage}, dict(layers)) as file:  # it changes what it is given
        file.write(str(folder / "000000.exr"))
    made = distort_result(folder, case.folder / "bent_exr", scene=case.scene.path)
    with OpenEXR.File(str(made.path / "000000.exr"), separate_channels=True) as file:
        bent = {name: channel.pixels for name, channel in file.channels().items()}
    assert {name: plane.dtype for name, plane in bent.items()} == {name: plane.dtype for name, plane in layers.items()}
    seen = bent["A"] > 0.5
    assert (~seen).mean() == pytest.approx(made.missing, abs=0.01)
    assert (bent["depth.Z"][~seen] == 1e10).all()
    assert set(np.unique(bent["depth.Z"][seen])) <= {*np.unique(depth), np.float32(1e10)}
    assert set(np.unique(bent["mask.Y"])) <= {0, 1}
    straight = np.stack([bent[name] for name in "RGB"], -1)[seen].astype(float) * 255
    assert np.abs(straight - case.footage[0][seen]).mean() < 1.5


def test_what_cannot_be_bent_is_refused(case: Case, tmp_path: Path) -> None:
    write_png(tmp_path / "square.png", np.zeros((50, 50, 3), np.uint8))
    with pytest.raises(InputError, match="50x50 pixels, another aspect ratio than the scene's 120x80"):
        distort_result(tmp_path / "square.png", tmp_path / "out", scene=case.scene.path)
    plain = import_scene(case.folder / "plate", tmp_path / "b.ex4d", depth=case.folder / "depth.npz")
    with pytest.raises(InputError, match="had no lens distortion: there is nothing to put back"):
        distort_result(case.folder / "plate", tmp_path / "out", scene=plain.path)
    for name in ("absent", "absent.mp4"):
        with pytest.raises(InputError, match=rf"There is no shot, video or folder of images .*{name}: check the name"):
            distort_result(tmp_path / name, tmp_path / "out")
    with pytest.raises(InputError, match="is a scene, not a result: give one of its shots"):
        distort_result(case.scene.path, tmp_path / "out")
    with pytest.raises(InputError, match="exists already"):
        distort_result(case.folder / "plate", tmp_path, scene=case.scene.path)


def test_the_lens_beside_the_depth_counts_where_none_is_given(case: Case, tmp_path: Path) -> None:
    with np.load(case.folder / "depth.npz") as file:
        np.savez(tmp_path / "z.npz", depth=file["depth"], intrinsics=np.array([88.0, 88, 60, 40]))
    scene = import_scene(case.folder / "plate", tmp_path / "a.ex4d", depth=tmp_path / "z.npz")
    assert scene.intrinsics(0).as_tuple() == (88, 88, 60, 40)
    assert any(note.startswith("The lens is the one beside the depth: ") for note in scene.document.notes)
    given = import_scene(case.folder / "plate", tmp_path / "b.ex4d", depth=tmp_path / "z.npz", fov_degrees=50)
    assert given.intrinsics(0).fov_x_degrees == pytest.approx(50)


@pytest.mark.parametrize("size", [1.0, 0.2])
def test_a_trajectory_in_units_of_its_own_is_brought_to_relative_depth(case: Case, tmp_path: Path, size: float) -> None:
    """Points followed in the straight pictures tell the scale; a path that fits stays to the last digit."""
    poses = np.array([case.scene.source_camera(t).c2w for t in range(FRAMES)])
    given = poses.copy()
    given[:, :3, 3] *= size
    lens = case.scene.intrinsics(0).as_tuple()
    path = Trajectory(given, np.tile(lens, (FRAMES, 1)), np.arange(4.0), WIDTH, HEIGHT, case.scene.fps)
    depth = np.stack([case.scene.depth(t) for t in range(FRAMES)])
    np.save(tmp_path / "z.npy", depth)
    for kind in ("relative", "metric"):
        scene = import_scene(
            case.scene.path / "color",
            tmp_path / f"{kind}.ex4d",
            depth=tmp_path / "z.npy",
            depth_kind=kind,
            source_camera=path,
        )
        found = np.array([scene.source_camera(t).c2w for t in range(FRAMES)])
        said = [note for note in scene.document.notes if "solve" in note and "lens" not in note]
        if size == 1.0 or kind == "metric":
            np.testing.assert_array_equal(found, given)
            assert [("though the depth is in metres" in note) for note in said] == [True] * (size != 1.0)
        else:
            np.testing.assert_allclose(found, poses, atol=0.02)
            assert "was scaled by" in said[0]


def test_an_empty_name_of_a_solve_is_refused(case: Case, tmp_path: Path) -> None:
    arguments = ["import", str(case.folder / "plate"), "-o", str(tmp_path / "a.ex4d"), "--source-camera", ""]
    with pytest.raises(InputError, match="--source-camera is empty: give static, estimate, or a solved camera"):
        CliRunner().invoke(ex4d, arguments, catch_exceptions=False)


def test_another_solve_in_a_projects_folder_is_another_request(case: Case, tmp_path: Path) -> None:
    options = ImportOptions(source_camera=tmp_path / "project")
    shutil.copytree(case.folder / "solve", tmp_path / "project" / "sparse" / "0")
    before = request_fingerprint(case.folder / "plate", options)
    assert before == request_fingerprint(case.folder / "plate", options)
    cameras = tmp_path / "project" / "sparse" / "0" / "cameras.txt"
    cameras.write_text(cameras.read_text().replace("OPENCV 120 80 95.0", "OPENCV 120 80 96.0"))
    assert before != request_fingerprint(case.folder / "plate", options)
