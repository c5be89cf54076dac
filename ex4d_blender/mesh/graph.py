# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes node trees as expressions.

Sockets are found by name among the enabled ones, never by index: indices and the hidden sockets of other data types
differ between Blender's versions.
"""

from collections.abc import Iterator
from typing import Any

import bpy

Value = Any
"""A socket to link from, or a constant to set."""

COLUMN, ROW = 190, -150


class Graph:
    """A node tree under construction; the methods add a node and return its output socket."""

    def __init__(self, tree: bpy.types.NodeTree) -> None:
        self.tree = tree
        self._count = 0

    def node(self, kind: str, settings: dict[str, Any] | None = None, **inputs: Value) -> bpy.types.Node:
        """A node; `settings` are its properties, the others its inputs by name (`_` for a space)."""
        node = self.tree.nodes.new(kind)
        for name, value in (settings or {}).items():
            setattr(node, name, value)
        for name, value in inputs.items():
            self.feed(socket(node.inputs, name.replace("_", " ")), value)
        node.location = (COLUMN * (self._count // 6), ROW * (self._count % 6))
        self._count += 1
        return node

    def feed(self, target: bpy.types.NodeSocket, value: Value) -> None:
        """Link a socket to an input, or set the input."""
        if isinstance(value, bpy.types.NodeSocket):
            self.tree.links.new(value, target)
        else:
            target.default_value = value

    def output(self, kind: str, name: str, settings: dict[str, Any] | None = None, **inputs: Value) -> Value:
        """A node's output of that name."""
        return socket(self.node(kind, settings, **inputs).outputs, name)

    def math(self, operation: str, *values: Value) -> Value:
        """A Math node."""
        return self._numbered("ShaderNodeMath", operation, values)

    def vector(self, operation: str, *values: Value) -> Value:
        """A Vector Math node; the result is its enabled output."""
        return self._numbered("ShaderNodeVectorMath", operation, values)

    def combine(self, x: Value, y: Value, z: Value) -> Value:
        """A vector of three numbers."""
        return self.output("ShaderNodeCombineXYZ", "Vector", X=x, Y=y, Z=z)

    def parts(self, vector: Value) -> tuple[Value, Value, Value]:
        """The three numbers of a vector."""
        node = self.node("ShaderNodeSeparateXYZ", Vector=vector)
        return tuple(socket(node.outputs, name) for name in "XYZ")

    def switch(self, kind: str, condition: Value, false: Value, true: Value) -> Value:
        """`true if condition else false`; a constant None leaves that input empty."""
        node = self.node("GeometryNodeSwitch", {"input_type": kind}, Switch=condition)
        for name, value in (("False", false), ("True", true)):
            if value is not None:
                self.feed(socket(node.inputs, name), value)
        return socket(node.outputs, "Output")

    def store(self, geometry: Value, name: str, kind: str, domain: str, value: Value) -> Value:
        """The geometry with a named attribute."""
        settings = {"data_type": kind, "domain": domain}
        return self.output(
            "GeometryNodeStoreNamedAttribute", "Geometry", settings, Geometry=geometry, Name=name, Value=value
        )

    def attribute(self, name: str, kind: str) -> Value:
        """A named attribute."""
        return self.output("GeometryNodeInputNamedAttribute", "Attribute", {"data_type": kind}, Name=name)

    def _numbered(self, kind: str, operation: str, values: tuple[Value, ...]) -> Value:
        node = self.node(kind, {"operation": operation})
        for target, value in zip(_enabled(node.inputs), values, strict=False):
            self.feed(target, value)
        return next(_enabled(node.outputs))


def socket(sockets: Any, name: str) -> bpy.types.NodeSocket:
    """The enabled socket of a name. Raises: KeyError, naming those there are."""
    for candidate in _enabled(sockets):
        if candidate.name == name or candidate.identifier == name:
            return candidate
    raise KeyError(f"no socket {name!r}, there are {[candidate.name for candidate in _enabled(sockets)]}")


def _enabled(sockets: Any) -> Iterator[bpy.types.NodeSocket]:
    return (candidate for candidate in sockets if candidate.enabled)


def add_input(tree: bpy.types.NodeTree, name: str, kind: str, default: Any = None, **settings: Any) -> None:
    """An input of a group; `kind` is the socket type without `NodeSocket`."""
    item = tree.interface.new_socket(name, in_out="INPUT", socket_type=f"NodeSocket{kind}")
    for key, value in settings.items():
        setattr(item, key, value)
    if default is not None:
        item.default_value = default


def add_output(tree: bpy.types.NodeTree, name: str, kind: str) -> None:
    """An output of a group."""
    tree.interface.new_socket(name, in_out="OUTPUT", socket_type=f"NodeSocket{kind}")
