# SPDX-License-Identifier: GPL-3.0-or-later
"""What a camera's place hangs on, and whether only the artist's scene can tell where it is.

A temporary scene has neither that scene's properties nor its simulations. Comparing a few frames would not always tell:
what repeats agrees by chance, and a simulation that has not been played stands still everywhere. So both are looked for
in all that the camera hangs on, as far as Blender names it.
"""

from collections.abc import Iterator
from typing import Any

import bpy

from ..mesh.retiming import SOURCE_FRAME
from ..placed import ROLE
from ..versions import fcurves

_SIMULATED = {"CLOTH", "SOFT_BODY", "FLUID", "DYNAMIC_PAINT", "PARTICLE_SYSTEM"}
"""Types of modifiers whose result depends on the frames before."""


def involved(*first: bpy.types.Object) -> list[bpy.types.ID]:
    """Objects with all that they hang on: parents, data, and what constraints, modifiers and drivers name, in turn."""
    found: dict[bpy.types.ID, None] = {}
    waiting: list[bpy.types.ID] = list(first)
    while waiting:
        thing = waiting.pop()
        if thing not in found:
            found[thing] = None
            waiting += _named(thing)
    return list(found)


def asks_the_scene(things: list[bpy.types.ID]) -> bool:
    """Whether a driver of one of them reads a scene: a temporary one would answer in its place."""
    return any(
        variable.type == "CONTEXT_PROP" or any(target.id_type == "SCENE" for target in variable.targets)
        for thing in things
        for driver in _drivers(thing)
        for variable in driver.driver.variables
    )


def simulated_from(scene: bpy.types.Scene, things: list[bpy.types.ID]) -> int | None:
    """The first frame of the earliest simulation among them; None where there is none."""
    objects = [thing for thing in things if isinstance(thing, bpy.types.Object)]
    return min((start for thing in objects for start in _starts(scene, thing)), default=None)


def _starts(scene: bpy.types.Scene, thing: bpy.types.Object) -> Iterator[int]:
    if thing.rigid_body is not None and thing.rigid_body.type == "ACTIVE" and scene.rigidbody_world is not None:
        yield scene.rigidbody_world.point_cache.frame_start
    for modifier in thing.modifiers:
        if modifier.type in _SIMULATED or (modifier.type == "NODES" and _has_simulation(modifier.node_group, set())):
            cache = getattr(getattr(modifier, "particle_system", modifier), "point_cache", None)
            yield scene.frame_start if cache is None else cache.frame_start


def _has_simulation(group: bpy.types.NodeTree | None, seen: set[bpy.types.NodeTree]) -> bool:
    if group is None or group in seen:
        return False
    seen.add(group)
    return any(
        node.bl_idname == "GeometryNodeSimulationInput" or _has_simulation(getattr(node, "node_tree", None), seen)
        for node in group.nodes
    )


def _drivers(thing: bpy.types.ID) -> list[bpy.types.FCurve]:
    """The drivers that may move something.

    Not those of background images; nor the one that knows the footage's time, which asks whichever scene it is in.
    """
    time = f'["{SOURCE_FRAME}"]' if thing.get(ROLE) == "empty" else None
    return [
        driver
        for driver in fcurves.drivers(thing)
        if not driver.data_path.startswith("background_images") and driver.data_path != time
    ]


def _named(thing: bpy.types.ID) -> Iterator[bpy.types.ID]:
    """What a datablock hangs on itself; scenes are nothing to follow."""
    if isinstance(thing, bpy.types.Object):
        yield from (other for other in (thing.parent, thing.data) if other is not None)
        for modifier in thing.modifiers:
            yield from _objects_of(modifier)
        for owner in (thing, *(thing.pose.bones if thing.pose else ())):
            for constraint in owner.constraints:
                yield from _objects_of(constraint)
                for each in getattr(constraint, "targets", ()):
                    yield from _objects_of(each)
    elif getattr(thing, "shape_keys", None) is not None:
        yield thing.shape_keys
    for driver in _drivers(thing):
        for variable in driver.driver.variables:
            for target in variable.targets:
                if target.id is not None and not isinstance(target.id, bpy.types.Scene):
                    yield target.id


def _objects_of(part: Any) -> Iterator[bpy.types.Object]:
    for prop in part.bl_rna.properties:
        if prop.type == "POINTER" and isinstance(thing := getattr(part, prop.identifier), bpy.types.Object):
            yield thing
