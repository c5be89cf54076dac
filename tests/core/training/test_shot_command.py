"""`ex4d evaluate shot` and `ex4d evaluate trajectory`, as users call them."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from camera_cases import HEIGHT, LENS, WIDTH, World
from click.testing import CliRunner
from shot_cases import FPS, pictures, room, trajectory, visible, write_shot, write_truth

from ex4d_core.cli import ex4d
from ex4d_core.clip import write_lossless
from ex4d_core.errors import Ex4dError, InputError, MissingDependencyError
from ex4d_core.images import write_png

pytest.importorskip("torchmetrics", reason="the extra train is not installed")

FRAMES, KEYS = 8, (2, 4, 7)


@pytest.fixture(scope="module")
def world() -> World:
    return room(FRAMES)


@pytest.fixture(scope="module")
def truth(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ground truth of three of the frames."""
    return write_truth(world, tmp_path_factory.mktemp("truth") / "room", KEYS)


@pytest.fixture(scope="module")
def view(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The true view of each frame, as a video."""
    path = tmp_path_factory.mktemp("view") / "true.mp4"
    write_lossless(path, list(pictures(world)), FPS)
    return path


def evaluate(*arguments: object) -> dict[str, Any]:
    """What it prints with --json; the camera is estimated where the test says so."""
    done = CliRunner().invoke(ex4d, ["evaluate", "shot", "--json", *map(str, arguments)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def refused(*arguments: object) -> str:
    """The one sentence of an error."""
    with pytest.raises(Ex4dError) as error:
        CliRunner().invoke(ex4d, ["evaluate", "shot", *map(str, arguments)], catch_exceptions=False)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_the_truth_itself_is_perfect(world: World, truth: Path, tmp_path: Path) -> None:
    shot = write_shot(tmp_path / "take", pictures(world), trajectory(world))
    (row,) = evaluate(shot, "--truth", truth, "--path", "30", "--no-camera")["shots"]
    assert (row["psnr"], row["mpsnr"]) == ("inf", "inf")
    assert (row["ssim"], row["mssim"]) == pytest.approx((1, 1))
    assert (row["shot"], row["truth"], row["path"], row["frames"]) == ("take", "room", "30", len(KEYS))
    assert row["covisible"] == pytest.approx(np.mean([visible(world, key).mean() for key in KEYS]), abs=1e-6)
    assert row["lpips"] is None
    assert row["flicker_true"] is None  # not of each frame
    assert [frame["frame"] for frame in row["per_frame"] if "psnr" in frame] == list(KEYS)


def test_frames_are_matched_by_the_time_that_they_show(world: World, truth: Path, tmp_path: Path) -> None:
    """A shot that runs backwards is compared with the views of the moments that it shows."""
    path = trajectory(world)
    back = type(path)(path.c2w[::-1], path.intrinsics, path.source_time[::-1], WIDTH, HEIGHT, FPS)
    shot = write_shot(tmp_path / "back", pictures(world)[::-1], back)
    (row,) = evaluate(shot, "--truth", truth, "--path", "30", "--no-camera")["shots"]
    assert row["psnr"] == "inf"
    assert [frame["frame"] for frame in row["per_frame"] if "psnr" in frame] == sorted(FRAMES - 1 - k for k in KEYS)
    slow = type(path)(path.c2w, path.intrinsics, path.source_time // 2, WIDTH, HEIGHT, FPS)
    shot = write_shot(tmp_path / "slow", pictures(world), slow)
    assert "does not show each of the frames 2, 4, 7" in refused(shot, "--truth", truth, "--path", "30", "--no-camera")


def test_blur_noise_and_blinking_are_worse_each_in_its_way(world: World, view: Path, tmp_path: Path) -> None:
    true = pictures(world)
    draw = np.random.default_rng(2)
    blurred = np.stack([cv2.GaussianBlur(frame, (0, 0), 3) for frame in true])
    noisy = np.clip(true + draw.normal(0, 25, true.shape), 0, 255).astype(np.uint8)
    blinking = np.clip(true.astype(int) + np.where(np.arange(FRAMES) % 2, 12, -12)[:, None, None, None], 0, 255)
    shots = [write_shot(tmp_path / name, frames.astype(np.uint8)) for name, frames in (
        ("same", true), ("blurred", blurred), ("noisy", noisy), ("blinking", blinking),
    )]  # fmt: skip
    done = evaluate(*shots, "--truth", view, "--no-camera")
    rows = {row["shot"]: row for row in done["shots"]}
    assert rows["same"]["psnr"] == "inf"
    assert rows["same"]["flicker"] == rows["same"]["flicker_true"]
    assert rows["noisy"]["psnr"] == pytest.approx(20 * math.log10(255 / 25), abs=0.5)
    assert rows["blurred"]["ssim"] < 0.95
    assert rows["noisy"]["ssim"] < 0.8
    assert rows["blinking"]["ssim"] > rows["noisy"]["ssim"]
    assert rows["blinking"]["flicker"] > rows["same"]["flicker"] + 10
    assert rows["blurred"]["flicker"] < rows["same"]["flicker"] + 1
    assert all(row["mpsnr"] is None for row in rows.values())
    assert "give --mask" in rows["same"]["missing"]["mpsnr"]
    assert [row["range"] for row in done["ranges"]] == ["all"]  # no path is known
    assert done["ranges"][0]["shots"] == 4


def test_masks_are_the_users_or_the_shots_own(world: World, view: Path, tmp_path: Path) -> None:
    """With white masks each masked value is the unmasked one; what is broken outside of a mask costs nothing inside."""
    true = pictures(world)
    holes = np.zeros((FRAMES, HEIGHT, WIDTH), bool)
    holes[:, 60:180, 200:300] = True
    broken = np.where(holes[..., None], 255 - true, true).astype(np.uint8)
    broken[:, ::2] = np.clip(broken[:, ::2].astype(int) + 6, 0, 255)
    shot = write_shot(tmp_path / "broken" / "shot", broken)  # as `ex4d reshoot` has it
    (shot / "shot.json").write_text("{}")
    write_lossless(tmp_path / "white.mp4", [np.full((HEIGHT, WIDTH), 255, np.uint8)] * FRAMES, FPS)
    (white,) = evaluate(shot.parent, "--truth", view, "--no-camera", "--mask", tmp_path / "white.mp4")["shots"]
    assert white["shot"] == "broken"
    assert white["mpsnr"] == pytest.approx(white["psnr"], abs=1e-5)
    assert white["mssim"] == pytest.approx(white["ssim"], abs=1e-5)
    assert white["covisible"] == 1
    write_lossless(shot / "mask.mp4", [~hole for hole in holes], FPS)
    (own,) = evaluate(shot, "--truth", view, "--no-camera")["shots"]
    assert own["mpsnr"] > own["psnr"] + 10
    assert own["covisible"] == pytest.approx(1 - holes.mean())
    other = np.where(holes[..., None], 77, broken).astype(np.uint8)
    (changed,) = evaluate(
        write_shot(tmp_path / "other", other), "--truth", view, "--no-camera", "--mask", shot / "mask.mp4"
    )["shots"]
    assert (changed["mpsnr"], changed["mssim"]) == (own["mpsnr"], own["mssim"])
    assert changed["psnr"] != own["psnr"]


def test_a_mask_without_a_covisible_pixel_is_a_dash_with_the_reason(world: World, view: Path, tmp_path: Path) -> None:
    shot = write_shot(tmp_path / "shot", pictures(world))
    write_lossless(tmp_path / "mask.mp4", [np.zeros((HEIGHT, WIDTH), bool)] * FRAMES, FPS)
    (row,) = evaluate(shot, "--truth", view, "--mask", tmp_path / "mask.mp4", "--no-camera")["shots"]
    assert (row["covisible"], row["mpsnr"], row["psnr"]) == (0, None, "inf")
    assert "no pixel is co-visible" in row["missing"]["mpsnr"]


def test_a_frame_that_equals_the_truth_does_not_hide_the_others(world: World, view: Path, tmp_path: Path) -> None:
    still = write_shot(tmp_path / "still", np.repeat(pictures(world)[:1], FRAMES, axis=0))
    found = evaluate(still, "--truth", view, "--no-camera")
    frames = [frame["psnr"] for frame in found["shots"][0]["per_frame"]]
    assert frames[0] == "inf"
    assert found["shots"][0]["psnr"] == pytest.approx(np.mean(frames[1:]))
    assert found["ranges"][0]["psnr"] == found["shots"][0]["psnr"]


def test_the_camera_is_estimated_and_shots_are_grouped_by_range(world: World, truth: Path, tmp_path: Path) -> None:
    along = write_shot(tmp_path / "along", pictures(world), trajectory(world))
    stuck = write_shot(tmp_path / "stuck", np.repeat(pictures(world)[:1], FRAMES, axis=0), trajectory(world))
    done = CliRunner().invoke(
        ex4d,
        ["evaluate", "shot", str(along), str(stuck), "--truth", str(truth), "--path", "30", "--markdown"],
        catch_exceptions=False,
    )
    shots, ranges = (table.splitlines() for table in done.stdout.strip().split("\n\n"))
    titles = shots[0].strip("| ").split(" | ")
    good, bad = (dict(zip(titles, line.strip("| ").split(" | "), strict=True)) for line in shots[2:])
    assert float(good["position"]) < 0.1 < float(bad["position"])
    assert float(good["rotation"]) + 1 < float(bad["rotation"])
    assert (good["range"], good["LPIPS"], good["mLPIPS"]) == ("small", "-", "-")
    assert bad["flicker"] == "0.00"
    assert [line.split(" | ")[:3] for line in ranges[2:]] == [["| small", "0 to 30", "2"], ["| all", "-", "2"]]
    assert ranges[2].endswith("| - | - |")  # FID and FVD
    for option in ("--lpips-weights", "--inception-weights", "--i3d-weights"):
        assert done.stderr.count(option) == 1


def test_where_the_camera_cannot_be_found_is_a_dash_with_the_reason(world: World, view: Path, tmp_path: Path) -> None:
    grey = write_shot(tmp_path / "grey", np.full((FRAMES, HEIGHT, WIDTH, 3), 90, np.uint8), trajectory(world))
    (row,) = evaluate(grey, "--truth", view)["shots"]
    assert row["rotation"] is row["position"] is None
    assert "camera of frame 0 cannot be found" in row["missing"]["rotation"]
    assert "--source-camera" not in row["missing"]["rotation"]  # a remedy for imports
    assert row["psnr"] > 5


def test_one_frame(world: World, tmp_path: Path) -> None:
    for name, frame in (("shot.png", 1), ("true.png", 0)):
        write_png(tmp_path / name, world[frame])
    (row,) = evaluate(tmp_path / "shot.png", "--truth", tmp_path / "true.png")["shots"]
    assert row["frames"] == 1
    assert row["psnr"] > 10
    assert row["flicker"] is row["rotation"] is None
    assert row["missing"]["flicker"] == "the video has one frame"


def test_what_does_not_go_together_is_refused(world: World, truth: Path, view: Path, tmp_path: Path) -> None:
    true = pictures(world)
    short = write_shot(tmp_path / "short", true[:5])
    assert "has 5 frames and" in refused(short, "--truth", view)
    assert "the frames 2, 4, 7 alone" in refused(short, "--truth", truth, "--path", "30")
    small = write_shot(tmp_path / "small", np.stack([cv2.resize(f, (WIDTH // 2, HEIGHT // 2)) for f in true]))
    assert "add --resize" in refused(small, "--truth", view)
    (row,) = evaluate(small, "--truth", view, "--resize", "--no-camera")["shots"]
    assert 20 < row["psnr"] < 45
    whole = write_shot(tmp_path / "whole", true)
    assert "give one of 30 with --path" in refused(whole, "--truth", truth)
    assert "has no path 60: choose from 30" in refused(whole, "--truth", truth, "--path", "60")
    assert "leave out --path" in refused(whole, "--truth", view, "--path", "30")
    assert "2 shots and 3 of --truth" in refused(whole, short, *(["--truth", view] * 3))
    write_lossless(tmp_path / "mask.mp4", [np.zeros((HEIGHT, WIDTH), bool)] * 3, FPS)
    assert "The mask" in refused(whole, "--truth", view, "--mask", tmp_path / "mask.mp4")
    (tmp_path / "words.mp4").write_text("these are words")
    assert "words.mp4" in refused(tmp_path / "words.mp4", "--truth", view)
    assert "words.mp4" in refused(whole, "--truth", tmp_path / "words.mp4")
    assert "nowhere" in refused(tmp_path / "nowhere", "--truth", view)
    empty = tmp_path / "rendered"
    empty.mkdir()
    (empty / "shot.json").write_text("{}")
    assert "run `ex4d generate" in refused(empty, "--truth", view)
    longer = write_shot(tmp_path / "longer", true, trajectory(room(FRAMES + 1)))
    assert f"has {FRAMES + 1} frames and" in refused(longer, "--truth", view)
    (longer / "trajectory.json").write_text('{"schema": "ex4d.trajectory/1", "width": NaN}')
    assert "is not a trajectory" in refused(longer, "--truth", view)
    assert "leave out --depth-model-dir" in refused(whole, "--truth", view, "--depth-model-dir", tmp_path)
    assert "no depth estimator" in refused(whole, "--truth", view, "--estimator", "none").lower()


def test_without_the_extra_it_says_what_to_install(view: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ex4d_core.commands import evaluate_shot

    monkeypatch.setattr(evaluate_shot, "find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError, match=r"torch, torchmetrics, .*run pip install \.\[train\]"):
        CliRunner().invoke(ex4d, ["evaluate", "shot", str(view), "--truth", str(view)], catch_exceptions=False)


def test_the_true_path_in_a_scene_of_another_scale(world: World, truth: Path, tmp_path: Path) -> None:
    """A scene with depth twice as large: the path is twice as long, and renders what the truth shows."""
    from ex4d_core.camera import load_trajectory
    from ex4d_core.ingest import import_scene

    depths = tmp_path / "depth"
    depths.mkdir()
    for frame in range(FRAMES):
        np.save(depths / f"{frame:06d}.npy", 2 * np.minimum(world.depth(0), 100))
    scene = tmp_path / "room.ex4d"
    import_scene(truth / "source.mp4", scene, depth=depths, depth_kind="relative", focal_px=LENS.fx)
    run = ["evaluate", "trajectory", str(truth), "--scene", str(scene), "-o", str(tmp_path / "path.json"), "--path"]
    done = CliRunner().invoke(ex4d, [*run, "30"], catch_exceptions=False)
    assert done.output.strip() == str(tmp_path / "path.json")
    path = load_trajectory(tmp_path / "path.json", WIDTH, HEIGHT, FPS)
    shift = world.c2w[:, :3, 3] - world.c2w[0, :3, 3]
    scale = np.linalg.norm(path.c2w[-1, :3, 3]) / np.linalg.norm(shift[-1])
    np.testing.assert_allclose(path.c2w[:, :3, 3], scale * shift, atol=1e-3 * scale)
    np.testing.assert_allclose(path.c2w[:, :3, :3], world.c2w[:, :3, :3], atol=1e-6)
    assert np.median(_scene_depth(scene) / np.minimum(world.depth(0), 100)) == pytest.approx(scale, rel=0.01)
    with pytest.raises(InputError, match="has no path 90: choose from 30"):
        CliRunner().invoke(ex4d, [*run, "90", "--overwrite"], catch_exceptions=False)
    with pytest.raises(InputError, match="exists already"):
        CliRunner().invoke(ex4d, [*run, "30"], catch_exceptions=False)


def _scene_depth(scene: Path) -> np.ndarray:
    from ex4d_core.scene import Scene

    return Scene.open(scene).depth(0)
