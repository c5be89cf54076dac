# SPDX-License-Identifier: GPL-3.0-or-later
"""Takes that come by themselves: finished ones are fetched, and put into the list by `ex4d.keep_take`."""

import json
from pathlib import Path

import bpy

from .. import sidecar
from ..awaited import Awaited
from ..client import same_data
from ..errors import UserError
from ..preferences import outputs_folder
from ..shots import find_shot
from . import folders, wishes
from .transfers import FetchTake
from .wishes import EX4D_TakeWish


def fetch(scene: bpy.types.Scene, wish: EX4D_TakeWish) -> None:
    """Begin to fetch a finished take. Raises: UserError."""
    awaited.fetch(wish.job, fetching(scene, wish))


def fetching(scene: bpy.types.Scene, wish: EX4D_TakeWish) -> FetchTake:
    """The task that fetches a finished take. Raises: UserError."""
    now = sidecar.required_connection()
    view = now.job(wish.job)
    if view is None or view.state != "succeeded":
        raise UserError(
            "{take} of {shot} is not finished: wait for it, or look at the Sidecar panel for the reason.",
            take=wish.take_name,
            shot=wish.name,
        )
    assert now.server is not None
    find = same_data(now.server) if now.is_local else None
    about = {"shot": wish.shot, "shot_name": _shot_name(scene, wish), "settings": json.loads(wish.settings)}
    return FetchTake(now.server, wish.job, takes_folder(scene, wish), wish.number, about, find)


def takes_folder(scene: bpy.types.Scene, wish: EX4D_TakeWish) -> Path:
    """Where the take goes: beside the .blend as it is called now, under the shot's present name."""
    return folders.takes_folder(outputs_folder(), wish.footage, _shot_name(scene, wish))


def _shot_name(scene: bpy.types.Scene, wish: EX4D_TakeWish) -> str:
    shot = find_shot(scene, wish.shot)
    return wish.name if shot is None else shot.name


awaited = Awaited(
    lambda: (wish for _, wish in wishes.all_wishes()),
    lambda wish: fetch(wish.id_data, wish),
    bpy.ops.ex4d.keep_take,
)

register, unregister = awaited.register, awaited.unregister
