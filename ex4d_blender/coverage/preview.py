# SPDX-License-Identifier: GPL-3.0-or-later
"""The switch of the overlay."""

import bpy
from bpy.props import BoolProperty

from ..errors import SaysErrors, UserError
from ..placed import required
from ..translation import translated
from . import viewports


class CoverageSettings(bpy.types.PropertyGroup):
    """Kept in the scene."""

    use_rendered: BoolProperty(
        name="As Rendered",
        description="Through the camera, show what the sidecar rendered for the Coverage strip, as long as the camera "
        "has not changed since, instead of Blender's own preview",
        default=True,
    )


class EX4D_OT_preview_coverage(SaysErrors, bpy.types.Operator):
    """Toggles the overlay in one viewport. No undo step: it changes what is looked at, not the file."""

    bl_idname = "ex4d.preview_coverage"
    bl_label = "Preview Coverage"
    bl_description = (
        "Show in this viewport what the footage never saw (hatched) and where it has to be stretched (tinted). "
        "Renders are not affected"
    )
    bl_options = {"REGISTER"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Only a viewport has pixels."""
        if context.space_data is None or context.space_data.type != "VIEW_3D":
            cls.poll_message_set(
                translated("Coverage is shown in a 3D viewport: press the button in the sidebar of one.")
            )
            return False
        return True

    def run(self, context: bpy.types.Context) -> None:
        """On or off. Raises: UserError."""
        space = context.space_data
        if viewports.is_on(space):
            viewports.switch_off(space)
        else:
            if bpy.app.background:
                raise UserError("Preview Coverage needs a window: in background mode use Render Coverage.")
            required(context).facts()
            viewports.switch_on(space)
        context.area.tag_redraw()


_register_classes, _unregister_classes = bpy.utils.register_classes_factory(
    (CoverageSettings, EX4D_OT_preview_coverage)
)


def register() -> None:
    """The switch, and a scene's settings."""
    _register_classes()
    bpy.types.Scene.ex4d_coverage = bpy.props.PointerProperty(type=CoverageSettings)


def unregister() -> None:
    """See `register`; what files hold stays in them."""
    del bpy.types.Scene.ex4d_coverage
    _unregister_classes()
