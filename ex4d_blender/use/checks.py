# SPDX-License-Identifier: GPL-3.0-or-later
"""What accepting a take would fail for, looked at before anything is made or changed."""

from pathlib import Path

import bpy

from ..errors import UserError
from ..shots import Shot
from ..takes.folder import TakeFacts
from ..versions import compositor
from . import marks, projection, sequencer


def pictures(_context: bpy.types.Context, shot: Shot | None, facts: TakeFacts) -> None:
    """For what shows the pictures through the shot's camera; None is a shot that has yet to be made for the take.

    Raises:
        UserError: no camera, one that a take cannot be made for, or pictures that are missing or damaged.
    """
    if shot is not None:
        marks.required_camera(shot)
    facts.require_files()
    _require_readable(facts.png(0))


def passes(context: bpy.types.Context, shot: Shot | None, facts: TakeFacts) -> None:
    """For the compositor. Raises: UserError, also if the tree belongs to another file."""
    pictures(context, shot, facts)
    if not facts.has_exr:
        facts.require_mask()
        _require_readable(facts.mask)
    compositor.require_own_tree(context.scene)


def mesh(context: bpy.types.Context, shot: Shot | None, facts: TakeFacts) -> None:
    """For the projection. Raises: UserError, also if there is no mesh that may be changed."""
    pictures(context, shot, facts)
    facts.require_mask()
    _require_readable(facts.mask)
    projection.check(context, shot, facts)


def strip(context: bpy.types.Context, shot: Shot | None, facts: TakeFacts) -> None:
    """For the sequencer, which needs no camera. Raises: UserError, also if there is no free channel."""
    facts.require_files()
    _require_readable(facts.png(0))
    sequencer.check(context, shot, facts)


def _require_readable(file: Path) -> None:
    try:
        image = bpy.data.images.load(str(file), check_existing=False)
        has_pixels = all(image.size)
        bpy.data.images.remove(image)
    except RuntimeError:
        has_pixels = False
    if not has_pixels:
        raise UserError("{path} cannot be read: generate the shot again, or choose another take.", path=file)
