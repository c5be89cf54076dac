# SPDX-License-Identifier: GPL-3.0-or-later
"""F-curves of a datablock: an action's own up to 4.3, a slot's from 4.4 on (`Action.fcurves` is gone in 5.0).

Everything here is about one datablock's curves: what others have in the same action is never touched.
"""

from collections.abc import Iterator
from typing import Any

import bpy

FCurve = bpy.types.FCurve


def _container(thing: bpy.types.ID) -> Any | None:
    """What holds the datablock's F-curves (an action or a channelbag), or None."""
    animation = thing.animation_data
    return None if animation is None else _of_slot(animation.action, getattr(animation, "action_slot", None))


def _of_slot(action: bpy.types.Action | None, slot: Any) -> Any | None:
    if action is None:
        return None
    if not _has_slots():
        return action
    if slot is None:
        return None
    for layer in action.layers:
        for strip in layer.strips:
            bag = strip.channelbag(slot)
            if bag is not None:
                return bag
    return None


def _has_slots() -> bool:
    return "layers" in bpy.types.Action.bl_rna.properties


def curves(thing: bpy.types.ID) -> list[FCurve]:
    """The F-curves that animate a datablock through its action; not those of NLA strips."""
    container = _container(thing)
    return [] if container is None else list(container.fcurves)


def find(thing: bpy.types.ID, data_path: str, index: int = 0) -> FCurve | None:
    """One F-curve of a datablock."""
    return next((c for c in curves(thing) if c.data_path == data_path and c.array_index == index), None)


def remove(thing: bpy.types.ID, *data_paths: str) -> int:
    """Remove a datablock's F-curves of these properties, all indices; how many there were."""
    if not any(curve.data_path in data_paths for curve in curves(thing)):
        return 0
    make_single(thing)
    container = _container(thing)
    gone = [curve for curve in curves(thing) if curve.data_path in data_paths]
    for curve in gone:
        container.fcurves.remove(curve)
    return len(gone)


def drivers(thing: bpy.types.ID) -> list[FCurve]:
    """The drivers of a datablock."""
    return list(thing.animation_data.drivers) if thing.animation_data else []


def animated_channels(thing: bpy.types.ID) -> Iterator[tuple[str, int]]:
    """Every channel that actions, NLA strips and drivers write: data path and index; some may come twice."""
    animation = thing.animation_data
    if animation is None:
        return
    for curve in (*curves(thing), *animation.drivers):
        yield curve.data_path, curve.array_index
    for track in animation.nla_tracks:
        yield from _strip_channels(track.strips)


def _strip_channels(strips: Any) -> Iterator[tuple[str, int]]:
    for strip in strips:
        container = _of_slot(strip.action, getattr(strip, "action_slot", None))
        for curve in () if container is None else container.fcurves:
            yield curve.data_path, curve.array_index
        yield from _strip_channels(strip.strips)


def is_shared(thing: bpy.types.ID) -> bool:
    """Whether another datablock is animated by the same curves: keys written here would move it too."""
    animation = thing.animation_data
    if animation is None or animation.action is None:
        return False
    if not _has_slots():
        return animation.action.users - animation.action.use_fake_user > 1
    slot = animation.action_slot
    return slot is not None and len(slot.users()) > 1


def make_single(thing: bpy.types.ID) -> None:
    """Give a datablock curves of its own, equal to those that it shared, or that are another file's."""
    animation = thing.animation_data
    action = animation.action if animation else None
    if action is None or not (is_shared(thing) or action.library):
        return
    slot = getattr(animation, "action_slot", None)
    identifier = slot.identifier if slot else None
    animation.action = action.copy()
    if identifier is not None:
        animation.action_slot = animation.action.slots[identifier]
