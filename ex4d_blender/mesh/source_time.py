# SPDX-License-Identifier: GPL-3.0-or-later
"""Operators for *Source Time*, the property of a camera that freezes or retimes what it sees."""

import bpy

from .. import placed
from ..errors import SaysErrors, UserError
from ..ownership import require_local
from ..placed import SOURCE_TIME
from ..versions import fcurves


def add(camera: bpy.types.Object, time: float, frames: int) -> None:
    """Give a camera a Source Time, a clip frame."""
    camera[SOURCE_TIME] = float(time)
    camera.id_properties_ui(SOURCE_TIME).update(
        description="The clip frame that this camera shows; key it to freeze or retime the footage",
        soft_min=0.0,
        soft_max=float(frames - 1),
        precision=2,
    )
    camera.update_tag()


class EX4D_OT_set_source_time(SaysErrors, bpy.types.Operator):
    """Add Source Time."""

    bl_idname = "ex4d.set_source_time"
    bl_label = "Add Source Time"
    bl_description = (
        "Give the scene's camera a clip frame of its own: frozen at the one shown now, and ready to be keyed"
    )
    bl_options = {"REGISTER", "UNDO"}

    def run(self, context: bpy.types.Context) -> None:
        """Freeze what is shown."""
        footage, camera = placed.required(context), context.scene.camera
        if camera is None:
            raise UserError("The scene has no camera to give a Source Time: make one the scene's camera first.")
        require_local(camera)
        scene = context.scene
        time = placed.source_time(footage, camera, scene.frame_current + scene.frame_subframe)
        shape = footage.shape()
        add(camera, time, shape[2] if shape else footage.facts().frames)


class EX4D_OT_clear_source_time(SaysErrors, bpy.types.Operator):
    """Remove Source Time."""

    bl_idname = "ex4d.clear_source_time"
    bl_label = "Remove Source Time"
    bl_description = "Let the scene's camera show the footage at its own speed again"
    bl_options = {"REGISTER", "UNDO"}

    def run(self, context: bpy.types.Context) -> None:
        """Remove the property and its keys."""
        camera = context.scene.camera
        if camera is None or SOURCE_TIME not in camera:
            raise UserError("The scene's camera has no Source Time: there is nothing to remove.")
        require_local(camera)
        path = f'["{SOURCE_TIME}"]'
        fcurves.remove(camera, path)
        camera.driver_remove(path)
        del camera[SOURCE_TIME]
        camera.update_tag()


register, unregister = bpy.utils.register_classes_factory((EX4D_OT_set_source_time, EX4D_OT_clear_source_time))
