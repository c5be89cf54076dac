# SPDX-License-Identifier: GPL-3.0-or-later
"""*Use as Footage Camera*, its menu of cameras, and the way back."""

from collections.abc import Iterator

import bpy
from bpy.props import BoolProperty, StringProperty

from ..errors import SaysErrors, UserError
from ..interface import redraw
from ..placed import SOLVED, NeedsFootage, Placed, active, find, required
from ..shots import camera_math
from ..translation import translated
from . import footage_camera
from .stepping import Stepped


def choices(scene: bpy.types.Scene, placed: Placed) -> list[bpy.types.Object]:
    """The cameras that may have filmed the footage: all but the source camera and what hangs on the footage."""
    return [
        thing
        for thing in scene.objects
        if thing.type == "CAMERA" and thing != placed.source_camera and not _hangs_on(thing, placed.empty)
    ]


def _hangs_on(thing: bpy.types.Object, empty: bpy.types.Object) -> bool:
    while thing is not None and thing != empty:
        thing = thing.parent
    return thing is not None


class FollowCamera(Stepped, bpy.types.Operator):
    """Use as Footage Camera."""

    bl_idname = "ex4d.follow_camera"
    bl_label = "Use as Footage Camera"
    bl_description = (
        "The footage was filmed by this animated camera, such as a motion-tracking solve: the mesh and the source "
        "camera move as it does"
    )
    bl_options = {"REGISTER", "UNDO"}

    camera: StringProperty(name="Camera", description="Name of the camera object", options={"SKIP_SAVE"})
    fit: BoolProperty(
        name="Fit Scale",
        description="Find the footage's scale from the parallax between its frames; else it stays as it is",
        default=True,
    )

    def steps(self, context: bpy.types.Context) -> Iterator[float]:
        """Sample the camera, fit the scale, write the poses."""
        placed = required(context)
        camera = footage_camera.camera_named(context.scene, self.camera)
        if camera is None:
            raise UserError("There is no camera {camera!r} in this scene: give the name of one.", camera=self.camera)
        if camera not in choices(context.scene, placed):
            raise UserError(
                "{camera} hangs on the footage itself: clear its parent, or choose a camera that does not.",
                camera=camera.name,
            )
        camera_math.check_lens(camera)
        footage_camera.require_writable(placed)
        self._said = ""
        return self._work_of(context, placed.id)

    def _work_of(self, context: bpy.types.Context, footage: str) -> Iterator[float]:
        placed = find(context.scene, footage)
        facts = placed.facts()
        camera = footage_camera.camera_named(context.scene, self.camera)
        matrices = yield from footage_camera.sampled(context, placed, camera)
        world, scale = footage_camera.world_poses(matrices, self.camera), None
        if self.fit:
            scale = yield from footage_camera.fitted_scale(facts, world)
        placed, camera = find(context.scene, footage), footage_camera.camera_named(context.scene, self.camera)
        if placed is None or camera is None:  # the artist went on working meanwhile
            raise UserError("The footage or the camera was removed meanwhile: choose again.")
        footage_camera.follow(placed, world, camera.name, scale)
        render = context.scene.render
        ratio = footage_camera.lens_difference(placed.facts(), camera, (render.pixel_aspect_x, render.pixel_aspect_y))
        if abs(ratio - 1) > footage_camera.LENS_TOLERANCE:
            self._said = translated(
                "{camera} has {percent:.0f} % of the focal length that the footage was imported with: import it again "
                "with that lens for an exact fit",
                camera=camera.name,
                percent=100 * ratio,
            )

    def done(self, context: bpy.types.Context) -> None:
        """Say what scale it is now, and whether the lenses differ."""
        placed = required(context)
        if self._said:
            self.report({"WARNING"}, self._said)
        self.report(
            {"INFO"},
            translated(
                "The footage follows {camera} at scale {scale:.4g}",
                camera=self.camera,
                scale=placed.empty.matrix_world.to_scale()[0],
            ),
        )
        redraw(context)


class ReleaseCamera(NeedsFootage, SaysErrors, bpy.types.Operator):
    """Use the Footage's Own Camera."""

    bl_idname = "ex4d.release_camera"
    bl_label = "Use the Footage's Own Camera"
    bl_description = "The mesh and the source camera stand again where the imported scene says"
    bl_options = {"REGISTER", "UNDO"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Only where another camera was chosen."""
        if not super().poll(context):
            return False
        if SOLVED in active(context).empty:
            return True
        cls.poll_message_set(translated("The footage stands on its own camera already: there is nothing to take back."))
        return False

    def run(self, context: bpy.types.Context) -> None:
        """See `footage_camera.release`."""
        footage_camera.release(required(context))


class FootageCameraMenu(bpy.types.Menu):
    """The cameras to choose from."""

    bl_idname = "EX4D_MT_footage_camera"
    bl_label = "Footage Camera"
    bl_description = "Which camera filmed the footage"

    def draw(self, context: bpy.types.Context) -> None:
        """One entry for each camera."""
        layout, placed = self.layout, active(context)
        found = choices(context.scene, placed) if placed else []
        for camera in found:
            layout.operator(
                "ex4d.follow_camera", text=camera.name_full, translate=False, icon="CAMERA_DATA"
            ).camera = camera.name_full
        if not found:
            layout.label(text="There is no other camera in this scene")
        layout.separator()
        layout.operator("ex4d.release_camera", icon="LOOP_BACK")


register, unregister = bpy.utils.register_classes_factory((FollowCamera, ReleaseCamera, FootageCameraMenu))
