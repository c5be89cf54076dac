"""Generate: a shot goes to a real sidecar, and comes back as a take."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import bpy
import numpy as np
import pytest
from conftest import module
from shot_cases import add_camera, add_shot, stand_in
from sidecar_steps import as_with_windows, kill_sidecars, let_go, started, tick_for, tick_until


@pytest.fixture
def shot(small_scene: Path) -> Any:
    """See `make_shot`."""
    return make_shot(small_scene)


def make_shot(folder: Path) -> Any:
    """A camera that moves aside over the small scene's 8 frames, and its shot of frames 3 to 6, 32x24."""
    stand_in(folder)
    camera = add_camera()
    camera.data.lens = 36.0 * 60 / 64
    for frame, x in ((1, 0.0), (8, 1.0)):
        camera.location.x = x
        camera.keyframe_insert("location", frame=frame)
    found = add_shot(camera, (3, 6))
    found.width, found.height = 32, 24
    bpy.context.scene.camera = camera
    bpy.context.scene.ex4d_generate.use_exr = False
    bpy.context.view_layer.update()
    return found


def the_shot(number: int = 0) -> Any:
    """A shot of the scene, found anew."""
    return bpy.context.scene.ex4d_shots[number]


def takes(number: int = 0) -> list[str]:
    """Names of a shot's takes."""
    return [take.name for take in the_shot(number).takes]


def facts_of(take: Any) -> Any:
    """What a take's folder says."""
    return module("takes.folder").read_take(module("shots.takes").folder_of(take))


def wished() -> list[Any]:
    """What the scene waits for."""
    return list(bpy.context.scene.ex4d_wished_takes)


def test_in_background_the_take_is_there(shared_sidecar: Any, shot: Any, tmp_path: Path) -> None:
    blend = tmp_path / "project" / "shot.blend"
    blend.parent.mkdir()
    bpy.ops.wm.save_as_mainfile(filepath=str(blend))
    shot = the_shot()
    shot.name, shot.handle_before, shot.handle_after = "A: first/last?", 2, 1
    assert bpy.ops.ex4d.generate(engine="draft", seed=7, overscan=10.0) == {"FINISHED"}
    assert not wished()
    (take,) = the_shot().takes
    facts = facts_of(take)
    assert facts.folder == blend.parent / "small.shots" / "A_ first_last_" / "take_001"
    facts.require_files()
    assert (facts.shot, facts.number, facts.name) == (the_shot().key, 1, "take_001")
    assert (facts.frame_start, facts.frames, facts.handles) == (1, 7, (2, 1))
    assert (facts.width, facts.height, facts.overscan, facts.frame_size) == (36, 26, 0.1, (32, 24))
    lens = module("shots.sampling").sample(bpy.context, the_shot()).intrinsics
    np.testing.assert_allclose(facts.intrinsics - lens, [[0, 0, 2, 1]] * 7, atol=1e-9)
    assert facts.settings["engine"] == "draft"
    assert facts.settings["seed"] == 7
    assert not list(blend.parent.rglob("*.partial"))
    assert bpy.context.scene.ex4d_generate.seed == 0  # what was given to the operator is not kept in the scene


def test_takes_are_never_overwritten(shared_sidecar: Any, shot: Any, small_scene: Path) -> None:
    bpy.ops.ex4d.generate()
    bpy.ops.ex4d.generate()  # the very same: the sidecar finds it on disk, and it is a take of its own
    assert takes() == ["take_001", "take_002"]
    folder = Path(shared_sidecar.outputs) / "small.shots" / "Shot 010"
    (folder / "take_003").mkdir()
    (folder / "take_004.partial").mkdir()
    (folder / "take_005").write_text("not even a folder")
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    bpy.ops.ex4d.generate()
    assert takes() == ["take_001", "take_002", "take_006"]
    bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)  # another .blend with the same outputs
    make_shot(small_scene)
    bpy.ops.ex4d.generate()
    assert takes() == ["take_007"]
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_generate_all_brings_every_shot_by_itself(
    shared_sidecar: Any, shot: Any, monkeypatch: pytest.MonkeyPatch, undo_steps: None
) -> None:
    started()
    as_with_windows(monkeypatch)
    other = add_shot(bpy.data.objects["Camera"], (1, 2))
    other.width, other.height, other.name = 16, 12, "B"
    bpy.ops.ex4d.generate_all("EXEC_DEFAULT", True)
    assert [(wish.name, wish.number) for wish in wished()] == [("Shot 010", 1), ("B", 1)]
    assert not takes()
    tick_until(lambda: not wished(), what="both takes")
    assert takes(0) == takes(1) == ["take_001"]
    assert [facts_of(the_shot(n).takes[0]).frames for n in (0, 1)] == [4, 2]


def test_nothing_is_sent_where_a_shot_cannot_be_sampled(shared_sidecar: Any, shot: Any) -> None:
    lost = add_shot(bpy.data.objects["Camera"], (1, 2))
    lost.camera = None
    with pytest.raises(RuntimeError, match="has lost its camera"):
        bpy.ops.ex4d.generate_all()
    assert not wished()
    assert not takes()


def long_shot(shot: Any, seed: int) -> None:
    """So many frames that what happens to it can be seen, and no other test's: nothing of it is found on disk."""
    shot.frame_start, shot.frame_end, shot.width, shot.height = 1, 120 + seed, 64, 48


def stage_of(job: str) -> str:
    """What the sidecar does for a job."""
    view = module("sidecar").connection().job(job)
    return view.stage if view and view.state == "running" else ""


def until_stage(job: str, stage: str) -> None:
    """Tick until a job is at `render` or `generate`, or its take is being fetched."""
    arriving = module("generating.arriving")
    if stage == "fetching":
        tick_until(lambda: (arriving.awaited.moving(job) or ("", 0))[0] == "download", what="the download")
    else:
        now = module("sidecar").connection()
        tick_until(lambda: now.refresh() or stage_of(job) == stage, what=stage)  # asks all the time: a stage is short


@pytest.mark.parametrize(
    "stage",
    [
        "generate",
        "fetched",
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("sending", "render", "fetching")),
    ],
)
def test_blender_killed_at_any_stage_and_opened_again(
    shared_sidecar: Any, shot: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    started()
    as_with_windows(monkeypatch)
    arriving = module("generating.arriving")
    long_shot(shot, 10 + len(stage))
    blend = tmp_path / "shot.blend"
    bpy.ops.wm.save_as_mainfile(filepath=str(blend))
    bpy.ops.ex4d.generate()
    job = wished()[0].job
    bpy.ops.wm.save_mainfile()
    if stage == "fetched":
        monkeypatch.setattr(module("unasked"), "may_change", lambda: False)
        tick_until(lambda: arriving.awaited.fetched(job), what="the files")
    elif stage != "sending":
        until_stage(job, stage)
    let_go()  # nothing is put in order: it remembers nothing any more
    monkeypatch.setattr(module("unasked"), "may_change", lambda: True)
    bpy.ops.wm.open_mainfile(filepath=str(blend))
    now = module("sidecar").connection()
    tick_until(lambda: now.state == "ready", what="the sidecar")
    if stage == "sending":
        tick_for(1.0)
        assert now.job(job) is None
        bpy.ops.ex4d.send_take(job=job)
    tick_until(takes, what="the take")
    facts = facts_of(the_shot().takes[0])
    facts.require_files()
    assert facts.folder == tmp_path / "small.shots" / "Shot 010" / "take_001"
    assert [path.name for path in facts.folder.parent.iterdir()] == ["take_001"]
    assert not wished()


@pytest.mark.parametrize(
    "stage", ["generate", *(pytest.param(name, marks=pytest.mark.slow) for name in ("sending", "render", "fetching"))]
)
def test_a_sidecar_killed_at_any_stage_finishes(
    own_sidecar: Any, shot: Any, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    now = started()
    as_with_windows(monkeypatch)
    long_shot(shot, 0)
    bpy.ops.ex4d.generate()
    job = wished()[0].job
    if stage != "sending":
        until_stage(job, stage)
    pid = now.server.pid
    kill_sidecars()
    tick_until(takes, what="the take")
    assert now.server.pid != pid  # another one has finished it
    facts = facts_of(the_shot().takes[0])
    facts.require_files()
    assert facts.frames == 120
    assert not wished()


def test_cancelled_and_retried(shared_sidecar: Any, shot: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    now = started()
    as_with_windows(monkeypatch)
    long_shot(shot, 1)
    bpy.ops.ex4d.generate()
    job = wished()[0].job
    until_stage(job, "generate")
    bpy.ops.ex4d.cancel_job(job=job)
    tick_until(lambda: now.job(job).state == "cancelled", what="the cancel")
    tick_for(1.0)
    assert not takes()
    assert len(wished()) == 1
    bpy.ops.ex4d.retry_job(job=job)
    tick_until(takes, what="the take")


def test_a_take_lands_between_two_edits(
    shared_sidecar: Any, shot: Any, monkeypatch: pytest.MonkeyPatch, undo_steps: None
) -> None:
    started()
    as_with_windows(monkeypatch)
    shot.frame_start = 4

    def edit(name: str) -> None:
        bpy.data.objects.new(name, None)
        bpy.ops.ed.undo_push(message=name)

    def state() -> tuple[set[str], list[str], int]:
        return {thing.name for thing in bpy.data.objects} & {"before", "after"}, takes(), len(wished())

    bpy.ops.ed.undo_push(message="Shot")
    bpy.ops.ex4d.generate("EXEC_DEFAULT", True)
    edit("before")
    tick_until(takes, what="the take")
    edit("after")
    one, seen = ["take_001"], []
    for _ in range(4):
        bpy.ops.ed.undo()
        seen.append(state())
    assert seen == [({"before"}, one, 0), ({"before"}, [], 1), (set(), [], 1), (set(), [], 0)]
    tick_for(1.2)
    for _ in range(4):
        bpy.ops.ed.redo()
    assert state() == ({"before", "after"}, one, 0)
    facts_of(the_shot().takes[0]).require_files()
    for _ in range(2):
        bpy.ops.ed.undo()
    job = wished()[0].job
    tick_for(1.2)
    assert not takes()  # what was undone does not come back by itself
    assert bpy.ops.ex4d.keep_take(job=job) == {"FINISHED"}
    assert takes() == one  # the folder that is there, not another one


def test_undone_it_comes_back_from_disk_when_asked_for(
    shared_sidecar: Any, shot: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, undo_steps: None
) -> None:
    """Kept, undone, saved, Blender opened again: it waits until it is asked for, and is not fetched twice."""
    started()
    as_with_windows(monkeypatch)
    blend = tmp_path / "shot.blend"
    bpy.ops.wm.save_as_mainfile(filepath=str(blend))
    bpy.ops.ed.undo_push(message="Saved")
    bpy.ops.ex4d.generate("EXEC_DEFAULT", True)
    job = wished()[0].job
    tick_until(takes, what="the take")
    bpy.ops.ed.undo()
    assert not takes()
    bpy.ops.wm.save_mainfile()
    let_go()
    bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
    bpy.ops.wm.open_mainfile(filepath=str(blend))
    now = module("sidecar").connection()
    tick_until(lambda: now.job(job), what="the list")
    tick_for(1.2)
    assert not takes()
    bpy.ops.ex4d.keep_take(job=job)
    assert takes() == ["take_001"]
    assert [path.name for path in (tmp_path / "small.shots" / "Shot 010").iterdir()] == ["take_001"]


def test_nothing_is_kept_while_the_artist_edits(
    shared_sidecar: Any, shot: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    started()
    as_with_windows(monkeypatch)
    cube = bpy.data.objects.new("Cube", bpy.data.meshes.new("Cube"))
    bpy.context.scene.collection.objects.link(cube)
    bpy.ops.ex4d.generate()
    job = wished()[0].job
    bpy.context.view_layer.objects.active = cube
    bpy.ops.object.mode_set(mode="EDIT")
    tick_until(lambda: module("generating.arriving").awaited.fetched(job), what="the files")
    tick_for(1.2)
    assert not takes()
    bpy.ops.object.mode_set(mode="OBJECT")
    tick_until(takes, what="the take")


def test_a_file_that_is_opened_again_gets_what_it_waits_for(
    shared_sidecar: Any, shot: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Revert, in the same session, after the take has come."""
    started()
    as_with_windows(monkeypatch)
    file = str(tmp_path / "a.blend")
    bpy.ops.ex4d.generate()
    bpy.ops.wm.save_as_mainfile(filepath=file)
    tick_until(takes, what="the take")
    bpy.ops.wm.open_mainfile(filepath=file)
    assert len(wished()) == 1
    assert not takes()
    tick_until(takes, what="the take again")
    bpy.ops.wm.save_mainfile()
    assert not wished()


def test_a_job_that_is_gone_is_generated_again(shared_sidecar: Any, shot: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the camera of the time, whatever it does now."""
    now = started()
    as_with_windows(monkeypatch)
    long_shot(shot, 2)
    before = module("shots.sampling").sample(bpy.context, shot)
    bpy.ops.ex4d.generate()
    job = wished()[0].job
    tick_until(lambda: now.job(job), what="the job")
    bpy.ops.ex4d.cancel_job(job=job)
    tick_until(lambda: now.job(job).finished, what="the cancel")
    bpy.ops.ex4d.remove_job(job=job)
    tick_until(lambda: now.job(job) is None, what="the removal")
    the_shot().camera.data.lens = 99.0
    bpy.ops.ex4d.send_take(job=job)
    tick_until(takes, what="the take")
    facts = facts_of(the_shot().takes[0])
    np.testing.assert_array_equal(facts.c2w, before.c2w)
    np.testing.assert_array_equal(facts.intrinsics, before.intrinsics)


def test_nobody_waits_any_longer(shared_sidecar: Any, shot: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    now = started()
    as_with_windows(monkeypatch)
    long_shot(shot, 3)
    bpy.ops.ex4d.generate()
    job = wished()[0].job
    until_stage(job, "fetching")
    bpy.ops.ex4d.forget_take(job=job)
    tick_for(1.0)
    assert not takes()
    assert not list(Path(shared_sidecar.outputs).rglob("take_*"))
    assert not module("sidecar.running").complaints()
    assert now.job(job).state == "succeeded"
    with pytest.raises(RuntimeError, match="No scene waits"):
        bpy.ops.ex4d.send_take(job=job)


def test_a_shot_that_was_removed_meanwhile(shared_sidecar: Any, shot: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    started()
    as_with_windows(monkeypatch)
    bpy.ops.ex4d.generate()
    bpy.ops.ex4d.remove_shot()
    complaints = module("sidecar.running").complaints
    tick_until(complaints, what="the sentence")
    assert "is no longer in the list: its take lies in" in complaints()[0]
    assert len(wished()) == 1


def test_a_sidecar_on_another_machine(
    own_sidecar: Any, shot: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing but HTTP passes."""
    started()
    (real,) = module("client").discover()
    monkeypatch.setenv("EX4D_STATE_DIR", str(tmp_path / "elsewhere"))
    bpy.ops.ex4d.connect_sidecar(address=real.address, token=real.token)
    assert not module("sidecar").connection().is_local
    bpy.ops.ex4d.generate()
    facts_of(the_shot().takes[0]).require_files()
    monkeypatch.setenv("EX4D_STATE_DIR", str(tmp_path / "state"))


def test_what_fails_is_one_sentence(shared_sidecar: Any, shot: Any) -> None:
    with pytest.raises(RuntimeError, match="no engine 'none': choose one of draft"):
        bpy.ops.ex4d.generate(engine="none")
    with pytest.raises(RuntimeError, match="no quality 'best'"):
        bpy.ops.ex4d.generate(quality="best")
    shot.width = 16000
    with pytest.raises(RuntimeError, match="With Overscan the picture has 17600 x 26 pixels"):
        bpy.ops.ex4d.generate(overscan=10.0)
    assert not wished()
    assert not takes()


def test_a_job_that_no_file_waits_for_becomes_a_take(
    shared_sidecar: Any, shot: Any, small_scene: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Blender crashed before the file was saved: the list of jobs still has it."""
    started()
    as_with_windows(monkeypatch)
    bpy.ops.ex4d.generate()
    job = wished()[0].job
    now = module("sidecar").connection()
    tick_until(lambda: now.job(job), what="the job")
    let_go()
    bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
    make_shot(small_scene)
    assert not wished()
    now = module("sidecar").connection()
    tick_until(lambda: now.job(job) and now.job(job).state == "succeeded", what="the job")
    bpy.ops.ex4d.take_job(job=job)
    tick_until(takes, what="the take")
    facts = facts_of(the_shot().takes[0])
    assert (facts.settings["engine"], facts.frame_size) == ("draft", (32, 24))
    facts.require_files()
    with pytest.raises(RuntimeError, match="has no job 'none'"):
        bpy.ops.ex4d.take_job(job="none")


def test_regenerate_restores_settings_and_camera(shared_sidecar: Any, shot: Any) -> None:
    kept = bpy.context.scene.ex4d_generate
    kept.seed, kept.overscan, shot.handle_before, shot.handle_after = 9, 10.0, 1, 2
    shot.camera.data.shift_x = 0.1
    bpy.ops.ex4d.generate()
    asked = facts_of(the_shot().takes[0])
    shot, camera = the_shot(), the_shot().camera
    bpy.ops.ex4d.regenerate_take(use_camera=True)
    assert shot.camera == camera  # nothing has changed: no camera is made
    kept.seed, kept.overscan, kept.engine = 0, 0.0, "other"
    shot.frame_start, shot.frame_end, shot.handle_before, shot.width = 100, 120, 0, 99
    camera.location.x += 0.5
    for curve in module("versions.fcurves").curves(camera):
        for point in curve.keyframe_points:
            point.co.y += 0.5
    camera.data.lens *= 2
    bpy.ops.ex4d.regenerate_take()
    shot = the_shot()
    assert (kept.seed, round(kept.overscan), kept.engine) == (9, 10, "draft")
    assert (shot.frame_start, shot.frame_end, shot.handle_before, shot.handle_after) == (3, 6, 1, 2)
    assert (shot.width, shot.height) == (32, 24)
    assert shot.camera == camera  # made, but not taken without being told to
    assert "Shot 010 take_001" in bpy.data.objects
    bpy.ops.ex4d.regenerate_take(use_camera=True)
    assert the_shot().camera.name == "Shot 010 take_001.001"
    bpy.ops.ex4d.generate()
    again = facts_of(the_shot().takes[1])
    np.testing.assert_allclose(again.c2w, asked.c2w, atol=1e-5)
    np.testing.assert_allclose(again.intrinsics, asked.intrinsics, atol=1e-3)
    np.testing.assert_allclose(again.source_time, asked.source_time, atol=1e-4)
    assert (again.settings, again.frame_start) == (asked.settings, asked.frame_start)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"seed": 2**40}, "1099511627776 is none that Blender can hold"),
        ({"seed": "x"}, "seed is 'x'"),
        ({"prompt": None}, "prompt is None"),
        ({"engine": 5}, "engine is 5"),
        ({"keep_source": "x"}, "keep_source is 'x'"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(module("errors").UserError, match=re.escape(said)):
        module("generating.settings").Chosen.of(json.dumps(settings))


def test_what_an_engine_cannot_do_is_refused(shared_sidecar: Any, shot: Any) -> None:
    with pytest.raises(RuntimeError, match="draft cannot keep the source"):
        bpy.ops.ex4d.generate(keep_source=True)
    bpy.context.scene.ex4d_generate.keep_source = True  # of another engine
    assert not module("generating.settings").chosen(bpy.context.scene).keep_source


def test_exr_comes_along_where_it_is_wanted(shared_sidecar: Any, shot: Any) -> None:
    bpy.context.scene.ex4d_generate.use_exr = True
    bpy.ops.ex4d.generate()
    facts = facts_of(the_shot().takes[0])
    assert facts.has_exr
    facts.require_files()
