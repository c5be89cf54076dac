# SPDX-License-Identifier: GPL-3.0-or-later
"""Copies of footage that the artist made (Shift D): a picture and a grid of their own.

Blender copies the objects and shares the rest: the materials and the plate's node group, which show the time of the
footage they were made for, and the grid, which follows that one's inputs. Where it is deleted, the copy vanishes.
"""

from collections.abc import Iterator

import bpy

from ..errors import SaysErrors
from ..ownership import require_local
from ..placed import NeedsFootage, Placed, active, required
from ..translation import translated
from ..versions import fcurves, modifier_inputs
from . import projection_group
from .retiming import SOURCE_FRAME

MODIFIER = "DW-Mesh"
_PICTURES = ("Plate", "Bridges")
"""Inputs of the mesh with materials that show the plate; the grid's `Material` is the third."""
_TIME, _INPUTS = f'["{SOURCE_FRAME}"]', f'modifiers["{MODIFIER}"]'
"""How the paths begin that materials read from the empty, and the grid from the mesh."""


def is_shared(placed: Placed) -> bool:
    """Whether footage of this file shows the time of another, or follows its inputs."""
    modifier = _modifier(placed)
    if modifier is None or placed.empty.library or placed.empty.override_library:
        return False
    return any(
        target.id != owner for thing, start, owner in _followers(placed, modifier) for target in _targets(thing, start)
    )


def make_own(placed: Placed) -> None:
    """Give footage materials, a node group and a grid that follow nothing else. Raises: UserError if it is linked."""
    modifier = _modifier(placed)
    if modifier is None:
        return
    require_local(placed.empty, placed.mesh)
    samplers: dict[bpy.types.NodeTree, bpy.types.NodeTree] = {}
    for name in _PICTURES:
        _copy_picture(modifier, name, placed.empty, samplers)
    for projection in _projections(placed):
        _copy_picture(projection, "Material", placed.empty, samplers)
    grid = modifier_inputs.read(modifier, "Grid")
    if grid is None:
        return
    own = grid.copy()
    _aim(own, _INPUTS, placed.mesh)
    modifier_inputs.write(modifier, "Grid", own)
    if MODIFIER in own.modifiers:
        _copy_picture(own.modifiers[MODIFIER], "Material", placed.empty, samplers)


def _modifier(placed: Placed) -> bpy.types.NodesModifier | None:
    found = placed.mesh.modifiers.get(MODIFIER) if placed.mesh else None
    return found if found is not None and found.node_group is not None else None


def _projections(placed: Placed) -> list[bpy.types.NodesModifier]:
    """The modifiers that project takes onto the mesh: their materials show the plate, too."""
    found = [each for each in placed.mesh.modifiers if each.type == "NODES" and each.node_group is not None]
    return [each for each in found if each.node_group.get("ex4d_group") == projection_group.NAME]


def _followers(
    placed: Placed, modifier: bpy.types.NodesModifier
) -> Iterator[tuple[bpy.types.ID, str, bpy.types.Object]]:
    """What is driven for a footage, how the paths begin that it reads, and the object that it should read them from."""
    materials = [modifier_inputs.read(modifier, name) for name in _PICTURES]
    materials += [modifier_inputs.read(projection, "Material") for projection in _projections(placed)]
    grid = modifier_inputs.read(modifier, "Grid")
    if grid is not None:
        yield grid, _INPUTS, placed.mesh
        if MODIFIER in grid.modifiers:
            materials.append(modifier_inputs.read(grid.modifiers[MODIFIER], "Material"))
    for material in filter(None, materials):
        yield material.node_tree, _TIME, placed.empty
        for node in _samplers(material):
            yield node.node_tree, _TIME, placed.empty


def _samplers(material: bpy.types.Material) -> list[bpy.types.Node]:
    """The nodes of groups that show the plate; the artist's own groups are none."""
    groups = [node for node in material.node_tree.nodes if node.type == "GROUP" and node.node_tree is not None]
    return [node for node in groups if next(_targets(node.node_tree, _TIME), None) is not None]


def _targets(thing: bpy.types.ID, start: str) -> Iterator[bpy.types.DriverTarget]:
    """What the drivers of a datablock read by paths that begin so; other drivers are the artist's."""
    for curve in fcurves.drivers(thing):
        for variable in curve.driver.variables:
            yield from (target for target in variable.targets if target.data_path.startswith(start))


def _aim(thing: bpy.types.ID, start: str, owner: bpy.types.Object) -> None:
    for target in _targets(thing, start):
        target.id = owner
    thing.update_tag()


def _copy_picture(
    modifier: bpy.types.NodesModifier,
    name: str,
    empty: bpy.types.Object,
    samplers: dict[bpy.types.NodeTree, bpy.types.NodeTree],
) -> None:
    """Put a copy of a material into an input; `samplers` are the groups copied so far, which all materials share."""
    material = modifier_inputs.read(modifier, name)
    if material is None:
        return
    own = material.copy()
    _aim(own.node_tree, _TIME, empty)
    for node in _samplers(own):
        tree = node.node_tree
        if tree not in samplers:
            samplers[tree] = tree.copy()
            _aim(samplers[tree], _TIME, empty)
        node.node_tree = samplers[tree]
    modifier_inputs.write(modifier, name, own)


class EX4D_OT_make_single(NeedsFootage, SaysErrors, bpy.types.Operator):
    """Make Single."""

    bl_idname = "ex4d.make_single"
    bl_label = "Make Single"
    bl_description = (
        "This footage is a copy and shares its picture with the one it was copied from, whose time it shows: give it a "
        "picture of its own"
    )
    bl_options = {"REGISTER", "UNDO"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Where something is shared."""
        if not super().poll(context):
            return False
        if is_shared(active(context)):
            return True
        cls.poll_message_set(translated("The footage shares its picture with no other: there is nothing to do."))
        return False

    def run(self, context: bpy.types.Context) -> None:
        """See `make_own`."""
        make_own(required(context))


register, unregister = bpy.utils.register_classes_factory((EX4D_OT_make_single,))
