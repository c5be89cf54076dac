# SPDX-License-Identifier: GPL-3.0-or-later
"""Keeps what the artist has not keyed yet, while we look at other frames.

Setting a frame overwrites every animated channel with its curve's value: a camera that was moved but not keyed loses
its pose. So the values are noted before and written back after. Datablocks are noted by name, not by reference: this
may outlive an undo.
"""

import re
from collections.abc import Iterator
from typing import Any

import bpy

from ..versions import fcurves

_CUSTOM_PROPERTY = re.compile(r'(.*)\["((?:[^"\\]|\\.)*)"\]', re.DOTALL)
_Key = tuple[str, str, bool]
"""Collection of `bpy.data`, name, and whether its embedded node tree is meant."""


class Unkeyed:
    """The values of all animated channels of this file, as they are now; `restore` writes back those that changed."""

    def __init__(self) -> None:
        """Note them. Linked datablocks are left out: nobody can edit those."""
        self._values: dict[tuple[_Key, str], Any] = {}
        for key, thing in _local_datablocks():
            for path in {path for path, _ in fcurves.animated_channels(thing)}:
                value = _read(thing, path)
                if value is not None:
                    self._values[key, path] = value

    def restore(self) -> None:
        """Write the values back, and have Blender evaluate what depends on them."""
        for (key, path), value in self._values.items():
            thing = _found(key)
            if thing is not None and _read(thing, path) not in (None, value):
                _write(thing, path, value)
                thing.update_tag()
        bpy.context.view_layer.update()


_COLLECTIONS = tuple(
    p.identifier
    for p in bpy.types.BlendData.bl_rna.properties
    if p.type == "COLLECTION" and p.identifier not in ("window_managers", "libraries")
)


def _local_datablocks() -> Iterator[tuple[_Key, bpy.types.ID]]:
    """All datablocks of this file that can be animated, embedded node trees included."""
    for collection in _COLLECTIONS:
        for thing in getattr(bpy.data, collection):
            if thing.library is not None:
                continue
            key = (collection, thing.name, False)
            if getattr(thing, "animation_data", None) is not None:
                yield key, thing
            tree = getattr(thing, "node_tree", None)
            if tree is not None and tree.animation_data is not None:
                yield (*key[:2], True), tree


def _found(key: _Key) -> bpy.types.ID | None:
    collection, name, embedded = key
    thing = getattr(bpy.data, collection).get((name, None))
    return getattr(thing, "node_tree", None) if embedded else thing


def _read(thing: bpy.types.ID, path: str) -> Any:
    """The value of a property, a tuple for an array; None where the path leads nowhere, as Blender skips that too."""
    try:
        value = thing.path_resolve(path)
    except ValueError:
        return None
    return tuple(value) if hasattr(value, "__len__") and not isinstance(value, (str, set)) else value


def _write(thing: bpy.types.ID, path: str, value: Any) -> None:
    custom = _CUSTOM_PROPERTY.fullmatch(path)
    if custom:
        owner = thing.path_resolve(custom[1]) if custom[1] else thing
        owner[bpy.utils.unescape_identifier(custom[2])] = value
    else:
        above, _, name = path.rpartition(".")
        setattr(thing.path_resolve(above) if above else thing, name, value)
