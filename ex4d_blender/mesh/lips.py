# SPDX-License-Identifier: GPL-3.0-or-later
"""Bridges as renders show them: lips that reach a little behind an edge (docs/geometry.md, how far a bridge hides).

Each triangle comes apart from its neighbours; its nearest corner stays, the others come forward along their source
rays until they are at most 5 % deeper. Its faces carry what their material needs to show the half pixel around a corner
that the footage did see: the surface of a mesh ends at the centres of its pixels, the pixels do not.
"""

from .graph import Graph, socket

REACH = 0.05
"""How much deeper than its nearest corner a lip runs, as a share; the core's `BRIDGE_REACH`."""
OVERLAP = 0.002
"""How much lips are enlarged: seen from the footage camera they end exactly where the surface behind begins, and
rounding would leave gaps between the two that rays slip through (0.2 % of the pixels of the source view)."""
CORNERS = ("corner_0", "corner_1", "corner_2")
"""Face attributes: where the corners stand before they come forward, object space."""
PIXELS = ("pixel_0", "pixel_1", "pixel_2")
"""Face attributes: (s, t, r) of the corners: their place in the plate, texture coordinates, and half the width of a
source pixel at their depth, scene units."""
RAY = "ray"
"""Face attribute: from the footage camera to the first corner, object space."""

Value = object


def build(graph: Graph, bridges: Value, eye: Value, focal: Value, depth: str) -> Value:
    """The lips of bridges.

    Args:
        graph: where the nodes go.
        bridges: geometry, only the triangles that are bridges, in their full length.
        eye: the footage camera's place, object space.
        focal: its focal length, pixels.
        depth: name of the vertex attribute with z-depth in that camera.
    """
    lips = graph.output("GeometryNodeSplitEdges", "Mesh", Mesh=bridges)
    position = graph.output("GeometryNodeInputPosition", "Position")
    z = graph.attribute(depth, "FLOAT")
    uv = graph.attribute("UVMap", "FLOAT_VECTOR")
    face = graph.output("GeometryNodeInputIndex", "Index")
    for k in range(3):
        corner, vertex = _corner(graph, face, k)
        place = _at(graph, "FLOAT_VECTOR", "POINT", position, vertex)
        if k == 0:
            lips = graph.store(lips, RAY, "FLOAT_VECTOR", "FACE", graph.vector("SUBTRACT", place, eye))
        lips = graph.store(lips, CORNERS[k], "FLOAT_VECTOR", "FACE", place)
        s, t, _ = graph.parts(_at(graph, "FLOAT_VECTOR", "CORNER", uv, corner))
        half = graph.math("DIVIDE", graph.math("MULTIPLY", _at(graph, "FLOAT", "POINT", z, vertex), 0.5), focal)
        lips = graph.store(lips, PIXELS[k], "FLOAT_VECTOR", "FACE", graph.combine(s, t, half))
    # Each vertex belongs to one face by now.
    of_vertex = graph.node("GeometryNodeCornersOfVertex")
    graph.feed(socket(of_vertex.inputs, "Vertex Index"), graph.output("GeometryNodeInputIndex", "Index"))
    own_face = graph.output(
        "GeometryNodeFaceOfCorner", "Face Index", Corner_Index=socket(of_vertex.outputs, "Corner Index")
    )
    depths = [_at(graph, "FLOAT", "POINT", z, _corner(graph, own_face, k)[1]) for k in range(3)]
    nearest = graph.math("MINIMUM", graph.math("MINIMUM", depths[0], depths[1]), depths[2])
    forward = graph.math("MINIMUM", graph.math("DIVIDE", graph.math("MULTIPLY", nearest, 1.0 + REACH), z), 1.0)
    ray = graph.node("ShaderNodeVectorMath", {"operation": "SCALE"}, Vector=graph.vector("SUBTRACT", position, eye))
    graph.feed(socket(ray.inputs, "Scale"), forward)
    moved = graph.vector("ADD", socket(ray.outputs, "Vector"), eye)
    lips = graph.output("GeometryNodeSetPosition", "Geometry", Geometry=lips, Position=moved)
    middle = graph.output(
        "GeometryNodeFieldOnDomain", "Value", {"data_type": "FLOAT_VECTOR", "domain": "FACE"}, Value=position
    )
    grown = graph.vector("MULTIPLY", graph.vector("SUBTRACT", position, middle), (OVERLAP, OVERLAP, OVERLAP))
    return graph.output("GeometryNodeSetPosition", "Geometry", Geometry=lips, Offset=grown)


def _corner(graph: Graph, face: Value, k: int) -> tuple[Value, Value]:
    """Corner and vertex number of a face's corner k."""
    node = graph.node("GeometryNodeCornersOfFace", Face_Index=face, Sort_Index=k)
    corner = socket(node.outputs, "Corner Index")
    return corner, graph.output("GeometryNodeVertexOfCorner", "Vertex Index", Corner_Index=corner)


def _at(graph: Graph, kind: str, domain: str, value: Value, index: Value) -> Value:
    """A field's value at another element."""
    return graph.output(
        "GeometryNodeFieldAtIndex", "Value", {"data_type": kind, "domain": domain}, Value=value, Index=index
    )
