# SPDX-License-Identifier: GPL-3.0-or-later
"""Reveal: the folder of a take in the system's file browser."""

import bpy

from ..errors import UserError
from ..shots.takes import folder_of
from ..sidecar.opening import open_outside
from .listing import NeedsTake, is_there


class EX4D_OT_reveal_take(NeedsTake, bpy.types.Operator):
    """Reveal Take."""

    bl_idname = "ex4d.reveal_take"
    bl_label = "Reveal Take"
    bl_description = "Show the folder of this take: the video to look at, the images, and how it was made"

    def run(self, context: bpy.types.Context) -> None:
        """In the system's file browser."""
        _shot, take = self.chosen(context)
        if not is_there(take):
            raise UserError("The folder of {take} is missing: use Relink Take.", take=take.name)
        open_outside(folder_of(take))


register, unregister = bpy.utils.register_classes_factory((EX4D_OT_reveal_take,))
