# SPDX-License-Identifier: GPL-3.0-or-later
"""The scene that fills itself: finished imports are fetched, and placed by `ex4d.place_import`."""

from collections.abc import Iterator

import bpy
from bpy.app.handlers import persistent

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


def _visible() -> Iterator[EX4D_Import]:
    """What the scene waits for that the artist sees."""
    windows = bpy.context.window_manager.windows
    scene = windows[0].scene if windows else bpy.context.scene
    return wishes.all_wishes(scene) if scene else iter(())


awaited = Awaited(_visible, lambda wish: fetch(wish.job, wish.name), bpy.ops.ex4d.place_import)


@persistent
def _before_save(*_: object) -> None:
    for scene in bpy.data.scenes:
        if scene.library is None:
            awaited.mark_undone(wishes.all_wishes(scene))


@persistent
def _after_load(*_: object) -> None:
    awaited.open_file()


def register() -> None:
    """Called when the extension is enabled."""
    bpy.app.handlers.save_pre.append(_before_save)
    bpy.app.handlers.load_post.append(_after_load)
    sidecar.every_tick(awaited.tick)


def unregister() -> None:
    """Called when the extension is disabled."""
    sidecar.no_longer(awaited.tick)
    bpy.app.handlers.load_post.remove(_after_load)
    bpy.app.handlers.save_pre.remove(_before_save)
    awaited.forget()
