"""Imports: what comes out of a clip, and what is refused without leaving anything behind."""

from __future__ import annotations

import json
import math
import os
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
from ingest_cases import FRAMES, HEIGHT, WIDTH, all_bytes, clip_file, colors, depth_npy, depths

from ex4d_core.camera import Intrinsics, Trajectory, look_at, save_trajectory
from ex4d_core.clip import write_lossless
from ex4d_core.errors import CameraError, CancelledError, Ex4dError, InputError
from ex4d_core.import_request import ImportOptions, request_fingerprint
from ex4d_core.ingest import find_import, import_scene
from ex4d_core.scene import Scene


def solve(frames: int = FRAMES, width: int = 128, height: int = 72) -> Trajectory:
    eyes = np.array([[0.1 * t, 0.0, -4.0] for t in range(frames)])
    lens = np.array([[100.0 + t, 100.0 + t, width / 2, height / 2] for t in range(frames)])
    times = np.arange(frames, dtype=np.float64)
    return Trajectory(look_at(eyes, np.zeros_like(eyes)), lens, times, width, height, Fraction(24))


def test_a_clip_and_its_depth_come_back(tmp_path: Path) -> None:
    out = tmp_path / "a.ex4d"
    scene = import_scene(clip_file(tmp_path), out, depth=depth_npy(tmp_path), depth_kind="metric")
    assert (scene.frames, scene.width, scene.height, scene.fps) == (FRAMES, WIDTH, HEIGHT, Fraction(24))
    assert (scene.units, scene.estimator) == ("metric", "file")
    for t in range(FRAMES):
        np.testing.assert_array_equal(scene.color(t), colors()[t])
        np.testing.assert_allclose(scene.depth(t), depths()[t], rtol=2**-11)
    assert sorted(p.name for p in out.iterdir()) == ["color", "depth", "occlusion", "proxy", "scene.json"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.ex4d", "clip.mp4", "depth.npy"]
    assert len(list((out / "color").iterdir())) == FRAMES
    Scene.open(out, verify=True)


def test_no_json_name_is_absolute_and_no_time_is_recorded(tmp_path: Path) -> None:
    scene = import_scene(clip_file(tmp_path), tmp_path / "a.ex4d", depth=depth_npy(tmp_path))
    text = (scene.path / "scene.json").read_text(encoding="utf-8")
    assert str(tmp_path) not in text
    assert json.loads(text)["source"]["name"] == "clip.mp4"


def test_the_same_inputs_elsewhere_and_later_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        folder = tmp_path / name
        folder.mkdir()
        clip, depth = clip_file(folder), depth_npy(folder)
        if name == "two":
            for file in (clip, depth):
                os.utime(file, (1, 1))
        import_scene(clip, folder / "a.ex4d", depth=depth, plate=True)
    assert all_bytes(tmp_path / "one/a.ex4d") == all_bytes(tmp_path / "two/a.ex4d")


@pytest.mark.parametrize(
    ("options", "size", "focal"),
    [
        ({}, (64, 36), 64 * 500 / 512),
        ({"fov_degrees": 90.0}, (64, 36), 32),
        ({"focal_mm": 50.0, "sensor_mm": 36.0}, (64, 36), 64 * 50 / 36),
        ({"focal_px": 100.0}, (64, 36), 100),
        ({"focal_px": 100.0, "max_side": 32}, (32, 18), 50),
        ({"focal_px": 100.0, "size": (32, 18)}, (32, 18), 50),
        ({"max_side": 1000}, (64, 36), 64 * 500 / 512),
    ],
)
def test_lens_and_working_size(tmp_path: Path, options: dict[str, object], size: tuple[int, int], focal: float) -> None:
    scene = import_scene(clip_file(tmp_path), tmp_path / "a.ex4d", depth=depth_npy(tmp_path), **options)  # type: ignore[arg-type]
    lens = scene.intrinsics(0)
    assert (scene.width, scene.height) == size == (lens.width, lens.height)
    assert lens.as_tuple() == pytest.approx((focal, focal, size[0] / 2, size[1] / 2))
    assert scene.color(1).shape == (size[1], size[0], 3)
    assert scene.depth(1).shape == (size[1], size[0])
    assumed = not {"fov_degrees", "focal_mm", "focal_px"} & options.keys()
    assert any("lens is unknown" in warning for warning in scene.warnings) == assumed


def test_a_part_of_the_clip_takes_its_part_of_depth_and_camera(tmp_path: Path) -> None:
    clip, depth = clip_file(tmp_path), depth_npy(tmp_path)
    scene = import_scene(clip, tmp_path / "a.ex4d", depth=depth, source_camera=solve(), start=2, frames=3)
    assert scene.frames == 3
    assert scene.document.source is not None
    assert scene.document.source.start == 2
    for t in range(3):
        np.testing.assert_array_equal(scene.color(t), colors()[t + 2])
        np.testing.assert_allclose(scene.depth(t), depths()[t + 2], rtol=2**-11)
        np.testing.assert_array_equal(scene.source_camera(t).c2w, solve().c2w[t + 2])
        assert scene.intrinsics(t) == solve().camera(t + 2).intrinsics.resized(WIDTH, HEIGHT)


def test_lens_options_go_before_the_lens_of_the_solve(tmp_path: Path) -> None:
    file = tmp_path / "solve.npz"
    save_trajectory(solve(), file)
    scene = import_scene(
        clip_file(tmp_path), tmp_path / "a.ex4d", depth=depth_npy(tmp_path), source_camera=file, focal_px=77.0
    )
    assert {scene.intrinsics(t).fx for t in range(FRAMES)} == {77.0}
    np.testing.assert_allclose(scene.source_camera(5).c2w, solve().c2w[5], atol=1e-6)


def test_a_solve_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    clip, depth, out = clip_file(tmp_path), depth_npy(tmp_path), tmp_path / "a.ex4d"
    with pytest.raises(InputError, match="source camera has 5 frames, but the clip has 6"):
        import_scene(clip, out, depth=depth, source_camera=solve(5))
    with pytest.raises(InputError, match="made for 100x100 pixels, the clip has 64x36"):
        import_scene(clip, out, depth=depth, source_camera=solve(width=100, height=100))
    (tmp_path / "t.json").write_text('{"schema": "ex4d.trajectory/1"}')
    with pytest.raises(CameraError, match=r"t\.json is not a trajectory"):
        import_scene(clip, out, depth=depth, source_camera=tmp_path / "t.json")
    assert not list(tmp_path.glob("a.ex4d*"))


def test_frame_rates_are_kept_or_resampled(tmp_path: Path) -> None:
    clip = clip_file(tmp_path)
    scene = import_scene(clip, tmp_path / "a.ex4d", depth=depth_npy(tmp_path, depths(3)), fps=Fraction(12))
    assert (scene.fps, scene.frames) == (Fraction(12), 3)
    assert scene.document.source is not None
    assert scene.document.source.fps == (24, 1)


def test_sequences_stills_and_deep_images(tmp_path: Path) -> None:
    deep = np.random.default_rng(1).integers(0, 65536, (FRAMES, HEIGHT, WIDTH, 3), np.uint16)
    folder = tmp_path / "plåt"
    folder.mkdir()
    for t in range(FRAMES):
        ok, data = cv2.imencode(".png", deep[t, ..., ::-1])
        assert ok
        (folder / f"p.{1001 + t}.png").write_bytes(data.tobytes())
    scene = import_scene(folder, tmp_path / "a.ex4d", depth=depth_npy(tmp_path), plate=True, max_side=32)
    assert scene.document.files.plate == "plate/%06d.png"
    plate = cv2.imread(str(scene.path / "plate/000003.png"), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(plate[..., ::-1], deep[3])
    assert cv2.imread(str(scene.path / "color/000003.png"), cv2.IMREAD_UNCHANGED).dtype == np.uint16
    still = import_scene(
        folder / "p.1003.png", tmp_path / "still.ex4d", depth=depth_npy(tmp_path, depths(1)), depth_kind="metric"
    )
    assert still.frames == 1
    np.testing.assert_array_equal(still.color(0), np.rint(deep[2] / 257).astype(np.uint8))


def test_without_depth_the_embedded_estimator_says_what_it_is(tmp_path: Path) -> None:
    smooth = np.stack([cv2.GaussianBlur(np.roll(colors(1)[0], t, 1), (9, 9), 3) for t in range(4)])
    scene = import_scene(clip_file(tmp_path, smooth), tmp_path / "a.ex4d")
    assert (scene.estimator, scene.units) == ("embedded", "relative")
    assert scene.depth(3).shape == (HEIGHT, WIDTH)
    assert scene.document.depth.conversion["method"] in ("parallax", "heuristic", "mixed")
    assert any("depth-anything" in warning for warning in scene.warnings)


def test_a_large_clip_is_estimated_small_and_enlarged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    smooth = np.stack([cv2.GaussianBlur(np.roll(colors(1)[0], t, 1), (9, 9), 3) for t in range(3)])
    clip = clip_file(tmp_path, smooth)
    whole = import_scene(clip, tmp_path / "a.ex4d")
    monkeypatch.setattr("ex4d_core.depth.embedded.WORKING_SIDE", 32)
    small = import_scene(clip, tmp_path / "b.ex4d")
    for t in range(3):
        ratio = small.depth(t) / whole.depth(t)
        assert ratio.shape == (HEIGHT, WIDTH)
        assert 0.5 < np.median(ratio) < 2


def test_an_existing_result_is_kept_unless_asked(tmp_path: Path) -> None:
    clip, depth, out = clip_file(tmp_path), depth_npy(tmp_path), tmp_path / "a.ex4d"
    first = import_scene(clip, out, depth=depth)
    (out / "shots" / "s1").mkdir(parents=True)
    (out / "shots" / "s1" / "shot.json").write_text("{}")
    with pytest.raises(InputError, match="exists already"):
        import_scene(clip, out, depth=depth)
    with pytest.raises(InputError, match="exists already"):
        import_scene(clip, out, depth=depth, fov_degrees=50, reuse=True)
    before = (out / "color/000000.png").stat().st_mtime_ns
    assert import_scene(clip, out, depth=depth, reuse=True).content_hash == first.content_hash
    assert (out / "color/000000.png").stat().st_mtime_ns == before
    other = import_scene(clip, out, depth=depth, fov_degrees=50, overwrite=True)
    assert other.content_hash != first.content_hash
    assert (out / "shots/s1/shot.json").read_text() == "{}"


def test_nothing_but_a_scene_is_ever_replaced(tmp_path: Path) -> None:
    clip, depth = clip_file(tmp_path), depth_npy(tmp_path)
    precious = tmp_path / "home"
    precious.mkdir()
    (precious / "thesis.txt").write_text("years of work")
    for target in (precious, depth):
        with pytest.raises(InputError, match="not a scene folder"):
            import_scene(clip, target, depth=depth, overwrite=True)
    assert (precious / "thesis.txt").exists()


def test_a_request_is_recognised_by_content_and_options(tmp_path: Path) -> None:
    clip, depth = clip_file(tmp_path), depth_npy(tmp_path)
    scene = import_scene(clip, tmp_path / "a.ex4d", depth=depth)
    same = ImportOptions(depth=depth)
    os.utime(clip, (5, 5))
    assert scene.document.request == request_fingerprint(clip, same)
    assert find_import(scene.path, clip, same) is not None
    for other in (
        ImportOptions(),
        ImportOptions(depth=depth, start=1),
        ImportOptions(depth=depth, plate=True),
        ImportOptions(depth=depth, source_camera=solve()),
        ImportOptions(depth=depth, depth_kind="metric"),
    ):
        assert find_import(scene.path, clip, other) is None
    assert find_import(tmp_path / "nowhere", clip, same) is None
    np.save(depth, depths() * 2)
    assert find_import(scene.path, clip, same) is None


def test_a_large_file_is_recognised_by_samples(tmp_path: Path) -> None:
    path = tmp_path / "large.bin"
    data = np.random.default_rng(0).integers(0, 256, 20 * 2**20, np.uint8)
    path.write_bytes(data.tobytes())
    first = request_fingerprint(path, ImportOptions())
    assert request_fingerprint(path, ImportOptions()) == first
    for position in (0, len(data) - 1):
        data[position] ^= 1
        path.write_bytes(data.tobytes())
        assert request_fingerprint(path, ImportOptions()) != first
        data[position] ^= 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fov_degrees": 50.0, "focal_px": 50.0}, "lens is given twice"),
        ({"focal_mm": 50.0}, "--focal-mm and --sensor-mm"),
        ({"sensor_mm": 36.0}, "--focal-mm and --sensor-mm"),
        ({"focal_px": 0.0}, "positive number"),
        ({"focal_px": math.nan}, "positive number"),
        ({"fov_degrees": 180.0}, "field of view"),
        ({"fov_degrees": math.nan}, "field of view"),
        ({"start": -1}, "0 or more"),
        ({"start": 6}, "start at 5"),
        ({"frames": 0}, "1 or more"),
        ({"frames": 7}, "has 6 frames"),
        ({"start": 4, "frames": 3}, "has 2 frames"),
        ({"size": (64, 36), "max_side": 64}, "size is given twice"),
        ({"size": (1, 36)}, "--size 1x36 .* give 2"),
        ({"size": (100000, 36)}, "--size 100000x36"),
        ({"max_side": 0}, "--max-side 0 .* give 2"),
        ({"max_side": 2}, "too small at 2x1"),
        ({"fps": Fraction(0)}, "frame rate of 0"),
        ({"depth_range": (0.0, 1.0)}, "add --depth"),
        ({"estimator": "crystal-ball"}, "no depth estimator"),
        ({"estimator": "file"}, "needs a file or folder"),
    ],
)
def test_options_that_cannot_be_are_refused(tmp_path: Path, options: dict[str, object], message: str) -> None:
    with pytest.raises(Ex4dError, match=message) as caught:
        import_scene(clip_file(tmp_path), tmp_path / "a.ex4d", **options)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.glob("a.ex4d*"))


def _bad_clip(folder: Path, kind: str) -> Path:
    path = folder / "bad.mp4"
    if kind == "empty file":
        path.write_bytes(b"")
    elif kind == "text":
        path.write_text("This is no film.\n" * 50)
    elif kind == "random bytes":
        path.write_bytes(np.random.default_rng(0).integers(0, 256, 20_000, np.uint8).tobytes())
    elif kind == "truncated":
        whole = clip_file(folder, name="whole.mp4").read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
    elif kind == "folder without images":
        path.mkdir()
        (path / "notes.txt").write_text("x")
    elif kind == "dangling link":
        path.symlink_to(folder / "gone.mp4")
    elif kind == "zero frames":
        write_lossless(path, iter(colors()), Fraction(24))
        whole = path.read_bytes()
        path.write_bytes(whole[: whole.index(b"mdat") - 4])
    return path  # "missing": nothing there


@pytest.mark.parametrize(
    "kind",
    [
        "missing",
        "empty file",
        "text",
        "random bytes",
        "truncated",
        "folder without images",
        "dangling link",
        "zero frames",
    ],
)
def test_a_bad_clip_is_one_sentence_and_leaves_nothing(tmp_path: Path, kind: str) -> None:
    clip = _bad_clip(tmp_path, kind)
    with pytest.raises(InputError, match="bad") as caught:
        import_scene(clip, tmp_path / "a.ex4d", depth=depth_npy(tmp_path))
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.glob("a.ex4d*"))


@pytest.mark.parametrize("fault", ["size", "count", "nan", "zero", "negative"])
def test_bad_depth_is_refused_before_the_clip_is_read(tmp_path: Path, fault: str) -> None:
    depth = depths(7) if fault == "count" else depths()
    if fault == "size":
        depth = depth[:, :, : WIDTH // 2]
    if fault in ("nan", "zero", "negative"):
        depth[3, 0, :8] = {"nan": np.nan, "zero": 0, "negative": -1}[fault]
    stages: list[str] = []
    with pytest.raises(InputError, match=r"depth\.npy"):
        import_scene(
            clip_file(tmp_path),
            tmp_path / "a.ex4d",
            depth=depth_npy(tmp_path, depth),
            on_progress=lambda done, total, stage: stages.append(stage),
        )
    assert "reading" not in stages
    assert not list(tmp_path.glob("a.ex4d*"))


def test_progress_counts_every_frame_of_every_stage(tmp_path: Path) -> None:
    calls: list[tuple[int, int, str]] = []
    import_scene(
        clip_file(tmp_path),
        tmp_path / "a.ex4d",
        depth=depth_npy(tmp_path),
        on_progress=lambda done, total, stage: calls.append((done, total, stage)),
    )
    for stage in ("checking depth", "reading", "writing depth"):
        assert [c for c in calls if c[2] == stage] == [(t + 1, FRAMES, stage) for t in range(FRAMES)]
    assert calls[-1] == (2 * FRAMES, 2 * FRAMES, "hashing")


@pytest.mark.parametrize("stage", ["checking depth", "reading", "writing depth", "hashing"])
def test_a_cancel_in_any_stage_leaves_work_that_a_rerun_finishes(tmp_path: Path, stage: str) -> None:
    clip, depth = clip_file(tmp_path), depth_npy(tmp_path)
    seen: list[str] = []
    with pytest.raises(CancelledError):
        import_scene(
            clip,
            tmp_path / "a.ex4d",
            depth=depth,
            on_progress=lambda done, total, now: seen.append(now),
            cancelled=lambda: seen.count(stage) >= 2,
        )
    assert (tmp_path / "a.ex4d.partial").is_dir()
    assert not (tmp_path / "a.ex4d").exists()
    rerun: list[str] = []
    again = import_scene(clip, tmp_path / "a.ex4d", depth=depth, on_progress=lambda done, total, now: rerun.append(now))
    fresh = import_scene(clip, tmp_path / "b.ex4d", depth=depth)
    assert all_bytes(again.path) == all_bytes(fresh.path)
    read = {"checking depth": 6, "reading": 4, "writing depth": 0, "hashing": 0}[stage]
    written = {"checking depth": 6, "reading": 6, "writing depth": 4, "hashing": 0}[stage]
    assert (rerun.count("reading"), rerun.count("writing depth")) == (read, written)


def test_rendered_truth_is_imported_exactly(tmp_path: Path, shared: Path) -> None:
    room = shared / "data" / "gt" / "room"
    meta = json.loads((room / "meta.json").read_text())
    low, high = meta["disparity_range"]["source"]
    times = np.arange(meta["frames"], dtype=np.float64)
    lens = np.tile([meta["K"][0][0], meta["K"][1][1], meta["K"][0][2], meta["K"][1][2]], (meta["frames"], 1))
    poses = np.array(meta["source_c2w"])
    camera = Trajectory(poses, lens, times, meta["width"], meta["height"], Fraction(meta["fps"]))
    scene = import_scene(
        room / "source.mp4",
        tmp_path / "room.ex4d",
        depth=room / "source_disparity",
        depth_kind="disparity",
        depth_range=(low, high),
        source_camera=camera,
        start=30,
        frames=2,
    )
    for t in range(2):
        stored = cv2.imread(str(room / f"source_disparity/{30 + t:03d}.png"), cv2.IMREAD_UNCHANGED)
        np.testing.assert_allclose(scene.depth(t), 1 / (low + stored / 65535 * (high - low)), rtol=2**-10.9)
        np.testing.assert_array_equal(scene.source_camera(t).c2w, poses[30 + t])
    assert scene.intrinsics(0) == Intrinsics(500, 500, 256, 256, 512, 512)


def test_a_result_never_replaces_its_own_input(tmp_path: Path) -> None:
    out = tmp_path / "s.ex4d"
    out.mkdir()
    (out / "scene.json").write_text("{}")
    clip = out / "in.mp4"
    clip.write_bytes(b"footage")
    with pytest.raises(InputError, match="would be replaced"):
        import_scene(clip, out, overwrite=True)
    assert clip.is_file()
