# SPDX-License-Identifier: GPL-3.0-or-later
"""The node group of the DW-Mesh: displaces the flat grid by the depth of the clip frame shown.

What the footage never saw is left out in two ways. Viewports keep all faces, because leaving any out costs ten times
what moving all costs, and give the blocks of pixels with bridges in them a material that shows nothing. Renders get the
core's surface: bridges become the lips of `lips`, which hide a little of what lies behind an edge and show nothing
themselves.
"""

import bpy

from . import grid_group, lips, poses
from .graph import Graph, add_input, add_output, socket

NAME = "EX-4D DW-Mesh"
REVISION = 4

STORED = "stored"
"""Vertex attribute, in viewports: what the depth proxy holds."""
DEPTH = "depth"
"""Vertex attribute, in renders: z-depth in the footage camera, scene units."""

FAR_VERTEX_FACTOR = 2.0
"""How much deeper than the deepest pixel the far vertex lies; the core's."""

Value = object


def build() -> bpy.types.NodeTree:
    """A new group; inputs are the artist's first, then the footage's."""
    tree = bpy.data.node_groups.new(NAME, "GeometryNodeTree")
    tree.is_modifier = True
    add_input(tree, "Geometry", "Geometry")
    add_output(tree, "Geometry", "Geometry")
    _inputs(tree)
    graph = Graph(tree)
    inputs = {item.name: item for item in graph.node("NodeGroupInput").outputs if item.name}
    frame, base = inputs["Frame"], inputs["Geometry"]
    focal = _row(graph, base, poses.FOCAL, "FLOAT_VECTOR", frame)
    centre = _row(graph, base, poses.CENTRE, "FLOAT_VECTOR", frame)
    pose = _row(graph, base, poses.POSE, "FLOAT4X4", frame)
    moved = _row(graph, base, poses.MOVED, "BOOLEAN", frame)

    in_viewport = graph.output("GeometryNodeIsViewport", "Is Viewport")
    from_proxy = grid_group.reads_proxy(graph, in_viewport, inputs["Viewport Level"], inputs["Proxy Step"])

    # The grid's vertices lie at (u, v, 1), so that each of these is one operation on all of them.
    grid = graph.output("GeometryNodeObjectInfo", "Geometry", Object=inputs["Grid"])
    depth_image = graph.switch("IMAGE", from_proxy, inputs["Depth"], inputs["Proxy"])
    stored = _sample(graph, depth_image, frame, graph.attribute(grid_group.PLACE, "FLOAT_VECTOR"))
    # The proxy's sign is read again for the faces: keeping a number costs less than looking it up in an image twice.
    kept = graph.store(grid, STORED, "FLOAT", "POINT", stored)
    grid = graph.switch("GEOMETRY", from_proxy, grid, kept)
    signed = graph.attribute(STORED, "FLOAT")
    stored = graph.switch("FLOAT", from_proxy, stored, graph.math("ABSOLUTE", signed))
    z = _depth(graph, stored, inputs["Disparity"], inputs["Far"])
    z = graph.switch("FLOAT", inputs["Far Shell"], z, _with_far_vertex(graph, grid, z))
    fx, fy, _ = graph.parts(focal)
    per_pixel = graph.combine(graph.math("DIVIDE", 1.0, fx), graph.math("DIVIDE", 1.0, fy), 1.0)
    offset = graph.vector("MULTIPLY", graph.vector("MULTIPLY", centre, per_pixel), (-1.0, -1.0, 0.0))
    ray = graph.vector("MULTIPLY_ADD", graph.output("GeometryNodeInputPosition", "Position"), per_pixel, offset)
    in_camera = graph.node("ShaderNodeVectorMath", {"operation": "SCALE"}, Vector=ray)
    graph.feed(socket(in_camera.inputs, "Scale"), z)
    position = socket(in_camera.outputs, "Vector")
    surface = graph.output("GeometryNodeSetPosition", "Geometry", Geometry=grid, Position=position)
    # Where the footage's camera stands still, which is most often, its pose costs nothing.
    surface = graph.switch("GEOMETRY", moved, surface, _posed(graph, surface, pose))

    # Only lips need the depth afterwards.
    measured = graph.store(grid, DEPTH, "FLOAT", "POINT", z)
    measured = graph.output("GeometryNodeSetPosition", "Geometry", Geometry=measured, Position=position)
    measured = _posed(graph, measured, pose)
    faces = bridge(graph, inputs["Occlusion"], frame)
    seen = graph.node("GeometryNodeSeparateGeometry", {"domain": "FACE"}, Geometry=measured, Selection=faces)
    bridges, rest = socket(seen.outputs, "Selection"), socket(seen.outputs, "Inverted")
    eye = graph.output("FunctionNodeTransformPoint", "Vector", Vector=(0.0, 0.0, 0.0), Transform=pose)
    rims = _material(graph, lips.build(graph, bridges, eye, fx, DEPTH), inputs["Bridges"])
    joined = graph.node("GeometryNodeJoinGeometry")
    for part in (rims, rest):
        graph.tree.links.new(part, joined.inputs[0])
    # The grid brings the material of what was seen with it, so that nothing is done for most faces.
    first = graph.attribute(grid_group.FIRST, "INT")
    settings = {"data_type": "FLOAT", "domain": "POINT"}
    sign = graph.output("GeometryNodeFieldAtIndex", "Value", settings, Value=signed, Index=first)
    torn = graph.math("GREATER_THAN", graph.math("MODULO", _bits(graph, inputs["Occlusion"], frame), 4.0), 0.5)
    unseen = graph.switch("BOOLEAN", from_proxy, torn, graph.math("LESS_THAN", sign, 0.0))
    preview = _material(graph, surface, inputs["Unseen"], unseen)
    hidden = graph.switch("GEOMETRY", in_viewport, socket(joined.outputs, "Geometry"), preview)
    whole = _material(graph, surface, inputs["Plate"])
    graph.node("NodeGroupOutput", Geometry=graph.switch("GEOMETRY", inputs["Hide Occluded"], whole, hidden))
    return tree


def _inputs(tree: bpy.types.NodeTree) -> None:
    add_input(tree, "Hide Occluded", "Bool", True, description="Leave out what the footage never saw")
    for name, described in (
        ("Viewport Level", "Level of detail in viewports: a vertex for every pixel, every second, every third"),
        ("Render Level", "Level of detail in renders: a vertex for every pixel, every second, every third"),
    ):
        add_input(tree, name, "Int", 1, min_value=1, max_value=64, description=described)
    add_input(
        tree,
        "Far Shell",
        "Bool",
        False,
        description="Close the back with a fan to one far point, where nothing is hidden",
    )
    add_input(tree, "Frame", "Int", 0, description="The clip frame shown; driven")
    add_input(tree, "Depth", "Image")
    add_input(tree, "Disparity", "Bool", True, description="The depth files hold 1/depth")
    add_input(tree, "Far", "Float", 1000.0, description="Depth of the sky, scene units")
    add_input(tree, "Occlusion", "Image")
    add_input(tree, "Width", "Int", 64, min_value=2)
    add_input(tree, "Height", "Int", 64, min_value=2)
    add_input(tree, "Grid", "Object")
    add_input(tree, "Proxy", "Image", description="Depth of every few pixels, for viewports")
    add_input(tree, "Proxy Step", "Int", 0, min_value=0, description="Every how many; 0 where there is none")
    for name in ("Plate", "Unseen", "Bridges"):
        add_input(tree, name, "Material")


def _material(graph: Graph, geometry: Value, material: Value, selection: Value = True) -> Value:
    return graph.output(
        "GeometryNodeSetMaterial", "Geometry", Geometry=geometry, Material=material, Selection=selection
    )


def _posed(graph: Graph, geometry: Value, pose: Value) -> Value:
    """The geometry moved by a matrix: three times as fast as transforming the field of positions."""
    node = graph.node("GeometryNodeTransform", Geometry=geometry)
    if hasattr(node, "mode"):
        node.mode = "MATRIX"
    else:
        socket(node.inputs, "Mode").default_value = "Matrix"
    graph.feed(socket(node.inputs, "Transform"), pose)
    return socket(node.outputs, "Geometry")


def _sample(graph: Graph, image: Value, frame: Value, place: Value) -> Value:
    """The grey of a frame of an image sequence, at the nearest pixel: where a number is asked, Blender makes it one."""
    settings = {"interpolation": "Closest", "extension": "EXTEND"}
    return graph.output("GeometryNodeImageTexture", "Color", settings, Image=image, Vector=place, Frame=frame)


def _row(graph: Graph, base: Value, name: str, kind: str, frame: Value) -> Value:
    """One frame's entry in the table that `poses` wrote."""
    settings = {"data_type": kind, "domain": "POINT", "clamp": True}
    return graph.output(
        "GeometryNodeSampleIndex", "Value", settings, Geometry=base, Value=graph.attribute(name, kind), Index=frame
    )


def _depth(graph: Graph, stored: Value, disparity: Value, far: Value) -> Value:
    """What the files hold, as z-depth in scene units.

    Sky is stored as `far`, by other programs as a disparity of 0 or a huge depth: the limit covers all. Half floats
    may round `far` up by 2^-11, so that much more is let through.
    """
    limit = graph.math("MULTIPLY", far, 1.0 + 2.0**-11)
    inverse = graph.math("DIVIDE", 1.0, graph.math("MAXIMUM", stored, graph.math("DIVIDE", 1.0, limit)))
    return graph.switch("FLOAT", disparity, graph.math("MINIMUM", stored, limit), inverse)


def _with_far_vertex(graph: Graph, grid: Value, z: Value) -> Value:
    """The depth, but for the far vertex: twice as deep as the deepest pixel."""
    settings = {"data_type": "FLOAT", "domain": "POINT"}
    deepest = graph.output("GeometryNodeAttributeStatistic", "Max", settings, Geometry=grid, Attribute=z)
    far = graph.attribute(grid_group.FAR, "BOOLEAN")
    return graph.switch("FLOAT", far, z, graph.math("MULTIPLY", deepest, FAR_VERTEX_FACTOR))


def bridge(graph: Graph, occlusion: Value, frame: Value) -> Value:
    """Whether a face spans a discontinuity: bit 0 or 1 of its block's pixel."""
    divider = graph.switch("FLOAT", graph.attribute(grid_group.LOWER, "BOOLEAN"), 1.0, 2.0)
    bit = graph.math("MODULO", graph.math("FLOOR", graph.math("DIVIDE", _bits(graph, occlusion, frame), divider)), 2.0)
    return graph.math("GREATER_THAN", bit, 0.5)


def _bits(graph: Graph, occlusion: Value, frame: Value) -> Value:
    """A face's number in the occlusion images; of its bits only 0 and 1 are of this mesh."""
    stored = _sample(graph, occlusion, frame, graph.attribute(grid_group.BLOCK, "FLOAT_VECTOR"))
    return graph.math("ROUND", graph.math("MULTIPLY", stored, 255.0))
