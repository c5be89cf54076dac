# SPDX-License-Identifier: GPL-3.0-or-later
"""The node group of the flat grid: the part of the DW-Mesh that no frame changes.

It belongs to an object of its own, which the mesh reads: as nothing in it depends on time, Blender evaluates it once,
and all frames share its faces and UV map. Vertices lie at their place in the frame, in pixels: (u, v, 1).
"""

import bpy

from .graph import Graph, add_input, add_output, socket

NAME = "EX-4D Grid"
REVISION = 3

UV_MAP = "UVMap"
PLACE = "place"
"""Vertex attribute: where the depth image holds its depth, as texture coordinates."""
BLOCK = "block"
"""Face attribute: where the images hold the vertex at the upper left of its block, which says what is a bridge."""
FAR = "far"
"""Vertex attribute: the one that closes the back."""
FIRST = "first"
"""Face attribute, in viewports: number of the vertex at the upper left of its block."""
LOWER = "lower"
"""Face attribute: the triangle is the lower right one of its 2x2 block."""


def build() -> bpy.types.NodeTree:
    """A new group. Triangles are the core's: [below, here, right] and [below, right, diagonal]."""
    tree = bpy.data.node_groups.new(NAME, "GeometryNodeTree")
    add_input(tree, "Width", "Int", 64, min_value=2)
    add_input(tree, "Height", "Int", 64, min_value=2)
    add_input(tree, "Viewport Level", "Int", 1, min_value=1)
    add_input(tree, "Render Level", "Int", 1, min_value=1)
    add_input(tree, "Far Shell", "Bool", False)
    add_input(tree, "Hide Occluded", "Bool", False)
    add_input(tree, "Proxy Step", "Int", 0, min_value=0)
    add_input(tree, "Material", "Material")
    add_output(tree, "Geometry", "Geometry")
    graph = Graph(tree)
    inputs = graph.node("NodeGroupInput").outputs
    width, height = socket(inputs, "Width"), socket(inputs, "Height")
    in_viewport = graph.output("GeometryNodeIsViewport", "Is Viewport")
    viewport_level = socket(inputs, "Viewport Level")
    level = graph.switch("INT", in_viewport, socket(inputs, "Render Level"), viewport_level)
    proxy_step = socket(inputs, "Proxy Step")
    step = graph.switch("INT", reads_proxy(graph, in_viewport, viewport_level, proxy_step), 1, proxy_step)
    across, down = _vertices(graph, width, level), _vertices(graph, height, level)
    last_column, last_row = graph.math("SUBTRACT", across, 1.0), graph.math("SUBTRACT", down, 1.0)
    mesh = graph.output(
        "GeometryNodeMeshGrid", "Mesh", Size_X=last_row, Size_Y=last_column, Vertices_X=down, Vertices_Y=across
    )
    # Blender's grid counts its vertices along y first. With y across and x down the frame their order is that of an
    # image's pixels, which are then looked up faster. From centred places to those counted from the upper left:
    x, y, _ = graph.parts(graph.output("GeometryNodeInputPosition", "Position"))
    column = graph.math("ROUND", graph.math("MULTIPLY_ADD", last_column, 0.5, y))
    row = graph.math("ROUND", graph.math("MULTIPLY_ADD", last_row, 0.5, x))
    mesh = graph.output("GeometryNodeSetPosition", "Geometry", Geometry=mesh, Position=graph.combine(column, row, 0.0))
    # Viewports that hide bridges do so block by block: half the faces, and a third less to draw.
    blocks = graph.math("MULTIPLY", in_viewport, socket(inputs, "Hide Occluded"))
    mesh = graph.switch("GEOMETRY", blocks, _triangulate(graph, mesh), mesh)
    mesh = graph.switch("GEOMETRY", socket(inputs, "Far Shell"), mesh, _closed(graph, mesh, last_column, last_row))
    # A face's centre lies a third into its block, or two thirds.
    x, y, _ = graph.parts(graph.output("GeometryNodeInputPosition", "Position"))
    place = graph.math("ADD", graph.math("FRACT", x), graph.math("FRACT", y))
    mesh = graph.store(mesh, LOWER, "BOOLEAN", "FACE", graph.math("GREATER_THAN", place, 1.0))
    first = (graph.math("FLOOR", x), graph.math("FLOOR", y))
    for name, domain, place in ((BLOCK, "FACE", first), (PLACE, "POINT", (x, y))):
        s, t = (
            _stored(graph, _pixel(graph, index, level, size), step, size)
            for index, size in zip(place, (width, height), strict=True)
        )
        value = graph.combine(s, graph.math("SUBTRACT", 1.0, t), 0.0)
        mesh = graph.store(mesh, name, "FLOAT_VECTOR", domain, value)
    number = graph.math("MULTIPLY_ADD", first[1], across, first[0])
    mesh = graph.store(mesh, FIRST, "INT", "FACE", number)
    u, v = _place(graph, _pixel(graph, x, level, width), width), _place(graph, _pixel(graph, y, level, height), height)
    mesh = graph.output("GeometryNodeSetPosition", "Geometry", Geometry=mesh, Position=graph.combine(u, v, 1.0))
    u, v, _ = graph.parts(graph.output("GeometryNodeInputPosition", "Position"))
    mesh = graph.store(mesh, UV_MAP, "FLOAT2", "CORNER", texture_place(graph, u, v, width, height))
    mesh = graph.output("GeometryNodeSetMaterial", "Geometry", Geometry=mesh, Material=socket(inputs, "Material"))
    graph.node("NodeGroupOutput", Geometry=mesh)
    return tree


def reads_proxy(graph: Graph, in_viewport: object, viewport_level: object, proxy_step: object) -> object:
    """Whether the depth proxy holds each vertex: in viewports, where the level is a multiple of its step (0: none)."""
    there = graph.math("GREATER_THAN", proxy_step, 0.5)
    multiple = graph.math("LESS_THAN", graph.math("MODULO", viewport_level, proxy_step), 0.5)
    return graph.math("MULTIPLY", graph.math("MULTIPLY", there, multiple), in_viewport)


def texture_place(graph: Graph, u: object, v: object, width: object, height: object) -> object:
    """Pixels from the upper left to Blender's texture coordinates."""
    s = graph.math("DIVIDE", u, width)
    return graph.combine(s, graph.math("SUBTRACT", 1.0, graph.math("DIVIDE", v, height)), 0.0)


def _vertices(graph: Graph, size: object, level: object) -> object:
    """How many pixels 0, level, 2 level, … and the last one are."""
    steps = graph.math("DIVIDE", graph.math("SUBTRACT", size, 1.0), level)
    return graph.math("ADD", graph.math("CEIL", steps), 1.0)


def _stored(graph: Graph, pixel: object, step: object, size: object) -> object:
    """Along one axis, where an image of every `step`-th pixel and the last one holds a pixel: 0 to 1."""
    index = graph.math("ADD", graph.math("CEIL", graph.math("DIVIDE", pixel, step)), 0.5)
    return graph.math("DIVIDE", index, _vertices(graph, size, step))


def _pixel(graph: Graph, index: object, level: object, size: object) -> object:
    """The pixel of a column or row of vertices."""
    return graph.math("MINIMUM", graph.math("MULTIPLY", index, level), graph.math("SUBTRACT", size, 1.0))


def _place(graph: Graph, pixel: object, size: object) -> object:
    """Where a pixel's vertex stands: at its centre, but on the frame's edge at the border."""
    first = graph.math("COMPARE", pixel, 0.0, 0.25)
    last = graph.math("COMPARE", pixel, graph.math("SUBTRACT", size, 1.0), 0.25)
    moved = graph.math("MULTIPLY", graph.math("SUBTRACT", last, first), 0.5)
    return graph.math("ADD", graph.math("ADD", pixel, 0.5), moved)


def _triangulate(graph: Graph, mesh: object) -> object:
    """Split each quad from right to below in the frame."""
    node = graph.node("GeometryNodeTriangulate", Mesh=mesh)
    if hasattr(node, "quad_method"):
        node.quad_method = "FIXED_ALTERNATE"
    else:
        socket(node.inputs, "Quad Method").default_value = "Fixed Alternate"
    return socket(node.outputs, "Mesh")


def _closed(graph: Graph, mesh: object, last_column: object, last_row: object) -> object:
    """The grid and a fan from its border to one vertex behind it, welded: every edge has two faces."""
    border = graph.math("MULTIPLY", graph.math("ADD", last_column, last_row), 2.0)
    fan = graph.output("GeometryNodeMeshCircle", "Mesh", {"fill_type": "TRIANGLE_FAN"}, Vertices=border)
    # The circle's vertices go once around the border, from the upper left along the top row.
    index = graph.output("GeometryNodeInputIndex", "Index")
    corner = graph.math("ADD", last_column, last_row)
    opposite = graph.math("ADD", corner, last_column)
    column = _clamp(graph, graph.math("MINIMUM", index, graph.math("SUBTRACT", opposite, index)), last_column)
    row = graph.math("MINIMUM", graph.math("SUBTRACT", index, last_column), graph.math("SUBTRACT", border, index))
    around = graph.combine(column, _clamp(graph, row, last_row), 0.0)
    middle = graph.combine(graph.math("MULTIPLY", last_column, 0.5), graph.math("MULTIPLY", last_row, 0.5), 1.0)
    apex = graph.math("GREATER_THAN", index, graph.math("SUBTRACT", border, 0.5))
    fan = graph.store(fan, FAR, "BOOLEAN", "POINT", apex)
    place = graph.switch("VECTOR", graph.attribute(FAR, "BOOLEAN"), around, middle)
    fan = graph.output("GeometryNodeSetPosition", "Geometry", Geometry=fan, Position=place)
    joined = graph.node("GeometryNodeJoinGeometry")
    for part in (fan, mesh):
        graph.tree.links.new(part, joined.inputs[0])
    return graph.output(
        "GeometryNodeMergeByDistance", "Geometry", Geometry=socket(joined.outputs, "Geometry"), Distance=0.01
    )


def _clamp(graph: Graph, value: object, last: object) -> object:
    return graph.math("MAXIMUM", graph.math("MINIMUM", value, last), 0.0)
