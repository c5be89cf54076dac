# SPDX-License-Identifier: GPL-3.0-or-later
"""A node group that samples the plate between its four nearest pixels, and nothing else.

EEVEE's own Linear interpolation reads reduced copies of an image wherever it guesses that pixels shrink, even at one to
one: 3.9/255 off on average from the source camera. Four nearest samples, mixed here, are exact in all engines.
"""

from collections.abc import Callable

import bpy

from .graph import Graph, add_input, add_output, socket

ENCODING = 2.2
"""Pixels are mixed as they are encoded, nearly, which is how the core and Cycles interpolate, not as light."""

Value = object

Show = Callable[[bpy.types.NodeTree, bpy.types.Node], None]
"""Lets an Image Texture node of a tree show the right file at each frame."""


def build(name: str, image: bpy.types.Image, size: tuple[int, int], show: Show) -> bpy.types.NodeTree:
    """A new group: UV to Color.

    Args:
        name: of the group.
        image: the sequence.
        size: its width and height, pixels.
        show: which of its files.
    """
    tree = bpy.data.node_groups.new(name, "ShaderNodeTree")
    add_input(tree, "UV", "Vector")
    add_output(tree, "Color", "Color")
    graph = Graph(tree)
    uv = socket(graph.node("NodeGroupInput").outputs, "UV")
    width, height = size
    from_centre = graph.vector("MULTIPLY_ADD", uv, (float(width), float(height), 0.0), (-0.5, -0.5, 0.0))
    first = graph.vector("FLOOR", from_centre)
    across, up, _ = graph.parts(graph.vector("SUBTRACT", from_centre, first))
    pixel = (1.0 / width, 1.0 / height, 0.0)

    def sample(column: int, row: int) -> Value:
        offset = ((0.5 + column) / width, (0.5 + row) / height, 0.0)
        place = graph.vector("MULTIPLY_ADD", first, pixel, offset)
        node = texture(graph, f"Plate {column} {row}", image, show, place, "Closest")
        return _power(graph, socket(node.outputs, "Color"), 1 / ENCODING)

    below = _between(graph, across, sample(0, 0), sample(1, 0))
    above = _between(graph, across, sample(0, 1), sample(1, 1))
    graph.node("NodeGroupOutput", Color=_power(graph, _between(graph, up, below, above), ENCODING))
    return tree


def texture(
    graph: Graph, name: str, image: bpy.types.Image, show: Show, place: Value, interpolation: str
) -> bpy.types.Node:
    """An Image Texture node of a sequence."""
    settings = {"image": image, "extension": "EXTEND", "interpolation": interpolation}
    node = graph.node("ShaderNodeTexImage", settings, Vector=place)
    node.name = node.label = name
    show(graph.tree, node)
    return node


def _between(graph: Graph, share: Value, first: Value, second: Value) -> Value:
    return graph.output("ShaderNodeMix", "Result", {"data_type": "RGBA"}, Factor=share, A=first, B=second)


def _power(graph: Graph, colour: Value, exponent: float) -> Value:
    return graph.output("ShaderNodeGamma", "Color", Color=colour, Gamma=exponent)
