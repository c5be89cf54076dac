# SPDX-License-Identifier: GPL-3.0-or-later
"""EX-4D for Blender: the footage stands in Blender as a mesh, and the camera is the artist's.

Uses what Blender ships: bpy, numpy and the standard library. `client/` is the sidecar's own client, put here by
`scripts/build_extension.py`; all else that talks to the sidecar is in `sidecar/`.
"""

from . import (
    cg,
    coverage,
    engine,
    footage,
    generating,
    interface,
    mesh,
    preferences,
    project,
    shots,
    sidecar,
    takes,
    use,
)

FEATURES = (
    interface,
    preferences,
    sidecar,
    engine,
    footage,
    mesh,
    project,
    shots,
    coverage,
    takes,
    use,
    generating,
    cg,
)
"""What is registered, in this order, and unregistered in reverse: each has `register` and `unregister`."""


def register() -> None:
    """Called by Blender when the extension is enabled."""
    for feature in FEATURES:
        feature.register()


def unregister() -> None:
    """Called by Blender when the extension is disabled."""
    for feature in reversed(FEATURES):
        feature.unregister()
