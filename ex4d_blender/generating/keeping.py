# SPDX-License-Identifier: GPL-3.0-or-later
"""Keep Take: the one operator that puts a finished take into its shot's list."""

from typing import ClassVar

import bpy
from bpy.props import StringProperty

from .. import sidecar
from ..errors import SaysErrors, UserError
from ..shots import find_shot, required_shot
from ..shots.takes import add_take
from ..sidecar import waiting
from ..sidecar.joblist import SHOT_KINDS
from ..sidecar.operators import OnJob
from ..takes.folder import read_take
from . import arriving, folders, wishes
from .asking import wish_for


def keep(operator: bpy.types.Operator, job: str) -> None:
    """Put a finished take into its shot's list, or fetch it first.

    Raises:
        UserError: nobody waits for it, its shot is gone, or it is not finished or cannot be fetched.
    """
    found = wishes.find(job)
    if found is None:
        raise UserError("No scene waits for the take {job!r}: generate the shot again.", job=job)
    scene, wish = found
    folder = arriving.awaited.fetched(job) or folders.of_job(arriving.takes_folder(scene, wish), job)
    if folder is None and waiting.operators_wait():
        folder = sidecar.run(arriving.fetching(scene, wish))
    if folder is None:
        if arriving.awaited.moving(job) is None:
            arriving.fetch(scene, wish)
        arriving.awaited.wait_for(job)
        wish.was_undone = False
        operator.report({"INFO"}, "It is fetched, and will then be in the list of takes")
        return
    shot = find_shot(scene, wish.shot)
    if shot is None:
        raise UserError(
            "The shot {shot} is no longer in the list: its take lies in {folder}.", shot=wish.name, folder=folder
        )
    add_take(shot, read_take(folder))
    wishes.forget(job)
    arriving.awaited.note_put(job)


class EX4D_OT_keep_take(SaysErrors, bpy.types.Operator):
    """Keep Take."""

    bl_idname = "ex4d.keep_take"
    bl_label = "Keep Take"
    bl_description = "Put this finished take into its shot's list: it is fetched first if it is not here yet"
    bl_options: ClassVar = {"UNDO"}

    job: StringProperty(name="Job", description="Its id on the sidecar", options={"SKIP_SAVE", "HIDDEN"})

    def run(self, context: bpy.types.Context) -> None:
        """At once if it is here or Blender runs in background; else when it has come."""
        keep(self, self.job)


class EX4D_OT_take_job(OnJob, bpy.types.Operator):
    """Add as Take."""

    bl_idname = "ex4d.take_job"
    bl_label = "Add as Take"
    bl_description = "Put the result of this job into the list of takes of the active shot"
    bl_options: ClassVar = {"UNDO"}

    def run(self, context: bpy.types.Context) -> None:
        """Also of a job that was asked for in a file that was never saved, or by somebody else."""
        _, view = self.view()
        if wishes.find(self.job) is None:
            shot = required_shot(context.scene)
            if view.state != "succeeded" or view.kind not in SHOT_KINDS:
                raise UserError("The job {job} has no finished shot: wait for it, or choose another.", job=view.name)
            wish_for(context.scene, shot, view.id)
        keep(self, self.job)


register, unregister = bpy.utils.register_classes_factory((EX4D_OT_keep_take, EX4D_OT_take_job))
