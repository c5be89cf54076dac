"""Steps 1 to 4 of the extension in a real Blender window, as an artist goes them; runs inside Blender.

Started by `test_windows.py` through `scripts/blender_window.py`, with one argument: a JSON file that names the zip,
the clip, its depth, the sidecar and a folder for results. Each step saves a picture of the screen there, `walk.json`
has what was measured. Ends Blender with exit code 0, or 1 and a traceback on stdout.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

import bpy
from screen import save_screen

TASK = json.loads(Path(sys.argv[sys.argv.index("--") + 1]).read_text("utf-8"))
OUT = Path(TASK["out"])
EXTENSION = "bl_ext.user_default.ex4d"
PATIENCE_SECONDS = 240.0
bpy.context.preferences.view.show_splash = False  # in a timer it is too late
measured: dict[str, Any] = {"blender": bpy.app.version_string}


def override(space: str = "VIEW_3D", region: str = "WINDOW") -> Any:
    """The context of an area, as if the mouse were over it."""
    window = bpy.context.window_manager.windows[0]
    area = next(area for area in window.screen.areas if area.type == space)
    found = next(one for one in area.regions if one.type == region)
    return bpy.context.temp_override(window=window, screen=window.screen, area=area, region=found)


def viewport() -> bpy.types.SpaceView3D:
    """The 3D viewport."""
    window = bpy.context.window_manager.windows[0]
    return next(area.spaces.active for area in window.screen.areas if area.type == "VIEW_3D")


def sidebar() -> Iterator[float]:
    """Show the extension's tab; it can be chosen once the tabs have been drawn."""
    viewport().show_region_ui = True
    yield 1.0
    with override(region="UI"):
        bpy.context.region.active_panel_category = "EX-4D"


def until(condition: Callable[[], object], what: str) -> Iterator[float]:
    """Give Blender's main loop time until something holds."""
    stop = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < stop, f"waited in vain for {what}"
        yield 0.1


def picture(name: str) -> Iterator[float]:
    """Let Blender draw, and take a picture of the screen."""
    for area in bpy.context.window_manager.windows[0].screen.areas:
        area.tag_redraw()
    yield 1.5
    save_screen(OUT / f"{name}.png")


def look_through(camera: bpy.types.Object) -> None:
    """Camera view, the whole frame in sight."""
    bpy.context.scene.camera = camera
    viewport().region_3d.view_perspective = "CAMERA"
    with override():
        bpy.ops.view3d.view_center_camera()


def walk() -> Iterator[float]:
    """The steps; each yield gives control back to Blender for so many seconds."""
    bpy.ops.extensions.package_install_files(repo="user_default", filepath=TASK["zip"], enable_on_install=True)
    assert EXTENSION in bpy.context.preferences.addons
    sidecar = sys.modules[f"{EXTENSION}.sidecar"]
    for thing in list(bpy.data.objects):
        bpy.data.objects.remove(thing)
    bpy.ops.ed.undo_push(message="Empty")
    yield from sidebar()
    yield from until(lambda: sidecar.connection().state == "ready", "the sidecar to be found")
    yield from picture("0_start")

    # 1. Footage
    bpy.ops.wm.save_as_mainfile(filepath=str(OUT / "project" / "shot.blend"))
    with override():
        bpy.ops.ex4d.import_footage(
            "EXEC_DEFAULT",
            filepath=TASK["clip"],
            depth="FILES",
            depth_path=TASK["depth"],
            **TASK["depth_options"],
        )
    yield from until(lambda: any(job.state == "running" for job in sidecar.jobs()), "the import to run")
    yield from picture("1_import_runs")
    yield from until(lambda: any(o.get("ex4d_role") == "mesh" for o in bpy.data.objects), "the footage to be placed")
    yield from picture("1_placed")
    scene = bpy.context.scene
    source = next(o for o in bpy.data.objects if o.get("ex4d_role") == "source_camera")
    empty = next(o for o in bpy.data.objects if o.get("ex4d_role") == "empty")
    assert str(empty["ex4d_folder"]).startswith("//"), empty["ex4d_folder"]
    assert scene.render.resolution_x == 1920  # a file with a name is somebody's: it stays as it is until asked
    with override():
        bpy.ops.ex4d.match_scene("EXEC_DEFAULT", True)
    assert (scene.frame_end - scene.frame_start + 1, scene.render.resolution_x) == (49, 832)

    # 2. The DW-Mesh
    view = viewport()
    view.shading.type = "SOLID"
    view.shading.light, view.shading.color_type = "FLAT", "TEXTURE"
    look_through(source)
    yield from picture("2_source_camera")
    view.region_3d.view_perspective = "PERSP"
    with override():
        bpy.ops.view3d.view_orbit(angle=0.6, type="ORBITLEFT")
    yield from picture("2_from_the_side")
    measured["scrub_ms"] = scrub(scene)

    # 3. Shots and cameras
    with override():
        bpy.ops.ex4d.new_shot("EXEC_DEFAULT", True, preset="ORBIT", angle=0.7)  # True: with an undo step, as a button
    camera = scene.camera
    assert camera is not source
    scene.frame_set(scene.frame_end)
    look_through(camera)
    yield from picture("3_shot")
    bpy.ops.ed.undo()
    yield 0.5
    bpy.ops.ed.redo()
    yield 0.5
    scene = bpy.context.scene
    trajectory = OUT / "trajectory.json"
    with override():
        bpy.ops.ex4d.export_trajectory(filepath=str(trajectory))
    assert len(json.loads(trajectory.read_text())["frames"]) == 49

    # 4. Look before you generate
    yield from coverage_steps(sidecar)

    # the sidecar freezes: Blender must not notice
    yield from frozen_server(sidecar)
    bpy.ops.wm.save_mainfile()
    (OUT / "walk.json").write_text(json.dumps(measured, indent=1))


def coverage_steps(sidecar: Any) -> Iterator[float]:
    """Preview in three shadings, the strip, the worst frame."""
    scene = bpy.context.scene
    scene.frame_set(scene.frame_end)
    view = viewport()
    before = view.shading.type, view.shading.light, view.shading.color_type
    with override():
        bpy.ops.ex4d.preview_coverage()
    for shading in ("SOLID", "MATERIAL", "RENDERED"):
        view.shading.type = shading
        yield 3.0 if shading == "SOLID" else 20.0  # EEVEE compiles its shaders first
        yield from picture(f"4_preview_{shading.lower()}")
    view.shading.type = before[0]
    with override():
        bpy.ops.ex4d.preview_coverage()
    assert (view.shading.type, view.shading.light, view.shading.color_type) == before
    with override():
        bpy.ops.ex4d.measure_coverage()
    camera = scene.camera
    yield from until(lambda: camera.get("Unseen") is not None, "the coverage to be measured")
    yield from picture("4_strip")
    with override(region="UI"):
        for _ in range(40):
            bpy.ops.view2d.scroll_down(deltay=100)
    yield from picture("4_panels")
    scene.frame_set(scene.frame_start)
    with override():
        bpy.ops.ex4d.next_worst_frame()
    measured["worst_frame"] = scene.frame_current
    assert scene.frame_current != scene.frame_start
    yield from picture("4_worst_frame")


def scrub(scene: bpy.types.Scene) -> dict[str, float]:
    """Median milliseconds of a frame change: the first time, and later."""
    result: dict[str, float] = {}
    for name in ("first", "later"):
        times: list[float] = []
        for frame in range(scene.frame_start, scene.frame_end + 1):
            begun = time.perf_counter()
            scene.frame_set(frame)
            times.append((time.perf_counter() - begun) * 1000)
        result[name] = sorted(times)[len(times) // 2]
    return result


def frozen_server(sidecar: Any) -> Iterator[float]:
    """A sidecar that no longer answers, for as long as asked; the ticks are timed.

    Python's garbage collector runs whenever it likes, over all of Blender's Python: its time is taken off.
    """
    ticking = sys.modules[f"{EXTENSION}.sidecar.ticking"]
    bpy.app.timers.unregister(ticking.timer)
    os.kill(TASK["sidecar_pid"], signal.SIGSTOP)
    times: list[float] = []
    busy: list[float] = []
    collecting = [0.0]

    def on_collection(phase: str, _info: dict[str, int]) -> None:
        collecting[0] += -time.thread_time() if phase == "start" else time.thread_time()

    gc.callbacks.append(on_collection)
    try:
        stop = time.monotonic() + TASK["frozen_seconds"]
        while time.monotonic() < stop:
            begun, began_to_work = time.perf_counter(), time.thread_time() - collecting[0]
            pause = ticking.timer()
            times.append((time.perf_counter() - begun) * 1000)
            busy.append((time.thread_time() - collecting[0] - began_to_work) * 1000)
            yield min(pause, 0.1)
    finally:
        gc.callbacks.remove(on_collection)
        os.kill(TASK["sidecar_pid"], signal.SIGCONT)
        bpy.app.timers.register(ticking.timer, persistent=True)
    times.sort()
    busy.sort()
    measured["frozen_ticks"] = {
        "count": len(times),
        "median_ms": times[len(times) // 2],
        "worst_of_99_percent_ms": times[len(times) * 99 // 100],
        "worst_ms": times[-1],
        "worst_busy_ms": busy[-1],
    }
    yield from picture("5_frozen_sidecar")
    yield from until(lambda: sidecar.connection().state == "ready", "the sidecar to be found again")


steps = walk()


def step() -> float:
    """Blender's timer: the next piece of the walk."""
    try:
        return next(steps)
    except StopIteration:
        code = 0
    except BaseException:
        traceback.print_exc(file=sys.stdout)
        save_screen(OUT / "failed.png")
        code = 1
    sys.stdout.flush()
    os._exit(code)


bpy.app.timers.register(step, first_interval=1.0, persistent=True)
