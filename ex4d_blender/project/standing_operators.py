# SPDX-License-Identifier: GPL-3.0-or-later
"""*Set Scale* and *Set Ground* with their points as plain properties: for scripts, and for Adjust Last Operation.

The buttons start `picking`, which ends in these.
"""

import bpy
from bpy.props import FloatProperty, FloatVectorProperty
from mathutils import Vector

from ..errors import SaysErrors
from ..placed import required
from ..translation import translated
from . import standing


def _point(name: str) -> FloatVectorProperty:
    return FloatVectorProperty(
        name=name, description="In world space", subtype="XYZ", unit="LENGTH", options={"SKIP_SAVE"}
    )


class SetScale(SaysErrors, bpy.types.Operator):
    """Set Scale."""

    bl_idname = "ex4d.set_scale"
    bl_label = "Set Scale"
    bl_description = "Scale the footage so that two points of it are a known distance apart"
    bl_options = {"REGISTER", "UNDO"}

    point_a: _point("First Point")
    point_b: _point("Second Point")
    distance: FloatProperty(
        name="Distance",
        description="How far the two points are apart in reality",
        unit="LENGTH",
        default=1.0,
        min=0.0,
        soft_min=0.001,
        options={"SKIP_SAVE"},
    )

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        """Ask for the distance; it begins as it is now."""
        if not self.properties.is_property_set("distance"):
            self.distance = (Vector(self.point_a) - Vector(self.point_b)).length
        return context.window_manager.invoke_props_dialog(self)

    def draw(self, context: bpy.types.Context) -> None:
        """The distance alone: the points were picked."""
        self.layout.use_property_split = True
        self.layout.prop(self, "distance")

    def run(self, context: bpy.types.Context) -> None:
        """See `standing.set_scale`."""
        placed = required(context)
        factor = standing.set_scale(placed, Vector(self.point_a), Vector(self.point_b), self.distance)
        self.report(
            {"INFO"},
            translated(
                "Scaled by {factor:.4g}; cameras that are not parented to {empty} stay where they are",
                factor=factor,
                empty=placed.empty.name,
            ),
        )


class SetGround(SaysErrors, bpy.types.Operator):
    """Set Ground."""

    bl_idname = "ex4d.set_ground"
    bl_label = "Set Ground"
    bl_description = "Turn and move the footage so that three points of it lie on Blender's ground plane"
    bl_options = {"REGISTER", "UNDO"}

    point_a: _point("First Point")
    point_b: _point("Second Point")
    point_c: _point("Third Point")

    def run(self, context: bpy.types.Context) -> None:
        """See `standing.set_ground`."""
        points = [Vector(point) for point in (self.point_a, self.point_b, self.point_c)]
        standing.set_ground(required(context), points)


register, unregister = bpy.utils.register_classes_factory((SetScale, SetGround))
