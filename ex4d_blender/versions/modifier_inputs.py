# SPDX-License-Identifier: GPL-3.0-or-later
"""Inputs of a Geometry Nodes modifier, by the name of the group's socket.

Up to 5.1 they are items of the modifier (`modifier["Socket_1"]`), from 5.2 on properties
(`modifier.properties.inputs.Socket_1.value`). Blender rewrites the paths of drivers when it opens an older file.
"""

from typing import Any

import bpy


def identifier(modifier: bpy.types.NodesModifier, name: str) -> str:
    """The socket's identifier. Raises: KeyError if the group has no such input."""
    for item in modifier.node_group.interface.items_tree:
        if item.item_type == "SOCKET" and item.in_out == "INPUT" and item.name == name:
            return item.identifier
    raise KeyError(f"{modifier.node_group.name} has no input {name!r}")


def read(modifier: bpy.types.NodesModifier, name: str) -> Any:
    """An input's value."""
    key = identifier(modifier, name)
    if _as_properties(modifier):
        return getattr(modifier.properties.inputs, key).value
    return modifier[key]


def write(modifier: bpy.types.NodesModifier, name: str, value: Any) -> None:
    """Set an input and have the object evaluated again."""
    key = identifier(modifier, name)
    if _as_properties(modifier):
        getattr(modifier.properties.inputs, key).value = value
    else:
        modifier[key] = value
    modifier.id_data.update_tag()


def data_path(modifier: bpy.types.NodesModifier, name: str) -> str:
    """The path of an input from the object, for drivers, keys and the interface."""
    key = identifier(modifier, name)
    owner = f'modifiers["{bpy.utils.escape_identifier(modifier.name)}"]'
    return f"{owner}.properties.inputs.{key}.value" if _as_properties(modifier) else f'{owner}["{key}"]'


def draw(layout: bpy.types.UILayout, modifier: bpy.types.NodesModifier, name: str, **how: Any) -> None:
    """An input as a field in a panel."""
    key = identifier(modifier, name)
    if _as_properties(modifier):
        layout.prop(getattr(modifier.properties.inputs, key), "value", **({"text": name} | how))
    else:
        layout.prop(modifier, f'["{key}"]', **({"text": name} | how))


def _as_properties(modifier: bpy.types.NodesModifier) -> bool:
    return bpy.app.version >= (5, 2, 0)
