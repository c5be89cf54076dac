# SPDX-License-Identifier: GPL-3.0-or-later
"""Operators that a timer calls, not the artist: whether now is a good time, and how."""

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import bpy

from .errors import UserError, reported


def may_change() -> bool:
    """Whether nothing goes on that a change of datablocks would disturb."""
    if bpy.app.is_job_running("RENDER"):
        return False
    manager = bpy.context.window_manager
    for window in manager.windows:
        if len(window.modal_operators) or window.screen.is_animation_playing:
            return False
        active = window.view_layer.objects.active
        if active and active.mode != "OBJECT":
            return False
    active = bpy.context.view_layer.objects.active if bpy.context.view_layer else None
    return not active or active.mode == "OBJECT"


def call(operator: Callable[..., set[str]], **properties: Any) -> None:
    """Run an operator in the first window, with an undo step. Raises: UserError with what the operator reports."""
    windows = bpy.context.window_manager.windows
    with bpy.context.temp_override(window=windows[0]) if windows else nullcontext():
        try:
            operator("EXEC_DEFAULT", True, **properties)  # True: with an undo step
        except RuntimeError as error:
            raise UserError(reported(error)) from None
