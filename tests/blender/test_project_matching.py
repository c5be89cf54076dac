"""Footage against scene: rates as fractions, the three choices, and what a scene is that may follow by itself."""

import json
import shutil
from fractions import Fraction
from pathlib import Path

import bpy
import pytest
from conftest import ex4d, library, module

NTSC = [Fraction(24000, 1001), Fraction(30000, 1001), Fraction(60000, 1001), Fraction(120000, 1001)]
ODD = [
    Fraction(24),
    Fraction(25),
    Fraction(240),
    Fraction(25, 2),
    Fraction(15, 2),
    Fraction(1199, 50),
    Fraction(2997, 100),
]


@pytest.mark.parametrize("rate", [*NTSC, *ODD], ids=str)
def test_rates_survive_blender(rate: Fraction) -> None:
    rates, scene = module("project.rates"), bpy.context.scene
    rates.set_scene_rate(scene, rate)
    assert rates.shows(scene, rate)
    assert rates.scene_rate(scene) == rate
    assert abs(scene.render.fps / scene.render.fps_base - rate) < 1e-6 * rate


@pytest.mark.parametrize(
    ("fps", "base", "rate"), [(24, 1.001, "24000/1001"), (60, 1.001, "60000/1001"), (25, 2.0, "25/2")]
)
def test_blenders_own_numbers_are_read_as_fractions(fps: int, base: float, rate: str) -> None:
    scene = bpy.context.scene
    scene.render.fps, scene.render.fps_base = fps, base
    assert module("project.rates").scene_rate(scene) == Fraction(rate)


def test_television_rates_are_the_ones_in_blenders_list() -> None:
    scene = bpy.context.scene
    module("project.rates").set_scene_rate(scene, Fraction(24000, 1001))
    assert scene.render.fps == 24
    assert scene.render.fps_base == pytest.approx(1.001)
    assert not module("project.rates").shows(scene, Fraction(24))


def changed(scene: Path, target: Path, **changes: object) -> Path:
    """A copy of a scene folder with other numbers in its document."""
    shutil.copytree(scene, target)
    document = json.loads((target / "scene.json").read_text()) | changes
    (target / "scene.json").write_text(json.dumps(document))
    return target


def place(folder: Path, **options: object):
    """Import Scene; the footage."""
    assert bpy.ops.ex4d.import_scene(directory=str(folder), **options) == {"FINISHED"}
    return module("placed").required(bpy.context)


def test_an_untouched_scene_follows(small_scene: Path, tmp_path: Path) -> None:
    scene = bpy.context.scene
    place(
        changed(
            small_scene, tmp_path / "ntsc.ex4d", fps=[24000, 1001], source={"name": "a.mov", "width": 128, "height": 96}
        )
    )
    render = scene.render
    assert module("project.rates").scene_rate(scene) == Fraction(24000, 1001)
    assert (render.resolution_x, render.resolution_y) == (128, 96), "the plate's size, not the working size"
    assert (scene.frame_start, scene.frame_end) == (1, 8)
    rows = module("project.matching").compare(scene, module("placed").required(bpy.context))
    assert all(row.same for row in rows)


TOUCHES = {
    "start 1001": lambda scene: setattr(scene, "frame_start", 1001),
    "end": lambda scene: setattr(scene, "frame_end", 100),
    "rate": lambda scene: setattr(scene.render, "fps", 25),
    "base": lambda scene: setattr(scene.render, "fps_base", 1.001),
    "size": lambda scene: setattr(scene.render, "resolution_x", 1998),
    "aspect": lambda scene: setattr(scene.render, "pixel_aspect_x", 2.0),
    "marker": lambda scene: scene.timeline_markers.new("cut", frame=5),
    "strip": lambda scene: (scene.sequence_editor_create(), _strip(scene)),
    "animation": lambda scene: bpy.data.actions.new("walk"),
    "saved": lambda scene: bpy.ops.wm.save_as_mainfile(filepath=str(Path(bpy.app.tempdir) / "mine.blend")),
}


def _strip(scene: bpy.types.Scene) -> None:
    editor = scene.sequence_editor
    if hasattr(editor, "strips"):
        key = "length" if bpy.app.version >= (5, 0, 0) else "frame_end"
        editor.strips.new_effect(name="c", type="COLOR", channel=1, frame_start=1, **{key: 10})
    else:
        editor.sequences.new_effect(name="c", type="COLOR", channel=1, frame_start=1, frame_end=10)


@pytest.mark.parametrize("touch", TOUCHES)
def test_a_scene_that_somebody_set_up_stays(touch: str, small_scene: Path, tmp_path: Path) -> None:
    scene = bpy.context.scene
    matching = module("project.matching")
    assert matching.untouched(scene)
    TOUCHES[touch](scene)
    assert not matching.untouched(scene)
    numbers = _numbers(scene)
    place(changed(small_scene, tmp_path / "ntsc.ex4d", fps=[24000, 1001]))
    assert _numbers(scene) == numbers


def _numbers(scene: bpy.types.Scene) -> tuple:
    render = scene.render
    return (render.fps, render.fps_base, render.resolution_x, render.resolution_y, render.pixel_aspect_x,
            scene.frame_start, scene.frame_end)  # fmt: skip


def test_a_second_footage_changes_nothing(small_scene: Path, tmp_path: Path) -> None:
    place(small_scene)
    numbers = _numbers(bpy.context.scene)
    place(changed(small_scene, tmp_path / "fast.ex4d", fps=[60, 1]))
    assert _numbers(bpy.context.scene) == numbers


def shown(frame: int) -> float:
    """The clip frame that the mesh shows, as its drivers say."""
    bpy.context.scene.frame_set(frame)
    placed = module("placed").required(bpy.context)
    empty = placed.empty.evaluated_get(bpy.context.evaluated_depsgraph_get())
    return empty[module("mesh.retiming").SOURCE_FRAME]


def test_a_scene_that_starts_at_1001(small_scene: Path) -> None:
    scene = bpy.context.scene
    scene.frame_start, scene.frame_end = 1001, 1100
    placed = place(small_scene)
    assert placed.frame_start == 1001
    assert [shown(frame) for frame in (1000, 1001, 1004, 1008, 1020)] == [0, 0, 3, 7, 7]
    assert bpy.ops.ex4d.match_scene() == {"FINISHED"}
    assert (scene.frame_start, scene.frame_end) == (1001, 1008)


def test_matching_keeps_the_frame_it_was_placed_on(small_scene: Path) -> None:
    placed = place(small_scene, frame_start=51)
    assert placed.frame_start == 51
    assert (bpy.context.scene.frame_start, bpy.context.scene.frame_end) == (51, 58)


@pytest.mark.parametrize("operator", ["import_scene", "import_footage"])
def test_footage_may_start_before_the_scene_can(operator: str, small_scene: Path) -> None:
    scene = bpy.context.scene
    options = {"directory": str(small_scene)} if operator == "import_scene" else {"filepath": str(small_scene)}
    assert getattr(bpy.ops.ex4d, operator)(**options, frame_start=-3) == {"FINISHED"}
    placed = module("placed").required(bpy.context)
    assert placed.frame_start == -3
    assert (scene.frame_start, scene.frame_end) == (0, 4), "a Blender scene begins at 0"
    assert [shown(frame) for frame in (-3, 0, 4)] == [0, 3, 7]
    assert all(row.same for row in module("project.matching").compare(scene, placed))
    left_out = module("project.matching").match_scene(scene, placed)
    assert "from frame -3 to 4, the scene from 0 to 4" in left_out


@pytest.mark.parametrize("start", [-900_001, 5_000_000])
def test_a_start_frame_beyond_measure_is_refused(start: int, small_scene: Path) -> None:
    for call in (
        lambda: bpy.ops.ex4d.import_scene(directory=str(small_scene), frame_start=start),
        lambda: bpy.ops.ex4d.import_footage(filepath=str(small_scene), frame_start=start),
    ):
        with pytest.raises(RuntimeError, match=f"start frame is {start}: give one from -900000 to 900000"):
            call()
    assert not bpy.data.objects


def test_footage_that_no_scene_s_range_reaches_is_said(small_scene: Path) -> None:
    scene = bpy.context.scene
    numbers = _numbers(scene)
    placed = place(small_scene, frame_start=-50)
    assert placed.frame_start == -50
    assert _numbers(scene) == numbers
    for start in (-50.0, 2e6):
        placed.empty["Frame Start"] = start
        with pytest.raises(RuntimeError, match="give the footage another Start Frame"):
            bpy.ops.ex4d.match_scene()
        assert _numbers(scene) == numbers
    placed.empty["Frame Start"] = 1048570.0
    assert bpy.ops.ex4d.match_scene() == {"FINISHED"}
    assert (scene.frame_start, scene.frame_end) == (1048570, 1048574)


def test_retiming_keeps_the_speed(small_scene: Path, tmp_path: Path) -> None:
    scene = bpy.context.scene
    scene.render.fps = 48
    scene.frame_start = 11
    placed = place(small_scene)  # 24 frames a second
    assert bpy.ops.ex4d.retime() == {"FINISHED"}
    assert placed.empty["Speed"] == pytest.approx(0.5)
    assert scene.render.fps == 48
    assert [shown(frame) for frame in (11, 12, 13, 15, 25, 60)] == [0, 1, 1, 2, 7, 7]
    assert module("project.matching").frame_range(placed, placed.facts(), 0.5) == (11, 25)
    assert bpy.ops.ex4d.keep_scene() == {"FINISHED"}
    assert [shown(frame) for frame in (11, 12, 15)] == [0, 1, 4]


def test_retiming_television_to_film_loses_one_frame_in_a_thousand(small_scene: Path, tmp_path: Path) -> None:
    scene = bpy.context.scene
    scene.render.fps_base = 1.001
    placed = place(small_scene)
    bpy.ops.ex4d.retime()
    assert placed.empty["Speed"] == pytest.approx(1.001, rel=1e-6)


def test_a_camera_with_its_own_source_time_is_not_retimed(small_scene: Path) -> None:
    scene = bpy.context.scene
    scene.render.fps = 48
    placed = place(small_scene)
    placed.source_camera["Source Time"] = 5.0
    placed.source_camera.update_tag()
    bpy.ops.ex4d.retime()
    assert [shown(frame) for frame in (1, 3, 9)] == [5, 5, 5]


def test_an_anamorphic_scene_is_said_and_squared(small_scene: Path) -> None:
    scene = bpy.context.scene
    scene.render.pixel_aspect_x = 2.0
    placed = place(small_scene)
    rows = {row.name: row for row in module("project.matching").compare(scene, placed)}
    assert not rows["Pixels"].same
    assert rows["Pixels"].scene == "2 : 1"
    bpy.ops.ex4d.match_scene()
    assert (scene.render.pixel_aspect_x, scene.render.pixel_aspect_y) == (1.0, 1.0)
    assert all(row.same for row in module("project.matching").compare(scene, placed))


def test_the_render_percentage_stays_the_artists(small_scene: Path) -> None:
    bpy.context.scene.render.resolution_percentage = 50
    place(small_scene)
    bpy.ops.ex4d.match_scene()
    assert bpy.context.scene.render.resolution_percentage == 50


def test_each_choice_can_be_undone(small_scene: Path, undo_steps: None) -> None:
    scene = bpy.context.scene
    scene.render.fps = 25
    place(small_scene)
    bpy.ops.ed.undo_push(message="Import Scene")
    bpy.ops.ex4d.match_scene()
    bpy.ops.ed.undo_push(message="Match")
    assert bpy.context.scene.render.fps == 24
    bpy.ops.ed.undo()
    assert bpy.context.scene.render.fps == 25
    bpy.ops.ed.redo()
    assert bpy.context.scene.render.fps == 24
    assert all(
        row.same
        for row in module("project.matching").compare(bpy.context.scene, module("placed").required(bpy.context))
    )


def test_without_footage_the_buttons_are_grey() -> None:
    for operator in (bpy.ops.ex4d.match_scene, bpy.ops.ex4d.keep_scene, bpy.ops.ex4d.retime):
        assert not operator.poll()


_ODD_CLIP = """
import sys
from fractions import Fraction
import av
import numpy as np
kind, video = sys.argv[1:]
with av.open(video, "w") as out:
    stream = out.add_stream("libx264", rate=25, options={"crf": "20"})
    stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
    stream.time_base = Fraction(1, 1000)
    if kind == "anamorphic":
        stream.sample_aspect_ratio = Fraction(2, 1)
    clock = 0
    for i in range(12):
        frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 20 * i, np.uint8), "rgb24")
        frame.pts, frame.time_base = clock, Fraction(1, 1000)
        clock += (40 if kind == "anamorphic" or i % 3 else 90)
        out.mux(stream.encode(frame))
    out.mux(stream.encode())
"""


@pytest.fixture(scope="module")
def odd_clips(library_python: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Scenes imported by the library from footage of odd shape: anamorphic 2:1, and of a variable rate."""
    folder, found = tmp_path_factory.mktemp("odd"), {}
    for kind in ("anamorphic", "variable"):
        video = folder / f"{kind}.mkv"
        library(library_python, _ODD_CLIP, kind, video)
        found[kind] = folder / f"{kind}.ex4d"
        ex4d(library_python, "import", video, "--plate", "-o", found[kind])
    return found


def test_anamorphic_footage_stands_unsqueezed(odd_clips: dict[str, Path]) -> None:
    scene = bpy.context.scene
    placed = place(odd_clips["anamorphic"])
    facts = placed.facts()
    assert facts.plate_size == (128, 48)
    assert (scene.render.resolution_x, scene.render.resolution_y) == (128, 48)
    assert scene.render.pixel_aspect_x == scene.render.pixel_aspect_y == 1.0


def test_footage_of_a_variable_rate_has_one_rate(odd_clips: dict[str, Path]) -> None:
    scene = bpy.context.scene
    placed = place(odd_clips["variable"])
    facts = placed.facts()
    assert any("variable frame rate" in note for note in facts.notes)
    assert module("project.rates").scene_rate(scene) == facts.fps
    assert scene.frame_end == facts.frames
