"""Scenes along trajectories, and shot folders."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from render_cases import HEIGHT, LENS, WIDTH, card, card_scene, moved, noise, sideways

from ex4d_core import footage
from ex4d_core.camera import Trajectory, look_at, trajectory_from_document
from ex4d_core.clip import read_lossless
from ex4d_core.depth.exr import read_channels, read_exr
from ex4d_core.encoder import VideoFeed
from ex4d_core.errors import CameraError, CancelledError, InputError, OutputError
from ex4d_core.images import read_image
from ex4d_core.methods import METHODS
from ex4d_core.quads import build_quads, render_quads
from ex4d_core.rendering import render, render_shot
from ex4d_core.shot import read_shot


def test_each_sample_shows_its_source_time(tmp_path: Path) -> None:
    scene = card_scene(tmp_path)
    still = Trajectory(
        np.stack([np.eye(4)] * 5),
        np.tile(LENS.as_tuple(), (5, 1)),
        np.array([2.0, 0.49, 0.5, -3.0, 99.0]),
        WIDTH,
        HEIGHT,
        Fraction(24),
    )
    frames = list(render(scene, still))
    assert [f.source_frame for f in frames] == [2, 0, 1, 0, 3]
    for frame in frames:
        np.testing.assert_array_equal(frame.color, noise(frame.source_frame))


@pytest.mark.parametrize("method", METHODS)
def test_a_frame_that_samples_in_a_row_show_is_built_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    scene, built = card_scene(tmp_path), list[NDArray[np.float32]]()

    def counted(build: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *arguments: built.append(arguments[0]) or build(*arguments)

    monkeypatch.setattr(footage, "build_quads", counted(footage.build_quads))
    monkeypatch.setattr(footage, "build_mesh", counted(footage.build_mesh))
    path = sideways(8)
    frozen = list(render(scene, replace(path, source_time=np.full(8, 2.0)), method=method, workers=4))
    assert len(built) == 1
    built.clear()
    in_turn = replace(path, source_time=np.array([2.0, 0.0] * 4))
    for one, other in list(zip(frozen, render(scene, in_turn, method=method, workers=1), strict=True))[::2]:
        np.testing.assert_array_equal(one.color, other.color)
        np.testing.assert_array_equal(one.mask, other.mask)
    assert len(built) == 8  # only the last one is kept


def test_the_path_is_in_the_world_of_the_source_cameras(tmp_path: Path) -> None:
    source = look_at(np.array([3.0, -1.0, 2.0]), np.array([0.0, 0.5, 9.0]))
    drift = np.eye(4)
    drift[:3, 3] = 0, 0, 0.5
    poses = np.stack([source, source @ drift])
    scene = card_scene(tmp_path, 2, poses)
    offset = moved(x=0.3).c2w
    path = replace(sideways(2), c2w=np.stack([source @ offset, source @ drift @ offset]))
    for t, frame in enumerate(render(scene, path)):
        expected = render_quads(build_quads(noise(t), scene.depth(t), LENS), moved(x=0.3))
        assert (frame.mask != expected.mask).sum() <= 2
        assert np.abs(frame.color[expected.mask].astype(int) - expected.color[expected.mask]).mean() < 0.2


def test_the_output_may_have_another_size(tmp_path: Path) -> None:
    scene = card_scene(tmp_path, 1)
    (frame,) = render(scene, sideways(1).resized(40, 30))
    assert frame.color.shape == (30, 40, 3)
    assert frame.mask.all()


@pytest.mark.parametrize("method", ["reference", "dwmesh"])
def test_results_do_not_depend_on_the_number_of_workers(tmp_path: Path, method: str) -> None:
    scene, path = card_scene(tmp_path, 6), sideways(6)
    runs = [list(render(scene, path, method=method, passes=("risk",), workers=n)) for n in (1, 4)]
    for one, many in zip(*runs, strict=True):
        np.testing.assert_array_equal(one.color, many.color)
        np.testing.assert_array_equal(one.mask, many.mask)
        np.testing.assert_array_equal(one.depth, many.depth)
        np.testing.assert_array_equal(one.risk(), many.risk())


def test_progress_and_cancel(tmp_path: Path) -> None:
    scene, path = card_scene(tmp_path), sideways()
    seen: list[tuple[int, int, str]] = []
    for _ in render(scene, path, on_progress=lambda done, total, stage: seen.append((done, total, stage))):
        pass
    assert seen == [(n, 4, "rendering") for n in (1, 2, 3, 4)]
    frames = render(scene, path, cancelled=lambda: len(seen) > 5, on_progress=lambda *a: seen.append(a))
    next(frames)
    next(frames)
    with pytest.raises(CancelledError):
        list(frames)


def test_a_shot_folder_holds_the_exact_pixels(tmp_path: Path) -> None:
    scene, path, out = card_scene(tmp_path), sideways(), tmp_path / "shöt"
    assert render_shot(scene, path, out, passes=("depth", "risk", "risk-exr")) == out
    frames = list(render(scene, path, passes=("risk",)))
    np.testing.assert_array_equal(read_lossless(out / "color.mp4"), np.stack([f.color for f in frames]))
    masks = np.repeat(np.stack([f.mask for f in frames])[..., None] * np.uint8(255), 3, axis=-1)
    np.testing.assert_array_equal(read_lossless(out / "mask.mp4"), masks)
    for t, frame in enumerate(frames):
        np.testing.assert_array_equal(read_image(out / f"risk/{t:06d}.png"), frame.risk())
        channels = read_channels(out / f"risk-exr/{t:06d}.exr")
        assert channels.keys() == frame.risk_channels().keys()
        for name, values in frame.risk_channels().items():
            assert channels[name].dtype == np.float16
            np.testing.assert_array_equal(channels[name], values)
        disparity = read_exr(out / f"depth/{t:06d}.exr")
        np.testing.assert_allclose(disparity, 1 / frame.depth, rtol=2**-10)
        assert (disparity == 0).any() == (t > 0)  # beyond the frame there is nothing
    stored = trajectory_from_document(json.loads((out / "trajectory.json").read_text()))
    np.testing.assert_array_equal(stored.c2w, path.c2w)
    shot = read_shot(out)
    assert shot.scene is not None
    assert (shot.scene.path, shot.scene.content_hash) == ("../card.ex4d", scene.content_hash)
    assert (shot.request.method, shot.request.size, shot.request.engine) == ("quads", (WIDTH, HEIGHT), None)
    assert [f.unseen for f in shot.frames] == pytest.approx([f.unseen for f in frames], abs=1e-6)
    assert shot.frames[3].unseen > shot.frames[1].unseen > 0
    for stored, frame in zip(shot.frames, frames, strict=True):
        assert stored.stretched == pytest.approx(frame.stretched, abs=1e-6)
        assert stored.resolution == pytest.approx(frame.resolution_percentiles, rel=1e-3)
        assert stored.resolution
    assert shot.result.versions["numpy"] == np.__version__
    assert sorted(p.name for p in tmp_path.iterdir()) == ["card.ex4d", "shöt"]


def test_numbers_that_were_not_measured_are_none_and_older_shots_are_read(tmp_path: Path) -> None:
    out = render_shot(card_scene(tmp_path), sideways(2), tmp_path / "shot")
    assert {(frame.stretched, frame.resolution) for frame in read_shot(out).frames} == {(None, None)}
    document = json.loads((out / "shot.json").read_text())
    for frame in document["frames"]:
        for name in ("stretched", "resolution", "seen_at_another_time"):
            del frame[name]
    (out / "shot.json").write_text(json.dumps(document))
    shot = read_shot(out)
    assert {(frame.stretched, frame.seen_at_another_time) for frame in shot.frames} == {(None, 0.0)}
    assert shot.frames[1].unseen > 0


def test_a_frame_that_sees_nothing_is_named_and_nothing_is_left(tmp_path: Path) -> None:
    scene, path, out = card_scene(tmp_path), sideways(), tmp_path / "shot"
    away = path.c2w.copy()
    away[2] = moved().c2w @ np.diag([-1.0, 1.0, -1.0, 1.0])  # looks the other way
    with pytest.raises(CameraError, match=r"Frame 2 .* looks past or away"):
        render_shot(scene, replace(path, c2w=away), out)
    behind = path.c2w.copy()
    behind[1, 2, 3] = 5.0  # the wall is at 4
    with pytest.raises(CameraError, match=r"Frame 1 .* behind or inside the surface"):
        render_shot(scene, replace(path, c2w=behind), out)
    assert [p.name for p in tmp_path.iterdir()] == ["card.ex4d"]
    render_shot(scene, replace(path, c2w=behind), out, allow_unseen=True)
    assert read_shot(out).frames[1].unseen == 1
    assert not read_lossless(out / "color.mp4")[1].any()


def test_passing_behind_the_foreground_is_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    scene, path, out = card_scene(tmp_path, 6), sideways(6, 0.0), tmp_path / "shot"
    poses = path.c2w.copy()
    poses[[1, 2, 4], 2, 3] = 2.2  # between the card at 2 and the wall at 4
    with caplog.at_level(logging.WARNING):
        render_shot(scene, replace(path, c2w=poses), out)
    (warning,) = read_shot(out).result.warnings
    assert "frames 1-2, 4 " in warning
    assert warning in caplog.text


def test_a_damaged_frame_leaves_nothing(tmp_path: Path) -> None:
    scene = card_scene(tmp_path)
    (scene.path / "color" / "000003.png").write_bytes(b"not an image")
    with pytest.raises(InputError, match=r"000003\.png"):
        render_shot(scene, sideways(), tmp_path / "shot")
    assert [p.name for p in tmp_path.iterdir()] == ["card.ex4d"]


def test_an_interrupted_run_does_not_disturb_the_next(tmp_path: Path) -> None:
    scene, path, out = card_scene(tmp_path), sideways(), tmp_path / "shot"
    count = iter(range(100))
    with pytest.raises(CancelledError):
        render_shot(scene, path, out, passes=("risk",), cancelled=lambda: next(count) >= 2)
    assert not out.exists()
    assert (tmp_path / "shot.partial" / "risk").is_dir()
    render_shot(scene, path, out)
    assert sorted(p.name for p in out.iterdir()) == ["color.mp4", "mask.mp4", "shot.json", "trajectory.json"]
    assert len(read_lossless(out / "color.mp4")) == 4
    assert not (tmp_path / "shot.partial").exists()


def test_a_shot_is_replaced_only_on_request(tmp_path: Path) -> None:
    scene, out = card_scene(tmp_path), tmp_path / "shot"
    render_shot(scene, sideways(2), out)
    with pytest.raises(InputError, match="exists already"):
        render_shot(scene, sideways(3), out)
    render_shot(scene, sideways(3), out, overwrite=True)
    assert len(read_shot(out).frames) == 3
    for folder in (scene.path, tmp_path):
        with pytest.raises(InputError, match="not a shot folder"):
            render_shot(scene, sideways(2), folder, overwrite=True)
    assert scene.color(0).shape == (HEIGHT, WIDTH, 3)
    nested = render_shot(scene, sideways(2), scene.path / "shots" / "take_1")
    reference = read_shot(nested).scene
    assert reference is not None
    assert reference.path == "../.."


def test_unknown_names_are_refused_before_anything_is_read(tmp_path: Path) -> None:
    scene = card_scene(tmp_path)
    with pytest.raises(InputError, match="'cubes'.*reference, dwmesh"):
        render(scene, sideways(), method="cubes")
    with pytest.raises(InputError, match="'normals'.*depth, risk"):
        render(scene, sideways(), passes=("normals",))


def test_a_trajectory_for_another_scene_is_mentioned(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    scene = card_scene(tmp_path)
    with caplog.at_level(logging.WARNING):
        list(render(scene, replace(sideways(1), scene_hash=scene.content_hash)))
        assert not caplog.records
        list(render(scene, replace(sideways(1), scene_hash="0" * 64)))
    assert "another scene" in caplog.text


def test_float_depth_scenes_get_a_float_depth_pass(tmp_path: Path) -> None:
    from ex4d_core.scene import write_scene

    far = card() * np.float32(1e5)  # half disparity would lose it
    scene = write_scene(tmp_path / "far.ex4d", [noise()], far[None], fps=Fraction(24), intrinsics=LENS)
    out = render_shot(scene, sideways(1), tmp_path / "shot", passes=("depth",))
    stored = read_exr(out / "depth" / "000000.exr")
    np.testing.assert_allclose(stored[1:-1, 1:-1], far[1:-1, 1:-1], rtol=1e-5)


def test_an_encoder_that_fails_stops_the_renderer(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="frames of one video"), VideoFeed(tmp_path / "a.mp4", Fraction(24)) as feed:  # noqa: PT012
        feed.put(noise())
        for _ in range(50):  # more than may wait: would block for ever if the failure were not noticed
            feed.put(noise(0, 8, 8))
    with pytest.raises(OutputError), VideoFeed(tmp_path / "no frames.mp4", Fraction(24)):
        pass
    with pytest.raises(KeyError), VideoFeed(tmp_path / "b.mp4", Fraction(24)) as feed:  # noqa: PT012
        feed.put(noise())
        raise KeyError("the renderer failed")
    assert not (tmp_path / "b.mp4").exists()
