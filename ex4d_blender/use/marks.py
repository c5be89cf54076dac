# SPDX-License-Identifier: GPL-3.0-or-later
"""What the datablocks that show a take say of themselves; so they are found again, in every scene of the file."""

from collections.abc import Iterable
from fractions import Fraction
from typing import Any

import bpy

from ..errors import UserError
from ..placed import Placed, all_placed, of_camera
from ..project.paths import stored
from ..project.rates import said, scene_rate
from ..shots import Shot, camera_math, shot_camera
from ..takes.folder import TakeFacts
from ..translation import translated
from ..versions import strips

USE = "ex4d_use"
"""On objects, images, materials, node groups, strips: `PLANE`, `BACKGROUND`, `COMPOSITOR`, `SEQUENCER`,
`PROJECTION`."""
SHOT = "ex4d_shot"
"""On the same: the shot's key."""
TAKE = "ex4d_take"
"""On the same: the take's folder, `//`-relative where possible."""


def mark(thing: Any, use: str, shot: str, facts: TakeFacts) -> None:
    """Write what a datablock, or a strip, is for, and which take it shows."""
    thing[USE], thing[SHOT], thing[TAKE] = use, shot, stored(facts.folder)


def marked(things: Iterable[Any], use: str, shot: str) -> list[Any]:
    """Those of this use and shot that the file may change: what is linked is left alone."""
    return [
        thing
        for thing in things
        if thing.get(USE) == use and thing.get(SHOT) == shot and getattr(thing, "library", None) is None
    ]


def is_shown(use: str, shot: str) -> bool:
    """Whether anything in the file may show a take of a shot, by its key."""
    everything = [strips.all_strips(scene) for scene in bpy.data.scenes]
    everything += [bpy.data.objects, bpy.data.images, bpy.data.materials, bpy.data.node_groups]
    return any(marked(things, use, shot) for things in everything)


def required_camera(shot: Shot) -> bpy.types.Object:
    """The shot's camera. Raises: UserError if it is not in the shot's scene, or none that a take can be made for."""
    camera = shot_camera.required_camera(shot.id_data, shot)
    camera_math.check_lens(camera)
    return camera


def filmed_by(scene: bpy.types.Scene, facts: TakeFacts, camera: bpy.types.Object | None = None) -> Placed | None:
    """The footage in a scene that a take was made from; of a clip that stands there twice, what the camera looks at."""
    looked_at = of_camera(scene, camera)
    for placed in ([looked_at] if looked_at else []) + all_placed(scene):
        try:
            if placed.facts().content_hash == facts.scene_hash:
                return placed
        except UserError:  # its folder is missing: whatever it was, it does not say so
            continue
    return None


def told_of_rate(scene: bpy.types.Scene, rate: Fraction) -> str:
    """What to say where a take and the scene run at different rates; empty where they agree."""
    own = scene_rate(scene)
    if own == rate:
        return ""
    return translated(
        "The take runs at {rate} frames per second and the scene at {own}: it is shown frame by frame, so it plays "
        "faster or slower",
        rate=said(rate),
        own=said(own),
    )
