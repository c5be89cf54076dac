# SPDX-License-Identifier: GPL-3.0-or-later
"""Where takes lie: right after saving elsewhere, undo and moving the project; *Relink Take*.

Blender keeps the paths of images and strips right, but for undo. What it does not know are the folders in the list of
takes, and those that the datablocks name which show one.
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import bpy
from bpy.app.handlers import persistent
from bpy.props import BoolProperty, StringProperty

from ..errors import UserError
from ..placed import absolute
from ..project import paths
from ..shots import Shot
from ..shots.takes import Take, folder_of, put_folder
from ..use import marks
from ..versions import strips
from ..versions.path_options import BLEND_RELATIVE
from .folder import TRAJECTORY_FILE, TakeFacts, read_take
from .listing import NeedsTake

_SIZE = "ex4d_size"
"""On node groups that sample pictures, as `..use.sampling` builds them: for which width and height."""
_written: list[tuple[Any, Path]] = []
"""Between the two handlers of one save: who names which folder."""


def all_takes() -> Iterator[Take]:
    """Every take of the file that is its own."""
    for scene in bpy.data.scenes:
        if scene.library is None:
            for shot in scene.ex4d_shots:
                yield from shot.takes


def users() -> Iterator[Any]:
    """Every datablock and strip of the file's own that says which take it shows."""
    for things in (bpy.data.objects, bpy.data.images, bpy.data.materials, bpy.data.node_groups):
        yield from (thing for thing in things if thing.library is None and marks.TAKE in thing)
    for scene in bpy.data.scenes:
        if scene.library is None:
            yield from (strip for strip in strips.all_strips(scene) if marks.TAKE in strip)


def _owners() -> Iterator[Any]:
    """Those, and what they show that says nothing itself: the compositor's images, the strips' sounds."""
    for thing in users():
        yield thing
        found = [getattr(thing, "sound", None), *(getattr(node, "image", None) for node in getattr(thing, "nodes", ()))]
        yield from (shown for shown in found if shown is not None and shown.library is None)


def _folders() -> list[tuple[Any, Path]]:
    found: list[tuple[Any, Path]] = [(take, folder_of(take)) for take in all_takes()]
    for thing in users():
        found.append((thing, absolute(paths.meant(thing[marks.TAKE], thing.get(paths.BASE)))))
    return found


def _write(found: list[tuple[Any, Path]], blend: str) -> None:
    for thing, folder in found:
        if isinstance(thing, Take):
            put_folder(thing, folder, blend)
        else:
            thing[marks.TAKE] = paths.stored(folder, blend)
    for owner in _owners():
        paths.put_base(owner, blend)


@persistent
def _before_save(filepath: str = "", *_unused: object) -> None:
    _written[:] = _folders()
    _write(_written, filepath)


@persistent
def _after_save(*_unused: object) -> None:
    _write(_written, bpy.data.filepath)  # after Save Copy the open file is another than the one written
    _written.clear()


@persistent
def _after_load(*_unused: object) -> None:
    for take in all_takes():  # a project may have been moved as a whole: its paths are right here
        take.base = os.path.dirname(bpy.data.filepath)
    for owner in _owners():
        paths.put_base(owner)


@persistent
def _after_undo(*_unused: object) -> None:
    here = os.path.dirname(bpy.data.filepath)
    for take in all_takes():
        if take.base != here:
            put_folder(take, absolute(paths.meant(take.folder, take.base)))
    for owner in _owners():
        paths.follow(owner)


def repath(old: Path, new: Path) -> None:
    """Point everything of a take to another folder."""
    for scene in bpy.data.scenes:
        for strip in strips.all_strips(scene) if scene.library is None else ():
            if strip.type == "IMAGE" and Path(os.path.normpath(bpy.path.abspath(strip.directory))).parent == old:
                strip.directory = paths.stored(new / Path(bpy.path.abspath(strip.directory)).name) + "/"
    _write([(thing, new) for thing, folder in _folders() if folder == old], bpy.data.filepath)
    paths.repath(old, new)


def _require_same(shot: Shot, take: Take, facts: TakeFacts) -> None:
    """Whether a folder is that of a take of a shot, as far as the file knows. Raises: UserError."""
    for other in shot.takes:
        if other.key != take.key and folder_of(other) == facts.folder:
            raise UserError(
                "{folder} is the folder of {other}, which is in the list: choose the one where {take} is now.",
                folder=facts.folder,
                other=other.name,
                take=take.name,
            )
    old = folder_of(take)
    shown = {tuple(thing[_SIZE]) for thing, folder in _folders() if folder == old and _SIZE in thing}
    if take.settings != json.dumps(facts.settings) or shown - {(facts.width, facts.height)}:
        raise UserError(
            "{folder} is another take than {take}, made with other settings or of another size: choose the one where "
            "{take} is now, or use Import Result for this one.",
            folder=facts.folder,
            take=take.name,
        )


class EX4D_OT_relink_take(NeedsTake, bpy.types.Operator):
    """Relink Take."""

    bl_idname = "ex4d.relink_take"
    bl_label = "Relink Take"
    bl_description = "Find a take again whose folder was moved or renamed: choose where it is now"
    bl_options: ClassVar = {"REGISTER", "UNDO"}

    directory: StringProperty(name="Folder", subtype="DIR_PATH", options={"SKIP_SAVE", *BLEND_RELATIVE})
    filter_folder: BoolProperty(default=True, options={"HIDDEN"})

    def invoke(self, context: bpy.types.Context, _event: bpy.types.Event) -> set[str]:
        """Ask for the folder."""
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def run(self, context: bpy.types.Context) -> None:
        """The take, or with a folder that holds it, the one of its name in there."""
        shot, take = self.chosen(context)
        old = folder_of(take)
        chosen = Path(os.path.normpath(bpy.path.abspath(self.directory or "//")))
        inside = chosen / old.name
        new = inside if (inside / TRAJECTORY_FILE).is_file() else chosen
        facts = read_take(new)
        facts.require_files()
        _require_same(shot, take, facts)
        repath(old, facts.folder)
        if folder_of(take) != facts.folder:
            raise UserError("{folder} cannot be taken: choose another folder.", folder=new)


_register, _unregister = bpy.utils.register_classes_factory((EX4D_OT_relink_take,))


def _handlers() -> tuple[tuple[list, object], ...]:
    handlers = bpy.app.handlers
    return (
        (handlers.save_pre, _before_save),
        (handlers.save_post, _after_save),
        (handlers.save_post_fail, _after_save),
        (handlers.load_post, _after_load),
        (handlers.undo_post, _after_undo),
        (handlers.redo_post, _after_undo),
    )


def register() -> None:
    """Called when the extension is enabled."""
    _register()
    for handlers, function in _handlers():
        handlers.append(function)


def unregister() -> None:
    """See `register`."""
    for handlers, function in _handlers():
        handlers.remove(function)
    _unregister()
