# SPDX-License-Identifier: GPL-3.0-or-later
"""The takes of a shot as facts, and the list of them."""

from dataclasses import replace
from typing import ClassVar

import bpy
from bpy.props import StringProperty

from ..errors import SaysErrors, UserError
from ..shots import Shot, required_shot
from ..shots.takes import Take, active_take, find_take, folder_of
from ..translation import translated
from .folder import TRAJECTORY_FILE, TakeFacts, read_take

_NO_TAKE = "The active shot has no take yet: generate it, or use Import Result for a folder that is finished."


def facts_of(take: Take) -> TakeFacts:
    """What a take's folder says, at the frames where it stands in this file. Raises: UserError."""
    return replace(read_take(folder_of(take)), frame_start=take.frame_start)


def is_there(take: Take) -> bool:
    """Whether its folder is where it should be."""
    return (folder_of(take) / TRAJECTORY_FILE).is_file()


class NeedsTake(SaysErrors):
    """Mixin of operators on one take, by its key in the active shot; the active one by default."""

    take: StringProperty(
        name="Take", description="Key of the take; the active one by default", options={"SKIP_SAVE", "HIDDEN"}
    )

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """The active shot has takes."""
        shots, index = context.scene.ex4d_shots, context.scene.ex4d_active_shot
        if 0 <= index < len(shots) and shots[index].takes:
            return True
        cls.poll_message_set(translated(_NO_TAKE))
        return False

    def chosen(self, context: bpy.types.Context) -> tuple[Shot, Take]:
        """The shot and the take that are meant. Raises: UserError."""
        shot = required_shot(context.scene)
        take = find_take(shot, self.take) if self.take else active_take(shot)
        if take is None:
            raise UserError("That take is not in the list of {shot} any more: choose another one.", shot=shot.name)
        return shot, take


class EX4D_OT_remove_take(NeedsTake, bpy.types.Operator):
    """Remove Take."""

    bl_idname = "ex4d.remove_take"
    bl_label = "Remove Take"
    bl_description = "Take it off the list; its files stay, and so does what shows them"
    bl_options: ClassVar = {"REGISTER", "UNDO"}

    def run(self, context: bpy.types.Context) -> None:
        """See `SaysErrors`."""
        shot, take = self.chosen(context)
        place = [each.key for each in shot.takes].index(take.key)
        shot.takes.remove(place)
        if shot.active_take > place or shot.active_take >= len(shot.takes):
            shot.active_take -= 1


class EX4D_UL_takes(bpy.types.UIList):
    """The takes of a shot; a double click renames."""

    def draw_item(
        self,
        context: bpy.types.Context,
        layout: bpy.types.UILayout,
        _data: object,
        item: Take,
        _icon: int,
        _active_data: object,
        _active_property: str,
    ) -> None:
        """Called by Blender."""
        layout.prop(item, "name", text="", emboss=False, icon="FILE_MOVIE")


register, unregister = bpy.utils.register_classes_factory((EX4D_OT_remove_take, EX4D_UL_takes))
