# SPDX-License-Identifier: GPL-3.0-or-later
"""What accepting or replacing a take would fail for, looked at before anything is made or changed.

Of the take and of what shows its shot already: `pictures`, `on_plane`, `passes`, `projected`. Of the scene: `camera`,
`camera_data`, `tree`, `mesh`. A shot that is None has yet to be made for the take.
"""

from pathlib import Path

import bpy

from ..errors import UserError
from ..exr_header import is_cut_short
from ..shots import Shot
from ..takes.folder import TakeFacts
from ..versions import compositor
from . import background, marks, plane, projection


def pictures(_shot: Shot | None, facts: TakeFacts) -> None:
    """For all that shows the pictures. Raises: UserError for those that are missing or damaged."""
    facts.require_files()
    _require_readable(facts.png(0))


def on_plane(shot: Shot | None, facts: TakeFacts) -> None:
    """For planes. Raises: UserError as `pictures`, and if one has lost its nodes."""
    pictures(shot, facts)
    if shot is not None:
        plane.require_whole(shot.key)


def passes(shot: Shot | None, facts: TakeFacts) -> None:
    """For the compositor. Raises: UserError as `pictures`, also for the mask that stands in for EXR files."""
    pictures(shot, facts)
    if not facts.has_exr:
        facts.require_mask()
        _require_readable(facts.mask)
    elif is_cut_short(facts.exr(0)):
        raise _unreadable(facts.exr(0))


def projected(shot: Shot | None, facts: TakeFacts) -> None:
    """For projections. Raises: UserError as `pictures`, also for the mask, and if one has lost its nodes."""
    pictures(shot, facts)
    facts.require_mask()
    _require_readable(facts.mask)
    if shot is not None:
        projection.require_whole(shot.key)


def camera(_context: bpy.types.Context, shot: Shot | None, _facts: TakeFacts) -> None:
    """For what hangs on the shot's camera. Raises: UserError for none, or one that no take can be made for."""
    if shot is not None:
        marks.required_camera(shot)


def camera_data(_context: bpy.types.Context, shot: Shot | None, _facts: TakeFacts) -> None:
    """For what is written to the camera. Raises: UserError as `camera`, also for a linked one."""
    if shot is not None:
        background.check(marks.required_camera(shot))


def tree(context: bpy.types.Context, shot: Shot | None, facts: TakeFacts) -> None:
    """For the compositor. Raises: UserError as `camera`, also if the tree belongs to another file."""
    camera(context, shot, facts)
    compositor.require_own_tree(context.scene)


def mesh(context: bpy.types.Context, shot: Shot | None, facts: TakeFacts) -> None:
    """For the projection. Raises: UserError as `camera`, also if there is no mesh that may be changed."""
    camera(context, shot, facts)
    projection.check(context, shot, facts)


def _require_readable(file: Path) -> None:
    try:
        image = bpy.data.images.load(str(file), check_existing=False)
        has_pixels = all(image.size)
        bpy.data.images.remove(image)
    except RuntimeError:
        has_pixels = False
    if not has_pixels:
        raise _unreadable(file)


def _unreadable(file: Path) -> UserError:
    return UserError("{path} cannot be read: generate the shot again, or choose another take.", path=file)
