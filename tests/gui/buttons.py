"""Real clicks on the buttons of the extension's sidebar, which are found by moving the mouse over it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import bpy

STEP = 16
"""Pixels between two places that are looked at; a button is 20 high."""
PAGE, PAGES = 800, 5
"""Pixels to scroll on, and how often."""
COLUMNS = (0.45, 0.93, 0.2, 0.7)
"""Places across the sidebar, as shares of its width: rows have up to four buttons."""


def sidebar() -> Iterator[float]:
    """Show the extension's tab; it can be chosen once the tabs have been drawn. Beside the viewport, not over it: that
    would be drawn again with every move of the mouse."""
    bpy.context.preferences.system.use_region_overlap = False
    with _sidebar():
        bpy.context.space_data.show_region_ui = True
    yield 1.0
    with _sidebar():
        bpy.context.region.active_panel_category = "EX-4D"
    yield 0.5


def press(operator: str, job: str = "") -> Iterator[float]:
    """Click on the button of an operator, such as `ex4d.generate`; scrolls to it.

    Args:
        job: of buttons that are about a job, the one of this job.
    """
    for share in COLUMNS:
        yield from scroll(-PAGES * PAGE)
        for _page in range(PAGES):
            with _sidebar():
                region = bpy.context.region
                left, bottom, width, height = region.x, region.y, region.width, region.height
            x = int(left + share * width)
            for y in range(bottom + height, bottom, -STEP):
                _event("MOUSEMOVE", "NOTHING", x, y)
                yield 0.001
                if _is_over(operator, job):
                    for value in ("PRESS", "RELEASE"):
                        _event("LEFTMOUSE", value, x, y)
                        yield 0.1
                    _event("MOUSEMOVE", "NOTHING", left - 300, bottom + 300)
                    yield 0.1
                    return
            yield from scroll(PAGE)
    raise AssertionError(f"there is no button for {operator} {job} in the sidebar")


def scroll(pixels: int) -> Iterator[float]:
    """Move the sidebar's panels: on, or back."""
    with _sidebar():
        for _ in range(abs(pixels) // 100):
            (bpy.ops.view2d.scroll_down if pixels > 0 else bpy.ops.view2d.scroll_up)(deltay=100)
    yield 0.3


def _is_over(operator: str, job: str) -> bool:
    """Whether the mouse is over that button: Blender then has its command to copy."""
    manager = bpy.context.window_manager
    manager.clipboard = ""
    with _sidebar():
        if not bpy.ops.ui.copy_python_command_button.poll():
            return False
        bpy.ops.ui.copy_python_command_button()
    said = manager.clipboard
    return said.startswith(f"bpy.ops.{operator}(") and job in said


def _event(kind: str, value: str, x: int, y: int) -> None:
    bpy.context.window_manager.windows[0].event_simulate(kind, value, x=x, y=y)


def _sidebar() -> Any:
    window = bpy.context.window_manager.windows[0]
    area = next(area for area in window.screen.areas if area.type == "VIEW_3D")
    region = next(region for region in area.regions if region.type == "UI")
    return bpy.context.temp_override(window=window, screen=window.screen, area=area, region=region)
