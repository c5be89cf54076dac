# SPDX-License-Identifier: GPL-3.0-or-later
"""Paths that may begin with `//`, the folder of the .blend: from 4.5 on a property has to say that it takes them."""

import bpy

BLEND_RELATIVE: set[str] = {"PATH_SUPPORTS_BLEND_RELATIVE"} if bpy.app.version >= (4, 5, 0) else set()
"""For `options` of a path property; without it Blender warns of each such path."""
