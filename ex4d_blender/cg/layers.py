# SPDX-License-Identifier: GPL-3.0-or-later
"""The view layers of a CG set-up: what is seen, held out or left out in each.

*CG* has everything but the footage, which is a holdout there, and the planes of takes. *Plate* has the footage and
those planes. *Shadow* has everything of CG, and the shadow catchers where the footage is. The artist's layers stay.
"""

from collections.abc import Callable, Iterable, Iterator

import bpy

from ..errors import UserError
from ..placed import FOOTAGE_ID, Placed
from ..use.plane import COLLECTION as TAKES

CG, PLATE, SHADOW = "CG", "Plate", "Shadow"
CATCHERS = "ex4d_catchers"
"""On the collection of a scene's shadow catchers: True."""
_RENDERED = {"MESH", "CURVE", "CURVES", "SURFACE", "META", "FONT", "POINTCLOUD", "VOLUME"}

Rule = Callable[[bpy.types.LayerCollection], None]


def footage_collections(scene: bpy.types.Scene, footage: Iterable[Placed]) -> set[bpy.types.Collection]:
    """The collections of meshes of footage.

    Raises:
        UserError: one holds other things too, which would be held out with it; or one above them does, which would be
            in *Plate* with it.
    """
    found = set()
    for placed in footage:
        mesh = placed.mesh
        inside = [each for each in scene.collection.children_recursive if each.objects.get(mesh.name) == mesh]
        if not inside:
            raise UserError(
                "{mesh} lies in the Scene Collection: move it into a collection of its own (M in the viewport).",
                mesh=mesh.name,
            )
        for collection in inside:
            other = next((thing for thing in collection.all_objects if _is_other(thing)), None)
            if other is not None:
                raise UserError(
                    "{other} lies in the collection {collection} of the footage, which CG looks through as a holdout: "
                    "move it into another collection (M in the viewport).",
                    other=other.name,
                    collection=collection.name,
                )
            found.add(collection)
    for collection in (scene.collection, *scene.collection.children_recursive):
        is_above = collection == scene.collection or _holds(collection, found)
        if is_above and collection not in found and not collection.get(TAKES):
            other = next((thing for thing in collection.objects if _is_other(thing)), None)
            if other is not None:
                raise UserError(
                    "{other} lies in the collection {collection}, which the layer Plate shows with the footage below "
                    "it: move it into a collection of its own (M in the viewport).",
                    other=other.name,
                    collection=collection.name,
                )
    return found


def _is_other(thing: bpy.types.Object) -> bool:
    return thing.type in _RENDERED and not thing.get(FOOTAGE_ID)


def ensure(scene: bpy.types.Scene, name: str, like: bpy.types.ViewLayer) -> bpy.types.ViewLayer:
    """The view layer of that name; a new one shows what `like` shows."""
    layer = scene.view_layers.get(name)
    if layer is None:
        layer = scene.view_layers.new(name)
        _copy(like.layer_collection, layer.layer_collection)
    return layer


def _copy(source: bpy.types.LayerCollection, target: bpy.types.LayerCollection) -> None:
    for own, theirs in zip(target.children, source.children, strict=True):
        for name in ("exclude", "holdout", "indirect_only", "hide_viewport"):
            setattr(own, name, getattr(theirs, name))
        _copy(theirs, own)


def set_up(scene: bpy.types.Scene, layers: dict[str, bpy.types.ViewLayer], footage: set[bpy.types.Collection]) -> None:
    """Show, hold out and leave out collections.

    Args:
        scene: whose layers they are.
        layers: by name; *Shadow* may be missing.
        footage: collections with meshes of footage.
    """
    for name, layer in layers.items():
        for each in _below(layer.layer_collection):
            kept = each.collection in footage
            is_take, is_catcher = bool(each.collection.get(TAKES)), bool(each.collection.get(CATCHERS))
            if kept:
                _leave_out(each, name == SHADOW)
                each.holdout = name == CG
            elif is_take:
                _leave_out(each, name != PLATE)
            elif is_catcher:
                _leave_out(each, name != SHADOW)
            elif name == PLATE and not _holds(each.collection, footage):
                _leave_out(each, True)


def _leave_out(each: bpy.types.LayerCollection, left_out: bool) -> None:
    if each.exclude != left_out:  # Blender passes it on to all below, even where nothing changes
        each.exclude = left_out


def _holds(collection: bpy.types.Collection, footage: set[bpy.types.Collection]) -> bool:
    """Whether footage, or the plane of a take, lies in a collection or below it."""
    below = [collection, *collection.children_recursive]
    return any(each in footage or each.get(TAKES) for each in below)


def _below(parent: bpy.types.LayerCollection) -> Iterator[bpy.types.LayerCollection]:
    for child in parent.children:
        yield child
        yield from _below(child)
