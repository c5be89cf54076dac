# SPDX-License-Identifier: GPL-3.0-or-later
"""The footage and the rest of the project: rate and size, scale and ground, colours, files."""

from . import (
    clipping,
    footage_camera_operators,
    match_operators,
    move_operator,
    panel,
    paths,
    picking,
    relink,
    standing_operators,
    view,
)

FEATURES = (
    paths,
    match_operators,
    standing_operators,
    picking,
    footage_camera_operators,
    view,
    clipping,
    relink,
    move_operator,
    panel,
)
"""What is registered, in this order."""


def register() -> None:
    """Called when the extension is enabled."""
    for feature in FEATURES:
        feature.register()


def unregister() -> None:
    """Called when the extension is disabled."""
    for feature in reversed(FEATURES):
        feature.unregister()
