# SPDX-License-Identifier: GPL-3.0-or-later
"""Place: the one operator that makes datablocks of a finished import."""

import bpy
from bpy.props import StringProperty

from .. import sidecar
from ..errors import SaysErrors, UserError
from ..preferences import outputs_folder
from ..project import arriving
from ..sidecar import waiting
from . import filling, wishes
from .transfers import fetched


def place(operator: bpy.types.Operator, context: bpy.types.Context, job: str) -> None:
    """Stand the scene of a finished import in the Blender scene, or fetch it first.

    Args:
        operator: reports.
        context: its scene gets the footage, and no longer waits for the import.
        job: the import's id.

    Raises:
        UserError: there is no such import, it has not finished, or its scene cannot be fetched or placed.
    """
    wish = wishes.find(context.scene, job)
    view = sidecar.connection().job(job)
    name = wish.name if wish else view.name if view else ""
    if not name:
        raise UserError("There is no import {job!r}: look at the Sidecar panel for what there is.", job=job)
    folder = filling.awaited.fetched(job)
    if folder is None and view and view.content_hash:
        folder = fetched(outputs_folder(), name, view.content_hash)
    if folder is None and waiting.operators_wait():
        folder = sidecar.run(filling.fetching(job, name))
    if folder is None:
        _later(context, job, name)
        operator.report({"INFO"}, "It is fetched, and will then stand in the scene")
        return
    filling.awaited.note_fetched(job, folder)
    start = wish.frame_start if wish else None
    wishes.forget(context.scene, job)
    found = arriving.arrive(operator, context, folder, start)
    filling.awaited.note_put(job)
    for thing in context.selected_objects:
        thing.select_set(False)
    context.view_layer.objects.active = found.empty
    found.empty.select_set(True)
    for note in found.facts().notes:
        operator.report({"WARNING"}, note)


def _later(context: bpy.types.Context, job: str, name: str) -> None:
    """Have the scene wait for an import whose scene is not here yet."""
    if filling.awaited.moving(job) is None:
        filling.fetch(job, name)
    filling.awaited.wait_for(job)
    wish = wishes.find(context.scene, job)
    if wish is not None:
        wish.was_undone = False
    else:
        wish = context.scene.ex4d_imports.add()
        wish.job, wish.name, wish.frame_start = job, name, context.scene.frame_start


class EX4D_OT_place_import(arriving.InObjectMode, SaysErrors, bpy.types.Operator):
    """Place."""

    bl_idname = "ex4d.place_import"
    bl_label = "Place"
    bl_description = "Stand this finished import in the scene: it is fetched first if it is not here yet"
    bl_options = {"UNDO"}

    job: StringProperty(name="Job", options={"SKIP_SAVE", "HIDDEN"})

    def run(self, context: bpy.types.Context) -> None:
        """At once if its scene is here or Blender runs in background; else when it has come."""
        place(self, context, self.job)


class EX4D_OT_forget_import(SaysErrors, bpy.types.Operator):
    """Do Not Wait."""

    bl_idname = "ex4d.forget_import"
    bl_label = "Do Not Wait"
    bl_description = "The scene no longer waits for this import; the sidecar's list keeps it"
    bl_options = {"UNDO"}

    job: StringProperty(name="Job", options={"SKIP_SAVE", "HIDDEN"})

    def run(self, context: bpy.types.Context) -> None:
        """The job itself goes on: cancel that in the list."""
        wishes.forget(context.scene, self.job)


register, unregister = bpy.utils.register_classes_factory((EX4D_OT_place_import, EX4D_OT_forget_import))
