# SPDX-License-Identifier: GPL-3.0-or-later
"""The node group of the DW-Mesh: displaces the flat grid by the depth of the clip frame shown."""

import bpy

from . import grid_group, poses
from .graph import Graph, add_input, add_output, socket

NAME = "EX-4D DW-Mesh"
REVISION = 1

SKY_DEPTH = 1e9
"""Stored depths from here on are sky (docs/geometry.md, the core's `depth/encoding.py`)."""


def build() -> bpy.types.NodeTree:
    """A new group; inputs are the artist's first, then the footage's."""
    tree = bpy.data.node_groups.new(NAME, "GeometryNodeTree")
    tree.is_modifier = True
    add_input(tree, "Geometry", "Geometry")
    add_output(tree, "Geometry", "Geometry")
    _inputs(tree)
    graph = Graph(tree)
    inputs = graph.node("NodeGroupInput").outputs
    width, height = socket(inputs, "Width"), socket(inputs, "Height")
    frame = socket(inputs, "Frame")
    grid = graph.output("GeometryNodeObjectInfo", "Geometry", Object=socket(inputs, "Grid"))

    u, v, _ = graph.parts(graph.output("GeometryNodeInputPosition", "Position"))
    stored = _sample(graph, socket(inputs, "Depth"), frame, grid_group.texture_place(graph, u, v, width, height))
    z = _depth(graph, stored, socket(inputs, "Disparity"), socket(inputs, "Far"))
    base = socket(inputs, "Geometry")
    fx, fy, _ = graph.parts(_row(graph, base, poses.FOCAL, "FLOAT_VECTOR", frame))
    cx, cy, _ = graph.parts(_row(graph, base, poses.CENTRE, "FLOAT_VECTOR", frame))
    ray_x = graph.math("DIVIDE", graph.math("SUBTRACT", u, cx), fx)
    ray_y = graph.math("DIVIDE", graph.math("SUBTRACT", v, cy), fy)
    position = graph.combine(graph.math("MULTIPLY", ray_x, z), graph.math("MULTIPLY", ray_y, z), z)
    pose = _row(graph, base, poses.POSE, "FLOAT4X4", frame)
    position = graph.output("FunctionNodeTransformPoint", "Vector", Vector=position, Transform=pose)
    surface = graph.output("GeometryNodeSetPosition", "Geometry", Geometry=grid, Position=position)

    bridge = _bridge(graph, socket(inputs, "Occlusion"), frame)
    seen = graph.output(
        "GeometryNodeDeleteGeometry", "Geometry", {"domain": "FACE"}, Geometry=surface, Selection=bridge
    )
    shown = graph.switch("GEOMETRY", socket(inputs, "Hide Occluded"), surface, seen)
    shown = graph.output("GeometryNodeSetMaterial", "Geometry", Geometry=shown, Material=socket(inputs, "Plate"))
    graph.node("NodeGroupOutput", Geometry=shown)
    return tree


def _inputs(tree: bpy.types.NodeTree) -> None:
    add_input(tree, "Hide Occluded", "Bool", True, description="Leave out what the footage never saw")
    for name, described in (
        ("Viewport Level", "Level of detail in viewports: a vertex for every pixel, every second, every third"),
        ("Render Level", "Level of detail in renders: a vertex for every pixel, every second, every third"),
    ):
        add_input(tree, name, "Int", 1, min_value=1, max_value=64, description=described)
    add_input(tree, "Far Shell", "Bool", False, description="Close the back with a fan to one far point")
    add_input(tree, "Frame", "Int", 0, description="The clip frame shown; driven")
    add_input(tree, "Depth", "Image")
    add_input(tree, "Disparity", "Bool", True, description="The depth files hold 1/depth")
    add_input(tree, "Far", "Float", 1000.0, description="Depth of the sky, scene units")
    add_input(tree, "Occlusion", "Image")
    add_input(tree, "Width", "Int", 64, min_value=2)
    add_input(tree, "Height", "Int", 64, min_value=2)
    add_input(tree, "Grid", "Object")
    add_input(tree, "Plate", "Material")


def _sample(graph: Graph, image: object, frame: object, place: object) -> object:
    """The first channel of a frame of an image sequence, at the nearest pixel."""
    settings = {"interpolation": "Closest", "extension": "EXTEND"}
    node = graph.node("GeometryNodeImageTexture", settings, Image=image, Vector=place, Frame=frame)
    return graph.parts(socket(node.outputs, "Color"))[0]


def _row(graph: Graph, base: object, name: str, kind: str, frame: object) -> object:
    """One frame's entry in the table that `poses` wrote."""
    settings = {"data_type": kind, "domain": "POINT", "clamp": True}
    return graph.output(
        "GeometryNodeSampleIndex", "Value", settings, Geometry=base, Value=graph.attribute(name, kind), Index=frame
    )


def _depth(graph: Graph, stored: object, disparity: object, far: object) -> object:
    """What the files hold, as z-depth in scene units."""
    inverse = graph.switch("FLOAT", graph.math("GREATER_THAN", stored, 0.0), far, graph.math("DIVIDE", 1.0, stored))
    plain = graph.switch("FLOAT", graph.math("LESS_THAN", stored, SKY_DEPTH), far, stored)
    return graph.switch("FLOAT", disparity, plain, inverse)


def _bridge(graph: Graph, occlusion: object, frame: object) -> object:
    """Whether a face spans a discontinuity: bit 0 or 1 of its block's pixel."""
    stored = _sample(graph, occlusion, frame, graph.attribute(grid_group.BLOCK, "FLOAT_VECTOR"))
    bits = graph.math("ROUND", graph.math("MULTIPLY", stored, 255.0))
    divider = graph.switch("FLOAT", graph.attribute(grid_group.LOWER, "BOOLEAN"), 1.0, 2.0)
    bit = graph.math("MODULO", graph.math("FLOOR", graph.math("DIVIDE", bits, divider)), 2.0)
    return graph.math("GREATER_THAN", bit, 0.5)
