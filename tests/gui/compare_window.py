"""Compare in a real Blender window. Runs inside Blender, started by `test_compare_window.py` with a JSON file."""

from __future__ import annotations

import importlib
import json
import os
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

import bpy
import numpy as np
from screen import save_screen

TASK = json.loads(Path(sys.argv[sys.argv.index("--") + 1]).read_text("utf-8"))
OUT = Path(TASK["out"])
bpy.context.preferences.view.show_splash = False


def module(name: str) -> Any:
    """A module of the installed extension."""
    return importlib.import_module(f"bl_ext.user_default.ex4d.{name}")


def override() -> Any:
    """The context of the 3D viewport."""
    window = bpy.context.window_manager.windows[0]
    area = next(area for area in window.screen.areas if area.type == "VIEW_3D")
    region = next(region for region in area.regions if region.type == "WINDOW")
    return bpy.context.temp_override(window=window, area=area, region=region)


def steps() -> Iterator[float]:
    """Two takes of a shot, the line in several places."""
    bpy.ops.extensions.package_install_files(repo="user_default", filepath=TASK["zip"], enable_on_install=True)
    scene, camera = bpy.context.scene, bpy.data.objects["Camera"]
    scene.render.resolution_x, scene.render.resolution_y = 64, 36
    shot = module("shots.properties").add_shot(scene, "Shot", camera, (1, 2))
    for folder in TASK["takes"]:
        module("shots.takes").add_take(shot, module("takes.folder").read_take(Path(folder)))
    scene.frame_set(2)
    with override():
        space = bpy.context.space_data
        space.region_3d.view_perspective = "CAMERA"
        space.overlay.show_overlays = False
        bpy.ops.view3d.view_center_camera()
    settings, found = bpy.context.window_manager.ex4d_compare, {}
    for name, show, wipe in (("off", False, 0.5), ("half", True, 0.5), ("left", True, 1.0), ("right", True, 0.0)):
        settings.show, settings.wipe = show, wipe
        yield 3.0
        picture = save_screen(OUT / f"compare_{name}.png")
        with override():
            region = bpy.context.region
            (left, bottom), (right, top) = module("coverage.view").frame_corners(bpy.context)
        across = left + (right - left) * np.array([0.08, 0.25, 0.45, 0.55, 0.75, 0.92]) + region.x
        up = bottom + (top - bottom) * np.array([0.01, 0.25, 0.75, 0.99]) + region.y
        rows = picture.shape[0] - 1 - up.astype(int)
        found[name] = picture[rows[:, None], across.astype(int)[None]].tolist()
    (OUT / "compare.json").write_text(json.dumps(found))


def tick() -> float:
    """Called by Blender's timer."""
    try:
        return next(_running)
    except StopIteration:
        os._exit(0)
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)


_running = steps()
bpy.app.timers.register(tick, first_interval=1.0, persistent=True)
