# SPDX-License-Identifier: GPL-3.0-or-later
"""Stands a scene folder in the Blender scene: empty, source camera, mesh."""

import math
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import bpy
import numpy as np

from .. import placed
from ..placed import Placed
from ..scene_folder import SceneFacts, read_scene
from ..versions import modifier_inputs
from . import bilinear_group, detail, dwmesh_group, grid_group, images, plate_material, poses, retiming, source_camera
from .copies import MODIFIER
from .depth_survey import DepthRange, survey

RELATIVE_MEDIAN = 5.0
"""Metres from the camera to the median of relative depth."""


def place(context: bpy.types.Context, folder: Path, frame_start: int | None = None) -> Placed:
    """Make empty, source camera and mesh of a scene folder, in a collection of their own; no undo step.

    Args:
        context: its scene gets them.
        folder: the `.ex4d` folder.
        frame_start: the Blender frame that shows clip frame 0; None for the scene's first frame.

    Raises:
        UserError: the folder or one of its files is missing, or one that is looked at is damaged; nothing was made.
    """
    facts = read_scene(Path(folder).absolute())
    facts.require_files()
    depths = survey(facts)
    with all_or_nothing():
        return _place(context.scene, facts, depths, frame_start)


_KINDS = ("objects", "collections", "meshes", "cameras", "images", "materials", "node_groups", "actions")


@contextmanager
def all_or_nothing() -> Iterator[None]:
    """Takes back what was made, where the rest cannot be, whatever the reason."""
    before = {kind: set(getattr(bpy.data, kind)) for kind in _KINDS}
    try:
        yield
    except BaseException:
        bpy.data.batch_remove(
            [thing for kind in _KINDS for thing in getattr(bpy.data, kind) if thing not in before[kind]]
        )
        raise


def _place(scene: bpy.types.Scene, facts: SceneFacts, depths: DepthRange, frame_start: int | None) -> Placed:
    collection = bpy.data.collections.new(facts.name)
    scene.collection.children.link(collection)
    footage = uuid.uuid4().hex

    empty = bpy.data.objects.new(facts.name, None)
    empty.empty_display_type, empty.empty_display_size = "ARROWS", 0.2 * depths.median
    empty.rotation_euler = (math.radians(-90), 0.0, 0.0)
    empty.scale = (scale_in(scene, facts, depths),) * 3
    empty[placed.FOLDER] = images.stored_path(facts.folder)
    empty[placed.FRAME_START] = float(scene.frame_start if frame_start is None else frame_start)
    empty[placed.SPEED] = 1.0
    empty[placed.SHAPE] = [facts.width, facts.height, facts.frames]
    empty[placed.CONTENT] = facts.content_hash
    retiming.drive_source_frame(empty, facts.frames)

    plate = images.plate(facts, footage)
    camera = source_camera.build(f"{facts.name} Camera", facts, plate, empty)
    camera.data.display_size = 0.1 * depths.median
    mesh = _mesh(facts, footage, plate, empty)
    for thing, role in ((empty, "empty"), (camera, "source_camera"), (mesh, "mesh")):
        thing[placed.FOOTAGE_ID], thing[placed.ROLE] = footage, role
        collection.objects.link(thing)
    if scene.camera is None:
        scene.camera = camera
    fit_clipping(camera.data, float(empty.scale[0]), depths)
    found = placed.find(scene, footage)
    assert found is not None
    return found


def scale_in(scene: bpy.types.Scene, facts: SceneFacts, depths: DepthRange) -> float:
    """The empty's scale: Blender units per scene unit. Metric depth keeps its metres, relative depth gets some."""
    units = scene.unit_settings
    metre = 1.0 if units.system == "NONE" else 1.0 / units.scale_length
    return metre if facts.units == "metric" else metre * RELATIVE_MEDIAN / depths.median


def fit_clipping(camera: bpy.types.Camera, scale: float, depths: DepthRange) -> None:
    """Let a camera at the source's place see all of the footage, and from twice as far away; never takes away."""
    camera.clip_end = max(camera.clip_end, 2 * depths.farthest * scale)
    camera.clip_start = min(camera.clip_start, depths.nearest * scale / 4)


def _mesh(facts: SceneFacts, footage: str, plate: bpy.types.Image, empty: bpy.types.Object) -> bpy.types.Object:
    data = bpy.data.meshes.new(f"{facts.name} Cameras")
    c2w = np.broadcast_to(np.eye(4), (facts.frames, 4, 4)) if facts.source_c2w is None else facts.source_c2w
    poses.write(data, c2w, facts.intrinsics)
    mesh = bpy.data.objects.new(f"{facts.name} Mesh", data)
    mesh.parent = empty
    grid = bpy.data.objects.new(f"{facts.name} Grid", bpy.data.meshes.new(f"{facts.name} Grid"))
    occlusion = images.occlusion(facts, footage)
    width, height = plate.size
    show = partial(retiming.show_clip, empty)
    sampler = bilinear_group.build(f"{facts.name} Plate", plate, (width, height), show)
    picture = plate_material.Picture(plate, sampler, show)
    proxy = images.proxy(facts, footage)
    level = facts.proxy_step if proxy else detail.automatic_level(facts.width, facts.height)
    proxy_step = facts.proxy_step if proxy else 0
    modifier = _modifier(
        mesh,
        dwmesh_group,
        {
            "Viewport Level": level,
            "Depth": images.depth(facts, footage),
            "Disparity": facts.depth_encoding == "half-disparity",
            "Far": facts.far,
            "Width": facts.width,
            "Height": facts.height,
            "Proxy Step": proxy_step,
            "Grid": grid,
            "Plate": plate_material.plate(f"{facts.name} Plate", picture),
            "Unseen": plate_material.unseen(f"{facts.name} Unseen"),
            "Bridges": plate_material.bridges(f"{facts.name} Bridges", picture),
        },
    )
    if proxy:
        modifier_inputs.write(modifier, "Proxy", proxy)
    if occlusion:
        modifier_inputs.write(modifier, "Occlusion", occlusion)
    else:
        modifier_inputs.write(modifier, "Hide Occluded", False)
    retiming.follow(mesh, modifier_inputs.data_path(modifier, "Frame"), empty)
    seen = plate_material.seen(f"{facts.name} Seen", picture)
    sizes = {"Width": facts.width, "Height": facts.height, "Viewport Level": level, "Proxy Step": proxy_step}
    flat = _modifier(grid, grid_group, sizes | {"Material": seen})
    for name in ("Viewport Level", "Render Level"):
        _drive_grid(grid, flat, name, mesh, modifier, {"value": name}, "value")
    _drive_grid(grid, flat, "Hide Occluded", mesh, modifier, {"hide": "Hide Occluded"}, "hide")
    shell = {"shell": "Far Shell", "hide": "Hide Occluded"}
    _drive_grid(grid, flat, "Far Shell", mesh, modifier, shell, "shell * (1 - hide)")
    return mesh


def _drive_grid(
    grid: bpy.types.Object,
    flat: bpy.types.NodesModifier,
    name: str,
    mesh: bpy.types.Object,
    modifier: bpy.types.NodesModifier,
    variables: dict[str, str],
    expression: str,
) -> None:
    """Let an input of the grid follow inputs of the mesh."""
    paths = {variable: modifier_inputs.data_path(modifier, item) for variable, item in variables.items()}
    retiming.drive(grid, modifier_inputs.data_path(flat, name), mesh, paths, expression)


def _modifier(owner: bpy.types.Object, group: object, values: dict[str, object]) -> bpy.types.NodesModifier:
    modifier = owner.modifiers.new(MODIFIER, "NODES")
    modifier.node_group = shared_group(group)
    for name, value in values.items():
        modifier_inputs.write(modifier, name, value)
    return modifier


def shared_group(group: object) -> bpy.types.NodeTree:
    """The file's node group of this kind and revision, made if there is none."""
    for tree in bpy.data.node_groups:
        if tree.get("ex4d_group") == group.NAME and tree.get("ex4d_revision") == group.REVISION and not tree.library:
            return tree
    tree = group.build()
    tree["ex4d_group"], tree["ex4d_revision"] = group.NAME, group.REVISION
    return tree
