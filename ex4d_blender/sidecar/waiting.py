# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether operators wait for what they have begun."""

import bpy


def operators_wait() -> bool:
    """In background mode they run to their end; where an artist looks on, the tick goes on with it."""
    return bpy.app.background
