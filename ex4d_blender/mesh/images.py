# SPDX-License-Identifier: GPL-3.0-or-later
"""The frames of a scene folder as Blender's image sequences.

The number of a file is the clip frame it shows (files count from 0), so whoever shows a sequence says the clip frame.
"""

from pathlib import Path

import bpy

from ..errors import UserError
from ..placed import DEPTH_IMAGE, FOOTAGE_ID, ROLE
from ..scene_folder import SceneFacts


def stored_path(path: Path) -> str:
    """A path as it is kept in the .blend: relative to the file where it is saved on the same drive."""
    if not bpy.data.filepath:
        return str(path)
    try:
        return bpy.path.relpath(str(path))
    except ValueError:  # another drive
        return str(path)


def plate(facts: SceneFacts, footage: str) -> bpy.types.Image:
    """The picture: at full size where the folder has it, else at working size. Raises: UserError."""
    return _sequence(facts, footage, facts.plate or facts.color, "plate", colour=True)


def depth(facts: SceneFacts, footage: str) -> bpy.types.Image:
    """The depth files, as stored (disparity or depth). Raises: UserError."""
    return _sequence(facts, footage, facts.depth, DEPTH_IMAGE, colour=False)


def occlusion(facts: SceneFacts, footage: str) -> bpy.types.Image | None:
    """The bridges, as bits; None where the folder has none. Raises: UserError."""
    return _sequence(facts, footage, facts.occlusion, "occlusion", colour=False) if facts.occlusion else None


def proxy(facts: SceneFacts, footage: str) -> bpy.types.Image | None:
    """Depth and bridges for viewports; None where the folder has no such files. Raises: UserError."""
    return _sequence(facts, footage, facts.proxy, "depth proxy", colour=False) if facts.proxy else None


def _sequence(facts: SceneFacts, footage: str, pattern: str, role: str, *, colour: bool) -> bpy.types.Image:
    """A new image of the whole clip; where not `colour` it holds numbers that no colour management may touch."""
    path = facts.file(pattern, 0)
    try:
        image = bpy.data.images.load(str(path), check_existing=False)
    except RuntimeError:
        raise UserError("{path} cannot be read: import the clip again, or use Relink.", path=path) from None
    image.name = f"{facts.name} {role.capitalize()}"
    image[FOOTAGE_ID], image[ROLE] = footage, role
    image.source = "SEQUENCE"
    image.filepath_raw = stored_path(path)
    if colour and not all(image.size):
        raise UserError("{path} is damaged: import the clip again.", path=path)
    if colour:
        image.colorspace_settings.name = "sRGB"
    else:
        image.colorspace_settings.is_data = True
        image.alpha_mode = "CHANNEL_PACKED"
    return image


def show(user: bpy.types.ImageUser) -> None:
    """Let an image user show file number `frame_offset + 1` whatever the scene's frame is; drive `frame_offset`.

    A sequence of one frame that repeats is always at its frame 1, and the offset is added after that.
    """
    user.frame_duration = 1
    user.frame_start = 1
    user.use_cyclic = True
    user.use_auto_refresh = True
    user.frame_offset = -1
