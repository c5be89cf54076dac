# SPDX-License-Identifier: GPL-3.0-or-later
"""Which viewports show coverage, and what their shading was before.

Kept in memory, not in the file: a saved file always holds the artist's own shading (handlers below put it back while
Blender saves). The addresses of viewports are compared, never followed.
"""

from collections.abc import Iterator

import bpy
from bpy.app.handlers import persistent

_FLAT = {"light": "FLAT", "color_type": "TEXTURE"}
"""Solid shading as the preview needs it: the plate's own colours, without light."""

_before: dict[int, dict[str, str]] = {}
"""Address of each viewport that shows coverage -> its own shading."""


def is_on(space: bpy.types.Space | None) -> bool:
    """Whether a viewport shows coverage."""
    return space is not None and space.as_pointer() in _before


def switch_on(space: bpy.types.SpaceView3D) -> None:
    """Show coverage in a viewport; its Solid shading becomes flat, with textures."""
    _before.setdefault(space.as_pointer(), {name: getattr(space.shading, name) for name in _FLAT})
    _set(space.shading, _FLAT)


def switch_off(space: bpy.types.SpaceView3D) -> None:
    """No longer; the shading is again what it was, where the artist has not changed it since."""
    _restore(space, _before.pop(space.as_pointer(), {}))


def any_on() -> bool:
    """Whether any viewport shows coverage."""
    return bool(_before)


def showing() -> Iterator[bpy.types.SpaceView3D]:
    """The viewports that show coverage, in all screens. Those that are gone are forgotten."""
    alive = [space for space in _viewports() if space.as_pointer() in _before]
    for gone in _before.keys() - {space.as_pointer() for space in alive}:
        del _before[gone]
    yield from alive


def switch_all_off() -> None:
    """Every viewport as it was."""
    for space in showing():
        switch_off(space)


def _viewports() -> Iterator[bpy.types.SpaceView3D]:
    for screen in bpy.data.screens:
        for area in screen.areas:
            for space in area.spaces:  # also those behind another editor
                if space.type == "VIEW_3D":
                    yield space


def _set(shading: bpy.types.View3DShading, values: dict[str, str]) -> None:
    for name, value in values.items():
        setattr(shading, name, value)


def _restore(space: bpy.types.SpaceView3D, before: dict[str, str]) -> None:
    _set(space.shading, {name: old for name, old in before.items() if getattr(space.shading, name) == _FLAT[name]})


@persistent
def _before_save(*_: object) -> None:
    for space in showing():
        _restore(space, _before[space.as_pointer()])


@persistent
def _after_save(*_: object) -> None:
    for space in showing():
        _set(space.shading, _FLAT)


@persistent
def _before_load(*_: object) -> None:
    switch_all_off()


_HANDLERS = {
    "save_pre": _before_save,
    "save_post": _after_save,
    "save_post_fail": _after_save,
    "load_pre": _before_load,
}


def register() -> None:
    """Watch saves and loads."""
    for name, handler in _HANDLERS.items():
        getattr(bpy.app.handlers, name).append(handler)


def unregister() -> None:
    """Put every viewport back."""
    switch_all_off()
    for name, handler in _HANDLERS.items():
        handlers = getattr(bpy.app.handlers, name)
        if handler in handlers:
            handlers.remove(handler)
