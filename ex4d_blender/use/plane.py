# SPDX-License-Identifier: GPL-3.0-or-later
"""*Accept as Plane*: the take on a plane that fills the shot camera's frame.

The plane hangs on the camera. Simple drivers keep it as wide and high as the frame at its `Distance`, whatever lens,
sensor and shift do; they run without the extension and with Python scripts switched off. What is in front of it hides
it, as anything in the scene.
"""

from functools import partial

import bpy

from ..errors import UserError
from ..mesh import bilinear_group, depth_survey, grid_group, plate_material
from ..placed import of_camera
from ..shots import Shot
from ..takes.folder import TakeFacts
from . import marks, picture

USE = "PLANE"
DISTANCE = "Distance"
"""On the plane, keyable: how far from the camera it is, along its axis (float)."""
COLLECTION = "ex4d_takes"
"""On the collection of a scene's planes: True."""
_SIZE = "ex4d_size"
"""On the node group that samples the pictures: the size that it was built for."""
_SQUARE = ((-0.5, -0.5, 0.0), (0.5, -0.5, 0.0), (0.5, 0.5, 0.0), (-0.5, 0.5, 0.0))
_NEVER = ("diffuse", "glossy", "transmission", "volume_scatter", "shadow")
"""Rays that do not see the plane: it is a picture, and lights and shadows nothing."""
_BEHIND = 1.05
"""Where the plane stands at first, in distances of the farthest footage."""
_FAR = 10.0
"""And without footage, in Blender's units."""


def accept(context: bpy.types.Context, shot: Shot, facts: TakeFacts) -> None:
    """Show the take on the shot's plane, which is made if the scene has none.

    Raises:
        UserError: no camera, one that a take cannot be made for, or pictures that are missing.
    """
    camera = marks.required_camera(shot)
    facts.require_files()
    if marks.marked(context.scene.objects, USE, shot.key):
        replace(shot.key, facts)
        return
    image = picture.load(context.scene, shot, facts, USE)
    name = f"{shot.name} Plane"
    sampler = _sampler(name, image, facts)
    material = plate_material.plate(name, plate_material.Picture(image, sampler, partial(_show, facts)))
    mesh = bpy.data.meshes.new(name)
    mesh.from_pydata(_SQUARE, [], [(0, 1, 2, 3)])
    layer = mesh.uv_layers.new(name=grid_group.UV_MAP)
    for corner, (x, y, _) in zip(layer.data, _SQUARE, strict=True):
        corner.uv = x + 0.5, y + 0.5
    mesh.materials.append(material)
    plane = bpy.data.objects.new(name, mesh)
    for thing in (plane, material, sampler):
        marks.mark(thing, USE, shot.key, facts)
    for ray in _NEVER:
        setattr(plane, f"visible_{ray}", False)
    plane[DISTANCE] = first_distance(context.scene, camera)
    plane.id_properties_ui(DISTANCE).update(
        description="How far from the camera the take stands; key it as you like", min=1e-3, soft_max=1e4, precision=3
    )
    plane.parent = camera
    _drive(plane, camera, facts)
    collection(context.scene).objects.link(plane)


def replace(shot: str, facts: TakeFacts) -> int:
    """Let every plane of a shot show another take, at its own distance.

    Returns:
        How many planes.
    """
    planes = marks.marked(bpy.data.objects, USE, shot)
    for image in marks.marked(bpy.data.images, USE, shot):
        picture.swap(image, facts)
    for sampler in marks.marked(bpy.data.node_groups, USE, shot):
        if tuple(sampler[_SIZE]) != (facts.width, facts.height):
            _sized(sampler, shot, facts)
    materials = marks.marked(bpy.data.materials, USE, shot)
    trees = marks.marked(bpy.data.node_groups, USE, shot)
    for tree in (*trees, *(material.node_tree for material in materials)):
        for node in tree.nodes:
            if node.type == "TEX_IMAGE" and node.image is not None and node.image.get(marks.USE) == USE:
                _show(facts, tree, node)
    for thing in (*planes, *materials, *trees):
        marks.mark(thing, USE, shot, facts)
    for plane in planes:
        expressions = _expressions(facts)
        for curve in plane.animation_data.drivers if plane.animation_data else ():
            found = expressions.get((curve.data_path, curve.array_index))
            if found is not None:  # of ours; one that the artist has removed stays away
                curve.driver.expression = found
        plane.update_tag()
    return len(planes)


def _sampler(name: str, image: bpy.types.Image, facts: TakeFacts) -> bpy.types.NodeTree:
    sampler = bilinear_group.build(name, image, tuple(image.size), partial(_show, facts))
    sampler[_SIZE] = facts.width, facts.height
    return sampler


def _sized(sampler: bpy.types.NodeTree, shot: str, facts: TakeFacts) -> None:
    """Put a sampler for the take's size in the place of one for another: it counts in pixels."""
    image = next(node.image for node in sampler.nodes if node.type == "TEX_IMAGE")
    name = sampler.name
    made = _sampler(name, image, facts)
    marks.mark(made, USE, shot, facts)
    sampler.user_remap(made)
    bpy.data.node_groups.remove(sampler)
    made.name = name


def collection(scene: bpy.types.Scene) -> bpy.types.Collection:
    """The collection of a scene's planes, made if there is none: view layers can leave it out."""
    for found in scene.collection.children_recursive:
        if found.get(COLLECTION) and found.library is None:
            return found
    made = bpy.data.collections.new("Takes")
    made[COLLECTION] = True
    scene.collection.children.link(made)
    return made


def first_distance(scene: bpy.types.Scene, camera: bpy.types.Object) -> float:
    """Behind all of the footage, where the camera still sees that far; Blender's units."""
    limit = 0.99 * camera.data.clip_end
    placed = of_camera(scene, camera)
    if placed is None:
        return min(_FAR, limit)
    try:
        farthest = depth_survey.survey(placed.facts()).farthest
    except UserError:  # the scene folder is missing, the take is not
        return min(_FAR, limit)
    return min(farthest * max(placed.empty.matrix_world.to_scale()) * _BEHIND, limit)


def _show(facts: TakeFacts, _tree: bpy.types.NodeTree, node: bpy.types.Node) -> None:
    picture.show(node.image_user, facts)


def _expressions(facts: TakeFacts) -> dict[tuple[str, int], str]:
    """Data path and index -> the driver's expression; docs/blender/shots.md has the formulas of the camera.

    `sw`, `sh` are the sensor's width and height, `fit` which of them counts (0 Auto, 1 Horizontal, 2 Vertical), `ax`,
    `ay` the pixel aspect, `sx` to `sz` the camera's own scale, which bends what hangs on it and not what it sees.
    """
    width, height = facts.frame_size
    side = "d * (sh if fit == 2 else sw) / lens"
    wide = f"{width} * ax", f"({height} * ay)"
    is_wide = f"(fit == 1 or (fit == 0 and {wide[0]} >= {wide[1]}))"
    across, up = facts.width / width, facts.height / height
    outside = f"frame < {facts.frame_start} or frame > {facts.last_frame}"
    return {
        ("location", 0): f"{side} * shift_x / sx",
        ("location", 1): f"{side} * shift_y / sy",
        ("location", 2): "-d / sz",
        ("scale", 0): f"{side} * (1 if {is_wide} else {wide[0]} / {wide[1]}) * {across!r} / sx",
        ("scale", 1): f"{side} * ({wide[1]} / ({wide[0]}) if {is_wide} else 1) * {up!r} / sy",
        ("hide_viewport", 0): outside,
        ("hide_render", 0): outside,
    }


_LENS = {
    "lens": "data.lens",
    "sw": "data.sensor_width",
    "sh": "data.sensor_height",
    "fit": "data.sensor_fit",
    "shift_x": "data.shift_x",
    "shift_y": "data.shift_y",
}
_ASPECT = {"ax": "render.pixel_aspect_x", "ay": "render.pixel_aspect_y"}


def _drive(plane: bpy.types.Object, camera: bpy.types.Object, facts: TakeFacts) -> None:
    for (path, index), expression in _expressions(facts).items():
        curve = plane.driver_add(path, index) if path in ("location", "scale") else plane.driver_add(path)
        driver = curve.driver
        words = set(expression.replace("(", " ").replace(")", " ").split())
        for name, source in ({"d": f'["{DISTANCE}"]'} | _LENS).items():
            if name in words or (name == "d" and "-d" in words):
                target = _variable(driver, name, "SINGLE_PROP")
                target.id, target.data_path = plane if name == "d" else camera, source
        for name, source in _ASPECT.items():
            if name in words:
                target = _variable(driver, name, "CONTEXT_PROP")
                target.context_property, target.data_path = "ACTIVE_SCENE", source
                target.use_fallback_value, target.fallback_value = True, 1.0
        for name, channel in (("sx", "SCALE_X"), ("sy", "SCALE_Y"), ("sz", "SCALE_Z")):
            if name in words:
                target = _variable(driver, name, "TRANSFORMS")
                target.id, target.transform_type, target.transform_space = camera, channel, "WORLD_SPACE"
        driver.expression = expression


def _variable(driver: bpy.types.Driver, name: str, kind: str) -> bpy.types.DriverTarget:
    variable = driver.variables.new()
    variable.name, variable.type = name, kind
    return variable.targets[0]
