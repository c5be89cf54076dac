# SPDX-License-Identifier: GPL-3.0-or-later
"""What a scene waits for, on its way to the sidecar."""

import bpy

from .. import placed, sidecar
from ..client import Task
from ..errors import UserError
from ..shots import trajectory
from ..sidecar import Connection, ShotJob
from . import arriving, wishes
from .settings import Chosen
from .wishes import EX4D_TakeWish


def send(now: Connection, scene: bpy.types.Scene, wish: EX4D_TakeWish, *, follow: bool) -> None:
    """Ask the sidecar for a take: by ticks, or to the job's end.

    Args:
        now: the ready connection.
        follow: whether to wait for the end.

    Raises:
        UserError: the footage is gone, or the job has failed.
    """
    job, name = wish.job, wish.name
    if not wish.camera:
        raise UserError("{shot} was not generated from this scene: generate it again.", shot=name)
    sample = wishes.unpacked(wish.camera)
    facts = next(
        (found for each in placed.all_placed(scene) if (found := each.facts()).content_hash == sample.scene_hash), None
    )
    if facts is None:
        raise UserError("The footage that {shot} was to be generated from is gone: generate it again.", shot=name)
    request = {"kind": "reshoot", **Chosen.of(wish.settings).request()}
    task = ShotJob(job, facts, request, trajectory.document(sample), follow=follow, connection=now)
    if not follow:
        arriving.awaited.follow(job, "upload", task, _note_end)
        return
    sidecar.run_job(task)


def _note_end(task: Task) -> None:
    if task.error and task.error.code != "closed":
        sidecar.complain(sidecar.sentence(task.error))
