# SPDX-License-Identifier: GPL-3.0-or-later
"""New shots: of a new camera with a move, of a camera that is there, of every cut between bound markers."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import bpy
import numpy as np
from bpy.props import BoolProperty, EnumProperty, FloatProperty

from .. import placed as footage
from ..errors import SaysErrors, UserError
from ..translation import translated
from . import ignored, making, sampling
from .camera_math import check_lens
from .cuts import Cut, cuts, range_of
from .moves import EASINGS, MOVES, Settings
from .properties import NeedsShot, Shot, add_shot, next_name, required_shot
from .shot_camera import is_among, required_camera
from .source_view import source_view

_MOST = 1e6
"""What angles, shares and distances of a move stay below."""
_ELSEWHERE_METRES = 0.005
_ELSEWHERE_RADIANS = math.radians(0.1)


class HasMove:
    """Mixin of operators that offer a move; annotations are properties, as Blender wants them."""

    # Defaults are the move's own until the artist gives a number.
    preset: EnumProperty(
        name="Move",
        description="How the camera moves; edit its keys as you like afterwards",
        items=[(name, move.label, move.help) for name, move in MOVES.items()],
        default="SOURCE",
    )
    angle: FloatProperty(
        name="Angle",
        description="Around the subject, positive to the right",
        subtype="ANGLE",
        soft_min=-math.pi,
        soft_max=math.pi,
    )
    rise: FloatProperty(
        name="Rise", description="Angle over the subject, positive up", subtype="ANGLE", soft_min=-1.4, soft_max=1.4
    )
    amount: FloatProperty(
        name="Amount", description="Length of the move as a share of the subject's distance", soft_min=-2, soft_max=2
    )
    zoom: FloatProperty(
        name="Zoom", description="Factor on the focal length at the end", default=1.5, min=0.05, soft_max=8
    )
    easing: EnumProperty(
        name="Easing",
        description="How the move starts and comes to rest",
        items=[(name, label, help_text) for name, (label, help_text, _) in EASINGS.items()],
        default="LINEAR",
    )
    distance: FloatProperty(
        name="Subject Distance",
        description="How far the subject is, in the footage's units; 0 measures it in the depth",
        min=0.0,
    )

    def settings(self) -> Settings:
        """What the artist set, and the move's defaults for the rest; the operator's panel then shows those."""
        move = MOVES[self.preset]
        values: dict[str, Any] = {}
        for name, default in move.uses.items():
            if not self.properties.is_property_set(name):
                setattr(self, name, default)
            values[name] = round(getattr(self, name), 7)
        return Settings(**values, easing="LINEAR" if move.reference else self.easing)

    def draw(self, _context: bpy.types.Context) -> None:
        """Only what the chosen move uses."""
        layout = self.layout
        layout.use_property_split = True
        layout.prop(self, "preset")
        move = MOVES[self.preset]
        for name in move.uses:
            layout.prop(self, name)
        if self.preset != "SOURCE":
            if not move.reference:
                layout.prop(self, "easing")
            layout.prop(self, "distance")

    def write_move(self, context: bpy.types.Context, placed: footage.Placed, shot: Shot) -> None:
        """Give the shot's camera the move, and say where five keys do not follow it."""
        follows = making.move(context, placed, shot, self.preset, self.settings(), self.distance)
        if not follows:
            self.report(
                {"WARNING"},
                "The keys follow this move less closely than 0.1 degrees: ease it less, or make it smaller.",
            )
        shot.starts_elsewhere = starts_elsewhere(context, shot)


class EX4D_OT_new_shot(HasMove, SaysErrors, bpy.types.Operator):
    """New Shot."""

    bl_idname = "ex4d.new_shot"
    bl_label = "New Shot"
    bl_description = "Add a camera at the filmed view, or with a move, and a shot of it over the scene's frames"
    bl_options: ClassVar = {"REGISTER", "UNDO"}

    def run(self, context: bpy.types.Context) -> None:
        """See `SaysErrors`."""
        placed, scene = footage.required(context), context.scene
        placed.facts()
        _refuse_first(self)
        name = next_name(scene)
        camera = making.new_camera(context, placed, name)
        try:
            with _all_or_none(scene):
                self.write_move(context, placed, add_shot(scene, name, camera, (scene.frame_start, scene.frame_end)))
        except UserError:
            making.leave_orbit(camera)
            bpy.data.cameras.remove(camera.data)  # and the object with it
            raise
        scene.camera = camera


class EX4D_OT_apply_move(NeedsShot, HasMove, SaysErrors, bpy.types.Operator):
    """Apply Move."""

    bl_idname = "ex4d.apply_move"
    bl_label = "Apply Move"
    bl_description = "Give the active shot's camera a move, from the filmed view on, over the shot's frames"
    bl_options: ClassVar = {"REGISTER", "UNDO"}

    replace: BoolProperty(
        name="Replace Animation",
        description="Replace what the camera does now; its keys are lost",
        options={"SKIP_SAVE"},
    )

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        """Ask before keys are replaced."""
        try:
            camera = self._camera(context)
        except UserError as error:
            self.report({"ERROR"}, error.said)
            return {"CANCELLED"}
        if self.replace or not making.is_animated(camera):
            return self.execute(context)
        self.replace = True
        return context.window_manager.invoke_confirm(
            self, event, title="Replace Animation", message="The camera is animated already.", confirm_text="Replace"
        )

    def run(self, context: bpy.types.Context) -> None:
        """See `SaysErrors`."""
        camera = self._camera(context)
        if making.is_animated(camera) and not self.replace:
            raise UserError(
                "{camera} is animated already: confirm Replace Animation, or make a New Shot.", camera=camera.name
            )
        _refuse_first(self)
        shot = required_shot(context.scene)
        self.write_move(context, footage.of_camera(context.scene, camera), shot)

    def _camera(self, context: bpy.types.Context) -> bpy.types.Object:
        camera = required_camera(context.scene, required_shot(context.scene))
        footage.required(context)
        making.check_free(camera, footage.of_camera(context.scene, camera))
        return camera


class EX4D_OT_use_active_camera(SaysErrors, bpy.types.Operator):
    """Use Active Camera."""

    bl_idname = "ex4d.use_active_camera"
    bl_label = "Use Active Camera"
    bl_description = "Make a shot of the active object if it is a camera, else of the scene's; it stays as it is"
    bl_options: ClassVar = {"REGISTER", "UNDO"}

    def run(self, context: bpy.types.Context) -> None:
        """See `SaysErrors`."""
        scene, chosen = context.scene, context.object
        camera = chosen if chosen is not None and chosen.type == "CAMERA" else scene.camera
        if camera is None or camera.type != "CAMERA":
            raise UserError("There is no camera to use: click on one, or make a New Shot.")
        _check_camera(context, camera)
        with _all_or_none(scene):
            _learn(self, context, add_shot(scene, camera.name, camera, range_of(scene, camera)))


class EX4D_OT_shots_from_markers(SaysErrors, bpy.types.Operator):
    """Shots from Markers."""

    bl_idname = "ex4d.shots_from_markers"
    bl_label = "Shots from Markers"
    bl_description = "Make a shot of every cut between markers that cameras are bound to; those there are stay"
    bl_options: ClassVar = {"REGISTER", "UNDO"}

    def run(self, context: bpy.types.Context) -> None:
        """See `SaysErrors`."""
        scene = context.scene
        found = cuts(scene)
        if not found:
            raise UserError("No marker within the scene's frames has a camera: use Marker > Bind Camera to Markers.")
        there = {(shot.camera, shot.frame_start, shot.frame_end) for shot in scene.ex4d_shots}
        new: list[Cut] = [cut for cut in found if (cut.camera, cut.first, cut.last) not in there]
        if not new:
            raise UserError("Every cut has its shot already: move the markers, or remove shots from the list.")
        for cut in new:
            _check_camera(context, cut.camera)
        with _all_or_none(scene):
            for cut in new:
                _learn(self, context, add_shot(scene, cut.name, cut.camera, (cut.first, cut.last)))
        scene.ex4d_active_shot = len(scene.ex4d_shots) - len(new)
        self.report({"INFO"}, translated("Shots made: {count}", count=len(new)))


class EX4D_OT_check_start(SaysErrors, bpy.types.Operator):
    """Check Start."""

    bl_idname = "ex4d.check_shot_start"
    bl_label = "Check Start"
    bl_description = "See whether the shot still begins at the filmed view; if not, the engine leads in to it"
    bl_options: ClassVar = {"REGISTER", "UNDO"}

    def run(self, context: bpy.types.Context) -> None:
        """See `SaysErrors`."""
        shot = required_shot(context.scene)
        required_camera(context.scene, shot)
        footage.required(context)
        shot.starts_elsewhere = starts_elsewhere(context, shot)


def starts_elsewhere(context: bpy.types.Context, shot: Shot) -> bool:
    """Whether a shot's first picture is not the filmed view at its time. Raises: UserError."""
    placed = footage.of_camera(context.scene, shot.camera)
    size, frame = (shot.width, shot.height), shot.first_frame
    first = sampling.look(context, shot.camera, frame, size)
    view = source_view(context, placed, frame, size)
    turn = first.c2w[:3, :3].T @ view.c2w[:3, :3]
    angle = math.acos(min(max((np.trace(turn) - 1) / 2, -1.0), 1.0))
    apart = np.linalg.norm(first.c2w[:3, 3] - view.c2w[:3, 3]) * max(placed.empty.matrix_world.to_scale())
    return bool(angle > _ELSEWHERE_RADIANS or apart > _ELSEWHERE_METRES)


def _refuse_first(operator: HasMove) -> None:
    """Refuse settings that no move can follow before anything is made. Raises: UserError."""
    settings = operator.settings()
    numbers = {name: getattr(operator, name) for name in (*MOVES[operator.preset].uses, "distance")}
    for name, value in numbers.items():
        if not abs(value) < _MOST:
            raise UserError(
                "The {name} of the move is {value:g}: give a smaller, finite number.", name=name, value=value
            )
    MOVES[operator.preset].path(settings, np.array([0.0, 1.0]))


@contextmanager
def _all_or_none(scene: bpy.types.Scene) -> Iterator[None]:
    """Take the new shots back where one of them cannot be: a refused operator has no undo step."""
    before, active = len(scene.ex4d_shots), scene.ex4d_active_shot
    try:
        yield
    except UserError:
        for index in reversed(range(before, len(scene.ex4d_shots))):
            scene.ex4d_shots.remove(index)
        scene.ex4d_active_shot = active
        raise


def _check_camera(context: bpy.types.Context, camera: bpy.types.Object) -> None:
    if not is_among(context.scene.objects, camera):
        raise UserError("{camera} is another scene's: link it into this one, or click on another.", camera=camera.name)
    check_lens(camera)
    footage.required(context)


def _learn(operator: bpy.types.Operator, context: bpy.types.Context, shot: Shot) -> None:
    """What the panel says about a shot; and, once, what its camera has that pictures will not show."""
    shot.starts_elsewhere = starts_elsewhere(context, shot)
    ignored.tell(operator, shot.camera, context.scene)


CLASSES = (
    EX4D_OT_new_shot,
    EX4D_OT_apply_move,
    EX4D_OT_use_active_camera,
    EX4D_OT_shots_from_markers,
    EX4D_OT_check_start,
)
register, unregister = bpy.utils.register_classes_factory(CLASSES)
