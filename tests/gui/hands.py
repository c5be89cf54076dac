"""The artist's hands in a real Blender window: clicks, keys and Esc, and what stands on the screen then.

Runs inside Blender, started by `test_hands.py` through `scripts/blender_window.py`, with one argument: a JSON file that
names the zip, a scene folder and a folder for pictures and `hands.json`.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

import bpy
from bpy_extras.view3d_utils import location_3d_to_region_2d
from mathutils import Vector
from screen import save_screen

TASK = json.loads(Path(sys.argv[sys.argv.index("--") + 1]).read_text("utf-8"))
OUT = Path(TASK["out"])
found: dict[str, Any] = {"blender": bpy.app.version_string}
bpy.context.preferences.view.show_splash = False


def module(name: str) -> Any:
    """A module of the installed extension."""
    return importlib.import_module(f"bl_ext.user_default.ex4d.{name}")


def window() -> bpy.types.Window:
    """The one window."""
    return bpy.context.window_manager.windows[0]


def override(space: str = "VIEW_3D") -> Any:
    """The context of an area, as if the mouse were over it."""
    area = next(area for area in window().screen.areas if area.type == space)
    region = next(one for one in area.regions if one.type == "WINDOW")
    return bpy.context.temp_override(window=window(), screen=window().screen, area=area, region=region)


def picture(name: str) -> Iterator[float]:
    """Let Blender draw, and take a picture of the screen."""
    for area in window().screen.areas:
        area.tag_redraw()
    yield 1.5
    save_screen(OUT / f"{name}.png")


def key(name: str, **held: bool) -> Iterator[float]:
    """Press a key and let it go, the mouse where it is."""
    for value in ("PRESS", "RELEASE"):
        window().event_simulate(name, value, **({"x": mouse[0], "y": mouse[1]} if mouse else {}), **held)
        yield 0.3


mouse: list[int] = []


def click(point: Vector) -> Iterator[float]:
    """Click on a point of the world, as the viewport shows it."""
    with override():
        region = bpy.context.region
        at = location_3d_to_region_2d(region, bpy.context.space_data.region_3d, point)
        x, y = int(region.x + at.x), int(region.y + at.y)
    mouse[:] = x, y
    window().event_simulate("MOUSEMOVE", "NOTHING", x=x, y=y)
    yield 0.2
    for value in ("PRESS", "RELEASE"):
        window().event_simulate("LEFTMOUSE", value, x=x, y=y)
        yield 0.3


def until(condition: Callable[[], object], what: str) -> Iterator[float]:
    """Give Blender's main loop time until something holds."""
    stop = time.monotonic() + 180
    while not condition():
        assert time.monotonic() < stop, f"waited in vain for {what}"
        yield 0.1


def steps() -> Iterator[float]:
    """Each yield gives control back to Blender for so many seconds."""
    bpy.ops.extensions.package_install_files(repo="user_default", filepath=TASK["zip"], enable_on_install=True)
    for thing in list(bpy.data.objects):
        bpy.data.objects.remove(thing)
    bpy.ops.ed.undo_push(message="Empty")
    with override():
        bpy.ops.ex4d.import_scene("EXEC_DEFAULT", True, directory=TASK["scene"], frame_start=1)
        space = bpy.context.space_data
        space.shading.light, space.shading.color_type = "FLAT", "TEXTURE"
        space.region_3d.view_perspective = "CAMERA"
        bpy.ops.view3d.view_center_camera()
    yield 2.0
    yield from pick_ground()
    yield from pick_and_stop()
    yield from nothing_is_placed_meanwhile()
    yield from another_aspect()
    yield from export_and_stop()
    yield from worst_frame_by_key()
    (OUT / "hands.json").write_text(json.dumps(found, indent=1))


def footage() -> Any:
    """The one footage."""
    return module("placed").all_placed(bpy.context.scene)[0]


def places(*shares: tuple[float, float]) -> list[Vector]:
    """Points of the mesh, by shares of the frame's width and height."""
    mesh = footage().mesh.evaluated_get(bpy.context.evaluated_depsgraph_get())
    width, height = footage().facts().width, footage().facts().height
    numbers = [int(v * (height - 1)) * width + int(u * (width - 1)) for u, v in shares]
    return [mesh.matrix_world @ mesh.data.vertices[number].co for number in numbers]


def pick_ground() -> Iterator[float]:
    """Set Ground: three clicks on the floor; one taken back."""
    floor = places((0.2, 0.9), (0.8, 0.9), (0.5, 0.8))
    with override():
        bpy.ops.ex4d.pick_ground("INVOKE_DEFAULT")
    yield 0.3
    yield from click(floor[0])
    yield from click(floor[2])
    yield from key("BACK_SPACE")
    yield from click(floor[1])
    yield from picture("6_picking")
    yield from click(floor[2])
    yield 0.5
    heights = [place.z for place in places((0.2, 0.9), (0.8, 0.9), (0.5, 0.8))]
    found["ground"] = max(map(abs, heights))
    assert found["ground"] < 0.05, heights
    assert not modal_now()
    bpy.ops.ed.undo()
    yield 0.5
    assert max(abs(place.z) for place in places((0.2, 0.9), (0.8, 0.9), (0.5, 0.8))) > 0.5, "undo takes it back"


def pick_and_stop() -> Iterator[float]:
    """Esc leaves all as it was."""
    before = footage().empty.matrix_world.copy()
    with override():
        bpy.ops.ex4d.pick_scale("INVOKE_DEFAULT")
    yield 0.3
    yield from click(places((0.3, 0.8))[0])
    assert modal_now()
    yield from key("ESC")
    assert not modal_now()
    assert footage().empty.matrix_world == before


def modal_now() -> list[str]:
    """What is modal now."""
    return [operator.bl_idname for operator in window().modal_operators]


def nothing_is_placed_meanwhile() -> Iterator[float]:
    """While the artist drags something, plays, or renders, nothing by itself."""
    may_change = module("unasked").may_change
    assert may_change()
    footage().empty.select_set(True)
    with override():
        bpy.ops.transform.translate("INVOKE_DEFAULT")
    yield 0.3
    assert not may_change()
    yield from key("ESC")
    assert may_change()
    with override():
        bpy.ops.screen.animation_play()
    yield 0.3
    assert not may_change()
    with override():
        bpy.ops.screen.animation_cancel()
    yield 0.3
    assert may_change()
    scene = bpy.context.scene
    scene.render.engine, scene.cycles.samples, scene.cycles.use_adaptive_sampling = "CYCLES", 16, False
    scene.cycles.use_denoising = False
    bpy.context.preferences.view.render_display_type = "NONE"
    with override():
        bpy.ops.render.render("INVOKE_DEFAULT")
    yield from until(lambda: bpy.app.is_job_running("RENDER"), "the render to begin")
    assert not may_change()
    yield from until(lambda: not bpy.app.is_job_running("RENDER"), "the render to end")
    window().event_simulate("MOUSEMOVE", "NOTHING", x=mouse[0] + 9, y=mouse[1] + 9)  # its operator ends with an event
    yield from until(may_change, "the render's own operator to end")


def another_aspect() -> Iterator[float]:
    """A shot of another shape than the render shows its frame in the camera view."""
    with override():
        bpy.ops.ex4d.new_shot("EXEC_DEFAULT", True, preset="ARC")
        view = bpy.context.space_data.region_3d
        view.view_perspective, view.view_camera_zoom = "CAMERA", -12  # a square reaches over the render's frame
    shot = module("shots").active_shot(bpy.context.scene)
    yield from picture("6_same_aspect")
    shot.width, shot.height = 480, 480
    yield from picture("6_other_aspect")
    shot.width, shot.height = bpy.context.scene.render.resolution_x, bpy.context.scene.render.resolution_y


def export_and_stop() -> Iterator[float]:
    """A camera that must be swept through the scene: the export shows its progress, and Esc stops it."""
    scene = bpy.context.scene
    camera = scene.camera
    driver = camera.driver_add("delta_location", 0).driver
    variable = driver.variables.new()
    variable.name = "frame"
    variable.targets[0].id_type, variable.targets[0].id = "SCENE", scene
    variable.targets[0].data_path = "frame_current"
    driver.expression = "frame * 0.01"
    scene.frame_set(7)
    target = OUT / "swept.json"
    target.unlink(missing_ok=True)
    with override():
        bpy.ops.ex4d.export_trajectory("INVOKE_DEFAULT", filepath=str(target))
    yield 0.15
    assert "EX4D_OT_export_trajectory" in modal_now(), modal_now()
    yield from key("ESC")
    assert not modal_now()
    assert not target.exists(), "stopped, and written"
    assert scene.frame_current == 7
    with override():
        bpy.ops.ex4d.export_trajectory("INVOKE_DEFAULT", filepath=str(target))
    yield from until(target.exists, "the trajectory")
    yield 0.3
    frames = json.loads(target.read_text())["frames"]
    found["swept_frames"] = len(frames)
    assert len(frames) == scene.frame_end - scene.frame_start + 1
    assert scene.frame_current == 7


def worst_frame_by_key() -> Iterator[float]:
    """Ctrl Alt Down, over the timeline."""
    scene = bpy.context.scene
    scene.camera["Unseen"] = 0.0
    for frame, share in ((1, 0.0), (20, 0.6), (40, 0.2)):
        scene.camera["Unseen"] = share
        scene.camera.keyframe_insert('["Unseen"]', frame=frame)
    scene.frame_set(1)
    area = next(area for area in window().screen.areas if area.type in ("DOPESHEET_EDITOR", "TIMELINE"))
    mouse[:] = area.x + area.width // 2, area.y + area.height // 2
    window().event_simulate("MOUSEMOVE", "NOTHING", x=mouse[0], y=mouse[1])
    yield 0.3
    yield from key("DOWN_ARROW", ctrl=True, alt=True)
    found["worst_frame"] = scene.frame_current
    assert scene.frame_current == 20, scene.frame_current
    yield from picture("6_worst_frame")


def tick() -> float:
    """Called by Blender's timer."""
    try:
        return next(_running)
    except StopIteration:
        os._exit(0)
    except BaseException:
        traceback.print_exc(file=sys.stdout)
        save_screen(OUT / "hands_failed.png")
        sys.stdout.flush()
        os._exit(1)


_running = steps()
bpy.app.timers.register(tick, first_interval=1.0, persistent=True)
