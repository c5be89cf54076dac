# SPDX-License-Identifier: GPL-3.0-or-later
"""Buttons of the Sidecar panel. None of them changes the .blend, so none has undo."""

import re
from pathlib import Path

import bpy
from bpy.props import StringProperty

from ..client import Call
from ..errors import SaysErrors, UserError
from ..translation import translated
from . import launching, running, waiting
from .connection import Connection
from .joblist import JobView
from .opening import open_outside
from .process import tail
from .ticking import connection, redraw

_HOME = re.compile(re.escape(str(Path.home())))
_SECRET = re.compile(r"(?i)(bearer|token)([\"' :=]+)[\w.~+/=-]{8,}")


class EX4D_OT_start_sidecar(SaysErrors, bpy.types.Operator):
    """Start the sidecar on this machine; it works on after Blender is closed, until its jobs are done"""

    bl_idname = "ex4d.start_sidecar"
    bl_label = "Start"

    def run(self, context: bpy.types.Context) -> None:
        """In background mode, until it answers."""
        launching.start_sidecar()
        if waiting.operators_wait():
            launching.required_connection()


class EX4D_OT_stop_sidecar(SaysErrors, bpy.types.Operator):
    """End the sidecar; what it does now goes on when it is started again"""

    bl_idname = "ex4d.stop_sidecar"
    bl_label = "Stop"

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Only one of this machine is ours to end."""
        now = connection()
        if now.state not in ("starting", "ready", "lost"):
            cls.poll_message_set(translated("There is no sidecar to stop: it is started with Start."))
            return False
        if not now.is_local:
            cls.poll_message_set(translated("The sidecar runs on another machine: stop it there, or use Disconnect."))
            return False
        return True

    def run(self, context: bpy.types.Context) -> None:
        """Asks it to end."""
        now = connection()
        if now.server:
            _call(now, "POST", "/v1/shutdown")
        now.stop()


class EX4D_OT_connect_sidecar(SaysErrors, bpy.types.Operator):
    """Connect to the sidecar at this address, on another machine as well"""

    bl_idname = "ex4d.connect_sidecar"
    bl_label = "Connect"

    address: StringProperty(name="Address", description="Such as http://gpu-box:8188", maxlen=1024)
    token: StringProperty(
        name="Token",
        description="The line in the token file with which that sidecar was started",
        subtype="PASSWORD",
        maxlen=1024,
        options={"SKIP_SAVE"},
    )

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        """Asks for both, beginning with what the preferences hold."""
        chosen = launching.preferences()
        self.address, self.token = chosen.address, chosen.token
        return context.window_manager.invoke_props_dialog(self, width=400)

    def run(self, context: bpy.types.Context) -> None:
        """Keeps both in the preferences; in background mode waits until it answers."""
        chosen = launching.preferences()
        before = chosen.address, chosen.token, chosen.use_address
        chosen.address = launching.whole_address(self.address or chosen.address)
        chosen.token = self.token or chosen.token
        try:
            launching.connect_address()
            chosen.use_address = context.preferences.is_dirty = True
            if waiting.operators_wait():
                launching.required_connection()
        except UserError:
            chosen.address, chosen.token, chosen.use_address = before
            if connection().state != "failed":  # that says why in the panel
                connection().disconnect()
            raise


class EX4D_OT_disconnect_sidecar(SaysErrors, bpy.types.Operator):
    """Leave the sidecar alone; what it does goes on"""

    bl_idname = "ex4d.disconnect_sidecar"
    bl_label = "Disconnect"

    def run(self, context: bpy.types.Context) -> None:
        """Until somebody connects again."""
        connection().disconnect()
        if launching.preferences().use_address:
            launching.preferences().use_address = False
            context.preferences.is_dirty = True


class EX4D_OT_find_sidecar(SaysErrors, bpy.types.Operator):
    """Connect to a sidecar that runs on this machine already"""

    bl_idname = "ex4d.find_sidecar"
    bl_label = "Find Running"

    def run(self, context: bpy.types.Context) -> None:
        """Also after Disconnect."""
        if not connection().take_local():
            raise UserError("No sidecar runs on this machine: press Start.")


class EX4D_OT_sidecar_log(SaysErrors, bpy.types.Operator):
    """Open the sidecar's log in the program that this system has for text"""

    bl_idname = "ex4d.sidecar_log"
    bl_label = "Open Log"

    def run(self, context: bpy.types.Context) -> None:
        """The log of a sidecar on this machine."""
        open_outside(log_file())


class EX4D_OT_copy_sidecar_log(SaysErrors, bpy.types.Operator):
    """Copy the end of the sidecar's log, without secrets and names of your folders, to paste it into a report"""

    bl_idname = "ex4d.copy_sidecar_log"
    bl_label = "Copy Log"

    def run(self, context: bpy.types.Context) -> None:
        """Onto the clipboard."""
        context.window_manager.clipboard = masked(tail(log_file()))
        self.report({"INFO"}, "The end of the log is on the clipboard")


class EX4D_OT_dismiss_errors(bpy.types.Operator):
    """Remove these messages"""

    bl_idname = "ex4d.dismiss_errors"
    bl_label = "Dismiss"

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Forgets them."""
        running.dismiss()
        redraw()
        return {"FINISHED"}


class OnJob(SaysErrors):
    """Mixin of operators on one of the sidecar's jobs."""

    job: StringProperty(name="Job", description="Its id", options={"SKIP_SAVE"})

    def view(self) -> tuple[Connection, JobView]:
        """The connection, ready, and the job. Raises: UserError."""
        now = launching.required_connection()
        found = now.job(self.job)
        if found is None:
            raise UserError("The sidecar has no job {job!r}: look at the list of jobs.", job=self.job)
        return now, found


class EX4D_OT_cancel_job(OnJob, bpy.types.Operator):
    """Stop this job; Retry goes on with what it has finished"""

    bl_idname = "ex4d.cancel_job"
    bl_label = "Cancel"

    def run(self, context: bpy.types.Context) -> None:
        """Asks for it; the list tells when it has stopped."""
        now, found = self.view()
        _call(now, "POST", f"/v1/jobs/{found.id}/cancel")


class EX4D_OT_retry_job(OnJob, bpy.types.Operator):
    """Queue this job again; it goes on after its last finished stage"""

    bl_idname = "ex4d.retry_job"
    bl_label = "Retry"

    def run(self, context: bpy.types.Context) -> None:
        """Of a job that failed or was cancelled."""
        now, found = self.view()
        _call(now, "POST", f"/v1/jobs/{found.id}/retry")


class EX4D_OT_remove_job(OnJob, bpy.types.Operator):
    """Take this job off the list; the sidecar may then remove its result, what was fetched stays"""

    bl_idname = "ex4d.remove_job"
    bl_label = "Remove"

    def run(self, context: bpy.types.Context) -> None:
        """Of a job that does not run."""
        now, found = self.view()
        _call(now, "DELETE", f"/v1/jobs/{found.id}")


class EX4D_OT_reveal_job(OnJob, bpy.types.Operator):
    """Show the folder of this job's result"""

    bl_idname = "ex4d.reveal_job"
    bl_label = "Reveal"

    def run(self, context: bpy.types.Context) -> None:
        """In the system's file browser."""
        _, found = self.view()
        if found.path is None or not found.path.is_dir():
            raise UserError(
                "The result of {job} is not on this machine: wait for its end, or use Place.", job=found.name
            )
        open_outside(found.path)


class EX4D_OT_job_log(OnJob, bpy.types.Operator):
    """Copy what the sidecar wrote while it did this job, without secrets and names of your folders"""

    bl_idname = "ex4d.job_log"
    bl_label = "Copy Log"

    def run(self, context: bpy.types.Context) -> None:
        """Onto the clipboard, when it has come."""
        now, found = self.view()
        assert now.server is not None
        call = Call(now.server, "GET", f"/v1/jobs/{found.id}/log")

        def copy(task: Call) -> None:
            if task.error or task.result is None:
                running.complain(running.sentence(task.error) if task.error else "The job has no log.")
                return
            body = task.result.body
            text = body.decode("utf-8", errors="replace") if isinstance(body, bytes) else str(body)
            bpy.context.window_manager.clipboard = masked(text[-(1 << 16) :])

        running.start(call, on_end=copy)
        self.report({"INFO"}, "The log of the job goes to the clipboard")


def masked(text: str) -> str:
    """A log without the user's name in paths and without tokens."""
    return _SECRET.sub(r"\1\2(hidden)", _HOME.sub("~", text))


def log_file() -> Path:
    """The log of the sidecar itself, or of a start that failed. Raises: UserError."""
    now = connection()
    data = now.server.data if now.server else None
    candidates = [Path(data) / "logs" / "sidecar.log"] if data else []
    candidates += [now.log] if now.log else []
    found = next((file for file in candidates if file.is_file() and file.stat().st_size), None)
    found = found or next((file for file in candidates if file.is_file()), None)
    if found is None:
        raise UserError("There is no log on this machine: a sidecar on another one keeps its own.")
    return found


def _call(now: Connection, method: str, path: str) -> None:
    """A request whose answer, or the next look at the list, shows what it did. In background mode, waits for it."""
    assert now.server is not None

    def learn(task: Call) -> None:
        if task.result and isinstance(task.result.body, dict) and "state" in task.result.body:
            now.learn(task.result.body)
        now.refresh()

    running.do(Call(now.server, method, path), learn)


register, unregister = bpy.utils.register_classes_factory(
    (
        EX4D_OT_start_sidecar,
        EX4D_OT_stop_sidecar,
        EX4D_OT_connect_sidecar,
        EX4D_OT_disconnect_sidecar,
        EX4D_OT_find_sidecar,
        EX4D_OT_sidecar_log,
        EX4D_OT_copy_sidecar_log,
        EX4D_OT_dismiss_errors,
        EX4D_OT_cancel_job,
        EX4D_OT_retry_job,
        EX4D_OT_remove_job,
        EX4D_OT_reveal_job,
        EX4D_OT_job_log,
    )
)
