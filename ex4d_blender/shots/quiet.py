# SPDX-License-Identifier: GPL-3.0-or-later
"""A walk through frames of the artist's scene, after which it is as it was."""

from collections.abc import Iterator
from contextlib import contextmanager

import bpy

from .. import placed as footage
from .unkeyed import Unkeyed


@contextmanager
def quiet(scene: bpy.types.Scene) -> Iterator[None]:
    """The artist's scene for a walk through frames: frame, un-keyed values and visibility come back.

    The footage's meshes are hidden meanwhile: they move no camera, and make up most of a frame's time.
    """
    name, frame, subframe = scene.name, scene.frame_current, scene.frame_subframe
    camera = scene.camera.name_full if scene.camera else None
    unkeyed = Unkeyed()
    hidden = [
        placed.mesh.name
        for placed in footage.all_placed(scene)
        if placed.mesh is not None and placed.mesh.library is None and not placed.mesh.hide_viewport
    ]
    for mesh in hidden:
        bpy.data.objects[mesh, None].hide_viewport = True
    try:
        yield
    finally:
        scene = bpy.data.scenes.get((name, None))  # by name: a modal walk may end because another file was opened
        if scene is not None:
            scene.frame_set(frame, subframe=subframe)
            scene.camera = next((thing for thing in scene.objects if thing.name_full == camera), None)
        for mesh in hidden:
            thing = bpy.data.objects.get((mesh, None))
            if thing is not None:
                thing.hide_viewport = False
        unkeyed.restore()
