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
from .translation import translated

_NO_FOOTAGE = "There is no footage in this scene yet: use Import Footage, or Import Scene for a .ex4d folder."

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
CONTENT = "ex4d_content"
"""On the empty: the scene folder's `content_hash` when it was placed; older files have none."""
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
        depth = self.depth_image
        if depth is None:
            return absolute(str(self.empty.get(FOLDER, "")), self.empty.library)
        file = absolute(depth.filepath, depth.library)
        above = file.parents[1:4] or file.parents
        return next((folder for folder in above if (folder / SCENE_FILE).is_file()), above[0])

    @property
    def depth_image(self) -> bpy.types.Image | None:
        """Its depth, from the empty's own file if both a local and a linked one are there."""
        found = [
            image for image in bpy.data.images if image.get(FOOTAGE_ID) == self.id and image.get(ROLE) == DEPTH_IMAGE
        ]
        return min(found, key=lambda image: image.library != self.empty.library, default=None)

    def facts(self) -> SceneFacts:
        """What its `scene.json` says. Raises: UserError if the folder is missing, damaged or another one by now."""
        facts = read_scene(self.folder)
        if not self.is_of(facts):
            raise UserError(
                "{folder} holds another import by now than {empty} was placed from: bring that one back, or use "
                "Import Scene for this one.",
                folder=facts.folder,
                empty=self.empty.name,
            )
        return facts

    def is_of(self, facts: SceneFacts) -> bool:
        """Whether it was placed from a scene of this content; of older files only the shape is known."""
        content = self.empty.get(CONTENT)
        if content is not None:
            return content == facts.content_hash
        return self.shape() in (None, (facts.width, facts.height, facts.frames))

    def shape(self) -> tuple[int, int, int] | None:
        """Width, height and frames of what was placed, known also where the folder is missing."""
        shape = self.empty.get(SHAPE)
        return None if shape is None else (int(shape[0]), int(shape[1]), int(shape[2]))

    @property
    def frame_start(self) -> float:
        """The Blender frame that shows clip frame 0; a value that is no number counts as 1."""
        return _number(self.empty.get(FRAME_START), 1.0)

    @property
    def speed(self) -> float:
        """Clip frames per Blender frame; a value that is no number counts as 1."""
        return _number(self.empty.get(SPEED), 1.0)

    def default_source_time(self, frame: float) -> float:
        """The clip frame that a camera without a Source Time of its own shows; not clamped to the clip."""
        return (frame - self.frame_start) * self.speed


def _number(value: object, otherwise: float) -> float:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else otherwise


def absolute(path: str, library: bpy.types.Library | None = None) -> Path:
    """A path as stored in a .blend (`//` is relative to that file), as an absolute one."""
    return Path(os.path.normpath(bpy.path.abspath(path, library=library)))


def all_placed(scene: bpy.types.Scene) -> list[Placed]:
    """All footage of a scene, in the order of the empties' names; a duplicate has the id of its original."""
    parts: dict[tuple[str, str], list[bpy.types.Object]] = {}
    for thing in scene.objects:
        role, footage = thing.get(ROLE), thing.get(FOOTAGE_ID)
        if role and footage:
            parts.setdefault((footage, role), []).append(thing)

    def part(empty: bpy.types.Object, role: str) -> bpy.types.Object | None:
        footage = empty[FOOTAGE_ID]
        found = parts.get((footage, role), [])
        own = [thing for thing in found if empty_above(thing) == empty]
        if not own and len(parts[footage, "empty"]) == 1:
            own = found  # the artist has parented it to something else
        return own[0] if own else None

    empties = [thing for (_, role), things in parts.items() if role == "empty" for thing in things]
    return [
        Placed(empty[FOOTAGE_ID], empty, part(empty, "mesh"), part(empty, "source_camera"))
        for empty in sorted(empties, key=lambda empty: empty.name)
    ]


def empty_above(thing: bpy.types.Object | None) -> bpy.types.Object | None:
    """The footage's empty that an object is, or hangs on."""
    while thing is not None and thing.get(ROLE) != "empty":
        thing = thing.parent
    return thing


def find(scene: bpy.types.Scene, footage: str) -> Placed | None:
    """The footage with this id, if it stands in the scene."""
    return next((placed for placed in all_placed(scene) if placed.id == footage), None)


def of_camera(scene: bpy.types.Scene, camera: bpy.types.Object | None) -> Placed | None:
    """The footage that a camera looks at: the one it names (of duplicates, the one it hangs on), else the first.

    One that names none looks at the one it hangs on, else at what its shot was made for: names of empties may change.
    """
    everything, above = all_placed(scene), empty_above(camera)
    named = camera.get(FOOTAGE_ID) if camera else None
    found = [placed for placed in everything if placed.id == named] or everything
    hung = next((placed for placed in found if placed.empty == above), None)
    if hung is None and named is None and camera is not None:
        made_for = {shot.footage for shot in scene.ex4d_shots if shot.camera == camera}
        found = [placed for placed in found if placed.id in made_for] or found
    return hung or (found[0] if found else None)


def active(context: bpy.types.Context) -> Placed | None:
    """The footage that the artist works on: the active object's, else the scene camera's, else the first."""
    scene, chosen = context.scene, context.object
    named = chosen is not None and (chosen.get(FOOTAGE_ID) or empty_above(chosen))
    return of_camera(scene, chosen if named else scene.camera)


def required(context: bpy.types.Context) -> Placed:
    """As `active`. Raises: UserError if the scene has none."""
    placed = active(context)
    if placed is None:
        raise UserError(_NO_FOOTAGE)
    return placed


class NeedsFootage:
    """Mixin of operators that are greyed out, and refused to scripts, while a scene has no footage."""

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """There is footage."""
        if active(context) is not None:
            return True
        cls.poll_message_set(translated(_NO_FOOTAGE))
        return False


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
        raise UserError(
            "{property} of {camera} is {value!r}: give it a clip frame, such as 0.0.",
            property=SOURCE_TIME,
            camera=camera.name,
            value=own,
        )
    return min(max(time, 0.0), placed.facts().frames - 1.0)
