# SPDX-License-Identifier: GPL-3.0-or-later
"""*Move Beside the File*: footage imported before the .blend had a place moves to it; offered at the first save."""

import os
from collections.abc import Iterator
from pathlib import Path

import bpy
from bpy.app.handlers import persistent

from ..errors import UserError, reported
from ..preferences import own_folder, preferences
from ..translation import translated
from . import moving, paths
from .stepping import Stepped

_NOTHING = "No footage of this file lies in the folder for unsaved files: there is nothing to move."


def waiting_folders() -> list[Path]:
    """Scene folders of this file in the place for unsaved files; none while the file is not saved itself."""
    if not bpy.data.filepath:
        return []
    chosen = preferences().outputs
    unsaved = os.path.normcase(os.path.realpath(bpy.path.abspath(chosen) if chosen else own_folder("outputs")))
    beside = os.path.normcase(os.path.realpath(os.path.dirname(bpy.data.filepath)))
    found = {placed.folder for placed in paths.everything_placed() if paths.exists(placed)}
    return sorted(folder for folder in found if _below(folder, unsaved) and not _below(folder, beside))


def _below(path: Path, folder: str) -> bool:
    return os.path.normcase(os.path.realpath(path)).startswith(folder + os.sep)


def move_all() -> Iterator[float]:
    """Move what `waiting_folders` names beside the .blend, in steps; yields the share done.

    Raises:
        UserError: a folder cannot be moved; it stays, those before it are moved.
    """
    folders = waiting_folders()
    for index, source in enumerate(folders):
        target = moving.free_name(Path(bpy.data.filepath).parent / source.name)
        for share in moving.move(source, target):
            yield (index + share) / len(folders)
        paths.repath(source, target)
        moving.leave_word(source, target, paths.MOVED_SUFFIX)
        if source.exists():
            moving.remove(source)
        yield (index + 1) / len(folders)


class MoveBeside(Stepped, bpy.types.Operator):
    """Move Beside the File."""

    bl_idname = "ex4d.move_beside"
    bl_label = "Move Footage Beside the File"
    bl_description = "Move the imported footage from the folder for unsaved files to the folder of this .blend"
    bl_options = {"REGISTER", "UNDO"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Only beside a file that has a place."""
        if bpy.data.filepath:
            return True
        cls.poll_message_set(translated("The .blend has no place yet that footage could move to: save it first."))
        return False

    def steps(self, context: bpy.types.Context) -> Iterator[float]:
        """See `move_all`."""
        if not waiting_folders():
            raise UserError(_NOTHING)
        return move_all()

    def done(self, context: bpy.types.Context) -> None:
        """Moving changes paths in a file that was just saved with the old ones."""
        self.report({"INFO"}, translated("The footage lies beside the file now; save the file to keep this"))


class OfferMove(bpy.types.Operator):
    """The question asked once after the first save."""

    bl_idname = "ex4d.offer_move"
    bl_label = "Move Footage Beside the File?"
    bl_description = "Ask whether footage imported before the first save should move beside the file"
    bl_options = {"INTERNAL"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Only where there is something to move."""
        if waiting_folders():
            return True
        cls.poll_message_set(translated(_NOTHING))
        return False

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        """Ask."""
        return context.window_manager.invoke_props_dialog(self, width=420)

    def draw(self, context: bpy.types.Context) -> None:
        """What would be moved."""
        for folder in waiting_folders():
            self.layout.label(text=str(folder), translate=False, icon="FILE_FOLDER")

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Yes."""
        try:
            return bpy.ops.ex4d.move_beside("INVOKE_DEFAULT")
        except RuntimeError as error:  # how Python learns of the inner call's report
            self.report({"ERROR"}, reported(error))
            return {"CANCELLED"}


_was_unsaved = False
"""Whether the save that runs now is the file's first."""


@persistent
def _before_save(*_unused: object) -> None:
    global _was_unsaved
    _was_unsaved = not bpy.data.filepath


@persistent
def _after_save(*_unused: object) -> None:
    # A dialog cannot be opened while the file is being written: the timer fires afterwards, once.
    if _was_unsaved and not bpy.app.background and waiting_folders() and not bpy.app.timers.is_registered(_offer):
        bpy.app.timers.register(_offer, first_interval=0.1)


def _offer() -> None:
    window = bpy.context.window_manager.windows[0] if bpy.context.window_manager.windows else None
    if window is not None and waiting_folders():
        with bpy.context.temp_override(window=window):
            bpy.ops.ex4d.offer_move("INVOKE_DEFAULT")


_classes = bpy.utils.register_classes_factory((MoveBeside, OfferMove))


def register() -> None:
    """Called when the extension is enabled."""
    _classes[0]()
    bpy.app.handlers.save_pre.append(_before_save)
    bpy.app.handlers.save_post.append(_after_save)


def unregister() -> None:
    """Called when the extension is disabled."""
    if bpy.app.timers.is_registered(_offer):
        bpy.app.timers.unregister(_offer)
    bpy.app.handlers.save_post.remove(_after_save)
    bpy.app.handlers.save_pre.remove(_before_save)
    _classes[1]()
