# SPDX-License-Identifier: GPL-3.0-or-later
"""The takes of a shot: what came back for it, in the order in which it came. Their files are read in `..takes`."""

import json
import os
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

import bpy
from bpy.props import IntProperty, StringProperty

from ..project.paths import stored

if TYPE_CHECKING:
    from ..takes.folder import TakeFacts
    from .properties import Shot


class Take(bpy.types.PropertyGroup):
    """One take of a shot. Find it again by `key`; hold no reference over an undo or a change of the list."""

    name: StringProperty(name="Name", description="What the take is called")
    key: StringProperty(name="Key", description="Finds the take again", options={"HIDDEN"})
    number: IntProperty(name="Number", description="Which one of the shot's takes it is", default=1, min=1)
    folder: StringProperty(name="Folder", description="Where its files are")
    base: StringProperty(
        name="Base", description="The folder of the .blend that the take's folder is relative to", options={"HIDDEN"}
    )
    settings: StringProperty(
        name="Settings", description="How it was generated, as JSON", default="{}", options={"HIDDEN"}
    )
    frame_start: IntProperty(name="Frame Start", description="The frame that shows its first picture")


def folder_of(take: Take) -> Path:
    """Where a take's files are, absolute; they may be missing."""
    library = take.id_data.library
    found = bpy.path.abspath(take.folder, start=None if library else take.base or None, library=library)
    return Path(os.path.normpath(found))


def put_folder(take: Take, folder: Path, blend: str | None = None) -> None:
    """Write where a take's files are, relative to a .blend (the open one) where possible."""
    blend = bpy.data.filepath if blend is None else blend
    take.folder, take.base = stored(folder, blend), os.path.dirname(blend)


def add_take(shot: "Shot", facts: "TakeFacts", frame_start: int | None = None) -> Take:
    """A take at the end of the list, which becomes the active one; a folder that is in the list already stays one take.

    Args:
        shot: of a scene.
        facts: what its folder says.
        frame_start: the Blender frame of its first picture, where that is not the folder's own.
    """
    place = next((i for i, take in enumerate(shot.takes) if folder_of(take) == facts.folder), None)
    if place is None:
        place = len(shot.takes)
        taken = {take.number for take in shot.takes}
        number = next_number(shot) if facts.number in taken else facts.number
        take = shot.takes.add()
        take.key, take.number = uuid.uuid4().hex, number
        take.name = facts.name if number == facts.number else f"take_{number:03d}"
        take.settings = json.dumps(facts.settings)
        put_folder(take, facts.folder)
    take = shot.takes[place]
    take.frame_start = facts.frame_start if frame_start is None else frame_start
    shot.active_take = place
    return take


def next_number(shot: "Shot") -> int:
    """The number of the next take: one more than the highest."""
    return max((take.number for take in shot.takes), default=0) + 1


def active_take(shot: "Shot") -> Take | None:
    """The take that is chosen in the list."""
    return shot.takes[shot.active_take] if 0 <= shot.active_take < len(shot.takes) else None


def find_take(shot: "Shot", key: str) -> Take | None:
    """The take with this key."""
    return next((take for take in shot.takes if take.key == key), None)
