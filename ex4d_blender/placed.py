# SPDX-License-Identifier: GPL-3.0-or-later
"""Finds footage that stands in a Blender scene.

No reference to a datablock outlives an undo or a load: everything is found again by the custom properties written
here, which also survive renaming, appending and the extension being disabled.
"""

import math
import os
from dataclasses import dataclass
from pathlib import Path

import bpy

from .errors import UserError
from .scene_folder import SCENE_FILE, SceneFacts, read_scene

FOOTAGE_ID = "ex4d_footage"
"""On the empty, the mesh, the cameras and the images: which footage they belong to (a random string)."""
ROLE = "ex4d_role"
"""On the empty, the mesh, the source camera, images: what they are (`empty`, `mesh`, `source_camera`, `depth`)."""
FOLDER = "ex4d_folder"
"""On the empty: the scene folder, `//`-relative where possible; believed only where there is no depth image, whose path
Blender itself keeps right over Save As, linking and appending."""
DEPTH_IMAGE = "depth"
"""Role of the image whose path says where the scene folder lies."""
SHAPE = "ex4d_shape"
"""On the empty: width, height and number of frames of what was placed (three whole numbers)."""
SOLVED = "ex4d_solved"
"""On the empty, only where a Blender camera was chosen as the footage's: its name when it was chosen."""
FRAME_START = "Frame Start"
"""On the empty: the Blender frame that shows clip frame 0 (float)."""
SPEED = "Speed"
"""On the empty: clip frames per Blender frame where a camera has no Source Time of its own (float)."""
SOURCE_TIME = "Source Time"
"""On a camera object, optional, keyable: the clip frame to show (float); DESIGN section 2, Time."""


@dataclass(frozen=True)
class Placed:
    """One footage in a scene, as found just now: use it at once, never keep it."""

    id: str
    empty: bpy.types.Object
    mesh: bpy.types.Object | None
    source_camera: bpy.types.Object | None

    @property
    def folder(self) -> Path:
        """The scene folder, absolute; it may be missing."""
        depth = _depth_image(self)
        if depth is None:
            return absolute(str(self.empty.get(FOLDER, "")), self.empty.library)
        file = absolute(depth.filepath, depth.library)
        above = file.parents[1:4] or file.parents
        return next((folder for folder in above if (folder / SCENE_FILE).is_file()), above[0])

    def facts(self) -> SceneFacts:
        """What its `scene.json` says. Raises: UserError if the folder is missing or damaged."""
        return read_scene(self.folder)

    def shape(self) -> tuple[int, int, int] | None:
        """Width, height and frames of what was placed, known also where the folder is missing."""
        shape = self.empty.get(SHAPE)
        return None if shape is None else (int(shape[0]), int(shape[1]), int(shape[2]))

    @property
    def frame_start(self) -> float:
        """The Blender frame that shows clip frame 0."""
        return float(self.empty.get(FRAME_START, 1.0))

    def default_source_time(self, frame: float) -> float:
        """The clip frame that a camera without a Source Time of its own shows; not clamped to the clip."""
        return (frame - self.frame_start) * float(self.empty.get(SPEED, 1.0))


def _depth_image(placed: Placed) -> bpy.types.Image | None:
    """Its depth, from the empty's own file if both a local and a linked one are there."""
    found = [
        image for image in bpy.data.images if image.get(FOOTAGE_ID) == placed.id and image.get(ROLE) == DEPTH_IMAGE
    ]
    return min(found, key=lambda image: image.library != placed.empty.library, default=None)


def absolute(path: str, library: bpy.types.Library | None = None) -> Path:
    """A path as stored in a .blend (`//` is relative to that file), as an absolute one."""
    return Path(os.path.normpath(bpy.path.abspath(path, library=library)))


def all_placed(scene: bpy.types.Scene) -> list[Placed]:
    """All footage of a scene, in the order of the empties' names."""
    parts: dict[str, dict[str, bpy.types.Object]] = {}
    for thing in scene.objects:
        role, footage = thing.get(ROLE), thing.get(FOOTAGE_ID)
        if role and footage:
            parts.setdefault(footage, {}).setdefault(role, thing)
    found = [
        Placed(footage, roles["empty"], roles.get("mesh"), roles.get("source_camera"))
        for footage, roles in parts.items()
        if "empty" in roles
    ]
    return sorted(found, key=lambda placed: placed.empty.name)


def find(scene: bpy.types.Scene, footage: str) -> Placed | None:
    """The footage with this id, if it stands in the scene."""
    return next((placed for placed in all_placed(scene) if placed.id == footage), None)


def of_camera(scene: bpy.types.Scene, camera: bpy.types.Object | None) -> Placed | None:
    """The footage that a camera looks at: the one it names, else the scene's first."""
    everything = all_placed(scene)
    named = camera.get(FOOTAGE_ID) if camera else None
    return next((placed for placed in everything if placed.id == named), everything[0] if everything else None)


def active(context: bpy.types.Context) -> Placed | None:
    """The footage that the artist works on: the active object's, else the scene camera's, else the first."""
    scene = context.scene
    named = context.object.get(FOOTAGE_ID) if context.object else None
    return (find(scene, named) if named else None) or of_camera(scene, scene.camera)


def required(context: bpy.types.Context) -> Placed:
    """As `active`. Raises: UserError if the scene has none."""
    placed = active(context)
    if placed is None:
        raise UserError(
            "There is no footage in this scene yet: use Import Footage, or Import Scene for a .ex4d folder."
        )
    return placed


def source_time(placed: Placed, camera: bpy.types.Object, frame: float) -> float:
    """The clip frame that a camera (evaluated at `frame`) shows, clamped to the clip.

    Raises:
        UserError: its Source Time is not a number.
    """
    own = camera.get(SOURCE_TIME)
    try:
        time = placed.default_source_time(frame) if own is None else float(own)
    except (TypeError, ValueError):
        time = math.nan
    if not math.isfinite(time):
        raise UserError(f"{SOURCE_TIME} of {camera.name} is {own!r}: give it a clip frame, such as 0.0.")
    return min(max(time, 0.0), placed.facts().frames - 1.0)
