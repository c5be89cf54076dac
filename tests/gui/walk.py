"""The extension in a real Blender window, as an artist goes from the clip to CG in the finished shot.

Runs inside Blender, started by `scripts/blender_walk.py` with one argument: a JSON file that names the zip, the clip,
its depth, the sidecar and a folder for results. Each step saves a picture of the screen there: together they are the
illustrated manual (`scripts/manual.py`). `walk.json` has what was measured. Ends Blender with exit code 0, or 1 and a
traceback on stdout.
"""

from __future__ import annotations

import gc
import json
import math
import os
import signal
import sys
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent / "scripts"))

import bpy
import numpy as np
import walk_cg
import walk_takes
from artist import (
    EXTENSION,
    OUT,
    PATIENCE_SECONDS,
    TASK,
    WINDOW,
    area_of,
    look_from_the_side,
    look_through,
    measured,
    module,
    override,
    panels,
    picture,
    settled,
    sidebar,
    until,
    viewport,
)
from demo_blender import FLOOR, PLACE, at
from screen import save_screen, screen

bpy.context.preferences.view.show_splash = False  # in a timer it is too late


def walk() -> Iterator[float]:
    """The steps; each yield gives control back to Blender for so many seconds."""
    bpy.ops.extensions.package_install_files(repo="user_default", filepath=TASK["zip"], enable_on_install=True)
    assert EXTENSION in bpy.context.preferences.addons
    sidecar = module("sidecar")
    for thing in list(bpy.data.objects):
        bpy.data.objects.remove(thing)
    bpy.ops.ed.undo_push(message="Empty")
    yield from preferences()
    yield from sidebar()
    yield from until(lambda: sidecar.connection().state == "ready", "the sidecar to be found")
    yield from panels("0_engine", down=0, rows=slice(540))

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
    yield from panels("1_import_runs", down=0, rows=slice(540), still=False)
    yield from until(lambda: any(o.get("ex4d_role") == "mesh" for o in bpy.data.objects), "the footage to be placed")
    yield from picture("1_placed", of=WINDOW)
    scene = bpy.context.scene
    scene.eevee.taa_samples = 1  # a core draws what a graphics card would
    source = next(o for o in bpy.data.objects if o.get("ex4d_role") == "source_camera")
    empty = next(o for o in bpy.data.objects if o.get("ex4d_role") == "empty")
    assert str(empty["ex4d_folder"]).startswith("//"), empty["ex4d_folder"]
    assert scene.render.resolution_x == 1920  # a file with a name is somebody's: it stays as it is until asked
    with override():
        bpy.ops.ex4d.match_scene("EXEC_DEFAULT", True)
        bpy.ops.ex4d.set_view_standard("EXEC_DEFAULT", True)
        bpy.ops.ex4d.extend_viewports("EXEC_DEFAULT", True)
        bpy.context.view_layer.update()
        floor = {f"point_{x}": at(*share) for x, share in zip("abc", FLOOR, strict=True)}
        bpy.ops.ex4d.set_ground("EXEC_DEFAULT", True, **floor)
    assert (scene.frame_end - scene.frame_start + 1, scene.render.resolution_x) == (49, 832)

    # 2. The DW-Mesh
    view = viewport()
    view.shading.type = "SOLID"
    view.shading.light, view.shading.color_type = "FLAT", "TEXTURE"
    look_through(source)
    yield from picture("2_source_camera")
    look_from_the_side(source, at(*PLACE), 0.6)
    yield from picture("2_from_the_side")
    measured["scrub_ms"] = scrub(scene)

    # 3. Shots and cameras
    with override():
        # True: with an undo step, as a button
        bpy.ops.ex4d.new_shot("EXEC_DEFAULT", True, preset="ARC", angle=math.radians(30))
    camera = scene.camera
    assert camera is not source
    (shot,) = scene.ex4d_shots
    shot.frame_start, shot.frame_end, shot.handle_before, shot.handle_after = 25, 41, 4, 4
    bpy.ops.ed.undo_push(message="Handles")
    scene.frame_set(shot.frame_end)
    look_through(camera)
    yield from picture("3_shot")
    yield from panels("3_shot_panel", down=440, rows=slice(120, 670))
    bpy.ops.ed.undo()
    yield 0.5
    bpy.ops.ed.redo()
    yield 0.5
    scene = bpy.context.scene
    trajectory = OUT / "trajectory.json"
    with override():
        bpy.ops.ex4d.export_trajectory(filepath=str(trajectory))
    assert len(json.loads(trajectory.read_text())["frames"]) == 4 + 17 + 4

    # 4. Look before you generate
    yield from coverage_steps()

    # 5 to 8. Takes and CG
    yield from walk_takes.steps(sidecar)
    yield from walk_cg.steps()
    yield from panels("9_jobs", down=4000)

    # the sidecar freezes: Blender must not notice
    yield from frozen_server(sidecar)
    bpy.ops.wm.save_mainfile()
    (OUT / "walk.json").write_text(json.dumps(measured, indent=1))


def preferences() -> Iterator[float]:
    """What the artist sees of the extension after installing it."""
    area = area_of("VIEW_3D")
    area.ui_type = "PREFERENCES"
    bpy.context.preferences.active_section = "ADDONS"
    bpy.context.window_manager.addon_search = "EX-4D"
    yield 0.5
    with override("PREFERENCES"):
        bpy.ops.preferences.addon_expand(module=EXTENSION)
    yield from picture("0_installed", of="PREFERENCES", rows=slice(700))
    area.ui_type = "VIEW_3D"


def coverage_steps() -> Iterator[float]:
    """Preview in three shadings, the strip, the worst frame."""
    scene, view = bpy.context.scene, viewport()
    scene.frame_set(scene.ex4d_shots[0].frame_end)
    before = view.shading.type, view.shading.light, view.shading.color_type
    with override():
        bpy.ops.ex4d.preview_coverage()
    for shading in ("SOLID", "MATERIAL", "RENDERED"):
        view.shading.type = shading
        yield 3.0 if shading == "SOLID" else 20.0  # EEVEE compiles its shaders first
        if shading == "MATERIAL":
            yield from settled()
        else:
            yield from picture(f"4_preview_{shading.lower()}")
        assert share_of_hatch() > 0.05, f"no hatch in {shading}"
    view.shading.type = before[0]
    with override():
        bpy.ops.ex4d.preview_coverage()
    assert (view.shading.type, view.shading.light, view.shading.color_type) == before
    with override():
        bpy.ops.ex4d.measure_coverage()
    camera = scene.camera
    yield from until(lambda: camera.get("Unseen") is not None, "the coverage to be measured")
    scene.frame_set(scene.frame_start)
    with override():
        bpy.ops.ex4d.next_worst_frame()
    measured["worst_frame"] = scene.frame_current
    assert scene.frame_current != scene.frame_start
    yield from picture("4_measured", of=WINDOW)


def share_of_hatch() -> float:
    """How much of the screen is in the red of the preview, which footage and Blender have none of."""
    red, green, blue = np.moveaxis(screen().astype(int), -1, 0)
    return float(((red > 100) & (green < 70) & (blue < 80)).mean())


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
    ticking = module("sidecar.ticking")
    bpy.app.timers.unregister(ticking.timer)
    os.kill(TASK["sidecar_pid"], signal.SIGSTOP)
    times: list[float] = []
    busy: list[float] = []
    collecting = [0.0]

    def on_collection(phase: str, _info: dict[str, int]) -> None:
        collecting[0] += -time.thread_time() if phase == "start" else time.thread_time()

    gc.callbacks.append(on_collection)
    try:
        begin = time.monotonic()
        stop = begin + TASK["frozen_seconds"]
        while time.monotonic() < stop or sidecar.connection().state != "lost":
            assert time.monotonic() < begin + PATIENCE_SECONDS, "the sidecar is frozen and Blender has not noticed"
            begun, began_to_work = time.perf_counter(), time.thread_time() - collecting[0]
            pause = ticking.timer()
            times.append((time.perf_counter() - begun) * 1000)
            busy.append((time.thread_time() - collecting[0] - began_to_work) * 1000)
            yield min(pause, 0.1)
        yield from panels("9_frozen_sidecar", down=4000)
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
