# SPDX-License-Identifier: GPL-3.0-or-later
"""The scene that fills itself: finished imports are fetched, and placed by `ex4d.place_import`."""

from collections.abc import Iterator

import bpy

from .. import sidecar
from ..awaited import Awaited
from ..client import same_data
from ..errors import UserError
from ..preferences import outputs_folder, require_outputs
from . import transfers, wishes
from .wishes import EX4D_Import


def fetch(job: str, name: str) -> None:
    """Begin to fetch a finished import's scene. Raises: UserError."""
    awaited.fetch(job, fetching(job, name))


def fetching(job: str, name: str) -> transfers.FetchScene:
    """The task that fetches a finished import's scene. Raises: UserError."""
    now = sidecar.required_connection()
    view = now.job(job)
    if view is None or view.state != "succeeded" or not view.content_hash:
        raise UserError(
            "The import {job} has not finished: wait for it, or look at the Sidecar panel for the reason.", job=job
        )
    assert now.server is not None
    find = same_data(now.server) if now.is_local else None
    outputs = outputs_folder()
    if transfers.fetched(outputs, name, view.content_hash) is None:
        require_outputs()
    return transfers.FetchScene(now.server, job, view.content_hash, outputs, name, find)


def _all_wishes() -> Iterator[EX4D_Import]:
    for scene in bpy.data.scenes:
        if scene.library is None:
            yield from wishes.all_wishes(scene)


def _is_seen(wish: EX4D_Import) -> bool:
    """Whether it is of the scene that the artist sees, where imports are placed."""
    windows = bpy.context.window_manager.windows
    return wish.id_data == (windows[0].scene if windows else bpy.context.scene)


awaited = Awaited(_all_wishes, lambda wish: fetch(wish.job, wish.name), bpy.ops.ex4d.place_import, _is_seen)

register, unregister = awaited.register, awaited.unregister
