# SPDX-License-Identifier: GPL-3.0-or-later
"""The table of uses: a new one is a line here."""

from collections.abc import Callable
from dataclasses import dataclass

import bpy

from ..shots import Shot
from ..takes.folder import TakeFacts
from . import background, checks, compositor, plane, projection, sequencer


@dataclass(frozen=True)
class Use:
    """A way to use a take."""

    label: str
    description: str
    icon: str
    accept: Callable[[bpy.types.Context, Shot, TakeFacts], str | None]
    """Show the take in the context's scene; what shows an earlier take of the shot shows it. Returns one sentence that
    the artist should know, if there is one. Raises: UserError."""
    replace: Callable[[str, TakeFacts], int]
    """Let all that shows a take of the shot (its key), in every scene, show this one; how many there are."""
    require: Callable[[Shot | None, TakeFacts], None]
    """Look for what both would fail for, before anything is changed. Raises: UserError."""
    check: Callable[[bpy.types.Context, Shot | None, TakeFacts], None]
    """Look for what else `accept` would fail for, before anything is made, the shot maybe among it. Raises:
    UserError."""


USES: dict[str, Use] = {
    "PLANE": Use(
        "Plane",
        "Show the take on a plane that fills the camera's frame",
        "MESH_PLANE",
        plane.accept,
        plane.replace,
        checks.on_plane,
        checks.camera,
    ),
    "BACKGROUND": Use(
        "Background",
        "Show the take behind the scene in the camera's view",
        "IMAGE_BACKGROUND",
        background.accept,
        background.replace,
        checks.pictures,
        checks.camera_data,
    ),
    "COMPOSITOR": Use(
        "Compositor",
        "Put a node with the take's image, mask and depth into the scene's compositor, beside what is there",
        "NODE_COMPOSITING",
        compositor.accept,
        compositor.replace,
        checks.passes,
        checks.tree,
    ),
    "SEQUENCER": Use(
        "Strip",
        "Show the take in a strip of the sequencer",
        "SEQ_SEQUENCER",
        sequencer.accept,
        sequencer.replace,
        checks.pictures,
        sequencer.check,
    ),
    "PROJECTION": Use(
        "Projection",
        "Throw the take from the shot's camera onto the footage's mesh: other cameras near by then see no holes",
        "MOD_UVPROJECT",
        projection.accept,
        projection.replace,
        checks.projected,
        checks.mesh,
    ),
}
