# SPDX-License-Identifier: GPL-3.0-or-later
"""Shots: cameras of the artist's with a range and a size, the moves to begin with, and their trajectories."""

from . import aspect_frame, blending, exporting, listing, making_operators, panel, properties
from .properties import Shot, active_shot, find_shot, required_shot

__all__ = ["Shot", "active_shot", "find_shot", "register", "required_shot", "unregister"]

_PARTS = (properties, making_operators, listing, blending, exporting, panel, aspect_frame)


def register() -> None:
    """Register all parts."""
    for part in _PARTS:
        part.register()


def unregister() -> None:
    """Unregister all parts."""
    for part in reversed(_PARTS):
        part.unregister()
