# SPDX-License-Identifier: GPL-3.0-or-later
"""The Sidecar panel: whether there is one, what went wrong, and the list of its jobs."""

import textwrap

import bpy

from ..interface import SidebarPanel
from ..translation import translated
from . import running
from .connection import Connection
from .joblist import SHOT_KINDS, JobView, shown_time
from .ticking import connection

ICONS = {"off": "UNLINKED", "starting": "SORTTIME", "ready": "LINKED", "lost": "ERROR", "failed": "CANCEL"}
JOB_ICONS = {"queued": "SORTTIME", "running": "PLAY", "succeeded": "CHECKMARK", "failed": "ERROR", "cancelled": "X"}
STATES = {
    "off": "No Sidecar",
    "starting": "Starting",
    "ready": "Ready",
    "lost": "Does Not Answer",
    "failed": "Failed",
}
SHOWN = 12
"""Finished jobs in the panel; all that are not finished are shown."""


class EX4D_PT_sidecar(SidebarPanel, bpy.types.Panel):
    """State and jobs of the sidecar."""

    bl_idname = "EX4D_PT_sidecar"
    bl_label = "Sidecar"
    bl_order = 50

    def draw(self, context: bpy.types.Context) -> None:
        """Called by Blender; reads memory only."""
        now, layout = connection(), self.layout
        _draw_state(layout, now, columns(context))
        for text in running.complaints():
            wrapped(layout.box(), text, columns(context) - 4, icon="ERROR")
        if running.complaints():
            layout.operator("ex4d.dismiss_errors", icon="X")
        found = now.jobs
        if found:
            layout.label(text="Jobs")
        finished = [view for view in found if view.finished]
        left = {view.id for view in finished[SHOWN:]}
        for view in found:
            if view.id in left:
                continue
            _draw_job(layout.box().column(align=True), view, columns(context) - 4)


def _draw_state(layout: bpy.types.UILayout, now: Connection, columns: int) -> None:
    layout.label(text=STATES[now.state], icon=ICONS[now.state])
    if now.message:
        wrapped(layout, now.message, columns)
    row = layout.row(align=True)
    if now.state in ("off", "failed"):
        row.operator("ex4d.start_sidecar", icon="PLAY")
        row.operator("ex4d.connect_sidecar", icon="URL")
        row.operator("ex4d.find_sidecar", text="", icon="VIEWZOOM")
    else:
        if now.is_local:
            row.operator("ex4d.stop_sidecar", icon="SNAP_FACE")
        row.operator("ex4d.disconnect_sidecar", icon="UNLINKED")
    if now.is_local and (now.server or now.log):
        row.operator("ex4d.sidecar_log", text="", icon="TEXT")
        row.operator("ex4d.copy_sidecar_log", text="", icon="COPYDOWN")


def _draw_job(column: bpy.types.UILayout, view: JobView, columns: int) -> None:
    row = column.row(align=True)
    row.label(text=view.name, icon=JOB_ICONS.get(view.state, "QUESTION"), translate=False)
    if view.state in ("queued", "running"):
        row.operator("ex4d.cancel_job", text="", icon="CANCEL").job = view.id
    else:
        if view.state != "succeeded":
            row.operator("ex4d.retry_job", text="", icon="FILE_REFRESH").job = view.id
        if view.state == "succeeded" and view.kind == "import":
            row.operator("ex4d.place_import", text="", icon="IMPORT").job = view.id
        elif view.state == "succeeded" and view.kind in SHOT_KINDS:
            row.operator("ex4d.take_job", text="", icon="IMPORT").job = view.id
        if view.path:
            row.operator("ex4d.reveal_job", text="", icon="FILE_FOLDER").job = view.id
        row.operator("ex4d.job_log", text="", icon="COPYDOWN").job = view.id
        row.operator("ex4d.remove_job", text="", icon="TRASH").job = view.id
    draw_progress(column, view)
    if view.problem:
        wrapped(column, view.problem, columns)


def draw_progress(layout: bpy.types.UILayout, view: JobView) -> None:
    """A bar with stage and remaining time, for a job that is not finished."""
    if view.finished:
        return
    eta = shown_time(view.eta_s)
    text = view.message or view.stage or view.state
    layout.progress(factor=min(max(view.fraction or 0.0, 0.0), 1.0), text=f"{text}  {eta}" if eta else text)


def wrapped(layout: bpy.types.UILayout, text: str, columns: int, icon: str = "NONE") -> None:
    """A sentence as lines that fit the sidebar."""
    column = layout.column(align=True)
    column.scale_y = 0.8
    for number, line in enumerate(textwrap.wrap(translated(text), max(columns, 16))):
        column.label(text=line, icon=icon if number == 0 else "NONE", translate=False)


def columns(context: bpy.types.Context) -> int:
    """Letters that fit a line of the sidebar."""
    scale = context.preferences.system.ui_scale
    return int((context.region.width if context.region else 300) / (7 * scale)) - 2


register, unregister = bpy.utils.register_classes_factory((EX4D_PT_sidecar,))
