# SPDX-License-Identifier: GPL-3.0-or-later
"""A shot: a camera, a range of frames, and a picture size of its own. Shots live in the Blender scene."""

import uuid

import bpy
from bpy.props import BoolProperty, CollectionProperty, IntProperty, PointerProperty, StringProperty

from ..errors import UserError
from ..placed import of_camera
from ..translation import translated
from .takes import Take

_NO_SHOT = "There is no shot in this scene yet: use New Shot, or Use Active Camera."

MAX_FRAME = 1_048_574
"""Blender's last frame; its first is minus that."""
MAX_FRAMES = 100_000
"""Longest shot, frames: over an hour."""
MAX_SIDE = 16384
"""Longest side of a picture that the library renders, pixels."""


def _is_camera(_shot: bpy.types.PropertyGroup, thing: bpy.types.Object) -> bool:
    return thing.type == "CAMERA"


def _end_after_start(shot: "Shot", _context: bpy.types.Context) -> None:
    if shot.frame_end < shot.frame_start:
        shot.frame_end = shot.frame_start


def _start_before_end(shot: "Shot", _context: bpy.types.Context) -> None:
    if shot.frame_start > shot.frame_end:
        shot.frame_start = shot.frame_end


class Shot(bpy.types.PropertyGroup):
    """One shot of a scene. Find it again by `key`; hold no reference over an undo or a change of the list."""

    name: StringProperty(name="Name", description="What the shot is called, and the folder it is written to")
    key: StringProperty(
        name="Key", description="Finds the shot again after it was renamed or moved", options={"HIDDEN"}
    )
    camera: PointerProperty(
        name="Camera",
        description="The camera of this shot; animate it as you like",
        type=bpy.types.Object,
        poll=_is_camera,
    )
    frame_start: IntProperty(
        name="Start",
        description="First frame of the shot, without handles",
        default=1,
        min=-MAX_FRAME,
        max=MAX_FRAME,
        update=_end_after_start,
    )
    frame_end: IntProperty(
        name="End",
        description="Last frame of the shot, without handles",
        default=250,
        min=-MAX_FRAME,
        max=MAX_FRAME,
        update=_start_before_end,
    )
    handle_before: IntProperty(
        name="Handle Before",
        description="Frames to get in addition before the first one",
        default=0,
        min=0,
        max=MAX_FRAMES,
        soft_max=48,
    )
    handle_after: IntProperty(
        name="Handle After",
        description="Frames to get in addition after the last one",
        default=0,
        min=0,
        max=MAX_FRAMES,
        soft_max=48,
    )
    width: IntProperty(
        name="Width", description="Width of the shot's picture", default=832, min=1, max=MAX_SIDE, subtype="PIXEL"
    )
    height: IntProperty(
        name="Height", description="Height of the shot's picture", default=480, min=1, max=MAX_SIDE, subtype="PIXEL"
    )
    footage: StringProperty(
        name="Footage",
        description="Id of the footage that the camera looks at, where it does not say so itself",
        options={"HIDDEN"},
    )
    starts_elsewhere: BoolProperty(
        name="Starts Away from the Source",
        description="The first frame's view is not the filmed one, so that the engine leads in to it",
        options={"HIDDEN"},
    )
    takes: CollectionProperty(type=Take, name="Takes")
    active_take: IntProperty(name="Active Take", description="The take that is chosen in the list", default=-1, min=-1)

    @property
    def first_frame(self) -> int:
        """The Blender frame of its first picture, handles included."""
        return self.frame_start - self.handle_before

    @property
    def last_frame(self) -> int:
        """The Blender frame of its last picture, handles included."""
        return self.frame_end + self.handle_after

    @property
    def frames(self) -> range:
        """The Blender frames of its pictures, handles included."""
        return range(self.first_frame, self.last_frame + 1)


def shots(scene: bpy.types.Scene) -> bpy.types.bpy_prop_collection:
    """The shots of a scene, in the list's order."""
    return scene.ex4d_shots


def active_shot(scene: bpy.types.Scene) -> Shot | None:
    """The shot that is chosen in the list."""
    index = scene.ex4d_active_shot
    return scene.ex4d_shots[index] if 0 <= index < len(scene.ex4d_shots) else None


def required_shot(scene: bpy.types.Scene) -> Shot:
    """As `active_shot`. Raises: UserError if the scene has none."""
    shot = active_shot(scene)
    if shot is None:
        raise UserError(_NO_SHOT)
    return shot


class NeedsShot:
    """Mixin of operators that are greyed out, and refused to scripts, while a scene has no shot."""

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """There is a shot."""
        if context.scene.ex4d_shots:
            return True
        cls.poll_message_set(translated(_NO_SHOT))
        return False


def find_shot(scene: bpy.types.Scene, key: str) -> Shot | None:
    """The shot with this key."""
    return next((shot for shot in scene.ex4d_shots if shot.key == key), None)


def add_shot(scene: bpy.types.Scene, name: str, camera: bpy.types.Object, frames: tuple[int, int]) -> Shot:
    """A new shot at the end of the list, which becomes the active one, in the size that the scene renders at.

    Args:
        name: the name, made unique.
        frames: first and last Blender frame.
    """
    placed = of_camera(scene, camera)
    shot = scene.ex4d_shots.add()
    shot.name = unique_name(scene, name)
    shot.key = uuid.uuid4().hex
    shot.camera = camera
    shot.footage = placed.id if placed is not None else ""
    shot.frame_start, shot.frame_end = min(frames), max(frames)
    shot.width, shot.height = render_size(scene)
    scene.ex4d_active_shot = len(scene.ex4d_shots) - 1
    return shot


def render_size(scene: bpy.types.Scene) -> tuple[int, int]:
    """The size that Blender renders a scene at, pixels: resolution times percentage, rounded as Blender does."""
    render = scene.render
    share = render.resolution_percentage
    return max(render.resolution_x * share // 100, 1), max(render.resolution_y * share // 100, 1)


def unique_name(scene: bpy.types.Scene, wanted: str) -> str:
    """The name, or with a number where another shot has it."""
    taken = {shot.name for shot in scene.ex4d_shots}
    name, number = wanted, 0
    while name in taken:
        number += 1
        name = f"{wanted}.{number:03d}"
    return name


def next_name(scene: bpy.types.Scene) -> str:
    """`Shot 010`, `Shot 020`, …: the next one that neither a shot nor an object has."""
    taken = {shot.name for shot in scene.ex4d_shots} | {thing.name for thing in bpy.data.objects}
    number = 10 * (len(scene.ex4d_shots) + 1)
    while f"Shot {number:03d}" in taken:
        number += 10
    return f"Shot {number:03d}"


_register_classes, _unregister_classes = bpy.utils.register_classes_factory((Take, Shot))


def register() -> None:
    """Scenes get a list of shots."""
    _register_classes()
    bpy.types.Scene.ex4d_shots = CollectionProperty(type=Shot, name="Shots")
    bpy.types.Scene.ex4d_active_shot = IntProperty(name="Active Shot", default=-1, min=-1)


def unregister() -> None:
    """See `register`; what files hold stays in them."""
    del bpy.types.Scene.ex4d_active_shot
    del bpy.types.Scene.ex4d_shots
    _unregister_classes()
