# SPDX-License-Identifier: GPL-3.0-or-later
"""Operators of `matching`: what the buttons under the comparison do."""

import bpy

from ..errors import SaysErrors
from ..placed import NeedsFootage, required
from ..translation import translated
from . import matching, rates


class MatchScene(NeedsFootage, SaysErrors, bpy.types.Operator):
    """Match Scene to Footage."""

    bl_idname = "ex4d.match_scene"
    bl_label = "Match Scene to Footage"
    bl_description = "Give the scene the footage's frame rate, size, frame range and square pixels"
    bl_options = {"REGISTER", "UNDO"}

    def run(self, context: bpy.types.Context) -> None:
        """See `matching.match_scene`."""
        left_out = matching.match_scene(context.scene, required(context))
        if left_out:
            self.report({"WARNING"}, left_out)


class KeepScene(NeedsFootage, SaysErrors, bpy.types.Operator):
    """Keep Scene."""

    bl_idname = "ex4d.keep_scene"
    bl_label = "Keep Scene"
    bl_description = "Leave the scene as it is and show one frame of the footage on each of its frames"
    bl_options = {"REGISTER", "UNDO"}

    def run(self, context: bpy.types.Context) -> None:
        """See `matching.keep_scene`."""
        matching.keep_scene(required(context))


class Retime(NeedsFootage, SaysErrors, bpy.types.Operator):
    """Retime to Keep Speed."""

    bl_idname = "ex4d.retime"
    bl_label = "Retime to Keep Speed"
    bl_description = (
        "Leave the scene as it is and play the footage as fast as it was filmed: frames repeat or are left out. "
        "A camera with a Source Time of its own keeps it"
    )
    bl_options = {"REGISTER", "UNDO"}

    def run(self, context: bpy.types.Context) -> None:
        """See `matching.retime`."""
        placed = required(context)
        matching.retime(context.scene, placed)
        first, last = matching.frame_range(placed, placed.facts(), matching.speed_of(placed))
        self.report(
            {"INFO"},
            translated(
                "The footage now runs from frame {first} to {last} at {rate} frames per second",
                first=first,
                last=last,
                rate=rates.said(rates.scene_rate(context.scene)),
            ),
        )


register, unregister = bpy.utils.register_classes_factory((MatchScene, KeepScene, Retime))
