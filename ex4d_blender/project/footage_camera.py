# SPDX-License-Identifier: GPL-3.0-or-later
"""A moving footage camera that Blender knows: a motion-tracking solve, an FBX or Alembic camera, any animated one.

The source camera takes its place in every clip frame, and the mesh with it: both hold the poses themselves (see
`mesh.poses`), so neither needs the camera afterwards, nor the extension. The lens stays the footage's. The scene folder
knows nothing of it: what leaves Blender is put back into the space of the folder's own cameras (`solved.in_footage`).
"""

from collections.abc import Generator

import bpy
import numpy as np

from ..errors import UserError
from ..mesh import poses, source_camera
from ..mesh.depth_survey import read_depth
from ..ownership import require_local
from ..placed import SOLVED, Placed, find
from ..scene_folder import SceneFacts
from ..shots import camera_math
from ..shots.unkeyed import Unkeyed
from . import scale_fit, standing
from .solved import own_poses, require_parts

FIT_VIEWS = 6
"""Frames compared to fit the scale, spread over the clip."""
LENS_TOLERANCE = 0.01
"""Relative difference of focal lengths that is not worth a word."""


def sampled(context: bpy.types.Context, placed: Placed, camera: bpy.types.Object) -> Generator[float, None, np.ndarray]:
    """Look where a camera is when each clip frame is shown, in the artist's scene, one frame a step.

    Whatever moves the camera counts: constraints, a motion-tracking solve, caches. Closed early or not, frame and
    un-keyed values come back.

    Yields:
        The share done.

    Returns:
        (T, 4, 4) float64, the camera's `matrix_world`.

    Raises:
        UserError: it was removed meanwhile.
    """
    scene, footage, name = context.scene, placed.id, camera.name_full
    frames, start, speed = placed.facts().frames, placed.frame_start, placed.speed or 1.0  # backward too
    frame, subframe = scene.frame_current, scene.frame_subframe
    unkeyed, matrices = Unkeyed(), []
    hidden = placed.mesh is not None and not placed.mesh.hide_viewport
    if hidden:
        placed.mesh.hide_viewport = True  # it moves no camera, and is most of a frame's time
    try:
        for clip_frame in range(frames):
            at = start + clip_frame / speed
            scene.frame_set(int(at // 1), subframe=at % 1)
            seen = camera_named(scene, name)
            if seen is None:
                raise UserError("{name} was removed meanwhile: choose another camera.", name=name)
            evaluated = seen.evaluated_get(context.evaluated_depsgraph_get())
            matrices.append(np.array(evaluated.matrix_world, np.float64))
            yield (clip_frame + 1) / frames
    finally:
        scene = context.scene
        scene.frame_set(frame, subframe=subframe)
        again = find(scene, footage)
        if hidden and again is not None and again.mesh is not None:
            again.mesh.hide_viewport = False
        unkeyed.restore()
    return np.stack(matrices)


def camera_named(scene: bpy.types.Scene, name: str) -> bpy.types.Object | None:
    """The camera of that name in a scene; where a linked one has the same, it is called `NAME [FILE]`."""
    found = [thing for thing in scene.objects if thing.type == "CAMERA" and name in (thing.name_full, thing.name)]
    return min(found, key=lambda thing: thing.name_full != name, default=None)


def world_poses(matrices: np.ndarray, name: str) -> np.ndarray:
    """A camera's `matrix_world`s as rigid poses in Blender's world, OpenCV axes: (T, 4, 4) both. Raises: UserError."""
    return np.stack([camera_math.scene_pose(np.eye(4), matrix, ("The world", name)) for matrix in matrices])


def fitted_scale(facts: SceneFacts, world: np.ndarray) -> Generator[float, None, float]:
    """From a few frames, one a step: how many Blender units a scene unit is, where the world's poses are these.

    Yields:
        The share done.

    Returns:
        Blender units per scene unit.

    Raises:
        UserError: files are missing, or the frames do not tell.
    """
    chosen = np.unique(np.linspace(0, facts.frames - 1, FIT_VIEWS).round().astype(int))
    views = []
    for frame in chosen:
        depth, color = read_depth(facts, int(frame)), read_color(facts, int(frame))
        views.append(scale_fit.view(depth, color, facts.intrinsics[frame], world[frame]))
        yield 0.5 * len(views) / len(chosen)
    return (yield from scale_fit.fit_scale(views))


def read_color(facts: SceneFacts, frame: int) -> np.ndarray:
    """One frame's colour: (H, W, 3) float32 sRGB, 0 to 1, rows from the top. Raises: UserError."""
    path = facts.file(facts.color, frame)
    try:
        image = bpy.data.images.load(str(path), check_existing=False)
    except RuntimeError:
        raise UserError("{path} cannot be read: import the clip again, or use Relink.", path=path) from None
    try:
        image.colorspace_settings.is_data = True
        width, height = image.size
        if (width, height) != (facts.width, facts.height):
            raise UserError(
                "{path} has {width}x{height} pixels, not the scene's size: import the clip again.",
                path=path,
                width=width,
                height=height,
            )
        pixels = np.empty(width * height * image.channels, np.float32)
        image.pixels.foreach_get(pixels)
        return pixels.reshape(height, width, image.channels)[::-1, :, :3]
    finally:
        bpy.data.images.remove(image)


def require_writable(placed: Placed) -> None:
    """Require footage whose poses can be changed for good. Raises: UserError."""
    require_parts(placed)
    mesh, camera = placed.mesh, placed.source_camera
    require_local(placed.empty, mesh, mesh.data, camera, camera.data)


def follow(placed: Placed, world: np.ndarray, name: str, scale: float | None) -> None:
    """Let mesh and source camera stand where a camera stood.

    Args:
        placed: its empty stays where it is.
        world: (T, 4, 4) float64 poses in Blender's world, OpenCV axes.
        name: of the camera.
        scale: Blender units per scene unit, set on the empty; None keeps the empty's.

    Raises:
        UserError: the empty's scale is animated, uneven or mirrored, or parts of the footage are missing.
    """
    facts = placed.facts()
    require_writable(placed)
    if scale is not None:
        standing.require_free(placed, "scale")
        factor = scale / placed.empty.matrix_world.to_scale()[0]
        placed.empty.scale = placed.empty.scale * factor
        standing.keep_in_sight(placed, factor)
        bpy.context.view_layer.update()
    empty = np.array(placed.empty.matrix_world, np.float64)
    flip = camera_math.BLENDER_FROM_OPENCV
    local = np.stack([camera_math.scene_pose(empty, pose @ flip, (placed.empty.name, name)) for pose in world])
    _write(placed, local, facts)
    placed.empty[SOLVED] = name


def release(placed: Placed) -> None:
    """Back to the cameras of the scene folder; the scale stays. Raises: UserError."""
    facts = placed.facts()
    require_writable(placed)
    _write(placed, own_poses(facts), facts)
    if SOLVED in placed.empty:
        del placed.empty[SOLVED]


def lens_difference(facts: SceneFacts, camera: bpy.types.Object, aspect: tuple[float, float]) -> float:
    """A camera's focal length over the footage's, at the footage's size: 1 where they agree."""
    own = camera_math.intrinsics(camera.data, facts.width, facts.height, aspect)[0]
    return float(own / np.median(facts.intrinsics[:, 0]))


def _write(placed: Placed, c2w: np.ndarray, facts: SceneFacts) -> None:
    poses.write(placed.mesh.data, c2w, facts.intrinsics)
    placed.mesh.update_tag()
    source_camera.set_poses(placed.source_camera, c2w, placed.empty)
