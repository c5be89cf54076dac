# SPDX-License-Identifier: GPL-3.0-or-later
"""The shadow catcher: a second object with the mesh's node group, in a material that shadows fall on.

The footage's own material is light, which shows no shadow. Only Cycles catches shadows.
"""

import bpy

from ..mesh.placing import MODIFIER
from ..placed import FOOTAGE_ID, ROLE, Placed
from ..versions import fcurves, modifier_inputs
from .layers import CATCHERS, SHADOW

CATCHER, GRID = "shadow_catcher", "shadow_catcher_grid"
"""Roles of the two objects: the catcher, and the flat grid that it displaces, which brings the material."""
_COPIED = ("Hide Occluded", "Render Level", "Viewport Level", "Far Shell")


def ensure(scene: bpy.types.Scene, placed: Placed) -> bpy.types.Object:
    """The shadow catcher of a footage, made if there is none; its settings are those of the mesh now."""
    source = placed.mesh.modifiers[MODIFIER]
    catcher = find(scene, placed)
    if catcher is None:
        catcher = _new(scene, placed)
    modifier = catcher.modifiers[MODIFIER]
    for name in _COPIED:
        modifier_inputs.write(modifier, name, modifier_inputs.read(source, name))
    return catcher


def find(scene: bpy.types.Scene, placed: Placed) -> bpy.types.Object | None:
    """The shadow catcher of a footage; of duplicates each has its own."""
    for thing in scene.objects:
        if thing.get(ROLE) == CATCHER and thing.get(FOOTAGE_ID) == placed.id and thing.parent == placed.mesh.parent:
            return thing
    return None


def _new(scene: bpy.types.Scene, placed: Placed) -> bpy.types.Object:
    mesh = placed.mesh
    source = mesh.modifiers[MODIFIER]
    grid = modifier_inputs.read(source, "Grid").copy()
    grid[FOOTAGE_ID], grid[ROLE] = placed.id, GRID
    name = f"{placed.empty.name} Shadow Catcher"
    catcher = mesh.copy()  # shares the mesh data, which holds the footage camera of each frame
    catcher.name, grid.name = name, f"{name} Grid"
    catcher[ROLE] = CATCHER
    catcher.is_shadow_catcher, catcher.hide_select, catcher.hide_render = True, True, False
    for other in [other.name for other in catcher.modifiers if other.name != MODIFIER]:  # a take projected onto it
        for path in [curve.data_path for curve in fcurves.drivers(catcher)]:
            if path.startswith(f'modifiers["{bpy.utils.escape_identifier(other)}"]'):
                catcher.driver_remove(path)
        catcher.modifiers.remove(catcher.modifiers[other])
    diffuse = _diffuse(name)
    modifier = catcher.modifiers[MODIFIER]
    modifier_inputs.write(modifier, "Grid", grid)
    modifier_inputs.write(modifier, "Plate", diffuse)
    modifier_inputs.write(modifier, "Bridges", modifier_inputs.read(source, "Unseen"))
    modifier_inputs.write(grid.modifiers[MODIFIER], "Material", diffuse)
    for curve in fcurves.drivers(grid):  # the grid follows the inputs of whom it belongs to
        for variable in curve.driver.variables:
            for target in variable.targets:
                if target.id == mesh:
                    target.id = catcher
    _collection(scene).objects.link(catcher)
    return catcher


def _diffuse(name: str) -> bpy.types.Material:
    material = bpy.data.materials.new(name)
    if bpy.app.version < (5, 0, 0):  # later ones always have nodes, and warn
        material.use_nodes = True
    nodes = material.node_tree.nodes
    nodes.clear()
    end, diffuse = nodes.new("ShaderNodeOutputMaterial"), nodes.new("ShaderNodeBsdfDiffuse")
    diffuse.location.x = -250.0
    material.node_tree.links.new(diffuse.outputs["BSDF"], end.inputs["Surface"])
    return material


def _collection(scene: bpy.types.Scene) -> bpy.types.Collection:
    """The collection of a scene's shadow catchers; a new one is left out of all view layers that are there but one."""
    for found in scene.collection.children_recursive:
        if found.get(CATCHERS) and found.library is None:
            return found
    made = bpy.data.collections.new("Shadow Catchers")
    made[CATCHERS] = True
    scene.collection.children.link(made)
    for layer in scene.view_layers:
        layer.layer_collection.children[made.name].exclude = layer.name != SHADOW
    return made
