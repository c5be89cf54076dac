# SPDX-License-Identifier: GPL-3.0-or-later
"""The Engine panel: what is there, what is being done, and what mends what went wrong. Reads memory only."""

import bpy

from ..interface import SidebarPanel
from ..preferences import preferences
from ..sidecar import connection
from ..sidecar.panel import columns, wrapped
from ..translation import translated
from . import doing
from .place import Place, place
from .problems import INSTALL, REPAIR
from .work import STAGES, Work

STATES = {
    "none": ("Not Installed", "IMPORT"),
    "foreign": ("Folder Not Empty", "ERROR"),
    "incomplete": ("Incomplete", "ERROR"),
    "outdated": ("Of Another Version of the Extension", "FILE_REFRESH"),
    "ready": ("Installed", "CHECKMARK"),
}


class EX4D_PT_engine(SidebarPanel, bpy.types.Panel):
    """Installs the program that the sidecar is."""

    bl_idname = "EX4D_PT_engine"
    bl_parent_id = "EX4D_PT_sidecar"
    bl_label = "Engine"
    bl_order = 10

    def draw(self, context: bpy.types.Context) -> None:
        """Called by Blender."""
        layout, here, width = self.layout, place(), columns(context)
        if now := doing.work():
            _draw_work(layout, now)
        else:
            text, icon = STATES[here.state]
            layout.label(text=text, icon=icon)
            if doing.note():
                wrapped(layout, doing.note(), width)
            _draw_error(layout, width)
            _draw_buttons(layout, here)
        layout.operator("ex4d.copy_report", icon="COPYDOWN")
        _draw_models(layout)


def _draw_work(layout: bpy.types.UILayout, now: Work) -> None:
    text = translated(STAGES[now.stage])
    if now.bytes:
        text += f"  {now.bytes / 1e6:.0f} MB"
    row = layout.row(align=True)
    row.progress(factor=min(max(now.fraction, 0.0), 1.0), text=text)
    row.operator("ex4d.cancel_engine", text="", icon="CANCEL")


def _draw_error(layout: bpy.types.UILayout, width: int) -> None:
    found = doing.error()
    if found is None:
        return
    box = layout.box()
    wrapped(box, found.said, width - 4, icon="ERROR")
    row = box.row(align=True)
    if found.remedy == REPAIR:
        row.operator(REPAIR, text="Go On", icon="PLAY")
    elif found.remedy and found.remedy != INSTALL:  # that one stands below, with its settings
        row.operator(found.remedy, icon="CHECKMARK")
    row.operator("ex4d.dismiss_engine", icon="X")


def _draw_buttons(layout: bpy.types.UILayout, here: Place) -> None:
    found = doing.error()
    if here.marker is None or (found and found.remedy == INSTALL):
        column = layout.column()
        column.prop(preferences(), "engine_folder", text="Folder")
        column.prop(preferences(), "engine_wheels", text="Wheels")
        column.operator("ex4d.install_engine", icon="IMPORT")
    if here.marker is None:
        return
    if here.state == "outdated" or connection().outdated:
        layout.operator("ex4d.update_engine", icon="FILE_REFRESH")
    row = layout.row(align=True)
    if here.state == "incomplete":
        row.operator("ex4d.repair_engine", text="Go On", icon="PLAY")
    else:
        row.operator("ex4d.repair_engine", icon="TOOL_SETTINGS")
    row.operator("ex4d.remove_engine", icon="TRASH")


def _draw_models(layout: bpy.types.UILayout) -> None:
    """The weights that engines of the sidecar need, where it names any."""
    for model in connection().capabilities.get("models") or ():
        column = layout.box().column(align=True)
        column.label(text=str(model.get("title") or model.get("name")), translate=False)
        size = f"{model.get('size_bytes', 0) / 1e9:.1f} GB, {model.get('licence', '')}, {model.get('where', '')}"
        column.label(text=size, translate=False)
        column.label(text=str(model.get("state", "")), translate=False)


register, unregister = bpy.utils.register_classes_factory((EX4D_PT_engine,))
