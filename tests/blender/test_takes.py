"""Takes in the list of a shot, what they are accepted as, and where their files lie."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import bpy
import numpy as np
import pytest
from conftest import module
from painted_takes import write_take
from shot_cases import add_camera
from take_cases import paint, tell
from test_mesh_fidelity import pixels, rendered, set_up
from test_panels import drawn, options

SIZE = (32, 18)


def new_shot(name: str = "Shot 010") -> Any:
    scene = bpy.context.scene
    scene.render.resolution_x, scene.render.resolution_y = SIZE
    scene.camera = add_camera(name)
    return module("shots.properties").add_shot(scene, name, scene.camera, (1, 4))


def folder_of(take: Any) -> Path:
    return module("shots.takes").folder_of(take)


def used(use: str) -> list[Path]:
    """The folders of the images that show takes."""
    found = [image for image in bpy.data.images if image.get("ex4d_use") == use]
    return [module("placed").absolute(image.filepath).parent.parent for image in found]


def test_the_list(tmp_path: Path) -> None:
    shot = new_shot()
    for number, folder in ((1, "a"), (4, "b"), (4, "c")):
        tell(paint(tmp_path / folder, SIZE), shot.key, number, seed=number)
        assert bpy.ops.ex4d.import_result(directory=str(tmp_path / folder)) == {"FINISHED"}
    takes = module("shots.takes")
    assert [(take.number, take.name) for take in shot.takes] == [(1, "take_001"), (4, "take_004"), (5, "take_005")]
    assert (takes.next_number(shot), takes.active_take(shot).name, shot.active_take) == (6, "take_005", 2)
    assert len({take.key for take in shot.takes}) == 3
    bpy.ops.ex4d.import_result(directory=str(tmp_path / "a"))  # once more: it is there already
    assert (len(shot.takes), shot.active_take) == (3, 0)
    assert takes.find_take(shot, shot.takes[1].key).name == "take_004"
    bpy.ops.ex4d.remove_take()
    assert [take.number for take in shot.takes] == [4, 5]
    assert (tmp_path / "a/take.json").is_file()
    bpy.ops.ex4d.remove_take()
    bpy.ops.ex4d.remove_take()
    assert not bpy.ops.ex4d.remove_take.poll()
    with pytest.raises(RuntimeError, match="no take yet"):
        bpy.ops.ex4d.accept_take(use={"PLANE"})


def test_which_shot_a_result_belongs_to(tmp_path: Path) -> None:
    first, second = new_shot("A").key, new_shot("B").key
    scene = bpy.context.scene
    counts = lambda: [len(shot.takes) for shot in scene.ex4d_shots]  # noqa: E731
    bpy.ops.ex4d.import_result(directory=str(tell(paint(tmp_path / "1", SIZE), first)))
    assert (counts(), scene.ex4d_active_shot) == ([1, 0], 0)  # its own, whichever is active
    scene.ex4d_active_shot = 1
    bpy.ops.ex4d.import_result(directory=str(tell(paint(tmp_path / "2", SIZE), "gone")))
    assert counts() == [1, 1]  # the active one
    bpy.ops.ex4d.import_result(directory=str(tell(paint(tmp_path / "3", SIZE), second)), shot="A")
    assert counts() == [2, 1]  # the one asked for
    with pytest.raises(RuntimeError, match="no shot 'C'"):
        bpy.ops.ex4d.import_result(directory=str(tmp_path / "3"), shot="C")


def test_bad_folders(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="no finished shot"):
        bpy.ops.ex4d.import_result(directory=str(tmp_path))
    with pytest.raises(RuntimeError, match="give directory"):
        bpy.ops.ex4d.import_result()
    take = paint(tmp_path / "take", SIZE)
    (take / "output/000003.png").unlink()
    with pytest.raises(RuntimeError, match="000003.png is missing"):
        bpy.ops.ex4d.import_result(directory=str(take), use={"PLANE"})
    assert not bpy.context.scene.ex4d_shots
    (take / "output/000000.png").write_bytes(b"no picture")
    shutil.copy(take / "output/000002.png", take / "output/000003.png")
    with pytest.raises(RuntimeError, match="000000.png cannot be read"):
        bpy.ops.ex4d.import_result(directory=str(take), use={"PLANE"})
    assert not bpy.data.images


def test_another_take_in_every_scene(tmp_path: Path) -> None:
    """One click: planes, background, strips of two scenes, and nothing of another shot."""
    shot = new_shot()
    first = tell(paint(tmp_path / "take_001", SIZE), shot.key)
    bpy.ops.ex4d.import_result(directory=str(first), use={"PLANE", "BACKGROUND", "SEQUENCER"})
    main, data = bpy.context.scene, shot.camera.data
    (plane,) = (thing for thing in main.objects if thing.get("ex4d_use") == "PLANE")
    plane["Distance"], plane.rotation_euler.z = 3.25, 0.5
    data.background_images[0].alpha = 0.25
    other = bpy.data.scenes.new("Other")
    copy = plane.copy()
    other.collection.objects.link(copy)
    copy["Distance"] = 8.0
    key = shot.key
    stranger = new_shot("Shot 020").key
    bpy.ops.ex4d.import_result(directory=str(tell(paint(tmp_path / "stranger", SIZE), stranger)), use={"PLANE"})
    bpy.context.scene.ex4d_active_shot = 0
    # Of another size, longer, elsewhere in time.
    second = paint(tmp_path / "take_002", (48, 24), frames=6, frame_start=3, overscan=0.5)
    tell(second, key, 2, overscan=0.5, size=list(SIZE))
    bpy.ops.ex4d.import_result(directory=str(second))
    assert used("BACKGROUND") == [first]
    assert bpy.ops.ex4d.replace_take() == {"FINISHED"}
    assert sorted(path.name for path in used("PLANE")) == ["stranger", "take_002"]
    assert used("BACKGROUND") == [second]
    planes = [thing for thing in bpy.data.objects if thing.get("ex4d_shot") == key]
    assert sorted(thing["Distance"] for thing in planes) == [3.25, 8.0]
    assert all(Path(thing["ex4d_take"]).name == "take_002" for thing in planes)
    assert plane.rotation_euler.z == 0.5
    plane.rotation_euler.z = 0.0
    (background,) = data.background_images
    assert (background.alpha, background.image_user.frame_start, background.image_user.frame_duration) == (0.25, 3, 6)
    (strip,) = module("versions.strips").all_strips(main)
    assert module("versions.strips").handles(strip) == (3, 9)
    set_up("CYCLES", *SIZE)
    main.camera = shot.camera
    main.render.use_sequencer = False
    copy.hide_render = True
    image = rendered(tmp_path / "view.png", 8)
    assert np.abs(image - pixels(second / "output/000005.png")[3:21, 8:40])[..., :3].mean() < 0.05
    main.ex4d_shots[0].active_take = 0
    bpy.ops.ex4d.replace_take()
    image = rendered(tmp_path / "view.png", 2)
    assert np.abs(image - pixels(first / "output/000001.png"))[..., :3].mean() < 0.05


def test_nothing_to_replace(tmp_path: Path) -> None:
    shot = new_shot()
    bpy.ops.ex4d.import_result(directory=str(tell(paint(tmp_path / "take_001", SIZE), shot.key)))
    with pytest.raises(RuntimeError, match="Nothing shows Shot 010 yet"):
        bpy.ops.ex4d.replace_take()


def test_what_cannot_be_replaced_leaves_all_as_it_was(library_python: str, tmp_path: Path) -> None:
    shot, grey = new_shot(), np.full((4, SIZE[1], SIZE[0], 3), 99, np.uint8)
    for number, name in enumerate(("take_001", "take_002"), 1):
        depth = np.ones(grey.shape[:3], np.float32)
        write_take(library_python, tmp_path / name, grey, depth > 0, depth, exr=number == 2, shot=shot.key)
        uses = {"PLANE", "BACKGROUND", "COMPOSITOR", "SEQUENCER"} if number == 1 else set()
        bpy.ops.ex4d.import_result(directory=str(tmp_path / name), use=uses)
    second = tmp_path / "take_002"
    exr, png = second / "exr/000000.exr", second / "output/000000.png"
    for file, content in ((exr, b"x" * 10_000), (png, png.read_bytes()[:30])):
        whole = file.read_bytes()
        file.write_bytes(content)
        with pytest.raises(RuntimeError, match=f"{file.name} cannot be read"):
            bpy.ops.ex4d.replace_take()
        with pytest.raises(RuntimeError, match=f"{file.name} cannot be read"):
            bpy.ops.ex4d.accept_take(use={"PLANE", "COMPOSITOR"})
        file.write_bytes(whole)
    shutil.rmtree(second / "exr")
    (second / "mask.mp4").rename(second / "away.mp4")
    with pytest.raises(RuntimeError, match=r"mask\.mp4 is missing"):
        bpy.ops.ex4d.replace_take()
    assert {folder.name for use in ("PLANE", "BACKGROUND") for folder in used(use)} == {"take_001"}
    (second / "away.mp4").rename(second / "mask.mp4")
    assert bpy.ops.ex4d.replace_take() == {"FINISHED"}
    assert {folder.name for use in ("PLANE", "BACKGROUND") for folder in used(use)} == {"take_002"}


def test_a_linked_camera_keeps_no_background(tmp_path: Path) -> None:
    add_camera("Linked")
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "library.blend"))
    bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
    with bpy.data.libraries.load(str(tmp_path / "library.blend"), link=True) as (_, wanted):
        wanted.objects = ["Linked"]
    scene, camera = bpy.context.scene, bpy.data.objects["Linked"]
    scene.collection.objects.link(camera)
    module("shots.properties").add_shot(scene, "Shot 010", camera, (1, 4))
    take = str(paint(tmp_path / "take_001", SIZE))
    with pytest.raises(RuntimeError, match="is linked from another file"):
        bpy.ops.ex4d.import_result(directory=take, use={"BACKGROUND"})
    assert not bpy.data.images
    assert bpy.ops.ex4d.import_result(directory=take, use={"PLANE"}) == {"FINISHED"}


@pytest.mark.parametrize("lost", ["image", "node", "group"])
def test_a_plane_that_lost_its_take_says_so(tmp_path: Path, lost: str) -> None:
    shot = new_shot()
    for number, size in ((1, SIZE), (2, (48, 24))):
        bpy.ops.ex4d.import_result(directory=str(tell(paint(tmp_path / f"take_{number}", size), shot.key, number)))
        if number == 1:
            bpy.ops.ex4d.accept_take(use={"PLANE"})
    (sampler,) = (group for group in bpy.data.node_groups if group.get("ex4d_use") == "PLANE")
    if lost == "image":
        for image in list(bpy.data.images):
            bpy.data.images.remove(image)
    elif lost == "node":
        for node in [node for node in sampler.nodes if node.type == "TEX_IMAGE"]:
            sampler.nodes.remove(node)
    else:
        bpy.data.node_groups.remove(sampler)
    for call in (bpy.ops.ex4d.replace_take, bpy.ops.ex4d.accept_take):
        with pytest.raises(RuntimeError, match="has lost pictures or nodes of its take: delete the plane"):
            call()
    (plane,) = (thing for thing in bpy.data.objects if thing.get("ex4d_use") == "PLANE")
    bpy.data.objects.remove(plane)
    assert bpy.ops.ex4d.accept_take(use={"PLANE"}) == {"FINISHED"}
    assert bpy.ops.ex4d.replace_take() == {"FINISHED"}


def test_the_artist_s_own_backgrounds_stay(tmp_path: Path) -> None:
    shot = new_shot()
    data = shot.camera.data
    own = data.background_images.new()
    own.image = bpy.data.images.new("Mine", 8, 8)
    for number in (1, 2):
        take = tell(paint(tmp_path / f"take_00{number}", SIZE), shot.key, number)
        bpy.ops.ex4d.import_result(directory=str(take), use={"BACKGROUND"})
    assert data.background_images[0].image.name == "Mine"
    assert len(data.background_images) == 2
    assert used("BACKGROUND") == [take]
    assert data.show_background_images
    shot.camera = add_camera("Other")  # the shot's camera is another one now
    bpy.ops.ex4d.accept_take(use={"BACKGROUND"})
    assert [each.image.name for each in data.background_images] == ["Mine"]
    assert len(shot.camera.data.background_images) == 1


@pytest.mark.parametrize(
    ("size", "overscan", "render", "fit"),
    [
        ((32, 18), 0.0, (64, 36), "AUTO"),
        ((32, 18), 0.25, (32, 18), "AUTO"),
        ((32, 18), 0.0, (32, 32), "HORIZONTAL"),
        ((32, 32), 0.1, (64, 36), "HORIZONTAL"),
        ((32, 18), 0.0, (32, 32), "VERTICAL"),
        ((40, 20), 0.5, (30, 40), "VERTICAL"),
    ],
)
@pytest.mark.parametrize("aspect", [(1.0, 1.0), (2.0, 1.0)])
def test_a_background_lies_where_the_plane_does(
    tmp_path: Path,
    size: tuple[int, int],
    overscan: float,
    render: tuple[int, int],
    fit: str,
    aspect: tuple[float, float],
) -> None:
    """Blender's own rule for drawing a background (fit, stretch, scale), against the corners of the plane."""
    shot = new_shot()
    scene, camera = bpy.context.scene, shot.camera
    camera.data.sensor_fit = fit
    scene.render.resolution_x, scene.render.resolution_y = render
    scene.render.pixel_aspect_x, scene.render.pixel_aspect_y = aspect
    whole = tuple(2 * round(side * (1 + overscan) / 2) for side in size)
    take = tell(paint(tmp_path / "take_001", whole), shot.key, overscan=overscan, size=list(size))
    bpy.ops.ex4d.import_result(directory=str(take), use={"PLANE", "BACKGROUND"})
    (plane,) = (thing for thing in scene.objects if thing.get("ex4d_use") == "PLANE")
    (background,) = camera.data.background_images
    bpy.context.view_layer.update()
    corners = np.array(camera.data.view_frame(scene=scene))
    frame = np.ptp(corners, axis=0)[:2] / -corners[0, 2]  # at distance 1
    image = whole[0] / whole[1] * background.image.display_aspect[0] / background.image.display_aspect[1]
    if background.frame_method == "STRETCH":
        drawn = frame * background.scale
    else:
        assert background.frame_method == "FIT"
        width = min(frame[0], frame[1] * image)
        drawn = np.array([width, width / image]) * background.scale
    local = camera.matrix_world.inverted() @ plane.matrix_world
    stands = np.array([local.to_scale().x, local.to_scale().y]) / -local.translation.z
    assert np.allclose(drawn, stands, rtol=1e-4)


def test_files_are_found_after_saving_elsewhere_and_moving(tmp_path: Path, undo_steps: None) -> None:
    work = tmp_path / "work"
    take = paint(work / "file.shots/Shot 010/take_001", SIZE)
    shot = new_shot()
    bpy.ops.ex4d.import_result(directory=str(take), use={"PLANE", "BACKGROUND", "SEQUENCER"})
    assert folder_of(shot.takes[0]) == take
    bpy.ops.ed.undo_push(message="Before")
    bpy.ops.wm.save_as_mainfile(filepath=str(work / "file.blend"))
    bpy.ops.ed.undo_push(message="After")

    def check(there: Path) -> None:
        (shot,) = bpy.context.scene.ex4d_shots
        assert folder_of(shot.takes[0]) == there
        assert used("PLANE") == used("BACKGROUND") == [there]
        (strip,) = module("versions.strips").all_strips(bpy.context.scene)
        assert module("placed").absolute(strip.directory) == there / "output"
        for thing in (strip, *(thing for thing in bpy.data.objects if "ex4d_take" in thing)):
            assert module("placed").absolute(thing["ex4d_take"]) == there

    check(take)
    assert bpy.context.scene.ex4d_shots[0].takes[0].folder.startswith("//")
    (tmp_path / "deep/er").mkdir(parents=True)
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "deep/er/copy.blend"), copy=True)
    check(take)
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "deep/er/file.blend"))
    check(take)
    bpy.ops.ed.undo_push(message="More")
    bpy.ops.ed.undo()
    bpy.ops.ed.undo()
    check(take)  # undone past the save, into a state whose paths were relative to the other folder
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "deep/er/copy.blend"))
    check(take)
    shutil.move(work, tmp_path / "moved")  # the project as a whole
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "moved/file.blend"))
    moved = tmp_path / "moved/file.shots/Shot 010/take_001"
    check(moved)
    elsewhere = tmp_path / "archive/take_001"
    shutil.move(moved, elsewhere)
    assert not module("takes.listing").is_there(bpy.context.scene.ex4d_shots[0].takes[0])
    with pytest.raises(RuntimeError, match="no finished shot"):
        bpy.ops.ex4d.relink_take(directory=str(tmp_path))
    bpy.ops.ex4d.relink_take(directory=str(elsewhere.parent))
    check(elsewhere)


def test_they_survive_save_and_reload(tmp_path: Path) -> None:
    shot = new_shot()
    bpy.ops.ex4d.import_result(directory=str(tell(paint(tmp_path / "take_001", SIZE), shot.key, 7, seed=3)))
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "file.blend"))
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "file.blend"))
    (shot,) = bpy.context.scene.ex4d_shots
    take = module("shots.takes").active_take(shot)
    assert (take.number, take.name, take.frame_start) == (7, "take_007", 1)
    facts = module("takes.listing").facts_of(take)
    assert (facts.folder, facts.settings["seed"]) == (tmp_path / "take_001", 3)


def test_the_panel(tmp_path: Path) -> None:
    assert {"Takes", "ex4d.import_result"} <= set(drawn())
    shot = new_shot()
    assert "ex4d.accept_take" not in drawn()
    take = tell(paint(tmp_path / "take_001", SIZE), shot.key)
    bpy.ops.ex4d.import_result(directory=str(take))
    seen = drawn()
    assert {"name", "Plane", "Background", "Compositor", "Strip", "ex4d.replace_take", "ex4d.remove_take"} <= set(seen)
    assert "ex4d.relink_take" not in seen
    take.rename(tmp_path / "gone")
    seen = drawn()
    assert {"Its folder is missing:", "ex4d.relink_take"} <= set(seen)
    assert "ex4d.replace_take" not in seen
    for name in ("accept_take", "replace_take", "import_result", "remove_take", "relink_take"):
        assert "UNDO" in options(name), name


def test_each_button_says_what_it_does(tmp_path: Path) -> None:
    kind = module("use.operators").EX4D_OT_accept_take
    said = {use: kind.description(bpy.context, SimpleNamespace(use={use})) for use in module("use").USES}
    assert len(set(said.values())) == len(said) == 5
    both = kind.description(bpy.context, SimpleNamespace(use={"PLANE", "SEQUENCER"}))
    assert both == kind.bl_description
