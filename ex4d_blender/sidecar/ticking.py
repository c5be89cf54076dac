# SPDX-License-Identifier: GPL-3.0-or-later
"""The tick: everything that happens by itself, on Blender's main thread, a few milliseconds at a time."""

import logging
from collections.abc import Callable

import bpy

from .connection import Connection
from .running import complain, complaints, step_all

FOLLOWED_SECONDS, IDLE_SECONDS = 0.1, 0.5
_log = logging.getLogger(__name__)
_connection = Connection()
_listeners: list[Callable[[], object]] = []
_shown: tuple[int, list[str]] = (-1, [])


def connection() -> Connection:
    """The one connection."""
    return _connection


def reset() -> None:
    """Let the sidecar be, and begin with a new connection."""
    global _connection
    _connection.disconnect()
    _connection = Connection()


def every_tick(listener: Callable[[], object]) -> None:
    """Have a function called at the end of each tick: it must be quick, and look for changes only now and then."""
    if listener not in _listeners:
        _listeners.append(listener)


def no_longer(listener: Callable[[], object]) -> None:
    """Take back `every_tick`."""
    if listener in _listeners:
        _listeners.remove(listener)


def tick() -> float:
    """Go on for a few milliseconds with what is under way; seconds until the next call."""
    global _shown
    _connection.step()
    soonest = step_all(_connection.learn)
    for listener in list(_listeners):
        listener()
    looks = _connection.changes, complaints()
    if looks != _shown:
        _shown = looks
        redraw()
    return min(soonest, IDLE_SECONDS if _connection.state in ("off", "failed") else FOLLOWED_SECONDS)


def timer() -> float:
    """What Blender calls: a timer that raises is never called again, so nothing may come out of it."""
    try:
        return tick()
    except Exception:
        _log.exception("the tick failed")
        complain("Something went wrong inside EX-4D: look into Blender's console, and report what stands there.")
        return 1.0


def redraw() -> None:
    """Draw the sidebars again, and nothing else: a viewport may take long."""
    manager = bpy.context.window_manager
    for window in manager.windows if manager else ():
        for area in window.screen.areas:
            if area.type == "VIEW_3D":
                for region in area.regions:
                    if region.type == "UI":
                        region.tag_redraw()


def register() -> None:
    """Begin to tick; over loading files too."""
    if not bpy.app.timers.is_registered(timer):
        bpy.app.timers.register(timer, first_interval=0.1, persistent=True)


def unregister() -> None:
    """End it."""
    if bpy.app.timers.is_registered(timer):
        bpy.app.timers.unregister(timer)
