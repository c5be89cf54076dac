# SPDX-License-Identifier: GPL-3.0-or-later
"""How far viewports see: footage that reaches past a viewport's end is offered a longer one."""

from collections.abc import Iterator

import bpy

from ..errors import SaysErrors
from ..interface import redraw
from ..placed import Placed, all_placed
from ..translation import translated


def needed(placed: Placed) -> float:
    """How far a viewport must see: as far as the source camera, which was placed to see all of the footage."""
    camera = placed.source_camera
    return camera.data.clip_end if camera and camera.type == "CAMERA" else 0.0


def spaces() -> Iterator[bpy.types.SpaceView3D]:
    """Every 3D viewport of the file, those of hidden workspaces too."""
    for screen in bpy.data.screens:
        for area in screen.areas:
            for space in area.spaces:
                if space.type == "VIEW_3D":
                    yield space


def too_short(space: bpy.types.SpaceView3D, scene: bpy.types.Scene) -> bool:
    """Whether footage of the scene may be cut off in a viewport."""
    return any(space.clip_end < needed(placed) * 0.999 for placed in all_placed(scene))


class ExtendViewports(SaysErrors, bpy.types.Operator):
    """Extend Viewport Clipping."""

    bl_idname = "ex4d.extend_viewports"
    bl_label = "Extend Viewport Clipping"
    bl_description = "Let all 3D viewports see as far as the footage reaches"
    bl_options = {"REGISTER"}

    def run(self, context: bpy.types.Context) -> None:
        """Raises the end of what is shorter; nothing is shortened."""
        end = max((needed(placed) for placed in all_placed(context.scene)), default=0.0)
        changed = 0
        for space in spaces():
            if space.clip_end < end:
                space.clip_end = end
                changed += 1
        redraw(context)
        self.report({"INFO"}, translated("{count} viewports see {end:.4g} m now", count=changed, end=end))


register, unregister = bpy.utils.register_classes_factory((ExtendViewports,))
