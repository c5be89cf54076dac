# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether what is written to a datablock stays in the file.

A linked one takes changes and forgets them; a library override too forgets custom properties that the linked file does
not have, and what reads them is then broken (Blender 4.2 to 5.2).
"""

import bpy

from .errors import UserError


def require_local(*things: bpy.types.ID | None) -> None:
    """Require datablocks that belong to this file. Raises: UserError naming the first that does not."""
    for thing in filter(None, things):
        if thing.library is not None:
            raise UserError(
                "{name} is linked from another file: make it local first (Object > Relations > Make Local).",
                name=thing.name,
            )
        if thing.override_library is not None:
            raise UserError(
                "{name} is a library override, which would lose this when the file is opened again: make it local "
                "first (Object > Relations > Make Local).",
                name=thing.name,
            )
