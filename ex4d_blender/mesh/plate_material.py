# SPDX-License-Identifier: GPL-3.0-or-later
"""The materials of the DW-Mesh: the plate as it was filmed, unlit.

`Plate` shows it on every face. `Seen` is for what the footage saw: the back of a surface is held out. `Unseen` is for
bridges in viewports, and shows nothing. `Bridges` is for the lips of renders: held out, but for the half pixel around
their corners.
"""

from dataclasses import dataclass

import bpy

from . import grid_group, lips
from .bilinear_group import Show, texture
from .graph import Graph

FOOTPRINT = 1.0 + 2.0**-8
"""How far around its centre a source pixel reaches, in half pixels; the slack is for vertices on the frame's edge."""

Value = object


@dataclass(frozen=True)
class Picture:
    """What the materials of one footage share."""

    image: bpy.types.Image
    """The plate, a sequence."""
    sampler: bpy.types.NodeTree
    """The group that samples it (`bilinear_group`)."""
    show: Show
    """Which of its files."""


def plate(name: str, picture: Picture) -> bpy.types.Material:
    """The plate on every face."""
    material, graph = _new(name)
    _finish(graph, picture, _emission(graph, picture, _uv(graph)))
    return material


def seen(name: str, picture: Picture) -> bpy.types.Material:
    """The plate on what the footage saw, from the side that it saw."""
    material, graph = _new(name)
    back = graph.output("ShaderNodeNewGeometry", "Backfacing")
    holdout = graph.output("ShaderNodeHoldout", "Holdout")
    _finish(graph, picture, _mix(graph, back, _emission(graph, picture, _uv(graph)), holdout))
    return material


def unseen(name: str) -> bpy.types.Material:
    """Nothing: transparent, in Solid too, which shows a material without an image in its own colour and alpha."""
    material, graph = _new(name)
    graph.node("ShaderNodeOutputMaterial", Surface=graph.output("ShaderNodeBsdfTransparent", "BSDF"))
    material.diffuse_color = (0.0, 0.0, 0.0, 0.0)
    return material


def bridges(name: str, picture: Picture) -> bpy.types.Material:
    """Nothing, in front of what is behind; but the pixel of a corner where that corner's source pixel reaches.

    A source pixel at depth z is z / f wide. Seen from a camera in which it stands at depth w, two points are apart by
    the difference of their x/w and y/w; within half its width over w of the corner lies its pixel. The focal length of
    the camera that looks plays no part in the comparison.
    """
    material, graph = _new(name)
    here = _project(graph, graph.output("ShaderNodeNewGeometry", "Position"), "WORLD")[0]
    scale = graph.vector("LENGTH", _transform(graph, (1.0, 0.0, 0.0), "VECTOR", "OBJECT", "WORLD"))
    nearest, uv = FOOTPRINT, None
    for corner, pixel in zip(lips.CORNERS, lips.PIXELS, strict=True):
        place, w = _project(graph, _attribute(graph, corner), "OBJECT")
        s, t, half = graph.parts(_attribute(graph, pixel))
        size = graph.math("DIVIDE", graph.math("MULTIPLY", half, scale), graph.math("ABSOLUTE", w))
        dx, dy, _ = graph.parts(graph.vector("ABSOLUTE", graph.vector("SUBTRACT", place, here)))
        distance = graph.math("DIVIDE", graph.math("MAXIMUM", dx, dy), size)
        nearer = graph.math("LESS_THAN", distance, nearest)
        own = graph.combine(s, t, 0.0)
        uv = own if uv is None else _choose(graph, nearer, uv, own)
        nearest = graph.math("MINIMUM", distance, nearest)
    ray = _transform(graph, _attribute(graph, lips.RAY), "VECTOR", "OBJECT", "WORLD")
    incoming = graph.output("ShaderNodeNewGeometry", "Incoming")
    facing = graph.math("LESS_THAN", graph.vector("DOT_PRODUCT", ray, incoming), 0.0)
    covered = graph.math("MULTIPLY", graph.math("LESS_THAN", nearest, FOOTPRINT - 1e-6), facing)
    holdout = graph.output("ShaderNodeHoldout", "Holdout")
    _finish(graph, picture, _mix(graph, covered, holdout, _emission(graph, picture, uv)))
    return material


def _new(name: str) -> tuple[bpy.types.Material, Graph]:
    material = bpy.data.materials.new(name)
    if bpy.app.version < (5, 0, 0):  # later ones always have nodes, and warn
        material.use_nodes = True
    # The plate is a picture, not a lamp: sampling each of its triangles as one would take minutes.
    material.cycles.emission_sampling = "NONE"
    material.node_tree.nodes.clear()
    return material, Graph(material.node_tree)


def _finish(graph: Graph, picture: Picture, shader: Value) -> None:
    graph.node("ShaderNodeOutputMaterial", Surface=shader)
    # Solid mode shows the active texture, which need not be linked.
    graph.tree.nodes.active = texture(graph, "Plate", picture.image, picture.show, _uv(graph), "Linear")


def _uv(graph: Graph) -> Value:
    return graph.output("ShaderNodeUVMap", "UV", {"uv_map": grid_group.UV_MAP})


def _emission(graph: Graph, picture: Picture, uv: Value) -> Value:
    colour = graph.output("ShaderNodeGroup", "Color", {"node_tree": picture.sampler}, UV=uv)
    return graph.output("ShaderNodeEmission", "Emission", Color=colour)


def _attribute(graph: Graph, name: str) -> Value:
    return graph.output("ShaderNodeAttribute", "Vector", {"attribute_name": name, "attribute_type": "GEOMETRY"})


def _transform(graph: Graph, vector: Value, kind: str, source: str, target: str) -> Value:
    settings = {"vector_type": kind, "convert_from": source, "convert_to": target}
    return graph.output("ShaderNodeVectorTransform", "Vector", settings, Vector=vector)


def _project(graph: Graph, place: Value, space: str) -> tuple[Value, Value]:
    """(x/w, y/w, 1) in the camera that looks, and w."""
    place = _transform(graph, place, "POINT", space, "CAMERA")
    w = graph.parts(place)[2]
    return graph.vector("DIVIDE", place, graph.combine(w, w, w)), w


def _choose(graph: Graph, condition: Value, false: Value, true: Value) -> Value:
    return graph.output("ShaderNodeMix", "Result", {"data_type": "VECTOR"}, Factor=condition, A=false, B=true)


def _mix(graph: Graph, factor: Value, first: Value, second: Value) -> Value:
    node = graph.node("ShaderNodeMixShader")
    for target, value in zip(node.inputs, (factor, first, second), strict=True):
        graph.feed(target, value)
    return node.outputs[0]
