"""Engines, the draft engine's promises, and running them on folders and pairs."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from ex4d_core import engines
from ex4d_core.camera import Camera, Intrinsics, look_at
from ex4d_core.clip import load_clip, probe_clip, write_lossless
from ex4d_core.engines import EngineSetup
from ex4d_core.errors import CancelledError, InputError
from ex4d_core.generate import Engine, Shot, generate_pair, generate_shot, make_engine
from ex4d_core.generate import folder as folder_module
from ex4d_core.generate.fill import elevation_prior, fill
from ex4d_core.generate.folder import is_generated, request_fields
from ex4d_core.generate.layers import SourceFrame, far_side, open_view, other_times
from ex4d_core.images import read_image
from ex4d_core.ingest import import_scene
from ex4d_core.presets import Move, preset
from ex4d_core.progress import never_cancelled, silent
from ex4d_core.rendering import render, render_shot
from ex4d_core.scene import Scene, write_scene
from ex4d_core.shot import read_shot

WIDTH, HEIGHT, FRAMES = 96, 64, 9
WALL, RED = np.array([60, 120, 180], np.uint8), np.array([220, 30, 20], np.uint8)
LENS = Intrinsics.from_focal_px(90, WIDTH, HEIGHT)


def walking_box() -> tuple[np.ndarray, np.ndarray]:
    """Colour (T, H, W, 3) and depth (T, H, W): a red box at 2 m walks to the right before a wall at 4 m.

    The wall has a bright door where the box stands at first, so that only later frames show it.
    """
    color = np.tile(WALL, (FRAMES, HEIGHT, WIDTH, 1))
    color[:, 20:50, 22:30] = 250
    depth = np.full((FRAMES, HEIGHT, WIDTH), 4.0, np.float32)
    for t in range(FRAMES):
        x = 16 + 6 * t
        color[t, 16:54, x : x + 20] = RED
        depth[t, 16:54, x : x + 20] = 2.0
    return color, depth


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    color, depth = walking_box()
    folder = tmp_path_factory.mktemp("walk") / "walk.ex4d"
    return write_scene(folder, iter(color), depth, fps=Fraction(24), intrinsics=LENS, units="metric")


def shot_of(scene: Scene, move: Move) -> Shot:
    trajectory = preset(scene, move, radius=3.0)
    frames = list(render(scene, trajectory))
    return Shot(
        np.stack([f.color for f in frames]),
        np.stack([f.mask for f in frames]),
        scene.fps,
        scene=scene,
        trajectory=trajectory,
    )


def test_draft_keeps_what_was_seen_and_marks_the_rest(scene: Scene) -> None:
    shot = shot_of(scene, Move("truck", amount=0.25))
    finished = list(make_engine("draft").generate(shot, silent, never_cancelled))
    assert len(finished) == FRAMES
    for frame, color, mask in zip(finished, shot.color, shot.mask, strict=True):
        np.testing.assert_array_equal(frame.color[mask], color[mask])
        np.testing.assert_array_equal(mask.astype(int) + frame.recovered + frame.invented, 1)
    assert any(frame.recovered.any() for frame in finished)
    assert any(frame.invented.any() for frame in finished)


def test_other_times_show_the_door_behind_the_box(scene: Scene) -> None:
    now, later = SourceFrame.load(scene, 0), [SourceFrame.load(scene, t) for t in (6, 7, 8)]
    camera = Camera(look_at(np.array([0.6, 0.0, 0.0]), np.array([0.6, 0.0, 4.0])), LENS)
    unseen = ~open_view(now, camera).there
    layer = other_times(now, later, camera, unseen)
    shown = layer.there & unseen
    assert shown.sum() > 200
    assert (layer.depth[shown] > 3.9).all(), "the wall, never the box of another time"
    is_red = (layer.color[..., 0] > 150) & (layer.color[..., 1] < 100)
    assert not (is_red & shown).any()
    door = shown & (layer.color.min(axis=-1) > 200)
    assert door.sum() > 50
    nothing = other_times(now, [], camera, unseen)
    assert not nothing.there.any()


def test_a_box_of_another_time_does_not_stand_where_it_is_not_now(scene: Scene) -> None:
    now, later = SourceFrame.load(scene, 0), [SourceFrame.load(scene, 8)]
    layer = other_times(now, later, Camera(np.eye(4), LENS), np.ones((HEIGHT, WIDTH), np.bool_))
    assert not (layer.depth < 3.0).any(), "frame 0 saw through to the wall there"


def test_far_side_makes_objects_solid(scene: Scene) -> None:
    source = SourceFrame.load(scene, 4)
    x = (16 + 24 + 10 - WIDTH / 2) / 90 * 2
    eye = np.array([x + 1.6, 0.0, 0.8])
    camera = Camera(look_at(eye, np.array([x, 0.0, 2.05])), LENS)
    paper, solid = open_view(source, camera), far_side(source, camera, 3.5)
    added = solid.there & (solid.depth < 2.5) & ~(paper.there & (paper.depth < 2.5))
    assert added.sum() > 100
    assert (solid.color[added][:, 0] > 150).mean() > 0.9, "in the box's own red"
    thicker = far_side(source, camera, 6.0)
    assert (thicker.there & (thicker.depth < 2.5)).sum() >= (solid.there & (solid.depth < 2.5)).sum()


def test_fill_continues_the_background_and_not_the_foreground() -> None:
    color = np.tile(WALL, (40, 60, 1))
    depth = np.full((40, 60), 4.0, np.float32)
    color[:, :12], depth[:, :12] = RED, 1.0
    known = np.ones((40, 60), np.bool_)
    known[:, 12:23] = False
    filled = fill(color, known, depth, np.broadcast_to(WALL.astype(np.float32), color.shape))
    np.testing.assert_array_equal(filled[known], color[known])
    assert np.abs(filled[~known].astype(int) - WALL).max() < 12
    smeared = fill(color, known, None, np.broadcast_to(WALL.astype(np.float32), color.shape))
    assert np.abs(smeared[~known].astype(int) - WALL).max() > 25, "without depth nothing tells them apart"


def test_the_prior_knows_up_from_down() -> None:
    image = np.zeros((64, 96, 3), np.uint8)
    image[:32], image[32:] = (120, 180, 250), (90, 140, 60)
    camera = Camera(np.eye(4), LENS)
    prior = elevation_prior([(image, np.full((64, 96), 5.0, np.float32), camera)])
    expected = prior.image(camera)
    assert np.abs(expected[2] - image[2]).max() < 15
    assert np.abs(expected[-3] - image[-3]).max() < 15
    depth = np.full((64, 96), 5.0, np.float32)
    flower, depth[:, 40:60] = image.copy(), 1.0
    flower[:, 40:60] = (250, 220, 0)
    ignoring = elevation_prior([(flower, depth, camera)])
    assert np.abs(ignoring.image(camera) - expected).max() < 3, "what stands in front is not what lies around"
    turned = Camera(look_at(np.zeros(3), np.array([1.0, 0.0, 0.2])), LENS)
    np.testing.assert_allclose(prior.image(turned)[2, 48], expected[2, 48], atol=8)
    up = Camera(look_at(np.zeros(3), np.array([0.0, -1.0, 1.0])), LENS)
    assert np.abs(prior.image(up) - image[0]).max() < 25, "above the footage: its topmost colour"


def test_a_pair_without_a_scene_is_filled_smoothly_and_steadily() -> None:
    rng = np.random.default_rng(3)
    color = np.tile(rng.integers(90, 130, (HEIGHT, WIDTH, 3), np.uint8), (FRAMES, 1, 1, 1))
    mask = np.ones((FRAMES, HEIGHT, WIDTH), np.bool_)
    for t in range(FRAMES):
        mask[t, 20:50, 20 + t : 50 + t] = False
    shot = Shot(np.where(mask[..., None], color, np.uint8(0)), mask, Fraction(24))
    finished = list(make_engine("draft").generate(shot, silent, never_cancelled))
    for frame, seen in zip(finished, mask, strict=True):
        hole = frame.color[~seen].astype(int)
        assert 95 < hole.mean() < 125
        assert hole.std() < 12
        np.testing.assert_array_equal(frame.invented, ~seen)
    steady = [np.abs(a.color.astype(int) - b.color)[22:48, 30:45].mean() for a, b in pairwise(finished)]
    assert max(steady) < 4


def test_all_unseen_and_all_seen_are_fine() -> None:
    color = np.full((2, 8, 12, 3), 77, np.uint8)
    for mask in (np.zeros((2, 8, 12), np.bool_), np.ones((2, 8, 12), np.bool_)):
        frames = list(
            make_engine("draft").generate(Shot(color * mask[..., None], mask, Fraction(1)), silent, never_cancelled)
        )
        assert [f.color.shape for f in frames] == [(8, 12, 3)] * 2
        if mask.all():
            np.testing.assert_array_equal(frames[0].color, color[0])


def test_the_engine_is_deterministic(scene: Scene) -> None:
    shot = shot_of(scene, Move("orbit", yaw=30))

    def run() -> Iterator[np.ndarray]:
        return (f.color for f in make_engine("draft").generate(shot, silent, never_cancelled))

    for a, b in zip(run(), run(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_shot_offers_depth_and_source_frames(scene: Scene) -> None:
    shot = shot_of(scene, Move("static"))
    assert shot.depth is not None
    np.testing.assert_allclose(shot.depth[3], scene.depth(3), rtol=1e-3)
    source = shot.source_frame(3)
    assert source is not None
    np.testing.assert_array_equal(source, scene.color(3))
    bare = Shot(shot.color, shot.mask, shot.fps)
    assert bare.depth is None
    assert bare.source_frame(0) is None
    with pytest.raises(InputError, match="no scene"):
        next(bare.render(shot.trajectory))  # type: ignore[arg-type]


# --- folders


@pytest.fixture
def folder(scene: Scene, tmp_path: Path) -> Path:
    return render_shot(scene, preset(scene, Move("orbit", yaw=25), radius=3.0), tmp_path / "shot")


def test_generating_a_folder(scene: Scene, folder: Path) -> None:
    video = generate_shot(folder, "draft", seed=7, prompt="a yard")
    assert video == folder / "output.mp4"
    assert probe_clip(video).frames == FRAMES
    pngs = [read_image(folder / f"output/{t:06d}.png") for t in range(FRAMES)]
    color, mask = load_clip(folder / "color.mp4").frames, load_clip(folder / "mask.mp4").frames[..., 0] > 127
    for t in range(FRAMES):
        assert pngs[t].shape == (HEIGHT, WIDTH, 3), "opaque"
        np.testing.assert_array_equal(pngs[t][mask[t]], color[t][mask[t]])
    assert np.abs(load_clip(video).frames.astype(int) - np.stack(pngs)).mean() < 6
    document = read_shot(folder)
    assert (document.request.engine, document.request.seed, document.request.prompt) == ("draft", 7, "a yard")
    assert document.result.timings["generate"] > 0
    for frame, seen in zip(json.loads((folder / "shot.json").read_text())["frames"], mask, strict=True):
        assert frame["unseen"] == pytest.approx(1 - seen.mean(), abs=1e-5)
        assert frame["recovered"] + frame["invented"] == pytest.approx(frame["unseen"], abs=1e-5)
    assert not list(folder.glob("*.partial"))
    with pytest.raises(InputError, match="exists already"):
        generate_shot(folder, "draft")
    generate_shot(folder, "draft", overwrite=True)


def test_a_caller_may_keep_the_engine_and_watch_the_frames(folder: Path) -> None:
    kept, asked, shown = make_engine("draft"), [], {}

    def make(name: str, _setup: EngineSetup) -> Engine:
        asked.append(name)
        return kept

    for _ in range(2):
        generate_shot(folder, "draft", overwrite=True, make=make, on_frame=lambda t, color: shown.update({t: color}))
    assert asked == ["draft", "draft"]
    assert list(shown) == list(range(FRAMES))
    for t, color in shown.items():
        np.testing.assert_array_equal(color, read_image(folder / f"output/{t:06d}.png"))


def test_a_shot_finds_its_scene_two_levels_up(scene: Scene, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The sidecar keeps scenes and shots in folders of their own."""
    shutil.copytree(scene.path, tmp_path / "scenes/walk/scene.ex4d")
    moved = Scene.open(tmp_path / "scenes/walk/scene.ex4d")
    shot = render_shot(moved, preset(moved, Move("orbit", yaw=25), radius=3.0), tmp_path / "jobs/one/shot")
    generate_shot(shot, "draft")
    assert "is not there" not in caplog.text
    assert any(frame["recovered"] > 0 for frame in json.loads((shot / "shot.json").read_text())["frames"])


def test_without_its_scene_a_shot_is_still_filled(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    moved = tmp_path / "elsewhere" / "deep" / "shot"
    shutil.copytree(folder, moved)
    generate_shot(moved, "draft")
    assert "is not there" in caplog.text
    assert len(list((moved / "output").glob("*.png"))) == FRAMES


def test_cancelling_leaves_no_output(folder: Path) -> None:
    before = (folder / "shot.json").read_text()
    with pytest.raises(CancelledError):
        generate_shot(folder, "draft", cancelled=lambda: True)
    assert not (folder / "output.mp4").exists()
    assert not (folder / "output").exists()
    assert (folder / "shot.json").read_text() == before
    generate_shot(folder, "draft")


class _Killed(BaseException):
    """What no code of ours catches, like the process's end."""


@pytest.mark.parametrize("written", [0, 1])
def test_a_kill_leaves_no_frames_under_another_request(
    folder: Path, monkeypatch: pytest.MonkeyPatch, written: int
) -> None:
    """When shot.json is written for the first time, and for the second."""
    entry = engines._ENGINES["draft"]
    monkeypatch.setitem(engines._ENGINES, "draft", replace(entry, facts=replace(entry.facts, reads_seed=True)))
    generate_shot(folder, "draft", seed=0)
    left, write = [written], folder_module.write_shot

    def killed(*arguments: Any) -> None:
        if not left[0]:
            raise _Killed
        left[0] -= 1
        write(*arguments)

    monkeypatch.setattr(folder_module, "write_shot", killed)
    with pytest.raises(_Killed):
        generate_shot(folder, "draft", seed=5, overwrite=True)
    monkeypatch.setattr(folder_module, "write_shot", write)
    asked = request_fields("draft", 0, "", "", False, EngineSetup())
    assert is_generated(folder, read_shot(folder), asked) == (not written)
    if written:
        with pytest.raises(InputError, match="add --overwrite"):
            generate_shot(folder, "draft", seed=0, exr=True)
    generate_shot(folder, "draft", seed=5, overwrite=True)
    assert read_shot(folder).request.seed == 5


def test_frames_of_a_killed_run_are_not_taken_over(folder: Path) -> None:
    stale = folder / "output.partial/000099.png"
    stale.parent.mkdir()
    stale.write_bytes(b"of a longer shot")
    generate_shot(folder, "draft")
    assert len(list((folder / "output").iterdir())) == FRAMES


def test_who_comes_second_does_not_replace_what_the_first_made(folder: Path) -> None:
    """The other process finishes between the first look and the lock."""

    def make(name: str, setup: EngineSetup) -> Engine:
        generate_shot(folder, "draft", prompt="first")
        return make_engine(name, setup)

    with pytest.raises(InputError, match="exists already: add --overwrite"):
        generate_shot(folder, "draft", prompt="second", make=make)
    assert read_shot(folder).request.prompt == "first"
    assert not list(folder.glob("*.partial*"))


def test_sound_goes_along_at_the_footages_speed(scene: Scene, tmp_path: Path) -> None:
    color, depth = walking_box()
    clip = tmp_path / "clip.mov"
    with av.open(str(clip), "w") as container:
        stream = container.add_stream("libx264", rate=24)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        sound = container.add_stream("pcm_s16le", rate=48000, layout="mono")
        for image in color:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))
        tone = (8000 * np.sin(np.arange(18000) * 0.1)).astype(np.int16)[None]
        frame = av.AudioFrame.from_ndarray(tone, format="s16", layout="mono")
        frame.sample_rate, frame.pts = 48000, 0
        container.mux(sound.encode(frame))
        container.mux(sound.encode(None))
    np.save(tmp_path / "depth.npy", depth)
    footage = import_scene(clip, tmp_path / "s.ex4d", depth=tmp_path / "depth.npy", depth_kind="metric", focal_px=90)
    assert footage.audio is not None
    for name, speed, heard in (("same", 1.0, True), ("slow", 0.5, False)):
        path = preset(footage, Move("truck", amount=0.1), radius=3.0, speed=speed)
        video = generate_shot(render_shot(footage, path, tmp_path / name), "draft")
        assert probe_clip(video).has_audio == heard
    assert scene.audio is None


def test_pairs(tmp_path: Path, scene: Scene) -> None:
    shot = shot_of(scene, Move("orbit", yaw=20))
    write_lossless(tmp_path / "c.mp4", iter(shot.color), 24)
    write_lossless(tmp_path / "m.mp4", iter(shot.mask), 24)
    out = generate_pair(tmp_path / "c.mp4", tmp_path / "m.mp4", "draft", tmp_path / "o.mp4")
    assert probe_clip(out).frames == FRAMES
    with pytest.raises(InputError, match="exists already"):
        generate_pair(tmp_path / "c.mp4", tmp_path / "m.mp4", "draft", out)
    write_lossless(tmp_path / "short.mp4", iter(shot.mask[:-1]), 24)
    write_lossless(tmp_path / "small.mp4", iter(shot.mask[:, :32]), 24)
    for bad, says in (("short", "8 frames"), ("small", "96x32")):
        with pytest.raises(InputError, match=says):
            generate_pair(tmp_path / "c.mp4", tmp_path / f"{bad}.mp4", "draft", tmp_path / "x.mp4")
    with pytest.raises(InputError, match=r"\.mp4"):
        generate_pair(tmp_path / "c.mp4", tmp_path / "m.mp4", "draft", tmp_path / "x.avi")
    with pytest.raises(InputError, match="no engine 'magic': choose one of draft"):
        generate_pair(tmp_path / "c.mp4", tmp_path / "m.mp4", "magic", tmp_path / "x.mp4")
    assert not (tmp_path / "x.mp4").exists()


def test_a_pair_of_odd_size_says_what_it_becomes(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_lossless(tmp_path / "c.mp4", iter(np.full((1, 9, 11, 3), 90, np.uint8)), 24)
    write_lossless(tmp_path / "m.mp4", iter(np.ones((1, 9, 11), bool)), 24)
    facts = probe_clip(generate_pair(tmp_path / "c.mp4", tmp_path / "m.mp4", "draft", tmp_path / "o.mp4"))
    assert (facts.width, facts.height) == (12, 10)
    assert "o.mp4 is 12x10, not 11x9" in caplog.text
