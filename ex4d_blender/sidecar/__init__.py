# SPDX-License-Identifier: GPL-3.0-or-later
"""The sidecar from Blender: one connection, what runs through it, and the list of its jobs.

For the other features: take `required_connection()` (in background mode it starts a sidecar and waits for it), make a
task of the client with its `.server`, and hand it to `start`, or to `run` in background mode.
"""

from . import launching, operators, panel, running, ticking
from .connection import Connection
from .joblist import JobView, new_job_id
from .launching import required_connection
from .render_shot import RenderShot
from .running import OnEnd, OnEvent, complain, do, run, run_job, sentence, start
from .shot_job import ShotJob
from .ticking import connection, every_tick, no_longer, redraw, tick

__all__ = [
    "Connection",
    "JobView",
    "OnEnd",
    "OnEvent",
    "RenderShot",
    "ShotJob",
    "complain",
    "connection",
    "do",
    "every_tick",
    "jobs",
    "new_job_id",
    "no_longer",
    "redraw",
    "required_connection",
    "run",
    "run_job",
    "sentence",
    "start",
    "tick",
]


def jobs() -> list[JobView]:
    """The sidecar's jobs as last heard of, newest first."""
    return connection().jobs


def register() -> None:
    """Called when the extension is enabled."""
    operators.register()
    panel.register()
    ticking.register()
    launching.connect_at_start()


def unregister() -> None:
    """Ends what runs here; the sidecar and its jobs go on."""
    ticking.unregister()
    running.close_all()
    ticking.reset()
    panel.unregister()
    operators.unregister()
