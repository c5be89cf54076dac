# SPDX-License-Identifier: GPL-3.0-or-later
"""The material of the DW-Mesh: the plate as it was filmed, unlit."""

import bpy

from . import grid_group, images, retiming
from .graph import Graph


def build(name: str, plate: bpy.types.Image, empty: bpy.types.Object) -> bpy.types.Material:
    """A new material that shows the clip frame that the empty says.

    Args:
        name: of the material.
        plate: the image sequence.
        empty: whose `Source Frame` is shown.
    """
    material = bpy.data.materials.new(name)
    if bpy.app.version < (5, 0, 0):  # later ones always have nodes, and warn
        material.use_nodes = True
    # The plate is a picture, not a lamp: sampling each of its triangles as one would take minutes.
    material.cycles.emission_sampling = "NONE"
    tree = material.node_tree
    tree.nodes.clear()
    graph = Graph(tree)
    place = graph.output("ShaderNodeUVMap", "UV", {"uv_map": grid_group.UV_MAP})
    texture = graph.node("ShaderNodeTexImage", {"image": plate, "extension": "EXTEND"}, Vector=place)
    texture.name = texture.label = "Plate"
    images.show(texture.image_user)
    retiming.follow(tree, f'nodes["{texture.name}"].image_user.frame_offset', empty, add=-1)
    shader = graph.output("ShaderNodeEmission", "Emission", Color=texture.outputs["Color"])
    graph.node("ShaderNodeOutputMaterial", Surface=shader)
    tree.nodes.active = texture  # what Solid mode shows
    return material
