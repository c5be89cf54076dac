# SPDX-License-Identifier: GPL-3.0-or-later
"""The Coverage panel."""

import bpy
import numpy as np

from ..interface import SidebarPanel
from ..placed import all_placed
from ..translation import translated
from . import measuring, record, stale, viewports


class EX4D_PT_coverage(SidebarPanel, bpy.types.Panel):
    """Look before you generate."""

    bl_idname = "EX4D_PT_coverage"
    bl_label = "Coverage"
    bl_order = 40

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Only where there is footage."""
        return bool(all_placed(context.scene))

    def draw(self, context: bpy.types.Context) -> None:
        """Called by Blender."""
        layout, scene = self.layout, context.scene
        on = viewports.is_on(context.space_data)
        layout.operator("ex4d.preview_coverage", icon="OVERLAY", depress=on)
        shot = stale.shot_of(scene, None)
        if shot is None or shot.camera is None:
            layout.label(text="Make a shot to measure it", icon="INFO")
            return
        found = record.read(shot.camera)
        text = "Measure Coverage" if found is None else "Measure Again"
        layout.operator("ex4d.measure_coverage", text=text, icon="RENDER_ANIMATION")
        share = measuring.progress(shot)
        if share is not None:
            layout.progress(factor=share, text=f"{share:.0%}")
        if found is not None:
            self._draw_found(context, shot.camera, found)

    def _draw_found(self, context: bpy.types.Context, camera: bpy.types.Object, found: record.Record) -> None:
        layout, scene = self.layout, context.scene
        row = layout.row()
        row.enabled = viewports.is_on(context.space_data)
        row.prop(scene.ex4d_coverage, "use_rendered")
        index = found.index(scene.frame_current)
        if scene.camera == camera and index is not None:
            unseen = _share(record.shares(camera), index)
            text = translated("Unseen in this frame: {share:.1%}", share=unseen or 0.0)
            layout.label(text=text, translate=False)
            stretched = _share(record.shares(camera, record.STRETCHED), index)
            if stretched is not None:
                text = translated("Stretched over 2x: {share:.1%} of the rest", share=stretched)
                layout.label(text=text, translate=False)
        if stale.is_stale(context, camera):
            layout.label(text="The camera has changed since", icon="INFO")
        layout.operator("ex4d.next_worst_frame", icon="FRAME_NEXT")


def _share(shares: np.ndarray, index: int) -> float | None:
    """One picture's value of a curve; None without a curve."""
    return float(shares[min(index, len(shares) - 1), 1]) if len(shares) else None


register, unregister = bpy.utils.register_classes_factory((EX4D_PT_coverage,))
