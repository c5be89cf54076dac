"""A take in the sequencer: free channels, trimmed handles, sound, and another take in its place."""

from __future__ import annotations

import json
import shutil
import wave
from pathlib import Path
from typing import Any

import bpy
import numpy as np
import pytest
from conftest import module
from shot_cases import add_camera, stand_in
from take_cases import paint, tell
from test_mesh_fidelity import pixels, rendered, set_up

SIZE = (32, 18)


def strips(scene: Any = None) -> list[Any]:
    return module("versions.strips").all_strips(scene or bpy.context.scene)


def places(strip: Any) -> tuple[float, int, int]:
    """Start of the content, and the two handles."""
    module_ = module("versions.strips")
    return (module_.content_start(strip), *module_.handles(strip))


def shoot(take: Path, frames: tuple[int, int] = (10, 15)) -> Any:
    """A shot, and the take accepted as a strip; the shot."""
    scene = bpy.context.scene
    scene.render.resolution_x, scene.render.resolution_y = SIZE
    camera = scene.camera or add_camera()
    shot = module("shots.properties").add_shot(scene, "Shot 010", camera, frames)
    assert bpy.ops.ex4d.import_result(directory=str(take), use={"SEQUENCER"}) == {"FINISHED"}
    return shot


def shown(folder: Path, frame: int) -> np.ndarray:
    set_up("BLENDER_WORKBENCH", *SIZE)
    bpy.context.scene.render.use_sequencer = True
    return rendered(folder / "strip.png", frame)[..., :3]


def test_the_first_free_channel(tmp_path: Path) -> None:
    top = module("versions.strips").top_strips(bpy.context.scene)
    take = paint(tmp_path / "take_001", SIZE, frames=8, frame_start=9, handles=[1, 1])
    for channel, start in ((1, 12), (2, 1), (3, 60)):  # over the range, just before it, long after it
        strip = top.new_image(f"Mine {channel}", str(take / "output/000000.png"), channel, start)
        module("versions.strips").set_length(strip, ["000000.png"] * 9)
    shoot(take)
    (strip,) = (each for each in strips() if not each.name.startswith("Mine"))
    assert (strip.channel, *places(strip)) == (2, 9, 10, 16)
    assert len(strips()) == 4
    assert np.abs(shown(tmp_path, 11) - pixels(take / "output/000002.png")[..., :3]).mean() < 0.05


def test_a_full_sequencer_is_refused(tmp_path: Path) -> None:
    take = paint(tmp_path / "take_001", SIZE, frames=8, frame_start=9)
    top = module("versions.strips").top_strips(bpy.context.scene)
    for channel in range(1, 129):
        top.new_effect("Mine", "COLOR", channel, frame_start=10, **_effect_length(6))
    with pytest.raises(RuntimeError, match="no free channel"):
        shoot(take)


def _effect_length(frames: int, frame_start: int = 10) -> dict[str, int]:
    return {"length": frames} if bpy.app.version >= (5, 0, 0) else {"frame_end": frame_start + frames}


@pytest.mark.parametrize("overscan", [0.0, 0.25])
def test_overscan_lies_beyond_the_picture(tmp_path: Path, overscan: float) -> None:
    whole = round(32 * (1 + overscan)), round(18 * (1 + overscan) / 2) * 2
    take = paint(tmp_path / "take_001", whole, frames=8, frame_start=9)
    tell(take, overscan=overscan, size=list(SIZE))
    shoot(take)
    left, top = (whole[0] - SIZE[0]) // 2, (whole[1] - SIZE[1]) // 2
    inside = pixels(take / "output/000002.png")[top : top + SIZE[1], left : left + SIZE[0], :3]
    assert np.abs(shown(tmp_path, 11) - inside).mean() < 0.05


def test_another_take_in_its_place(tmp_path: Path) -> None:
    first = paint(tmp_path / "take_001", SIZE, frames=8, frame_start=9, handles=[1, 1])
    shot = shoot(first)
    (strip,) = strips()
    top = module("versions.strips").top_strips(bpy.context.scene)
    cross = {"input1": strip} if bpy.app.version >= (4, 4, 0) else {"seq1": strip}
    effect = top.new_effect("Blur", "GAUSSIAN_BLUR", strip.channel + 1, frame_start=10, **_effect_length(6), **cross)
    module("versions.strips").set_handles(strip, 11, 14)
    strip.blend_alpha, strip.transform.scale_x, strip.channel = 0.5, 1.5, 5
    modifiers = ["Bright"] if bpy.app.version[:2] != (5, 0) else []  # the wheel of 5.0.1 crashes
    for name in modifiers:
        strip.modifiers.new(name, "BRIGHT_CONTRAST")
    second = paint(tmp_path / "take_002", SIZE, frames=12, frame_start=7, handles=[3, 3])
    tell(second, shot.key, 2, handles=[3, 3])
    assert bpy.ops.ex4d.import_result(directory=str(second)) == {"FINISHED"}
    assert places(strip) == (9, 11, 14)  # in the list, not in use yet
    assert bpy.ops.ex4d.replace_take() == {"FINISHED"}
    strip, effect = (next(each for each in strips() if each.type == kind) for kind in ("IMAGE", "GAUSSIAN_BLUR"))
    assert (places(strip), len(strip.elements)) == ((7, 11, 14), 12)
    assert (strip.blend_alpha, strip.transform.scale_x, strip.channel) == (0.5, 1.5, 5)
    assert [each.name for each in strip.modifiers] == modifiers
    assert effect.input_1 == strip
    assert Path(bpy.path.abspath(strip.directory)) == second / "output"
    bpy.ops.ex4d.accept_take(use={"SEQUENCER"})  # the same button again doubles nothing
    assert len(strips()) == 2
    for modifier in list(strip.modifiers):
        strip.modifiers.remove(modifier)
    effect.mute, strip.blend_type, strip.blend_alpha, strip.transform.scale_x = True, "REPLACE", 1.0, 1.0
    assert np.abs(shown(tmp_path, 12) - pixels(second / "output/000005.png")[..., :3]).mean() < 0.05


def test_a_strip_that_was_moved_stays_where_it_is(tmp_path: Path) -> None:
    shot = shoot(paint(tmp_path / "take_001", SIZE, frames=8, frame_start=9, handles=[1, 1]))
    (strip,) = strips()
    module("versions.strips").set_content_start(strip, 109)
    assert places(strip) == (109, 110, 116)
    shorter = tell(paint(tmp_path / "take_002", SIZE, frames=4, frame_start=11), shot.key, 2)
    bpy.ops.ex4d.import_result(directory=str(shorter), use={"SEQUENCER"})
    (strip,) = strips()
    assert places(strip) == (111, 111, 115)  # the same pictures at the same place; what it has not is not shown
    bpy.context.scene.ex4d_shots[0].active_take = 0
    bpy.ops.ex4d.replace_take()
    assert places(strips()[0]) == (109, 110, 116)


def test_a_longer_shot_is_shown_whole_but_where_it_was_trimmed(tmp_path: Path) -> None:
    shot = shoot(paint(tmp_path / "take_001", SIZE, frames=8, frame_start=9, handles=[1, 1]))
    module("versions.strips").set_handles(strips()[0], 12, 16)
    longer = tell(paint(tmp_path / "take_002", SIZE, frames=14, frame_start=9), shot.key, 2, handles=[1, 1])
    bpy.ops.ex4d.import_result(directory=str(longer), use={"SEQUENCER"})
    assert places(strips()[0]) == (9, 12, 22)
    elsewhere = tell(paint(tmp_path / "take_003", SIZE, frames=4, frame_start=51), shot.key, 3)
    bpy.ops.ex4d.import_result(directory=str(elsewhere), use={"SEQUENCER"})
    assert places(strips()[0]) == (51, 51, 55)


def test_neighbours_stay_on_their_channels(tmp_path: Path) -> None:
    shot = shoot(paint(tmp_path / "take_001", SIZE, frames=8, frame_start=9, handles=[1, 1]))
    top = module("versions.strips").top_strips(bpy.context.scene)
    for name, start in (("Before", 4), ("After", 16)):
        top.new_effect(name, "COLOR", 1, frame_start=start, **_effect_length(6, start))
    second = tell(paint(tmp_path / "take_002", SIZE, frames=30, frame_start=2), shot.key, 2, handles=[8, 16])
    bpy.ops.ex4d.import_result(directory=str(second), use={"SEQUENCER"})
    found = {strip.name: (strip.channel, *places(strip)[1:]) for strip in strips()}
    assert found == {"Before": (1, 4, 10), "Shot 010": (1, 10, 16), "After": (1, 16, 22)}


@pytest.fixture
def with_sound(small_scene: Path, tmp_path: Path) -> Path:
    """The small scene with a second of sound."""
    folder = tmp_path / "sound.ex4d"
    shutil.copytree(small_scene, folder)
    with wave.open(str(folder / "audio.m4a"), "wb") as file:  # read by its content
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(b"\1\0" * 8000)
    return folder


def of_scene(take: Path, scene: Path, times: list[float], fps: int = 24) -> Path:
    """The take, as made from a scene's clip frames."""
    facts, file = json.loads((scene / "scene.json").read_text()), take / "trajectory.json"
    document = json.loads(file.read_text()) | {"scene_hash": facts["content_hash"], "fps": [fps, 1]}
    for frame, time in zip(document["frames"], times, strict=True):
        frame["source_time"] = time
    file.write_text(json.dumps(document))
    return take


needs_sound = pytest.mark.skipif(not bpy.app.build_options.audaspace, reason="the wheel of 4.2 is built without sound")


@pytest.mark.parametrize("can_read", [True, False])
def test_sound_that_cannot_be_read_costs_no_pictures(
    with_sound: Path, tmp_path: Path, can_read: bool, capfd: pytest.CaptureFixture[str]
) -> None:
    if not can_read:
        (with_sound / "audio.m4a").write_bytes(b"no sound")
    stand_in(with_sound)
    take = paint(tmp_path / "take_001", SIZE, frames=5, frame_start=9, handles=[1, 1])
    shoot(of_scene(take, with_sound, [2.0, 3.0, 4.0, 5.0, 6.0]), (10, 12))
    assert [places(strip) for strip in strips() if strip.type == "IMAGE"] == [(9, 10, 13)]
    missing = "This Blender cannot read the sound" in capfd.readouterr().out
    assert missing == (not any(strip.type == "SOUND" for strip in strips()))
    assert can_read or missing or bpy.app.build_options.audaspace


@needs_sound
def test_the_sound_of_the_footage_is_beside(with_sound: Path, tmp_path: Path) -> None:
    stand_in(with_sound)
    take = paint(tmp_path / "take_001", SIZE, frames=5, frame_start=9, handles=[1, 1])
    shoot(of_scene(take, with_sound, [2.0, 3.0, 4.0, 5.0, 6.0]), (10, 12))
    sound, picture = sorted(strips(), key=lambda strip: strip.channel)
    assert (sound.type, picture.type, sound.channel, picture.channel) == ("SOUND", "IMAGE", 1, 2)
    assert places(sound) == (7, 10, 13)  # clip frame 2 is heard at frame 9
    assert places(picture) == (9, 10, 13)
    second = paint(tmp_path / "take_002", SIZE, frames=5, frame_start=9, handles=[1, 1])
    bpy.ops.ex4d.import_result(directory=str(of_scene(second, with_sound, [1.0, 2, 3, 4, 5])), use={"SEQUENCER"})
    sound, picture = sorted(strips(), key=lambda strip: strip.channel)
    assert (places(sound), places(picture), sound.mute) == ((8, 10, 13), (9, 10, 13), False)
    third = paint(tmp_path / "take_003", SIZE, frames=5, frame_start=9, handles=[1, 1])
    bpy.ops.ex4d.import_result(directory=str(of_scene(third, with_sound, [1.0, 1, 1, 1, 1])), use={"SEQUENCER"})
    assert [strip.mute for strip in sorted(strips(), key=lambda strip: strip.channel)] == [True, False]


@pytest.mark.parametrize("why", ["retimed", "another rate", "the scene's rate", "no sound"])
def test_no_sound_where_it_would_not_fit(with_sound: Path, tmp_path: Path, why: str) -> None:
    stand_in(with_sound)
    times, rate = [2.0, 3.0, 4.0, 5.0, 6.0], 24
    if why == "retimed":
        times[3] = 3.5
    elif why == "another rate":
        rate = 25
    elif why == "the scene's rate":
        bpy.context.scene.render.fps = 25
    else:
        (with_sound / "audio.m4a").unlink()
    take = paint(tmp_path / "take_001", SIZE, frames=5, frame_start=9, handles=[1, 1])
    shoot(of_scene(take, with_sound, times, rate), (10, 12))
    assert [(strip.type, strip.channel) for strip in strips()] == [("IMAGE", 1)]


@pytest.mark.skipif(bpy.app.version < (5, 0, 0), reason="workspaces have no sequencer's scene before 5.0")
def test_the_scene_that_the_sequencer_edits(tmp_path: Path) -> None:
    edit = bpy.data.scenes.new("Edit")
    bpy.context.workspace.sequencer_scene = edit
    shoot(paint(tmp_path / "take_001", SIZE, frames=8, frame_start=9))
    assert (len(strips()), len(strips(edit))) == (0, 1)
