# SPDX-License-Identifier: GPL-3.0-or-later
"""The camera of a shot, in the scene of the shot.

A shot keeps its camera alive: one that was deleted from the scene is still there, but only the shot knows it.
"""

import bpy

from ..errors import UserError
from .properties import Shot


def is_among(things: bpy.types.bpy_prop_collection, thing: bpy.types.Object) -> bool:
    """Whether objects of a scene or a view layer hold this very one: another file's may have the same name."""
    found = things.get(thing.name)  # most often it is this one, and one look is quicker than all of them
    return found is not None and (found == thing or any(other == thing for other in things))


def is_shown(layer: bpy.types.LayerCollection, thing: bpy.types.Object) -> bool:
    """Whether a collection that is ticked, and not hidden in viewports, holds this object."""
    if layer.collection.hide_viewport:
        return False
    here = not layer.exclude and is_among(layer.collection.objects, thing)
    return here or any(is_shown(child, thing) for child in layer.children)


def camera_of(scene: bpy.types.Scene, shot: Shot) -> bpy.types.Object | None:
    """The shot's camera; None where it has none, or one that is not in the scene."""
    return shot.camera if shot.camera is not None and is_among(scene.objects, shot.camera) else None


def required_camera(scene: bpy.types.Scene, shot: Shot) -> bpy.types.Object:
    """As `camera_of`. Raises: UserError."""
    if shot.camera is None:
        raise UserError("{shot} has lost its camera: choose one in the Shots panel.", shot=shot.name)
    if camera_of(scene, shot) is None:
        raise UserError(
            "{camera} is not in this scene: link it, or choose another camera for {shot}.",
            camera=shot.camera.name,
            shot=shot.name,
        )
    return shot.camera
