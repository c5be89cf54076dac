# SPDX-License-Identifier: GPL-3.0-or-later
"""A scene begins to wait for a take: of a job that is about to be asked for, or of one that is there already."""

import bpy

from .. import placed, sidecar
from ..errors import UserError
from ..shots.properties import Shot
from . import arriving, folders
from .wishes import EX4D_TakeWish


def wish_for(scene: bpy.types.Scene, shot: Shot, job: str = "") -> EX4D_TakeWish:
    """Have a scene wait for a take of a shot, under the next number that is free.

    Args:
        job: of one that is there already; without it, a new id.

    Raises:
        UserError: there is no footage, or it is missing.
    """
    footage = placed.of_camera(scene, shot.camera)
    if footage is None:
        raise UserError("There is no footage in this scene: use Import Footage, or Import Scene.")
    name = footage.facts().name
    taken = [take.number for take in shot.takes]
    taken += [other.number for other in scene.ex4d_wished_takes if other.shot == shot.key]
    wish = scene.ex4d_wished_takes.add()
    wish.name, wish.shot, wish.footage, wish.settings = shot.name, shot.key, name, "{}"
    wish.number = folders.next_number(arriving.takes_folder(scene, wish), taken)
    wish.job = job or sidecar.new_job_id(f"{shot.name}-{wish.take_name}")
    return wish
