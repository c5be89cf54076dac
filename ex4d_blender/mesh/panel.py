# SPDX-License-Identifier: GPL-3.0-or-later
"""The panel *DW-Mesh*: what of the footage is shown, how finely, and at what time."""

import bpy

from ..interface import SidebarPanel
from ..placed import FRAME_START, SOURCE_TIME, SPEED, active
from ..versions import modifier_inputs
from . import copies
from .copies import MODIFIER
from .retiming import SOURCE_FRAME


class DWMeshPanel(SidebarPanel, bpy.types.Panel):
    """DW-Mesh."""

    bl_idname = "EX4D_PT_mesh"
    bl_label = "DW-Mesh"
    bl_order = 20

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Where there is footage."""
        return active(context) is not None

    def draw(self, context: bpy.types.Context) -> None:
        """The footage that the artist works on."""
        layout = self.layout
        layout.use_property_split = True
        layout.use_property_decorate = False
        placed = active(context)
        modifier = placed.mesh.modifiers.get(MODIFIER) if placed.mesh else None
        if modifier is None or modifier.node_group is None:
            return
        if copies.is_shared(placed):
            box = layout.box()
            box.label(text="A copy: its picture is another's", icon="INFO")
            box.operator("ex4d.make_single", icon="DUPLICATE")
        column = layout.column()
        modifier_inputs.draw(column, modifier, "Hide Occluded")
        shell = column.row()
        shell.enabled = not modifier_inputs.read(modifier, "Hide Occluded")
        modifier_inputs.draw(shell, modifier, "Far Shell")
        column = layout.column(align=True)
        modifier_inputs.draw(column, modifier, "Viewport Level", text="Level Viewport")
        modifier_inputs.draw(column, modifier, "Render Level", text="Render")
        _draw_time(layout, context, placed)


def _draw_time(layout: bpy.types.UILayout, context: bpy.types.Context, placed: object) -> None:
    column = layout.column(align=True)
    column.prop(placed.empty, f'["{FRAME_START}"]', text="Start Frame")
    column.prop(placed.empty, f'["{SPEED}"]', text="Speed")
    shown = column.row()
    shown.enabled = False
    shown.prop(placed.empty, f'["{SOURCE_FRAME}"]', text="Clip Frame")
    camera = context.scene.camera
    if camera is None:
        return
    if SOURCE_TIME in camera:
        row = layout.row(align=True)
        row.use_property_decorate = True
        row.prop(camera, f'["{SOURCE_TIME}"]', text="Source Time")
        row.operator("ex4d.clear_source_time", text="", icon="X")
    else:
        layout.operator("ex4d.set_source_time", icon="TIME")


register, unregister = bpy.utils.register_classes_factory((DWMeshPanel,))
