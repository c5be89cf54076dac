# SPDX-License-Identifier: GPL-3.0-or-later
"""The Footage panel: import something, and see how far it is."""

import bpy

from .. import sidecar
from ..interface import SidebarPanel
from ..sidecar.panel import draw_progress, wrapped
from . import filling, wishes

STAGES = {
    "hash": "Reading",
    "pack": "Packing",
    "upload": "Sending",
    "fetch": "Fetching",
    "download": "Fetching",
}


class EX4D_PT_footage(SidebarPanel, bpy.types.Panel):
    """First in the tab, where an artist begins."""

    bl_idname = "EX4D_PT_footage"
    bl_label = "Footage"
    bl_order = 0

    def draw(self, context: bpy.types.Context) -> None:
        """Called by Blender; reads memory only."""
        layout = self.layout
        now = sidecar.connection()
        column = layout.column(align=True)
        row = column.row(align=True)
        row.enabled = now.state == "ready"
        row.operator("ex4d.import_footage", text="Import Footage", icon="FILE_MOVIE")
        column.operator("ex4d.import_scene", text="Import Scene", icon="FILE_FOLDER")
        if now.state != "ready":
            column.label(text="Footage is imported by the sidecar", icon="INFO")
            if now.state in ("off", "failed"):
                column.operator("ex4d.start_sidecar", text="Start Sidecar", icon="PLAY")
        for wish in wishes.all_wishes(context.scene):
            _draw(layout.box().column(align=True), now, wish)


def _draw(column: bpy.types.UILayout, now: sidecar.Connection, wish: wishes.EX4D_Import) -> None:
    view, under_way = now.job(wish.job), filling.awaited.moving(wish.job)
    row = column.row(align=True)
    row.label(text=wish.name, icon="FILE_MOVIE", translate=False)
    row.operator("ex4d.forget_import", text="", icon="X").job = wish.job
    if under_way:
        stage, share = under_way
        column.progress(factor=min(max(share, 0.0), 1.0), text=STAGES.get(stage, "Sending"))
    elif view is None:
        if now.state == "ready":
            column.operator("ex4d.send_import").job = wish.job
        else:
            column.label(text="Waits for the sidecar")
    elif view.state == "succeeded":
        column.operator("ex4d.place_import", icon="IMPORT").job = wish.job
    else:
        draw_progress(column, view)
        if view.problem:
            wrapped(column, view.problem, 34, icon="ERROR")
        if view.finished:
            column.operator("ex4d.retry_job", icon="FILE_REFRESH").job = wish.job


register, unregister = bpy.utils.register_classes_factory((EX4D_PT_footage,))
