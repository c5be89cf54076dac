# SPDX-License-Identifier: GPL-3.0-or-later
"""The panel *Footage in the Scene*: what differs, and a button for each way to settle it."""

import bpy
import numpy as np
from bpy.app.translations import pgettext_iface

from ..errors import UserError
from ..interface import SidebarPanel
from ..placed import SOLVED, Placed, active
from ..shots import camera_math
from . import clipping, matching, move_operator, paths, view


class FootageInScene(SidebarPanel, bpy.types.Panel):
    """Footage in the Scene."""

    bl_idname = "EX4D_PT_project"
    bl_label = "Footage in the Scene"
    bl_order = 10

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Where there is footage."""
        return active(context) is not None

    def draw(self, context: bpy.types.Context) -> None:
        """The footage that the artist works on."""
        placed, layout = active(context), self.layout
        layout.label(text=placed.empty.name, translate=False, icon="FILE_MOVIE")
        _draw_place(layout, placed)
        if not paths.exists(placed):
            return
        try:
            _draw_comparison(layout, context.scene, placed)
            # Says why a camera has no pose in a scene that is mirrored or scaled unevenly.
            camera_math.scene_pose(np.array(placed.empty.matrix_world), np.eye(4), (placed.empty.name, ""))
        except UserError as error:
            _draw_sentence(layout, error.said, context.region.width)
        _draw_standing(layout, context, placed)


def _draw_place(layout: bpy.types.UILayout, placed: Placed) -> None:
    if not paths.exists(placed):
        box = layout.box()
        box.alert = True
        box.label(text="Its folder is missing:", icon="ERROR")
        box.label(text=str(placed.folder), translate=False)
        box.operator("ex4d.relink", icon="FILE_FOLDER")
    elif placed.folder in move_operator.waiting_folders():
        box = layout.box()
        box.label(text="It lies in the folder for unsaved files", icon="INFO")
        box.operator("ex4d.move_beside", icon="FILE_FOLDER")


def _draw_comparison(layout: bpy.types.UILayout, scene: bpy.types.Scene, placed: Placed) -> None:
    rows = matching.compare(scene, placed)
    column = layout.column(align=True)
    _draw_row(column, "", pgettext_iface("Footage"), pgettext_iface("Scene"), "BLANK1")
    for row in rows:
        _draw_row(column, row.name, row.footage, row.scene, "CHECKMARK" if row.same else "DOT")
    speed = matching.speed_of(placed)
    buttons = layout.column(align=True)
    buttons.operator("ex4d.match_scene", depress=all(row.same for row in rows))
    if not all(row.same for row in rows):
        buttons.operator("ex4d.keep_scene", depress=speed == 1.0)
        buttons.operator("ex4d.retime", depress=speed != 1.0 and speed == matching.retimed_speed(scene, placed))
    for note in placed.facts().notes:
        _draw_sentence(layout, note, 0)


def _draw_row(column: bpy.types.UILayout, name: str, footage: str, scene: str, icon: str) -> None:
    split = column.row().split(factor=0.3)
    split.label(text=name, icon=icon)
    values = split.split(factor=0.5)
    values.label(text=footage, translate=False)
    values.label(text=scene, translate=False)


def _draw_standing(layout: bpy.types.UILayout, context: bpy.types.Context, placed: Placed) -> None:
    row = layout.row(align=True)
    row.operator("ex4d.pick_scale", icon="DRIVER_DISTANCE")
    row.operator("ex4d.pick_ground", icon="VIEW_PERSPECTIVE")
    split = layout.split(factor=0.4)
    split.label(text="Footage Camera")
    chosen = placed.empty.get(SOLVED)
    shown = {"text": str(chosen), "translate": False} if chosen else {"text": "Its Own"}
    split.menu("EX4D_MT_footage_camera", icon="CAMERA_DATA", **shown)
    if not view.exact(context.scene, placed):
        row = layout.row(align=True)
        row.operator("ex4d.set_view_standard", icon="COLOR")
        if context.scene.view_settings.view_transform == view.FILMIC and view.plain(context.scene):
            row.operator("ex4d.fit_plate")
    if context.space_data.type == "VIEW_3D" and clipping.too_short(context.space_data, context.scene):
        layout.operator("ex4d.extend_viewports", icon="VIEW_CAMERA")


def _draw_sentence(layout: bpy.types.UILayout, text: str, width: int) -> None:
    """A sentence broken into lines: labels do not wrap."""
    column = layout.column(align=True)
    column.scale_y = 0.8
    line, longest = "", max(28, width // 8)
    for word in text.split():
        if line and len(line) + len(word) >= longest:
            column.label(text=line, translate=False)
            line = ""
        line = f"{line} {word}".strip()
    column.label(text=line, translate=False)


register, unregister = bpy.utils.register_classes_factory((FootageInScene,))
