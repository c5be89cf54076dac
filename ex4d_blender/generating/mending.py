# SPDX-License-Identifier: GPL-3.0-or-later
"""The operators behind the buttons of `remedies`: another engine, a smaller picture, memory and disk given back."""

from pathlib import Path
from typing import Any

import bpy
from bpy.props import StringProperty

from .. import sidecar
from ..client import Call, ClientError, Server, Task
from ..client.http import Flow
from ..errors import SaysErrors, UserError
from ..shots.properties import NeedsShot, required_shot
from ..sidecar.opening import open_outside
from ..translation import translated
from . import preflight, settings, wishes


class EX4D_OT_choose_engine(SaysErrors, bpy.types.Operator):
    """Use Engine."""

    bl_idname = "ex4d.choose_engine"
    bl_label = "Use Engine"
    bl_description = "Generate the shots of this scene with another engine"
    bl_options = {"REGISTER", "UNDO"}

    engine: StringProperty(name="Engine", description="Of the sidecar's engines")

    def run(self, context: bpy.types.Context) -> None:
        """Raises: UserError if there is none of that name."""
        settings.chosen(context.scene, engine=self.engine, quality="").check()
        context.scene.ex4d_generate.engine = self.engine


class EX4D_OT_halve_shot(NeedsShot, SaysErrors, bpy.types.Operator):
    """Half Size."""

    bl_idname = "ex4d.halve_shot"
    bl_label = "Half Size"
    bl_description = "Make the active shot's picture half as wide and high"
    bl_options = {"REGISTER", "UNDO"}

    def run(self, context: bpy.types.Context) -> None:
        """A quarter of the pixels."""
        shot = required_shot(context.scene)
        shot.width, shot.height = max(shot.width // 2, 1), max(shot.height // 2, 1)


class EX4D_OT_unload_models(SaysErrors, bpy.types.Operator):
    """Unload Models."""

    bl_idname = "ex4d.unload_models"
    bl_label = "Unload Models"
    bl_description = "Let the sidecar give back the memory of models that it holds, now or after the job that runs"

    def run(self, context: bpy.types.Context) -> None:
        """They are loaded again by the next job that needs them."""
        now = sidecar.required_connection()
        assert now.server is not None
        _do(Call(now.server, "POST", "/v1/unload"))


class EX4D_OT_open_data_folder(SaysErrors, bpy.types.Operator):
    """Open Data Folder."""

    bl_idname = "ex4d.open_data_folder"
    bl_label = "Open Data Folder"
    bl_description = "Show the folder on the full disk, where the sidecar keeps jobs and results"

    def run(self, context: bpy.types.Context) -> None:
        """In the system's file browser."""
        server = sidecar.required_connection().server
        if server is None or not server.data:
            raise UserError("The sidecar runs on another machine: free space on its disk there.")
        open_outside(Path(server.data))


class EX4D_OT_remove_finished_jobs(SaysErrors, bpy.types.Operator):
    """Remove Finished Jobs."""

    bl_idname = "ex4d.remove_finished_jobs"
    bl_label = "Remove Finished Jobs"
    bl_description = (
        "Take all finished jobs off the sidecar's list, so that their results make room. What was fetched stays, and "
        "so does what this file waits for"
    )

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        """Asks: another file may wait for one of them."""
        return context.window_manager.invoke_confirm(self, event)

    def run(self, context: bpy.types.Context) -> None:
        """Where there are any."""
        now = sidecar.required_connection()
        waited_for = {wish.job for _, wish in wishes.all_wishes()}
        waited_for |= {wish.job for scene in bpy.data.scenes for wish in scene.ex4d_imports}
        jobs = [job.id for job in now.jobs if job.finished and job.id not in waited_for]
        if not jobs:
            raise UserError("No finished job is left to remove: free space on the sidecar's disk by hand.")
        assert now.server is not None
        _do(RemoveJobs(now.server, jobs))
        self.report({"INFO"}, translated("{count} jobs removed", count=len(jobs)))


class RemoveJobs(Task[None]):
    """Takes jobs off the sidecar's list."""

    def __init__(self, server: Server, jobs: list[str]) -> None:
        super().__init__(server)
        self._jobs = jobs

    def flow(self) -> Flow[None]:
        """One after another; one that is gone, or was queued again meanwhile, is left alone."""
        for job in self._jobs:
            try:
                yield from self.call("DELETE", f"/v1/jobs/{job}")
            except ClientError as error:
                if error.status not in (404, 409):
                    raise


def _do(task: Task[Any]) -> None:
    """Let a task end, at once or by ticks; then look at the list of jobs and at the fit again."""

    def look(_ended: Task[Any]) -> None:
        sidecar.connection().refresh()
        preflight.forget()

    sidecar.do(task, look)


register, unregister = bpy.utils.register_classes_factory(
    (
        EX4D_OT_choose_engine,
        EX4D_OT_halve_shot,
        EX4D_OT_unload_models,
        EX4D_OT_open_data_folder,
        EX4D_OT_remove_finished_jobs,
    )
)
