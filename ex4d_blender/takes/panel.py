# SPDX-License-Identifier: GPL-3.0-or-later
"""The Takes panel: what came back for the active shot, and what to use it as."""

import bpy

from ..interface import SidebarPanel
from ..shots import active_shot
from ..shots.takes import active_take, folder_of
from ..use.uses import USES
from .listing import is_there


class EX4D_PT_takes(SidebarPanel, bpy.types.Panel):
    """Takes: the list of the active shot, and the active take."""

    bl_idname = "EX4D_PT_takes"
    bl_label = "Takes"
    bl_order = 44

    def draw(self, context: bpy.types.Context) -> None:
        """Called by Blender."""
        layout, shot = self.layout, active_shot(context.scene)
        layout.operator("ex4d.import_result", icon="IMPORT")
        if shot is None or not shot.takes:
            return
        row = layout.row()
        row.template_list("EX4D_UL_takes", "", shot, "takes", shot, "active_take", rows=3)
        tools = row.column(align=True)
        tools.operator("ex4d.remove_take", text="", icon="REMOVE")
        tools.operator("ex4d.reveal_take", text="", icon="FILE_FOLDER")
        take = active_take(shot)
        if take is None:
            return
        if not is_there(take):
            box = layout.box()
            box.alert = True
            box.label(text="Its folder is missing:", icon="ERROR")
            box.label(text=str(folder_of(take)), translate=False)
            box.operator("ex4d.relink_take", icon="FILE_FOLDER")
            return
        layout.label(text="Accept as")
        grid = layout.grid_flow(row_major=True, columns=2, even_columns=True, align=True)
        for name, use in USES.items():
            grid.operator("ex4d.accept_take", text=use.label, icon=use.icon).use = {name}
        layout.operator("ex4d.replace_take", icon="FILE_REFRESH")
        layout.operator("ex4d.regenerate_take", icon="LOOP_BACK")


register, unregister = bpy.utils.register_classes_factory((EX4D_PT_takes,))
