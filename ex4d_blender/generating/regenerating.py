# SPDX-License-Identifier: GPL-3.0-or-later
"""Regenerate from Take: settings, range, size and camera as they were, to be generated again or from there on."""

import json
from typing import ClassVar

import bpy
import numpy as np
from bpy.props import BoolProperty

from ..errors import UserError
from ..shots import Shot, sampling
from ..takes.camera import make_camera
from ..takes.folder import TakeFacts
from ..takes.listing import NeedsTake, facts_of
from ..translation import translated
from . import settings
from .overscan import widened
from .settings import Chosen

_SAME = 1e-4
"""Relative difference between two cameras that is rounding: a tenth of a pixel in a thousand."""


class EX4D_OT_regenerate_take(NeedsTake, bpy.types.Operator):
    """Regenerate from Take."""

    bl_idname = "ex4d.regenerate_take"
    bl_label = "Regenerate from Take"
    bl_description = (
        "Give the scene the settings, and the shot the range, handles, size and camera that this take was generated "
        "with; Generate then makes it again"
    )
    bl_options: ClassVar = {"REGISTER", "UNDO"}

    use_camera: BoolProperty(
        name="Use the Take's Camera",
        description="Where the shot's camera has moved since, a new one is keyed as it was: make that the shot's",
        options={"SKIP_SAVE"},
    )

    def invoke(self, context: bpy.types.Context, _event: bpy.types.Event) -> set[str]:
        """Asks about the camera."""
        self.use_camera = True
        return context.window_manager.invoke_props_dialog(self, width=320)

    def run(self, context: bpy.types.Context) -> None:
        """The camera that the shot had stays in the scene."""
        shot, take = self.chosen(context)
        facts = facts_of(take)
        if facts.settings.get("engine"):
            settings.restore(context.scene, Chosen.of(json.dumps(facts.settings)))
        before, after = facts.handles
        shot.frame_start, shot.frame_end = facts.frame_start + before, facts.last_frame - after
        shot.frame_start = facts.frame_start + before  # where it lay behind the old end, that has moved with it
        shot.handle_before, shot.handle_after = before, after
        shot.width, shot.height = facts.frame_size
        if _is_as_taken(context, shot, facts):
            return
        camera = make_camera(context, facts, facts.frame_start, f"{shot.name} {take.name}")
        if self.use_camera:
            shot.camera = camera
            return
        message = translated("{camera} is keyed as it was; the shot keeps its own camera", camera=camera.name)
        self.report({"INFO"}, message)


def _is_as_taken(context: bpy.types.Context, shot: Shot, facts: TakeFacts) -> bool:
    """Whether the shot's camera still does what the take was taken with."""
    try:
        now = widened(sampling.sample(context, shot), facts.overscan)
    except UserError:  # lost, or it would take the whole scene to tell: the take knows for certain
        return False
    pairs = ((now.c2w, facts.c2w), (now.intrinsics, facts.intrinsics), (now.source_time, facts.source_time))
    return all(
        mine.shape == taken.shape and np.abs(mine - taken).max() <= _SAME * (1 + np.abs(taken).max())
        for mine, taken in pairs
    )


register, unregister = bpy.utils.register_classes_factory((EX4D_OT_regenerate_take,))
