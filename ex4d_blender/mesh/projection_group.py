# SPDX-License-Identifier: GPL-3.0-or-later
"""The node group that throws a take from its shot's camera onto the whole DW-Mesh, behind the mesh's own modifier.

Where a point of the surface lies in the take is linear in space until it is divided by its depth, so vertices carry it
exactly. What the shot's camera saw of the footage is found by rays to the vertices, so that nothing behind the
foreground gets the foreground's pixels. Of the bridges it saw what the take's mask says, which the material asks.

Rays are for renders. Viewports get along without, unless the artist asks: there what is hidden from the shot's camera
takes the picture of what hides it.
"""

import bpy

from . import dwmesh_group, grid_group
from .graph import Graph, add_input, add_output, socket

NAME = "EX-4D Projection"
REVISION = 1

SHOT = "shot"
"""Vertex attribute: (s w, t w, w), w the depth before the shot's camera, s and t the place in the take's picture."""
SEEN = "seen_by_shot"
"""Vertex attribute: 1 where the shot's camera sees the surface, 0 where something is in front of it."""
FACING = "faces_shot"
"""Face attribute: 1 where the surface turns its front to the shot's camera, 0 where its back."""
BRIDGE = "bridge"
"""Face attribute: 1 where the footage never saw it."""

TOLERANCE = 0.01
"""How much nearer than a point, as a share of its distance, something must be to be in front of it."""
_SOME = 1e-3
"""More than nothing, of an attribute that is averaged."""

Value = object


def build() -> bpy.types.NodeTree:
    """A new group."""
    tree = bpy.data.node_groups.new(NAME, "GeometryNodeTree")
    tree.is_modifier = True
    add_input(tree, "Geometry", "Geometry")
    add_output(tree, "Geometry", "Geometry")
    add_input(tree, "Exact in Viewports", "Bool", False, description="Look for what is hidden in viewports too: slow")
    add_input(tree, "Camera", "Object", description="The shot's camera")
    add_input(tree, "Shown", "Bool", True, description="The scene is at a frame of the take; driven")
    for name, first in (("Middle X", 0.0), ("Middle Y", 0.0), ("Width", 1.0), ("Height", 1.0)):
        described = "Where the take's picture lies at distance 1 from the camera; driven"
        add_input(tree, name, "Float", first, description=described)
    add_input(tree, "Occlusion", "Image")
    add_input(tree, "Frame", "Int", 0, description="The clip frame shown; driven")
    add_input(tree, "Material", "Material")
    add_input(tree, "Unseen", "Material", description="Of bridges outside the take's frames")
    graph = Graph(tree)
    inputs = {item.name: item for item in graph.node("NodeGroupInput").outputs if item.name}
    whole = inputs["Geometry"]
    bridge = _bridge(graph, whole, inputs["Occlusion"], inputs["Frame"])
    place = graph.node("GeometryNodeObjectInfo", {"transform_space": "RELATIVE"}, Object=inputs["Camera"])
    eye = socket(place.outputs, "Location")
    position = graph.output("GeometryNodeInputPosition", "Position")
    ray = graph.vector("SUBTRACT", position, eye)
    faces = _faces(graph, ray)
    marked = graph.store(whole, BRIDGE, "FLOAT", "FACE", bridge)
    marked = graph.store(marked, FACING, "FLOAT", "FACE", faces)
    # The back of a bridge lies behind what the footage saw, in front of more that it saw.
    kept = graph.math("LESS_THAN", graph.math("SUBTRACT", graph.attribute(BRIDGE, "FLOAT"), faces), 0.5)
    kept = graph.node("GeometryNodeSeparateGeometry", {"domain": "FACE"}, Geometry=marked, Selection=kept)
    footage = graph.node("GeometryNodeSeparateGeometry", {"domain": "FACE"}, Geometry=whole, Selection=bridge)
    reach = graph.math("MULTIPLY", graph.vector("LENGTH", ray), 1.0 - TOLERANCE)
    node = graph.node("GeometryNodeRaycast", Source_Position=eye, Ray_Direction=ray, Ray_Length=reach)
    graph.feed(socket(node.inputs, "Target Geometry"), socket(footage.outputs, "Inverted"))
    free = graph.math("SUBTRACT", 1.0, socket(node.outputs, "Is Hit"))
    looked = graph.store(socket(kept.outputs, "Selection"), SEEN, "FLOAT", "POINT", free)
    quick = graph.store(marked, SEEN, "FLOAT", "POINT", 1.0)
    in_viewport = graph.output("GeometryNodeIsViewport", "Is Viewport")
    is_quick = graph.math("GREATER_THAN", in_viewport, inputs["Exact in Viewports"])
    shown = graph.switch("GEOMETRY", is_quick, looked, quick)
    turn = graph.output("FunctionNodeInvertRotation", "Rotation", Rotation=socket(place.outputs, "Rotation"))
    in_camera = graph.output("FunctionNodeRotateVector", "Vector", Vector=ray, Rotation=turn)
    shown = graph.store(shown, SHOT, "FLOAT_VECTOR", "POINT", _in_picture(graph, in_camera, inputs))
    shown = graph.output("GeometryNodeSetMaterial", "Geometry", Geometry=shown, Material=inputs["Material"])

    # What another shot's projection made at this frame stays as it is.
    made = graph.output("GeometryNodeInputNamedAttribute", "Exists", {"data_type": "FLOAT_VECTOR"}, Name=SHOT)
    left = graph.math("GREATER_THAN", graph.math("SUBTRACT", bridge, made), 0.5)
    plain = graph.output(
        "GeometryNodeSetMaterial", "Geometry", Geometry=whole, Material=inputs["Unseen"], Selection=left
    )
    graph.node("NodeGroupOutput", Geometry=graph.switch("GEOMETRY", inputs["Shown"], plain, shown))
    return tree


def _bridge(graph: Graph, whole: Value, occlusion: Value, frame: Value) -> Value:
    """Whether the footage never saw a face: by the depth proxy, where the mesh has read it, else by the images."""
    stored = graph.attribute(dwmesh_group.STORED, "FLOAT")
    statistic = {"data_type": "FLOAT", "domain": "POINT"}
    largest = graph.output(
        "GeometryNodeAttributeStatistic", "Max", statistic, Geometry=whole, Attribute=graph.math("ABSOLUTE", stored)
    )
    from_proxy = graph.math("GREATER_THAN", largest, 0.0)
    first = graph.attribute(grid_group.FIRST, "INT")
    sign = graph.output("GeometryNodeFieldAtIndex", "Value", statistic, Value=stored, Index=first)
    bridge = graph.switch(
        "BOOLEAN", from_proxy, dwmesh_group.bridge(graph, occlusion, frame), graph.math("LESS_THAN", sign, 0.0)
    )
    far = graph.node("GeometryNodeInputNamedAttribute", {"data_type": "FLOAT"}, Name=grid_group.FAR)
    return graph.math("MAXIMUM", bridge, graph.math("GREATER_THAN", socket(far.outputs, "Attribute"), _SOME))


def _in_picture(graph: Graph, in_camera: Value, inputs: dict[str, Value]) -> Value:
    """`SHOT` of a place in the camera's axes: x right, y up, z backward."""
    x, y, back = graph.parts(in_camera)
    w = graph.math("MULTIPLY", back, -1.0)

    def place(along: Value, middle: Value, size: Value) -> Value:
        from_middle = graph.math("SUBTRACT", along, graph.math("MULTIPLY", middle, w))
        return graph.math("MULTIPLY_ADD", w, 0.5, graph.math("DIVIDE", from_middle, size))

    return graph.combine(
        place(x, inputs["Middle X"], inputs["Width"]), place(y, inputs["Middle Y"], inputs["Height"]), w
    )


def _faces(graph: Graph, ray: Value) -> Value:
    """1 where a face turns its front to where the ray comes from, else 0."""
    normal = graph.output("GeometryNodeInputNormal", "Normal")
    return graph.math("LESS_THAN", graph.vector("DOT_PRODUCT", normal, ray), 0.0)
