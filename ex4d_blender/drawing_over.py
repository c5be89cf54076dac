# SPDX-License-Identifier: GPL-3.0-or-later
"""Drawing over an editor, after all else in it; where there are no windows nothing is drawn."""

from collections.abc import Callable
from typing import Any

import bpy


class DrawsOver:
    """What is drawn in the main region of each editor of a kind, in pixels.

    Args:
        space: the editor, such as `bpy.types.SpaceView3D`.
        draw: called by Blender with no arguments.
    """

    def __init__(self, space: Any, draw: Callable[[], None]) -> None:
        self._space, self._draw = space, draw
        self._handle: Any = None

    def register(self) -> None:
        """Begin."""
        if not bpy.app.background:
            self._handle = self._space.draw_handler_add(self._draw, (), "WINDOW", "POST_PIXEL")

    def unregister(self) -> None:
        """End."""
        if self._handle is not None:
            self._space.draw_handler_remove(self._handle, "WINDOW")
            self._handle = None
