# SPDX-License-Identifier: GPL-3.0-or-later
"""The Engine panel: what is there, what is being done, and what mends what went wrong. Reads memory only."""

import bpy

from ..interface import SidebarPanel
from ..preferences import preferences
from ..sidecar import connection
from ..sidecar.panel import columns, draw_progress, wrapped
from ..translation import translated
from . import doing
from .kinds import gpu_kind
from .models import Model, download_of, models, no_downloads
from .place import Place, place
from .problems import INSTALL, REPAIR
from .work import STAGES, Work

STATES = {
    "none": ("Not Installed", "IMPORT"),
    "foreign": ("Folder Not Empty", "ERROR"),
    "incomplete": ("Incomplete", "ERROR"),
    "outdated": ("Of Another Version of the Extension", "FILE_REFRESH"),
    "ready": ("Installed", "CHECKMARK"),
}


class EX4D_PT_engine(SidebarPanel, bpy.types.Panel):
    """Installs the program that the sidecar is."""

    bl_idname = "EX4D_PT_engine"
    bl_parent_id = "EX4D_PT_sidecar"
    bl_label = "Engine"
    bl_order = 10

    def draw(self, context: bpy.types.Context) -> None:
        """Called by Blender."""
        layout, here, width = self.layout, place(), columns(context)
        if now := doing.work():
            _draw_work(layout, now)
        else:
            text, icon = STATES[here.state]
            layout.label(text=text, icon=icon)
            if doing.note():
                wrapped(layout, doing.note(), width)
            _draw_error(layout, width)
            _draw_buttons(layout, here)
        layout.operator("ex4d.copy_report", icon="COPYDOWN")
        if no_downloads():
            _draw_no_downloads(layout)
        for model in models():
            _draw_model(layout.box().column(align=True), model, width)


def _draw_work(layout: bpy.types.UILayout, now: Work) -> None:
    text = translated(STAGES[now.stage])
    if now.bytes:
        text += f"  {now.bytes / 1e6:.0f} MB"
    row = layout.row(align=True)
    row.progress(factor=min(max(now.fraction, 0.0), 1.0), text=text)
    row.operator("ex4d.cancel_engine", text="", icon="CANCEL")


def _draw_error(layout: bpy.types.UILayout, width: int) -> None:
    found = doing.error()
    if found is None:
        return
    box = layout.box()
    wrapped(box, found.said, width - 4, icon="ERROR")
    row = box.row(align=True)
    if found.remedy == REPAIR:
        row.operator(REPAIR, text="Go On", icon="PLAY")
    elif found.remedy and found.remedy != INSTALL:  # that one stands below, with its settings
        row.operator(found.remedy, icon="CHECKMARK")
    row.operator("ex4d.dismiss_engine", icon="X")


def _draw_buttons(layout: bpy.types.UILayout, here: Place) -> None:
    found = doing.error()
    if here.marker is None or (found and found.remedy == INSTALL):
        column = layout.column()
        column.prop(preferences(), "engine_folder", text="Folder")
        column.prop(preferences(), "engine_wheels", text="Wheels")
        column.operator("ex4d.install_engine", icon="IMPORT")
    if here.marker is None:
        return
    if here.state == "outdated" or connection().outdated:
        layout.operator("ex4d.update_engine", icon="FILE_REFRESH")
    row = layout.row(align=True)
    if here.state == "incomplete":
        row.operator("ex4d.repair_engine", text="Go On", icon="PLAY")
    else:
        row.operator("ex4d.repair_engine", icon="TOOL_SETTINGS")
    row.operator("ex4d.remove_engine", icon="TRASH")


def _draw_no_downloads(layout: bpy.types.UILayout) -> None:
    layout.label(text="Models need the engine for a GPU", icon="INFO")
    if connection().is_local:  # another machine's engine is not installed from here
        layout.operator("ex4d.install_engine", icon="IMPORT").kind = gpu_kind()


def _draw_model(column: bpy.types.UILayout, model: Model, width: int) -> None:
    job = download_of(model)
    row = column.row(align=True)
    row.label(text=model.title, icon="CHECKMARK" if model.state == "ready" else "IMPORT", translate=False)
    if job and not job.finished:
        row.operator("ex4d.cancel_job", text="", icon="CANCEL").job = job.id
    column.label(text=f"{model.size_bytes / 1e9:.1f} GB, {model.licence}, {model.where}", translate=False)
    if not model.commercial:
        column.label(text="Not for commercial work", icon="ERROR")
    if model.state == "ready":
        column.label(text=model.folder, icon="FILE_FOLDER", translate=False)
    elif model.state == "downloading" and (job is None or job.finished):
        column.label(text="Is being downloaded by another program", icon="SORTTIME")
    elif no_downloads():
        pass  # said above all of them
    elif job is None or job.state == "succeeded":  # it may have been removed since
        if model.state == "incomplete":
            column.label(
                text=translated("Incomplete: {size:.1f} GB are left", size=model.left_bytes / 1e9), translate=False
            )
        column.operator("ex4d.download_model", icon="IMPORT").model = model.name
    elif job.finished:
        if job.problem:
            wrapped(column, job.problem, width - 4, icon="ERROR")
        column.operator("ex4d.retry_job", icon="FILE_REFRESH").job = job.id
    else:
        draw_progress(column, job)


register, unregister = bpy.utils.register_classes_factory((EX4D_PT_engine,))
