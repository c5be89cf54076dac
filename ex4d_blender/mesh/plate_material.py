# SPDX-License-Identifier: GPL-3.0-or-later
"""The materials of the DW-Mesh: the plate as it was filmed, unlit.

`Plate` shows it on every face. `Seen` is for what the footage saw: the back of a surface is held out. `Unseen` is for
bridges in viewports, and shows nothing. `Bridges` is for the lips of renders: held out, but for the half pixel around
their corners. `Projection` shows a take where its shot's camera throws it.
"""

from dataclasses import dataclass

import bpy

from . import grid_group, lips, projection_group
from .bilinear_group import Show, texture
from .graph import Graph, socket

RIM = 1.5
"""How far from an invented pixel of a take a bridge still shows it, pixels of the take: the footage's own pixels reach
over the edge of its surface by half their width."""
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


PROJECTION = "Projection"
"""Property of the mesh object, keyable: how much of a take is projected onto it, 0 to 1."""


@dataclass(frozen=True)
class Mask:
    """What a take says of its pixels."""

    image: bpy.types.Image
    """White where the footage saw them, black where they were invented."""
    show: Show
    size: tuple[int, int]
    """Width and height, pixels."""


def projection(name: str, picture: Picture, take: bpy.types.NodeTree, mask: Mask) -> bpy.types.Material:
    """A take where the shot's camera saw the surface, from the side that it saw; elsewhere the plate as in `seen`.

    What the footage never saw shows the invented pixels, and is transparent elsewhere.

    Args:
        name: of the material.
        picture: the plate.
        take: the group that samples the take.
        mask: the take's.
    """
    material, graph = _new(name)
    s, t, w = graph.parts(_attribute(graph, projection_group.SHOT))
    uv = graph.vector("DIVIDE", graph.combine(s, t, 0.0), graph.combine(w, w, w))
    x, y, _ = graph.parts(graph.vector("ABSOLUTE", graph.vector("SUBTRACT", uv, (0.5, 0.5, 0.0))))
    is_back = graph.output("ShaderNodeNewGeometry", "Backfacing")
    # A surface is seen from the side that the shot's camera saw if it is the front for both, or for none.
    front, bridge = _number(graph, projection_group.FACING), _number(graph, projection_group.BRIDGE)
    is_other = graph.math("COMPARE", front, is_back, 0.5)
    seen = graph.math("GREATER_THAN", _number(graph, projection_group.SEEN), 1e-3)
    invented = graph.math("MULTIPLY", front, _invented(graph, mask, uv))
    conditions = (
        graph.math("LESS_THAN", graph.math("MAXIMUM", x, y), 0.5),
        graph.math("GREATER_THAN", w, 0.0),
        graph.math("SUBTRACT", 1.0, is_other),
        graph.output("ShaderNodeMix", "Result", {"data_type": "FLOAT"}, Factor=bridge, A=seen, B=invented),
    )
    share = _number(graph, PROJECTION, "OBJECT")
    for condition in conditions:
        share = graph.math("MULTIPLY", share, condition)
    holdout = graph.output("ShaderNodeHoldout", "Holdout")
    plate = _mix(graph, is_back, _emission(graph, picture, _uv(graph)), holdout)
    nothing = graph.output("ShaderNodeBsdfTransparent", "BSDF")
    plate = _mix(graph, bridge, plate, nothing)
    thrown = graph.output("ShaderNodeEmission", "Emission", Color=_sampled(graph, take, uv))
    _finish(graph, picture, _mix(graph, share, plate, thrown))
    return material


def _invented(graph: Graph, mask: Mask, uv: Value) -> Value:
    """1 where a take's pixel was invented, or one near by, else 0."""
    width, height = mask.size
    least = 1.0
    for across, up in ((0.0, 0.0), (-RIM, -RIM), (RIM, -RIM), (-RIM, RIM), (RIM, RIM)):
        place = graph.vector("ADD", uv, (across / width, up / height, 0.0))
        node = texture(graph, f"Mask {across} {up}", mask.image, mask.show, place, "Closest")
        least = graph.math("MINIMUM", least, socket(node.outputs, "Color"))
    return graph.math("LESS_THAN", least, 0.5)


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
    return graph.output("ShaderNodeEmission", "Emission", Color=_sampled(graph, picture.sampler, uv))


def _sampled(graph: Graph, sampler: bpy.types.NodeTree, uv: Value) -> Value:
    return graph.output("ShaderNodeGroup", "Color", {"node_tree": sampler}, UV=uv)


def _attribute(graph: Graph, name: str) -> Value:
    return graph.output("ShaderNodeAttribute", "Vector", {"attribute_name": name, "attribute_type": "GEOMETRY"})


def _number(graph: Graph, name: str, of: str = "GEOMETRY") -> Value:
    return graph.output("ShaderNodeAttribute", "Fac", {"attribute_name": name, "attribute_type": of})


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
