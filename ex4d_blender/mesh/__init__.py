# SPDX-License-Identifier: GPL-3.0-or-later
"""The DW-Mesh in Blender: footage as a displaced, retimable mesh under one empty."""

from . import copies, operators, panel, source_time

FEATURES = (operators, copies, source_time, panel)


def register() -> None:
    """Operators and panel."""
    for feature in FEATURES:
        feature.register()


def unregister() -> None:
    """See `register`."""
    for feature in reversed(FEATURES):
        feature.unregister()
