# SPDX-License-Identifier: GPL-3.0-or-later
"""Compare: two takes of a shot in the camera view, side by side along a line that is dragged, or one after the other.

What is compared is how the artist looks at the takes, not what the file holds: it is kept with the window manager,
and is off when a file is opened.
"""

from dataclasses import dataclass

import bpy
from bpy.props import BoolProperty, EnumProperty, FloatProperty, PointerProperty, StringProperty

from .. import interface
from ..errors import UserError
from ..interface import SidebarPanel
from ..shots import active_shot
from ..shots.takes import Take, active_take, find_take
from .folder import TakeFacts
from .listing import facts_of

_listed: list[tuple[str, str, str]] = []
"""Items of the menu as Blender last got them: it does not keep their texts alive itself."""
_BEFORE = "BEFORE"
"""In the menu, where the settings have no key: Blender takes an item with an empty identifier for a heading."""

Rectangle = tuple[float, float, float, float]
"""Left, bottom, right, top."""


@dataclass(frozen=True)
class Part:
    """A part of the camera's frame, and what of a take's picture goes there."""

    area: Rectangle
    """Pixels of the region."""
    inside: Rectangle
    """Of the picture with overscan, 0 to 1, from its lower left corner."""
    frame: Rectangle
    """The whole of the camera's frame, in the same."""


def parts(
    corners: tuple[tuple[float, float], tuple[float, float]], wipe: float, facts: tuple[TakeFacts, TakeFacts]
) -> list[Part]:
    """Where two takes are drawn: left of the line the first, right of it the second; overscan is left out.

    Args:
        corners: lower left and upper right of the camera's frame, pixels of the region.
        wipe: where the line is, 0 (left) to 1.
        facts: of both takes.
    """
    (left, bottom), (right, top) = corners
    line = left + (right - left) * wipe
    found = []
    halves = ((0.0, wipe, left, line), (wipe, 1.0, line, right))
    for take, (begin, end, x0, x1) in zip(facts, halves, strict=True):
        width, height = take.frame_size
        across, down = (1 - width / take.width) / 2, (1 - height / take.height) / 2
        inside = (across + (1 - 2 * across) * begin, down, across + (1 - 2 * across) * end, 1 - down)
        found.append(Part((x0, bottom, x1, top), inside, (across, down, 1 - across, 1 - down)))
    return found


def pair(context: bpy.types.Context) -> tuple[Take, Take] | None:
    """The two takes that are compared: the one that is chosen beside the list, and the list's active one."""
    settings, shot = context.window_manager.ex4d_compare, active_shot(context.scene)
    right = None if shot is None else active_take(shot)
    if not settings.show or right is None:
        return None
    left = find_take(shot, settings.left) or shot.takes[max(shot.active_take - 1, 0)]
    return left, right


def pair_facts(context: bpy.types.Context) -> tuple[TakeFacts, TakeFacts] | None:
    """What the folders of both say. Raises: UserError if one is missing or damaged."""
    found = pair(context)
    return None if found is None else (facts_of(found[0]), facts_of(found[1]))


def _redraw(_settings: bpy.types.PropertyGroup, context: bpy.types.Context) -> None:
    interface.redraw(context)


def _lefts(_settings: bpy.types.PropertyGroup, context: bpy.types.Context | None) -> list[tuple[str, str, str]]:
    shot = active_shot((context or bpy.context).scene)
    _listed[:] = [(_BEFORE, "The One Before", "The take before the active one in the list")]
    _listed.extend((take.key, take.name, "") for take in (shot.takes if shot else ()))
    return _listed


def _get_left(settings: bpy.types.PropertyGroup) -> int:
    keys = [key for key, _, _ in _lefts(settings, None)]
    return keys.index(settings.left) if settings.left in keys else keys.index(_BEFORE)


def _set_left(settings: bpy.types.PropertyGroup, index: int) -> None:
    key = _lefts(settings, None)[index][0]
    settings.left = "" if key == _BEFORE else key


class EX4D_Compare(bpy.types.PropertyGroup):
    """How two takes are looked at."""

    show: BoolProperty(
        name="Compare", description="Show two takes over the view through the shot's camera", update=_redraw
    )
    left: StringProperty(name="Left", description="Key of the take on the left", update=_redraw)
    left_menu: EnumProperty(
        name="With",
        description="The take that the active one is compared with: it is shown left of the line",
        items=_lefts,
        get=_get_left,
        set=_set_left,
    )
    wipe: FloatProperty(
        name="Wipe",
        description="Where the line between both takes is",
        subtype="FACTOR",
        min=0.0,
        max=1.0,
        default=0.5,
        update=_redraw,
    )


class EX4D_OT_flip_takes(bpy.types.Operator):
    """Flip."""

    bl_idname = "ex4d.flip_takes"
    bl_label = "Flip"
    bl_description = "Show the whole of one take, then of the other"

    def execute(self, context: bpy.types.Context) -> set[str]:
        """The line goes to the other side."""
        settings = context.window_manager.ex4d_compare
        settings.wipe = 0.0 if settings.wipe == 1.0 else 1.0
        return {"FINISHED"}


class EX4D_PT_compare(SidebarPanel, bpy.types.Panel):
    """Compare, below the takes."""

    bl_idname = "EX4D_PT_compare"
    bl_label = "Compare"
    bl_parent_id = "EX4D_PT_takes"

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """There are two."""
        shot = active_shot(context.scene)
        return shot is not None and len(shot.takes) > 1

    def draw_header(self, context: bpy.types.Context) -> None:
        """Called by Blender."""
        self.layout.prop(context.window_manager.ex4d_compare, "show", text="")

    def draw(self, context: bpy.types.Context) -> None:
        """Called by Blender."""
        settings, layout = context.window_manager.ex4d_compare, self.layout
        layout.active = settings.show
        layout.prop(settings, "left_menu")
        row = layout.row(align=True)
        row.prop(settings, "wipe", slider=True)
        row.operator("ex4d.flip_takes", text="", icon="ARROW_LEFTRIGHT")
        try:
            pair_facts(context)
        except UserError as error:
            layout.label(text=error.said, icon="ERROR", translate=False)
        shot = active_shot(context.scene)
        if settings.show and context.scene.camera != shot.camera:
            layout.operator("ex4d.view_shot", icon="HIDE_OFF").key = shot.key


_register, _unregister = bpy.utils.register_classes_factory((EX4D_Compare, EX4D_OT_flip_takes, EX4D_PT_compare))


def register() -> None:
    """Called when the extension is enabled."""
    _register()
    bpy.types.WindowManager.ex4d_compare = PointerProperty(type=EX4D_Compare, options={"SKIP_SAVE"})


def unregister() -> None:
    """See `register`."""
    del bpy.types.WindowManager.ex4d_compare
    _unregister()
