# SPDX-License-Identifier: GPL-3.0-or-later
"""*Accept as Plane*: the take on a plane that fills the shot camera's frame.

The plane hangs on the camera. Simple drivers keep it as wide and high as the frame at its `Distance`, whatever lens,
sensor and shift do; they run without the extension and with Python scripts switched off. What is in front of it hides
it, as anything in the scene.
"""

import bpy

from ..errors import UserError
from ..mesh import depth_survey, grid_group, plate_material
from ..placed import of_camera
from ..shots import Shot
from ..takes.folder import TakeFacts
from ..versions import fcurves
from . import lens, marks, picture, sampling

USE = "PLANE"
DISTANCE = "Distance"
"""On the plane, keyable: how far from the camera it is, along its axis (float)."""
COLLECTION = "ex4d_takes"
"""On the collection of a scene's planes: True."""
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
    planes = marks.marked(context.scene.objects, USE, shot.key)
    if planes:
        replace(shot.key, facts)
        for plane in planes:
            _hang(plane, camera, facts)
        return
    image = picture.load(context.scene, shot, facts, USE)
    name = f"{shot.name} Plane"
    shown = sampling.build(name, image, facts)
    material = plate_material.plate(name, shown)
    mesh = bpy.data.meshes.new(name)
    mesh.from_pydata(_SQUARE, [], [(0, 1, 2, 3)])
    layer = mesh.uv_layers.new(name=grid_group.UV_MAP)
    for corner, (x, y, _) in zip(layer.data, _SQUARE, strict=True):
        corner.uv = x + 0.5, y + 0.5
    mesh.materials.append(material)
    plane = bpy.data.objects.new(name, mesh)
    for thing in (plane, material, shown.sampler):
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
    sampling.follow(USE, shot, facts)
    for plane in planes:
        marks.mark(plane, USE, shot, facts)
        expressions = _expressions(facts)
        for curve in fcurves.drivers(plane):
            found = expressions.get((curve.data_path, curve.array_index))
            if found is not None:  # of ours; one that the artist has removed stays away
                curve.driver.expression = found
        plane.update_tag()
    return len(planes)


def require_whole(shot: str) -> None:
    """Look whether the planes of a shot, by its key, can show another take. Raises: UserError."""
    planes = marks.marked(bpy.data.objects, USE, shot)
    sampling.require_whole(slot.material for plane in planes for slot in plane.material_slots)


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


def _expressions(facts: TakeFacts) -> dict[tuple[str, int], str]:
    """Data path and index -> the driver's expression.

    `d` is the distance, `sx` to `sz` the camera's own scale, which bends what hangs on it and not what it sees.
    """
    view = lens.view(facts)
    outside = f"not ({lens.during(facts)})"
    return {
        ("location", 0): f"d * {view.middle_x} / sx",
        ("location", 1): f"d * {view.middle_y} / sy",
        ("location", 2): "-d / sz",
        ("scale", 0): f"d * {view.width} / sx",
        ("scale", 1): f"d * {view.height} / sy",
        ("hide_viewport", 0): outside,
        ("hide_render", 0): outside,
    }


def _hang(plane: bpy.types.Object, camera: bpy.types.Object, facts: TakeFacts) -> None:
    """Let a plane of another camera, which the shot has had, hang on this one; one that the artist hung elsewhere
    stays."""
    if plane.parent is None or plane.parent.type != "CAMERA" or plane.parent == camera:
        return
    plane.parent = camera
    ours = _expressions(facts)
    for curve in fcurves.drivers(plane):
        for variable in curve.driver.variables if (curve.data_path, curve.array_index) in ours else ():
            if variable.type != "CONTEXT_PROP" and variable.targets[0].id != plane:
                variable.targets[0].id = camera


def _drive(plane: bpy.types.Object, camera: bpy.types.Object, facts: TakeFacts) -> None:
    for (path, index), expression in _expressions(facts).items():
        curve = plane.driver_add(path, index) if path in ("location", "scale") else plane.driver_add(path)
        names = lens.read(curve.driver, expression, camera)
        if "d" in names:
            target = lens.variable(curve.driver, "d", "SINGLE_PROP")
            target.id, target.data_path = plane, f'["{DISTANCE}"]'
        for name, channel in (("sx", "SCALE_X"), ("sy", "SCALE_Y"), ("sz", "SCALE_Z")):
            if name in names:
                target = lens.variable(curve.driver, name, "TRANSFORMS")
                target.id, target.transform_type, target.transform_space = camera, channel, "WORLD_SPACE"
        curve.driver.expression = expression
