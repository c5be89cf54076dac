# SPDX-License-Identifier: GPL-3.0-or-later
"""The panel *CG*."""

import bpy

from ..interface import SidebarPanel
from ..placed import active
from ..versions import strips


class EX4D_PT_cg(SidebarPanel, bpy.types.Panel):
    """CG."""

    bl_idname = "EX4D_PT_cg"
    bl_label = "CG"
    bl_order = 45

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Where there is footage."""
        return active(context) is not None

    def draw(self, context: bpy.types.Context) -> None:
        """The button, and what keeps shadows or all of the CG out of a render."""
        layout = self.layout
        layout.operator("ex4d.set_up_cg", icon="RENDERLAYERS")
        if context.scene.render.engine != "CYCLES":
            layout.label(text="Only Cycles catches shadows", icon="INFO")
        if strips.are_rendered(context.scene):
            layout.label(text="Renders show the sequencer's strips", icon="INFO")
            layout.prop(context.scene.render, "use_sequencer")


register, unregister = bpy.utils.register_classes_factory((EX4D_PT_cg,))
