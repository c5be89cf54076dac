# SPDX-License-Identifier: GPL-3.0-or-later
"""Remembers what the artist was told already, until the file is opened again."""

import bpy

_said: set[tuple[int, str]] = set()


def unsaid(thing: bpy.types.ID, what: str) -> bool:
    """Whether this was not said yet of a datablock; from now on it was."""
    key = (thing.session_uid, what)  # it outlives renaming and undo, and no other file's datablock has it
    new = key not in _said
    _said.add(key)
    return new
