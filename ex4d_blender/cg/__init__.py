# SPDX-License-Identifier: GPL-3.0-or-later
"""CG that stands in the shot: view layers, shadow catcher and compositor stack, all of it Blender's own."""

from . import operators, panel

FEATURES = (operators, panel)


def register() -> None:
    """Operators and panel."""
    for feature in FEATURES:
        feature.register()


def unregister() -> None:
    """See `register`."""
    for feature in reversed(FEATURES):
        feature.unregister()
