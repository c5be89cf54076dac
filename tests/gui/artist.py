"""What a walk through a real Blender window needs: areas, waiting, pictures. Imported inside Blender.

Started through `scripts/blender_window.py` with one argument: a JSON file, here as `TASK`.
"""

from __future__ import annotations

import importlib
import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import bpy
import numpy as np
from mathutils import Quaternion, Vector
from screen import save_screen, screen

TASK = json.loads(Path(sys.argv[sys.argv.index("--") + 1]).read_text("utf-8"))
OUT = Path(TASK["out"])
EXTENSION = "bl_ext.user_default.ex4d"
PATIENCE_SECONDS = 240.0
SIDEBAR, WINDOW = "UI", "SCREEN"
"""What a picture shows; else the kind of an area."""
ALL = slice(None)
measured: dict[str, Any] = {"blender": bpy.app.version_string}


def module(name: str) -> Any:
    """A module of the installed extension."""
    return importlib.import_module(f"{EXTENSION}.{name}")


def area_of(space: str) -> bpy.types.Area:
    """The largest area of a kind."""
    areas = bpy.context.window_manager.windows[0].screen.areas
    return max((area for area in areas if area.type == space), key=lambda area: area.width * area.height)


def override(space: str = "VIEW_3D", region: str = "WINDOW") -> Any:
    """The context of an area, as if the mouse were over it."""
    window, area = bpy.context.window_manager.windows[0], area_of(space)
    found = next(one for one in area.regions if one.type == region)
    return bpy.context.temp_override(window=window, screen=window.screen, area=area, region=found)


def viewport() -> bpy.types.SpaceView3D:
    """The 3D viewport."""
    return area_of("VIEW_3D").spaces.active


def sidebar() -> Iterator[float]:
    """Show the extension's tab; it can be chosen once the tabs have been drawn."""
    viewport().show_region_ui = True
    yield 1.0
    with override(region="UI"):
        bpy.context.region.active_panel_category = "EX-4D"


def panels(name: str, down: int, rows: slice = ALL, still: bool = True) -> Iterator[float]:
    """Take a picture of the sidebar, scrolled so many pixels down, or to its end; see `picture`."""
    yield from settled() if still else iter((0.5,))
    with override(region=SIDEBAR):
        for _ in range(100):
            bpy.ops.view2d.scroll_up()
        for _ in range(down // 40):  # so much is one turn of the wheel
            bpy.ops.view2d.scroll_down()
    yield from picture(name, SIDEBAR, rows, still)


def until(condition: Callable[[], object], what: str) -> Iterator[float]:
    """Give Blender's main loop time until something holds."""
    stop = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < stop, f"waited in vain for {what}"
        yield 0.1


def settled() -> Iterator[float]:
    """Let Blender draw until nothing moves any more: panels glide, pictures are loaded."""
    for area in bpy.context.window_manager.windows[0].screen.areas:
        area.tag_redraw()
    yield 0.7
    before = screen()
    for _ in range(10):
        yield 0.7
        now = screen()
        if np.array_equal(now, before):
            return
        before = now


def picture(name: str, of: str = "VIEW_3D", rows: slice = ALL, still: bool = True) -> Iterator[float]:
    """Take a picture of the screen when Blender has drawn.

    Args:
        name: of the file; docs/manual.md shows all of them.
        of: the kind of the area that is shown, `SIDEBAR`, or `WINDOW`.
        rows: of pixels, from its top.
        still: wait until nothing moves any more.
    """
    if still:
        yield from settled()
    else:
        yield 0.5
    if of == WINDOW:
        save_screen(OUT / f"{name}.png")
        return
    shown = area_of("VIEW_3D" if of == SIDEBAR else of)
    if of == SIDEBAR:
        shown = next(region for region in shown.regions if region.type == SIDEBAR)
    top, bottom, _ = rows.indices(shown.height)
    save_screen(OUT / f"{name}.png", (shown.x, shown.y + shown.height - bottom, shown.width, bottom - top))


def nodes(name: str) -> Iterator[float]:
    """Take a picture of the compositor's nodes, in the place of the 3D viewport."""
    area = area_of("VIEW_3D")
    area.ui_type = "CompositorNodeTree"
    space = area.spaces.active
    space.show_region_ui = False
    if hasattr(space, "show_region_asset_shelf"):
        space.show_region_asset_shelf = False
    yield from settled()
    with override("NODE_EDITOR"):
        bpy.ops.node.view_all()
    yield from picture(name, of="NODE_EDITOR")
    area.ui_type = "VIEW_3D"


def look_through(camera: bpy.types.Object) -> None:
    """Camera view, the whole frame in sight."""
    bpy.context.scene.camera = camera
    viewport().region_3d.view_perspective = "CAMERA"
    with override():
        bpy.ops.view3d.view_center_camera()


def look_from_the_side(camera: bpy.types.Object, subject: Vector, angle: float) -> None:
    """A camera's view turned around a subject by an angle (radians), from farther away."""
    view, matrix = viewport().region_3d, camera.matrix_world
    view.view_perspective = "PERSP"
    view.view_rotation = Quaternion((0, 0, 1), angle) @ matrix.to_quaternion()
    view.view_location = subject
    view.view_distance = 1.7 * (matrix.translation - subject).length
