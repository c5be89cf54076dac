# SPDX-License-Identifier: GPL-3.0-or-later
"""What a viewport, and what the camera's own picture, see of the footage: frames, matrices and sizes."""

import math
from dataclasses import dataclass

import bpy
import numpy as np
from mathutils import Matrix, Vector

from ..mesh.poses import CENTRE, FOCAL, POSE
from ..placed import Placed, of_camera, source_time
from ..scene_folder import SceneFacts
from .source import SourceFrame, source_frame
from .surface import View

_MOST_SIDE = 4096
"""Longest side at which the camera's picture is counted, pixels."""


@dataclass(frozen=True)
class Picture:
    """The size of the picture that a camera takes."""

    width: int
    height: int
    """Pixels."""
    aspect: tuple[float, float]
    """Pixel aspect, x and y."""


@dataclass(frozen=True)
class Shown:
    """The footage that stands before the camera at this frame, as found just now."""

    placed: Placed
    facts: SceneFacts
    clip_frame: int
    frame: SourceFrame
    world: Matrix
    """4x4, source camera space (OpenCV axes, scene units) to Blender's world."""
    lens: tuple[float, float, float, float]
    """The source camera's fx, fy, cx, cy, pixels of the working size."""


def shown(context: bpy.types.Context) -> Shown | None:
    """The footage of the scene's camera at the current frame; None where there is none.

    Raises:
        UserError: its folder is missing or damaged, or a Source Time is no number.
    """
    scene = context.scene
    camera = evaluated(context, scene.camera)
    placed = of_camera(scene, scene.camera)
    if placed is None:
        return None
    facts = placed.facts()
    now = scene.frame_current_final
    time = placed.default_source_time(now) if camera is None else source_time(placed, camera, now)
    clip_frame = min(max(math.floor(time + 0.5), 0), facts.frames - 1)
    world, lens = _source_camera(context, placed, facts, clip_frame)
    return Shown(placed, facts, clip_frame, source_frame(facts, clip_frame), world, lens)


def evaluated(context: bpy.types.Context, thing: bpy.types.Object | None) -> bpy.types.Object | None:
    """An object as the window shows it. The window's own dependency graph is up to date while it draws."""
    return None if thing is None else thing.evaluated_get(context.evaluated_depsgraph_get())


def _source_camera(
    context: bpy.types.Context, placed: Placed, facts: SceneFacts, clip_frame: int
) -> tuple[Matrix, tuple[float, float, float, float]]:
    """`Shown.world` and `.lens` of a clip frame: what the mesh itself goes by, else what the folder says."""
    mesh = placed.mesh
    stands = _stands(context, placed)
    if mesh is not None and mesh.type == "MESH" and clip_frame < len(mesh.data.vertices):
        attributes = mesh.data.attributes
        if all(name in attributes for name in (POSE, FOCAL, CENTRE)):
            pose, focal, centre = (attributes[name].data[clip_frame] for name in (POSE, FOCAL, CENTRE))
            return stands @ pose.value, (*focal.vector[:2], *centre.vector[:2])
    lens = tuple(map(float, facts.intrinsics[clip_frame]))
    if facts.source_c2w is None:
        return stands.copy(), lens
    return stands @ Matrix(facts.source_c2w[clip_frame].tolist()), lens


def _stands(context: bpy.types.Context, placed: Placed) -> Matrix:
    """The mesh's matrix to the world, also where it is hidden: then Blender does not keep it up to date."""
    mesh = evaluated(context, placed.mesh)
    if mesh is not None and mesh.is_evaluated:
        return mesh.matrix_world
    empty = evaluated(context, placed.empty).matrix_world
    if placed.mesh is None or placed.mesh.parent != placed.empty:
        return empty
    # not `matrix_local`, which Blender works out from the last known place of the mesh
    return empty @ placed.mesh.matrix_parent_inverse @ placed.mesh.matrix_basis


def picture_of(scene: bpy.types.Scene) -> Picture:
    """The picture that the scene's camera takes: its shot's where it has one, else the render's."""
    render = scene.render
    aspect = render.pixel_aspect_x, render.pixel_aspect_y
    shot = _shot(scene)
    if shot is not None:
        return Picture(shot.width, shot.height, aspect)
    share = render.resolution_percentage / 100.0
    return Picture(max(int(render.resolution_x * share), 1), max(int(render.resolution_y * share), 1), aspect)


def _shot(scene: bpy.types.Scene):
    from ..shots import active_shot

    shot = active_shot(scene)
    return shot if shot is not None and shot.camera is not None and shot.camera == scene.camera else None


def camera_view(context: bpy.types.Context, seen: Shown) -> View | None:
    """The scene camera's own picture, at the size of its shot; None without a camera.

    Larger than 4096 pixels it is counted at that size.
    """
    camera = evaluated(context, context.scene.camera)
    if camera is None or camera.type != "CAMERA":
        return None
    picture = picture_of(context.scene)
    smaller = min(1.0, _MOST_SIDE / max(picture.width, picture.height))
    width, height = max(round(picture.width * smaller), 1), max(round(picture.height * smaller), 1)
    matrix = _camera_projection(context, camera, picture) @ seen.world
    return _view(matrix, width, height, width / picture.width, seen)


def viewport_view(context: bpy.types.Context, seen: Shown) -> View:
    """What the context's 3D viewport sees."""
    region, region_3d = context.region, context.region_data
    matrix = region_3d.perspective_matrix @ seen.world
    corners = frame_corners(context)
    picture = picture_of(context.scene)
    # in the camera's view a pixel of the shot is as large as its frame says; elsewhere the shot would fill the height
    pixels = (corners[1][0] - corners[0][0]) / picture.width if corners else region.height / picture.height
    return _view(matrix, region.width, region.height, max(pixels, 1e-6), seen)


def frame_corners(context: bpy.types.Context) -> tuple[tuple[float, float], tuple[float, float]] | None:
    """Lower left and upper right corner of the shot's picture in the context's viewport, pixels of the region.

    None where the viewport does not look through the scene's camera.
    """
    region, region_3d, space = context.region, context.region_data, context.space_data
    camera = evaluated(context, context.scene.camera)
    through = space.camera if space.use_local_camera else context.scene.camera
    if region_3d.view_perspective != "CAMERA" or camera is None or camera.type != "CAMERA" or through is None:
        return None
    if through != context.scene.camera:
        return None
    back = _camera_projection(context, camera, picture_of(context.scene)).inverted()
    found = []
    for x, y in ((-1.0, -1.0), (1.0, 1.0)):
        at = region_3d.perspective_matrix @ (back @ Vector((x, y, 0.0, 1.0)))
        if at.w <= 0:
            return None
        found.append(((at.x / at.w * 0.5 + 0.5) * region.width, (at.y / at.w * 0.5 + 0.5) * region.height))
    return found[0], found[1]


def _camera_projection(context: bpy.types.Context, camera: bpy.types.Object, picture: Picture) -> Matrix:
    """World to the clip space of a camera (evaluated) and its picture; the camera's scale does not count."""
    lens = camera.calc_matrix_camera(
        context.evaluated_depsgraph_get(),
        x=picture.width,
        y=picture.height,
        scale_x=picture.aspect[0],
        scale_y=picture.aspect[1],
    )
    return lens @ camera.matrix_world.normalized().inverted()


def _view(matrix: Matrix, width: int, height: int, pixels: float, seen: Shown) -> View:
    """A view from world to clip space, and pixels of the view for each pixel of the shot."""
    return View(matrix, seen.lens, _focal(matrix, width), width, height, pixels * seen.facts.plate_finer)


def _focal(matrix: Matrix, width: int) -> float:
    """Horizontal focal length of a matrix to clip space, pixels; orthographic: pixels for each scene unit."""
    rows = np.array(matrix, np.float64)
    across, ahead = rows[0, :3], rows[3, :3]
    length = np.linalg.norm(ahead)
    if length < 1e-12:
        return float(np.linalg.norm(across)) * width / 2
    ahead = ahead / length
    return float(np.linalg.norm(across - (across @ ahead) * ahead)) / length * width / 2
