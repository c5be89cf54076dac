# SPDX-License-Identifier: GPL-3.0-or-later
"""*Download*: a model's weights, by a job of the sidecar. Asks first; progress, cancel and retry are the job's."""

import bpy
from bpy.props import BoolProperty, StringProperty

from .. import sidecar
from ..client import JobTask, same_data
from ..errors import UserError
from ..sidecar import waiting
from ..translation import translated
from . import doing
from .models import KIND, Model, download_of, no_downloads, required_model
from .operators import OnEngine
from .problems import EngineError


class EX4D_OT_download_model(OnEngine, bpy.types.Operator):
    """Let the sidecar download the weights of this model; it asks before it goes online"""

    bl_idname = "ex4d.download_model"
    bl_label = "Download"

    model: StringProperty(name="Model", description="One that the sidecar knows", options={"SKIP_SAVE"})
    accept_licence: BoolProperty(
        name="Accept Licence",
        description="You have read the licence, and do no commercial work with this model",
        options={"SKIP_SAVE"},
    )

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        """Asks."""
        try:
            required_model(self.model)
        except UserError as error:
            self.report({"ERROR"}, error.said)
            return {"CANCELLED"}
        return context.window_manager.invoke_props_dialog(self, width=460)

    def draw(self, context: bpy.types.Context) -> None:
        """What comes, from where, where to, and on which terms."""
        model = required_model(self.model)
        column = self.layout.column(align=True)
        for line in plan(model):
            column.label(text=line, translate=False)
        if not model.commercial:
            column.label(text="Not for commercial work", icon="ERROR")
            self.layout.prop(self, "accept_licence")
        if not bpy.app.online_access:
            self.layout.label(text="Blender is set to stay offline", icon="ERROR")

    def work_on(self, context: bpy.types.Context) -> None:
        """Asks the sidecar for it; in background mode until it is there."""
        now = sidecar.required_connection()
        model = required_model(self.model)
        before = download_of(model)
        if model.state == "ready":
            raise UserError("{model} is on the sidecar's machine already: there is nothing to do.", model=model.title)
        if before is not None and not before.finished:
            raise UserError("{model} is being downloaded: wait for its end, or cancel it.", model=model.title)
        if no_downloads():
            raise EngineError("no-packages")
        if not bpy.app.online_access:
            raise EngineError("offline-models")
        if not (model.commercial or self.accept_licence):
            raise EngineError("licence", model=model.title, licence=model.licence)
        doing.forget()
        request = {"kind": KIND, "model": model.name, "accept_licence": self.accept_licence}
        find = same_data(now.server) if now.is_local else None
        task = JobTask(now.server, sidecar.new_job_id(model.name), request, find_server=find)
        if waiting.operators_wait():
            sidecar.run_job(task)
        else:
            sidecar.start(task)


def plan(model: Model) -> list[str]:
    """What a download does, line by line."""
    return [
        model.title,
        translated("Download of {size:.1f} GB from {where}", size=model.size_bytes / 1e9, where=model.where),
        translated("Into {folder}, on the sidecar's machine", folder=model.folder),
        translated("Licence: {licence}", licence=model.licence),
    ]


register, unregister = bpy.utils.register_classes_factory((EX4D_OT_download_model,))
