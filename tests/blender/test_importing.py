"""Import Footage: from a clip to footage that stands in the scene, with a real sidecar in another process."""

from __future__ import annotations

import errno
import math
import os
import shutil
from fractions import Fraction
from pathlib import Path
from typing import Any

import bpy
import pytest
from conftest import library, module
from sidecar_steps import as_with_windows, kill_sidecars, let_go, started, tick_for, tick_until

CLIP = """
import sys
from fractions import Fraction
from pathlib import Path
import cv2
import numpy as np
from ex4d_core.clip import write_lossless
frames = []
for t in range(4):
    frame = np.zeros((48, 64, 3), np.uint8)
    frame[..., 0], frame[16:32, 10 + 4 * t : 26 + 4 * t] = np.arange(64, dtype=np.uint8) * 3, (200, 60, 40)
    frames.append(frame)
folder = Path(sys.argv[1])
write_lossless(folder / "clip.mp4", frames, Fraction(12))
for t, frame in enumerate(frames):
    cv2.imwrite(str(folder / f"plate_{1001 + t}.png"), frame[..., ::-1])
"""

KINDS = ("objects", "meshes", "cameras", "collections", "images", "materials", "node_groups", "actions")


@pytest.fixture(scope="session")
def clips(library_python: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `clip.mp4` (4 frames of 64x48 at 12 per second) and the same as `plate_1001.png` and on."""
    folder = tmp_path_factory.mktemp("clips")
    library(library_python, CLIP, folder)
    return folder


def placed() -> list[Any]:
    """The footage of the scene."""
    return module("placed").all_placed(bpy.context.scene)


def test_from_a_clip_to_the_scene_in_background(shared_sidecar: Any, clips: Path, tmp_path: Path) -> None:
    blend = tmp_path / "project" / "shot.blend"
    blend.parent.mkdir()
    bpy.ops.wm.save_as_mainfile(filepath=str(blend))
    assert bpy.ops.ex4d.import_footage(filepath=str(clips / "clip.mp4"), lens="FOV", fov=1.0) == {"FINISHED"}
    (footage,) = placed()
    assert footage.folder == blend.parent / "clip.ex4d"
    facts = footage.facts()
    assert (facts.width, facts.height, facts.frames, facts.fps) == (64, 48, 4, 12)
    assert facts.plate  # the full-size plate is always kept
    assert facts.intrinsics[0][0] == pytest.approx(32 / math.tan(0.5), rel=1e-6)
    assert footage.mesh
    assert footage.source_camera
    assert len(bpy.context.scene.ex4d_imports) == 0
    assert not list(blend.parent.glob("*.partial"))


def test_a_sequence_has_the_frame_rate_of_the_scene(shared_sidecar: Any, clips: Path) -> None:
    render = bpy.context.scene.render
    render.fps, render.fps_base = 24, 1.001
    bpy.ops.ex4d.import_footage(filepath=str(clips / "plate_1002.png"), first=1, frames=2, frame_start=1001)
    (footage,) = placed()
    facts = footage.facts()
    assert facts.folder == Path(shared_sidecar.outputs) / "plate.ex4d"
    assert (facts.frames, facts.fps) == (2, Fraction(24000, 1001))
    assert footage.frame_start == 1001


def test_what_fails_is_one_sentence(shared_sidecar: Any, tmp_path: Path) -> None:
    no_clip = tmp_path / "clip.mp4"
    with pytest.raises(RuntimeError, match="There is nothing at"):
        bpy.ops.ex4d.import_footage(filepath=str(no_clip))
    no_clip.write_bytes(b"no video at all")
    with pytest.raises(RuntimeError, match=r"clip\.mp4"):
        bpy.ops.ex4d.import_footage(filepath=str(no_clip))
    assert not placed()
    assert len(bpy.context.scene.ex4d_imports) == 0
    with pytest.raises(RuntimeError, match="No footage was given"):
        bpy.ops.ex4d.import_footage()
    with pytest.raises(RuntimeError, match="No depth files"):
        bpy.ops.ex4d.import_footage(filepath=str(no_clip), depth="FILES")


def test_a_scene_folder_is_placed_without_a_sidecar(shared_sidecar: Any, small_scene: Path) -> None:
    shared_sidecar.executable = "/nowhere/ex4d"
    bpy.ops.ex4d.import_footage(directory=str(small_scene))
    assert placed()[0].folder == small_scene


def test_the_scene_fills_itself(
    shared_sidecar: Any, clips: Path, monkeypatch: pytest.MonkeyPatch, undo_steps: None
) -> None:
    started()
    as_with_windows(monkeypatch)
    before = set(bpy.data.objects.keys())
    bpy.ops.ex4d.import_footage("EXEC_DEFAULT", True, filepath=str(clips / "clip.mp4"))
    assert not placed()
    (wish,) = bpy.context.scene.ex4d_imports
    job = wish.job
    tick_until(placed, what="the scene")
    assert len(bpy.context.scene.ex4d_imports) == 0
    for _ in range(2):
        bpy.ops.ed.undo()
        assert set(bpy.data.objects.keys()) == before
        assert [wish.job for wish in bpy.context.scene.ex4d_imports] == [job]
        tick_for(1.2)
        assert not placed()  # what was undone does not come back by itself
        bpy.ops.ed.redo()
        assert len(placed()) == 1
    bpy.ops.ed.undo()
    assert bpy.ops.ex4d.place_import(job=job) == {"FINISHED"}
    assert len(placed()) == 1


def test_a_result_lands_between_two_edits(
    shared_sidecar: Any, clips: Path, monkeypatch: pytest.MonkeyPatch, undo_steps: None
) -> None:
    started()
    as_with_windows(monkeypatch)

    def edit(name: str) -> None:
        bpy.ops.object.empty_add()
        bpy.context.object.name = name
        bpy.ops.ed.undo_push(message=name)

    def names() -> set[str]:
        return {thing.name for thing in bpy.data.objects}

    def everything() -> set[tuple[str, str]]:
        return {(kind, each.name) for kind in KINDS for each in getattr(bpy.data, kind)}

    nothing = everything()
    bpy.ops.ex4d.import_footage("EXEC_DEFAULT", True, filepath=str(clips / "clip.mp4"))
    edit("before")
    tick_until(placed, what="the scene")
    edit("after")
    full, seen = everything(), []
    for _ in range(3):
        bpy.ops.ed.undo()
        seen.append((names() & {"before", "after"}, len(placed())))
    assert seen == [({"before"}, 1), ({"before"}, 0), (set(), 0)]
    assert everything() == nothing  # no image, group or mesh of it is left
    tick_for(1.2)
    for _ in range(3):
        bpy.ops.ed.redo()
    assert everything() == full
    (footage,) = placed()
    assert footage.facts().frames == 4
    assert footage.mesh.parent == footage.empty
    bpy.context.scene.frame_set(bpy.context.scene.frame_start + 2)
    graph = bpy.context.evaluated_depsgraph_get()
    assert footage.empty.evaluated_get(graph)["Source Frame"] == 2
    assert len(footage.mesh.evaluated_get(graph).data.vertices) >= 64 * 48
    owners = [each for kind in KINDS for each in getattr(bpy.data, kind) if getattr(each, "animation_data", None)]
    drivers = [curve.driver for each in owners for curve in each.animation_data.drivers]
    assert drivers
    assert all(driver.is_valid for driver in drivers)


def test_nothing_is_placed_while_the_artist_edits(
    shared_sidecar: Any, clips: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started()
    as_with_windows(monkeypatch)
    bpy.ops.ex4d.import_footage(filepath=str(clips / "clip.mp4"))
    mesh = bpy.data.objects.new("cube", bpy.data.meshes.new("cube"))
    bpy.context.scene.collection.objects.link(mesh)
    bpy.context.view_layer.objects.active = mesh
    bpy.ops.object.mode_set(mode="EDIT")
    job = bpy.context.scene.ex4d_imports[0].job
    tick_until(lambda: module("footage.filling").awaited.fetched(job), what="the fetched scene")
    tick_for(1.2)
    assert not placed()
    bpy.ops.object.mode_set(mode="OBJECT")
    tick_until(placed, what="the scene")


def test_an_import_outlives_blender_and_the_sidecar(
    own_sidecar: Any, clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Saved while it waits, everything killed, opened again with another sidecar on the same data."""
    started()
    as_with_windows(monkeypatch)
    blend = tmp_path / "shot.blend"
    bpy.ops.wm.save_as_mainfile(filepath=str(blend))
    bpy.ops.ex4d.import_footage(filepath=str(clips / "clip.mp4"))
    job = bpy.context.scene.ex4d_imports[0].job
    tick_until(lambda: module("sidecar").connection().job(job), what="the job")
    bpy.ops.wm.save_mainfile()
    kill_sidecars()
    let_go()
    bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
    bpy.ops.wm.open_mainfile(filepath=str(blend))
    assert bpy.context.scene.ex4d_imports[0].job == job
    assert bpy.ops.ex4d.start_sidecar() == {"FINISHED"}
    tick_until(placed, what="the scene")
    assert placed()[0].folder == tmp_path / "clip.ex4d"


def test_what_was_undone_does_not_come_back_with_the_file(
    shared_sidecar: Any, clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, undo_steps: None
) -> None:
    """Placed, undone, saved, Blender opened again: it waits until it is asked for, here or elsewhere."""
    started()
    as_with_windows(monkeypatch)
    blend = tmp_path / "shot.blend"
    bpy.ops.ex4d.import_footage("EXEC_DEFAULT", True, filepath=str(clips / "clip.mp4"))
    job = bpy.context.scene.ex4d_imports[0].job
    tick_until(placed, what="the scene")
    bpy.ops.ed.undo()
    assert not placed()
    bpy.ops.wm.save_as_mainfile(filepath=str(blend))
    shutil.rmtree(tmp_path / "outputs")  # what was fetched is gone too, so that asking for it fetches again
    let_go()
    bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
    bpy.ops.wm.open_mainfile(filepath=str(blend))
    now = module("sidecar").connection()
    tick_until(lambda: now.job(job), what="the list")
    tick_for(2.0)
    assert not placed()
    assert not module("footage.filling").awaited.fetched(job)
    assert [wish.job for wish in bpy.context.scene.ex4d_imports] == [job]
    bpy.ops.ex4d.place_import(job=job)
    tick_until(placed, what="the scene")
    assert len(bpy.context.scene.ex4d_imports) == 0


def test_undone_while_it_runs_it_stays_in_the_list_only(
    shared_sidecar: Any, clips: Path, monkeypatch: pytest.MonkeyPatch, undo_steps: None
) -> None:
    now = started()
    as_with_windows(monkeypatch)
    bpy.ops.ex4d.import_footage("EXEC_DEFAULT", True, filepath=str(clips / "clip.mp4"))
    job = bpy.context.scene.ex4d_imports[0].job
    bpy.ops.ed.undo()
    assert len(bpy.context.scene.ex4d_imports) == 0
    tick_until(lambda: now.job(job) and now.job(job).state == "succeeded", what="the job")
    tick_for(1.2)
    assert not placed()
    bpy.ops.ex4d.place_import(job=job)  # fetches first: what comes is placed by itself
    tick_until(placed, what="the scene")


def test_sent_again_after_a_crash_in_the_middle(
    shared_sidecar: Any, clips: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = started()
    as_with_windows(monkeypatch)
    bpy.ops.ex4d.import_footage(filepath=str(clips / "clip.mp4"))
    module("sidecar.running").close_all()  # before anything was sent
    module("footage.filling").awaited.forget()
    job = bpy.context.scene.ex4d_imports[0].job
    tick_for(1.5)
    assert now.job(job) is None
    bpy.ops.ex4d.send_import(job=job)
    tick_until(placed, what="the scene")


def test_a_scene_is_fetched_once_and_never_written_over(shared_sidecar: Any, clips: Path) -> None:
    bpy.ops.ex4d.import_footage(filepath=str(clips / "clip.mp4"))
    first = placed()[0].folder
    marked = first / "shots" / "mine.txt"
    marked.parent.mkdir()
    marked.write_text("an artist's")
    bpy.ops.ex4d.import_footage(filepath=str(clips / "clip.mp4"))
    assert [footage.folder for footage in placed()] == [first, first]
    bpy.ops.ex4d.import_footage(filepath=str(clips / "clip.mp4"), frames=2)
    assert placed()[-1].folder == first.with_name("clip_2.ex4d")
    assert marked.read_text() == "an artist's"


def test_several_clips_are_several_scenes(shared_sidecar: Any, clips: Path, tmp_path: Path) -> None:
    for name in ("a.mp4", "b.mp4"):
        shutil.copy(clips / "clip.mp4", tmp_path / name)
    bpy.ops.ex4d.import_footage(directory=str(tmp_path), files=[{"name": "a.mp4"}, {"name": "b.mp4"}])
    assert sorted(footage.folder.name for footage in placed()) == ["a.ex4d", "b.ex4d"]


def test_dropped_videos_are_offered_to_import_footage() -> None:
    handler = bpy.types.EX4D_FH_footage
    assert handler.bl_import_operator == "ex4d.import_footage"
    assert {".mp4", ".mov", ".mkv"} <= set(handler.bl_file_extensions.split(";"))
    operator = bpy.ops.ex4d.import_footage.get_rna_type()
    assert operator.name == "Import Footage as EX-4D Scene"
    assert {"filepath", "directory", "files"} <= set(operator.properties.keys())


def test_footage_goes_to_another_machine(shared_sidecar: Any, clips: Path, tmp_path: Path) -> None:
    """A sequence is packed and uploaded, a clip uploaded, and the scenes come back; nothing but HTTP passes."""
    (real,) = module("client").discover()
    os.environ["EX4D_STATE_DIR"] = str(tmp_path / "elsewhere")  # set back by the fixture: nothing is announced here
    bpy.ops.ex4d.connect_sidecar(address=real.address, token=real.token)
    assert not module("sidecar").connection().is_local
    bpy.ops.ex4d.import_footage(filepath=str(clips / "plate_1001.png"))
    bpy.ops.ex4d.import_footage(filepath=str(clips / "clip.mp4"), lens="MILLIMETERS", focal_mm=18, sensor_mm=36)
    assert {footage.folder.name: footage.facts().frames for footage in placed()} == {"plate.ex4d": 4, "clip.ex4d": 4}
    facts = next(footage.facts() for footage in placed() if footage.folder.name == "clip.ex4d")
    assert facts.intrinsics[0][0] == pytest.approx(32)


def test_given_depth(shared_sidecar: Any, clips: Path, library_python: str, tmp_path: Path) -> None:
    depth = tmp_path / "depth.npy"
    code = "import sys, numpy as np; np.save(sys.argv[1], np.full((4, 48, 64), 3.0, np.float32))"
    library(library_python, code, depth)
    given = {"depth": "FILES", "depth_path": str(depth)}
    bpy.ops.ex4d.import_footage(filepath=str(clips / "clip.mp4"), depth_kind="metric", **given)
    (footage,) = placed()
    assert footage.facts().units == "metric"
    with pytest.raises(RuntimeError, match="One set of depth files cannot fit 2 clips"):
        bpy.ops.ex4d.import_footage(
            directory=str(clips), files=[{"name": "clip.mp4"}, {"name": "plate_1001.png"}], as_sequence=False, **given
        )
    wrong = {"depth": "FILES", "depth_path": str(clips / "nothing.exr")}
    with pytest.raises(RuntimeError, match="There are no Depth Files at .*nothing.exr: choose"):
        bpy.ops.ex4d.import_footage(filepath=str(clips / "clip.mp4"), **wrong)


@pytest.mark.parametrize("path", ["nothing.exr", "no-folder/z_####.exr", "z_####.exr"])
def test_depth_that_is_not_there_asks_no_sidecar(extension: Any, clips: Path, tmp_path: Path, path: str) -> None:
    depth = tmp_path / path
    with pytest.raises(RuntimeError, match=f"There are no Depth Files at {depth}: choose"):
        bpy.ops.ex4d.import_footage(filepath=str(clips / "clip.mp4"), depth="FILES", depth_path=str(depth))
    assert module("sidecar").connection().state == "off"
    assert len(bpy.context.scene.ex4d_imports) == 0


def test_outputs_that_cannot_be_written_are_refused_first(own_sidecar: Any, clips: Path, tmp_path: Path) -> None:
    taken = tmp_path / "a file"
    taken.write_text("")
    for outputs in (taken, taken / "below"):
        own_sidecar.outputs = str(outputs)
        with pytest.raises(RuntimeError, match=f"The folder {outputs} .*Outputs in the extension's preferences"):
            bpy.ops.ex4d.import_footage(filepath=str(clips / "clip.mp4"))
    own_sidecar.outputs = ""
    assert module("sidecar").connection().state == "off"  # not even asked for
    assert len(bpy.context.scene.ex4d_imports) == 0
    new = tmp_path / "new" / "newer"
    own_sidecar.outputs = str(new)
    module("preferences").require_outputs()
    assert not new.parent.exists()  # asking makes nothing


def test_a_scene_that_cannot_be_fetched_says_where_that_is_changed(
    shared_sidecar: Any, clips: Path, tmp_path: Path
) -> None:
    bpy.ops.ex4d.import_footage(filepath=str(clips / "clip.mp4"))
    job = module("sidecar").jobs()[0].id
    bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
    module("footage.filling").awaited.forget()
    taken = tmp_path / "a file"
    taken.write_text("")
    shared_sidecar.outputs = str(taken)
    with pytest.raises(RuntimeError, match=f"The folder {taken} .*Outputs in the extension's preferences"):
        bpy.ops.ex4d.place_import(job=job)
    assert not placed()


def test_the_folder_of_a_blend_that_cannot_be_written_is_named(
    clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*, dir: Path) -> None:  # as a read-only folder does, to all but administrators
        raise PermissionError(errno.EACCES, f"no files in {dir.name}")

    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "a.blend"))
    monkeypatch.setattr(module("preferences").tempfile, "TemporaryFile", refuse)
    with pytest.raises(RuntimeError, match=rf"The folder {tmp_path} of this .blend.*\(no files in {tmp_path.name}\)"):
        bpy.ops.ex4d.import_footage(filepath=str(clips / "clip.mp4"))


def test_an_estimator_that_is_none_is_told_by_the_sidecar(shared_sidecar: Any, clips: Path) -> None:
    with pytest.raises(RuntimeError, match="no-such-thing"):
        bpy.ops.ex4d.import_footage(filepath=str(clips / "clip.mp4"), estimator="no-such-thing")
    assert not placed()


@pytest.mark.parametrize("background", [True, False])
def test_what_the_sidecar_says_of_an_import_is_in_blender_s_words(
    shared_sidecar: Any, clips: Path, library_python: str, tmp_path: Path, background: bool, monkeypatch: Any
) -> None:
    depth = tmp_path / "depth.npy"
    library(library_python, "import sys, numpy as np; np.save(sys.argv[1], np.ones((4, 48, 64), np.uint16))", depth)
    given = {"filepath": str(clips / "clip.mp4"), "depth": "FILES", "depth_path": str(depth)}
    if background:
        with pytest.raises(RuntimeError, match="say with Depth Range what 0 and the largest value stand for"):
            bpy.ops.ex4d.import_footage(**given)
        return
    now = started()
    as_with_windows(monkeypatch)
    bpy.ops.ex4d.import_footage(**given)
    job = bpy.context.scene.ex4d_imports[0].job
    tick_until(lambda: (view := now.job(job)) and view.state == "failed", what="the import's failure")
    assert "say with Depth Range what 0 and the largest value stand for" in now.job(job).problem


@pytest.mark.parametrize(
    ("names", "picked", "as_sequence", "path"),
    [
        (["a_01.png", "a_02.png", "a_10.png"], "a_02.png", True, "a_##.png"),
        (["a_01.png", "a_02.png"], "a_02.png", False, "a_02.png"),
        (["v2_0099.exr", "v2_0100.exr", "v3_0099.exr"], "v2_0100.exr", True, "v2_####.exr"),
        (["9.jpg", "10.jpg"], "9.jpg", True, "#.jpg"),
        (["photo_1.jpg"], "photo_1.jpg", True, "photo_1.jpg"),
        (["clip_01.mp4", "clip_02.mp4"], "clip_01.mp4", True, "clip_01.mp4"),
        (["a_01.png", "a_02.png"], "a_%02d.png", True, "a_%02d.png"),
    ],
)
def test_what_was_picked(tmp_path: Path, names: list[str], picked: str, as_sequence: bool, path: str) -> None:
    for name in names:
        (tmp_path / name).touch()
    (source,) = module("footage.source").find_sources([tmp_path / picked], as_sequence=as_sequence)
    assert source.path == tmp_path / path
    assert source.name
    assert "#" not in source.name
    assert all(file.name in names for file in source.files())
    assert source.is_sequence == (not picked.endswith(".mp4"))


def test_a_script_outlives_its_sidecar(own_sidecar: Any, clips: Path, tmp_path: Path) -> None:
    """Killed between two imports of a background script: it is started again, and the second import ends well."""
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "shot.blend"))
    bpy.ops.ex4d.import_footage(filepath=str(clips / "clip.mp4"))
    dead = module("sidecar").connection().server
    kill_sidecars()
    bpy.ops.ex4d.import_footage(filepath=str(clips / "clip.mp4"), max_side=32)
    assert len(placed()) == 2
    assert module("sidecar").connection().server.pid != dead.pid


SOLVE = """
import json, sys
from pathlib import Path
rows = [[[1, 0, 0, 0.01 * t], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]] for t in range(4)]
frames = [{"c2w": c2w, "intrinsics": [60, 60, 32, 24], "source_time": t} for t, c2w in enumerate(rows)]
document = {"schema": "ex4d.trajectory/1", "width": 64, "height": 48, "fps": [12, 1], "frame_start": 0,
            "scene_hash": None, "frames": frames}
Path(sys.argv[1]).write_text(json.dumps(document))
"""


def test_footage_with_a_solve_and_a_named_estimator(
    shared_sidecar: Any, clips: Path, library_python: str, tmp_path: Path
) -> None:
    solve = tmp_path / "solve.json"
    library(library_python, SOLVE, solve)
    clip = str(clips / "clip.mp4")
    given = {"camera": "SOLVE", "solve_path": str(solve), "estimator": "embedded"}
    assert bpy.ops.ex4d.import_footage(filepath=clip, **given) == {"FINISHED"}
    (footage,) = placed()
    facts = footage.facts()
    assert facts.lens == "trajectory"
    assert facts.intrinsics[0][0] == pytest.approx(60)
    assert facts.source_c2w is not None
    assert facts.source_c2w[3][0, 3] == pytest.approx(0.03)
    with pytest.raises(RuntimeError, match="There is no solve at .*nothing.json: choose a trajectory"):
        bpy.ops.ex4d.import_footage(filepath=clip, camera="SOLVE", solve_path=str(tmp_path / "nothing.json"))
    with pytest.raises(RuntimeError, match="No solve was given"):
        bpy.ops.ex4d.import_footage(filepath=clip, camera="SOLVE")
    with pytest.raises(RuntimeError, match="no depth estimator 'magic'"):
        bpy.ops.ex4d.import_footage(filepath=clip, estimator="magic")
