# SPDX-License-Identifier: GPL-3.0-or-later
"""*Accept as Projection*: the take thrown back onto the footage's mesh from the shot's camera.

A modifier behind the mesh's own does it, with a material of its own: without it the mesh is as it was. Simple drivers
tell it the lens; it works without the extension and with Python scripts switched off.
"""

from collections.abc import Iterable

import bpy

from ..errors import UserError
from ..mesh import plate_material, projection_group, retiming
from ..mesh.placing import MODIFIER, shared_group
from ..ownership import require_local
from ..placed import Placed, of_camera
from ..shots import Shot
from ..takes.folder import TakeFacts
from ..versions import fcurves, modifier_inputs
from . import lens, marks, picture, sampling

USE = "PROJECTION"


def accept(context: bpy.types.Context, shot: Shot, facts: TakeFacts) -> None:
    """Show the take on the mesh of its footage; shots that show there at other frames stay.

    Raises:
        UserError: no camera, one that a take cannot be made for, pictures that are missing, or no mesh to change.
    """
    camera = marks.required_camera(shot)
    facts.require_files()
    facts.require_mask()
    placed, own = _required(context.scene, camera, facts)
    mesh = placed.mesh
    modifier = next((found for found, shown in _projections(mesh) if shown == shot.key), None)
    if modifier is None:
        _make_room(mesh, facts)
        modifier = _new(context.scene, placed, own, shot, facts)
    else:
        replace(shot.key, facts)
        _undrive(mesh, modifier, _expressions(facts))
    modifier_inputs.write(modifier, "Camera", camera)
    for name, expression in _expressions(facts).items():
        driver = mesh.driver_add(modifier_inputs.data_path(modifier, name)).driver
        lens.read(driver, expression, camera)
        driver.expression = expression
    # Whole bridges carry the invented pixels, and show nothing elsewhere.
    modifier_inputs.write(own, "Hide Occluded", False)
    if plate_material.PROJECTION not in mesh:
        mesh[plate_material.PROJECTION] = 1.0
        mesh.id_properties_ui(plate_material.PROJECTION).update(
            description="How much of the take is projected onto the mesh: 0 is the plate", min=0.0, max=1.0
        )


def check(context: bpy.types.Context, shot: Shot | None, facts: TakeFacts) -> None:
    """Whether there is a mesh that `accept` may change. Raises: UserError."""
    placed, own = _required(context.scene, shot.camera if shot else None, facts)
    if shot is None or all(shown != shot.key for _, shown in _projections(placed.mesh)):
        _plate(own, placed.empty)


def _required(
    scene: bpy.types.Scene, camera: bpy.types.Object | None, facts: TakeFacts
) -> tuple[Placed, bpy.types.Modifier]:
    """The footage of a take, or what its camera looks at, and the modifier of its mesh. Raises: UserError."""
    placed = marks.filmed_by(scene, facts, camera) or of_camera(scene, camera)
    own = placed.mesh.modifiers.get(MODIFIER) if placed and placed.mesh else None
    if placed is None or own is None or own.node_group is None:
        raise UserError(
            "{take} has no mesh to be projected onto: use Import Scene for the folder that it was made from.",
            take=facts.name,
        )
    require_local(placed.empty, placed.mesh)
    return placed, own


def replace(shot: str, facts: TakeFacts) -> int:
    """Let every projection of a shot show another take.

    Returns:
        How many.
    """
    if marks.marked(bpy.data.materials, USE, shot):
        facts.require_mask()
    sampling.follow(USE, shot, facts)
    expressions, count = _expressions(facts), 0
    for mesh in bpy.data.objects:
        for modifier, shown in _projections(mesh) if mesh.library is None else ():
            if shown != shot:
                continue
            paths = {modifier_inputs.data_path(modifier, name): found for name, found in expressions.items()}
            for curve in fcurves.drivers(mesh):
                if curve.data_path in paths:  # one that the artist has removed stays away
                    curve.driver.expression = paths[curve.data_path]
            mesh.update_tag()
            count += 1
    return count


def require_whole(shot: str) -> None:
    """Look whether the projections of a shot, by its key, can show another take. Raises: UserError."""
    sampling.require_whole(
        modifier_inputs.read(modifier, "Material")
        for mesh in bpy.data.objects
        for modifier, shown in _projections(mesh)
        if shown == shot and mesh.library is None
    )


def _new(
    scene: bpy.types.Scene, placed: Placed, own: bpy.types.NodesModifier, shot: Shot, facts: TakeFacts
) -> bpy.types.NodesModifier:
    name = f"{shot.name} Projection"
    take = sampling.build(name, picture.load(scene, shot, facts, USE), facts).sampler
    mask = sampling.mask(picture.load_mask(facts, shot, USE), facts)
    material = plate_material.projection(name, _plate(own, placed.empty), take, mask)
    for thing in (material, take):
        marks.mark(thing, USE, shot.key, facts)
    modifier = placed.mesh.modifiers.new(name, "NODES")
    modifier.node_group = shared_group(projection_group)
    modifier.show_expanded = False
    for name, value in {
        "Occlusion": modifier_inputs.read(own, "Occlusion"),
        "Material": material,
        "Unseen": modifier_inputs.read(own, "Unseen"),
    }.items():
        modifier_inputs.write(modifier, name, value)
    retiming.follow(placed.mesh, modifier_inputs.data_path(modifier, "Frame"), placed.empty)
    return modifier


def _plate(own: bpy.types.NodesModifier, empty: bpy.types.Object) -> plate_material.Picture:
    """What the mesh shows, from its own material. Raises: UserError if that is another one by now."""
    material = modifier_inputs.read(own, "Plate")
    for group in material.node_tree.nodes if material and material.node_tree else ():
        sampler = group.node_tree if group.type == "GROUP" else None
        for node in sampler.nodes if sampler else ():
            if node.type == "TEX_IMAGE" and node.image is not None:
                return plate_material.Picture(
                    node.image, sampler, lambda tree, node: retiming.show_clip(empty, tree, node)
                )
    raise UserError(
        "{mesh} does not show the footage's own material, which the projection goes on from: choose it as Plate of the "
        "modifier {modifier}, then accept the take.",
        mesh=own.id_data.name,
        modifier=own.name,
    )


def _projections(mesh: bpy.types.Object) -> list[tuple[bpy.types.NodesModifier, str]]:
    """The modifiers of an object that project a take, and the keys of the shots."""
    found = []
    for modifier in mesh.modifiers:
        group = modifier.node_group if modifier.type == "NODES" else None
        if group is not None and group.get("ex4d_group") == projection_group.NAME:
            material = modifier_inputs.read(modifier, "Material")
            found.append((modifier, material.get(marks.SHOT, "") if material else ""))
    return found


def _make_room(mesh: bpy.types.Object, facts: TakeFacts) -> None:
    """Take away the projections of other shots that share a frame with the take: the mesh shows one at a time."""
    for modifier, _ in _projections(mesh):
        first, last = _frames(modifier)
        if first <= facts.last_frame and last >= facts.frame_start:
            _undrive(mesh, modifier, (*_expressions(facts), "Frame"))
            mesh.modifiers.remove(modifier)


def _frames(modifier: bpy.types.NodesModifier) -> tuple[int, int]:
    """The first and the last frame of the take that a projection shows; without its material, none."""
    material = modifier_inputs.read(modifier, "Material")
    for sampler in (getattr(node, "node_tree", None) for node in material.node_tree.nodes) if material else ():
        for node in sampler.nodes if sampler and sampler.get(marks.USE) == USE else ():
            if node.type == "TEX_IMAGE":
                return node.image_user.frame_start, node.image_user.frame_start + node.image_user.frame_duration - 1
    return 0, -1


def _undrive(mesh: bpy.types.Object, modifier: bpy.types.NodesModifier, names: Iterable[str]) -> None:
    for name in names:
        mesh.driver_remove(modifier_inputs.data_path(modifier, name))


def _expressions(facts: TakeFacts) -> dict[str, str]:
    """Input of the modifier -> the driver's expression."""
    view = lens.view(facts)
    return {
        "Shown": lens.during(facts),
        "Middle X": view.middle_x,
        "Middle Y": view.middle_y,
        "Width": view.width,
        "Height": view.height,
    }
