# SPDX-License-Identifier: GPL-3.0-or-later
"""The pictures of a take as Blender's image sequences: file 000000.png at the take's first frame."""

import bpy

from ..errors import UserError
from ..placed import FOOTAGE_ID, ROLE
from ..project.paths import stored
from ..project.view import PLATE_IMAGE, PLATE_SPACES, STANDARD
from ..shots import Shot
from ..takes.folder import TakeFacts
from . import marks


def load(scene: bpy.types.Scene, shot: Shot, facts: TakeFacts, use: str) -> bpy.types.Image:
    """A new image of all frames, in the colour space that fits the scene's view. Raises: UserError."""
    path = facts.png(0)
    try:
        image = bpy.data.images.load(str(path), check_existing=False)
    except RuntimeError:
        raise _unreadable(path) from None
    image.name = f"{shot.name} {facts.name}"
    image.source = "SEQUENCE"
    image.filepath_raw = stored(path)
    if not all(image.size):
        bpy.data.images.remove(image)
        raise _unreadable(path)
    placed = marks.filmed_by(scene, facts, shot.camera)
    if placed is not None:  # so that *Fit Plate to View* and the keeping of paths know it, too
        image[FOOTAGE_ID], image[ROLE] = placed.id, PLATE_IMAGE
    space = PLATE_SPACES.get(scene.view_settings.view_transform, PLATE_SPACES[STANDARD])
    try:
        image.colorspace_settings.name = space
    except TypeError:  # a colour configuration of the artist's own
        space = PLATE_SPACES[STANDARD]
    image.use_view_as_render = space != PLATE_SPACES[STANDARD]
    marks.mark(image, use, shot.key, facts)
    return image


def _unreadable(path: object) -> UserError:
    return UserError("{path} cannot be read: generate the shot again, or choose another take.", path=path)


def load_mask(facts: TakeFacts, shot: Shot, use: str) -> bpy.types.Image:
    """A new image of the mask of all frames: white where the footage saw what is shown. Raises: UserError."""
    try:
        image = bpy.data.images.load(str(facts.mask), check_existing=False)
    except RuntimeError:
        raise _unreadable(facts.mask) from None
    image.name = f"{shot.name} {facts.name} Mask"
    image.filepath_raw = stored(facts.mask)
    image.colorspace_settings.is_data = True
    marks.mark(image, use, shot.key, facts)
    return image


def swap(image: bpy.types.Image, facts: TakeFacts) -> None:
    """Let an image, of the pictures or of the mask, show another take."""
    image.filepath = stored(facts.mask if image.source == "MOVIE" else facts.png(0))
    image.reload()
    image[marks.TAKE] = stored(facts.folder)


def show(user: bpy.types.ImageUser, facts: TakeFacts, *, movie: bool = False) -> None:
    """Let an image user show the take at its frames; the last one stays."""
    user.frame_start, user.frame_duration = facts.frame_start, facts.frames
    user.frame_offset = 0 if movie else -1  # files count from 0, the frames of a movie have no numbers
    user.use_cyclic, user.use_auto_refresh = False, True
