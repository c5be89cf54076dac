# SPDX-License-Identifier: GPL-3.0-or-later
"""Samples a shot's camera: what Blender would render from, frame by frame.

The fast way evaluates the camera in a temporary scene that holds nothing but it and the footage's empty (0.01 to 0.04
ms a frame, however heavy the artist's scene). That scene cannot know what depends on the artist's scene itself, such
as drivers on its current frame or physics: so three frames are compared with it, and where they differ it is swept
frame by frame. `steps` does all of it in small steps, for a modal operator; `sample` in one go.
"""

from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import bpy
import numpy as np

from .. import placed as footage
from ..errors import UserError
from ..placed import Placed
from ..project.rates import scene_rate
from ..project.solved import in_footage
from ..translation import translated
from ..versions import fcurves
from . import camera_math
from .properties import MAX_FRAME, MAX_FRAMES, Shot, find_shot
from .trajectory import TrajectorySample
from .unkeyed import Unkeyed

_CHUNK = 100
"""Frames that are sampled in one step: a tenth of a second."""
_TOLERANCE = 1e-5
"""Relative difference between two evaluations of one camera that is rounding: less than 0.02 pixels."""

Steps = Generator[float, None, TrajectorySample]


class NeedsSweep(UserError):
    """The camera depends on more than itself: only the artist's scene can tell where it is."""


@dataclass(frozen=True)
class _Look:
    """One frame's camera."""

    c2w: np.ndarray
    """(4, 4) float64, see `TrajectorySample`."""
    intrinsics: np.ndarray
    """(4,) float64."""
    source_time: float

    def agrees(self, other: "_Look") -> bool:
        """Whether both are the same camera but for rounding."""
        size = 1.0 + np.abs(other.c2w).max()
        return (
            np.abs(self.c2w - other.c2w).max() <= _TOLERANCE * size
            and np.abs(self.intrinsics - other.intrinsics).max() <= _TOLERANCE * np.abs(other.intrinsics).max()
            and abs(self.source_time - other.source_time) <= 1e-4
        )


def sample(context: bpy.types.Context, shot: Shot, *, sweep: bool = False) -> TrajectorySample:
    """A shot's trajectory, handles included, at once.

    Args:
        context: the scene and the view layer are read.
        shot: of this scene.
        sweep: go through the artist's scene where the fast way will not do; it may take a second a frame, so use
            `steps` in a modal operator where the artist waits.

    Raises:
        UserError: no camera or footage, or a camera that a trajectory cannot describe.
        NeedsSweep: the fast way will not do.
    """
    return _result(steps(context, shot, sweep=sweep))


def steps(context: bpy.types.Context, shot: Shot, *, sweep: bool = True) -> Steps:
    """As `sample`, in steps of at most one frame of the artist's scene; closing it early restores everything.

    Yields:
        The share that is done, 0..1.
    """
    _check(context.scene, shot)
    key = shot.key
    looks: list[_Look] = []
    while len(looks) < len(shot.frames):
        with _alone(context, shot.camera, _footage(context.scene, shot.camera)) as looking:
            now = shot.frames[len(looks) : len(looks) + _CHUNK]
            looks += [looking(frame, (shot.width, shot.height)) for frame in now]
        yield 0.5 * len(looks) / len(shot.frames)
        shot = again(context, key)
    differs = _asks_the_scene(shot.camera) or (yield from _differs(context, key, looks))
    shot = again(context, key)
    if differs:
        if not sweep:
            raise NeedsSweep(
                "{camera} depends on the scene around it: export it with Export Trajectory, which goes through the "
                "frames one by one.",
                camera=shot.camera.name,
            )
        looks = yield from _swept(context, key)
        shot = again(context, key)
    return _sample(context.scene, shot, looks)


def look(context: bpy.types.Context, camera: bpy.types.Object, frame: int, size: tuple[int, int]) -> _Look:
    """One camera at one frame, the fast way, for a picture of this size (pixels). Raises: UserError."""
    camera_math.check_lens(camera)
    with _alone(context, camera, _footage(context.scene, camera)) as looking:
        return looking(frame, size)


def ignored(camera: bpy.types.Object, scene: bpy.types.Scene) -> list[str]:
    """What a camera has that a generated shot will not show: `Depth of Field`, `Motion Blur`, `Stereoscopy`."""
    found = []
    if camera.data.dof.use_dof:
        found.append("Depth of Field")
    if scene.render.use_motion_blur:
        found.append("Motion Blur")
    if scene.render.use_multiview:
        found.append("Stereoscopy")
    return found


def said_of_ignored(camera: bpy.types.Object, effects: list[str]) -> str:
    """What to tell the artist of what `ignored` has found. Their names are Blender's own, in its catalogues."""
    listed = ", ".join(translated(effect) for effect in effects)
    return translated(
        "{camera}: generated shots leave out what it has of {effects}.", camera=camera.name, effects=listed
    )


def _result(work: Steps) -> TrajectorySample:
    while True:
        try:
            next(work)
        except StopIteration as done:
            return done.value


def _check(scene: bpy.types.Scene, shot: Shot) -> None:
    if shot.camera is None:
        raise UserError("{shot} has lost its camera: choose one in the Shots panel.", shot=shot.name)
    if scene.objects.get(shot.camera.name) != shot.camera:
        raise UserError(
            "{camera} is not in this scene: link it, or choose another camera for {shot}.",
            camera=shot.camera.name,
            shot=shot.name,
        )
    camera_math.check_lens(shot.camera)
    if len(shot.frames) > MAX_FRAMES:
        raise UserError(
            "{shot} has {frames} frames: at most {limit} are possible; shorten it.",
            shot=shot.name,
            frames=len(shot.frames),
            limit=MAX_FRAMES,
        )
    if max(-shot.first_frame, shot.last_frame) > MAX_FRAME:
        raise UserError(
            "{shot} reaches past frame {limit}, Blender's last: take frames or handles away.",
            shot=shot.name,
            limit=MAX_FRAME,
        )
    _footage(scene, shot.camera).facts()


def _footage(scene: bpy.types.Scene, camera: bpy.types.Object) -> Placed:
    placed = footage.of_camera(scene, camera)
    if placed is None:
        raise UserError("There is no footage in this scene yet: use Import Footage or Import Scene.")
    return placed


def again(context: bpy.types.Context, key: str) -> Shot:
    """The shot, found anew: between two steps of a modal operator anything may have happened."""
    shot = find_shot(context.scene, key)
    if shot is None or shot.camera is None:
        raise UserError("The shot was removed meanwhile: choose another one.")
    return shot


def _sample(scene: bpy.types.Scene, shot: Shot, looks: list[_Look]) -> TrajectorySample:
    placed, times = _footage(scene, shot.camera), np.array([each.source_time for each in looks])
    return TrajectorySample(
        c2w=in_footage(placed, np.stack([each.c2w for each in looks]), times),
        intrinsics=np.stack([each.intrinsics for each in looks]),
        source_time=times,
        width=shot.width,
        height=shot.height,
        fps=scene_rate(scene),
        frame_start=shot.first_frame,
        scene_hash=placed.facts().content_hash,
    )


def _look(
    scene: bpy.types.Scene,
    depsgraph: bpy.types.Depsgraph,
    camera: bpy.types.Object,
    placed: Placed,
    size: tuple[int, int],
) -> _Look:
    """The camera as evaluated by a dependency graph; pixel aspect and frame are those of `scene`."""
    seen, empty = camera.evaluated_get(depsgraph), placed.empty.evaluated_get(depsgraph)
    aspect = scene.render.pixel_aspect_x, scene.render.pixel_aspect_y
    return _Look(
        camera_math.scene_pose(
            np.array(empty.matrix_world, np.float64),
            np.array(seen.matrix_world, np.float64),
            (placed.empty.name, camera.name),
        ),
        camera_math.intrinsics(seen.data, *size, aspect),
        footage.source_time(replace(placed, empty=empty), seen, scene.frame_current_final),
    )


@contextmanager
def _alone(
    context: bpy.types.Context, camera: bpy.types.Object, placed: Placed
) -> Iterator[Callable[[int, tuple[int, int]], _Look]]:
    """A scene of only the camera and its footage's empty: a function from frame and size to a `_Look`."""
    real, unkeyed = context.scene, Unkeyed()
    alone = bpy.data.scenes.new("EX-4D Sampling")
    try:
        for thing in {camera, placed.empty}:
            alone.collection.objects.link(thing)
            thing.update_tag()  # custom properties set by a script do not make themselves known
        alone.camera = camera
        for name in ("fps", "fps_base", "frame_map_old", "frame_map_new", "pixel_aspect_x", "pixel_aspect_y"):
            setattr(alone.render, name, getattr(real.render, name))

        def looking(frame: int, size: tuple[int, int]) -> _Look:
            alone.frame_set(frame)
            return _look(alone, alone.view_layers[0].depsgraph, camera, placed, size)

        yield looking
    finally:
        # Driven values are nobody's keys: they are to be those of the artist's frame again.
        alone.frame_set(real.frame_current, subframe=real.frame_subframe)
        bpy.data.scenes.remove(alone)
        unkeyed.restore()


def _asks_the_scene(camera: bpy.types.Object) -> bool:
    """Whether a driver of the camera itself names a scene: the temporary one would answer in its place."""
    found = [
        driver
        for thing in (camera, camera.data)
        for driver in fcurves.drivers(thing)
        if not driver.data_path.startswith("background_images")  # those show the plate, and move nothing
    ]
    return any(
        variable.type == "CONTEXT_PROP" or any(target.id_type == "SCENE" for target in variable.targets)
        for driver in found
        for variable in driver.driver.variables
    )


def _differs(context: bpy.types.Context, key: str, looks: list[_Look]) -> Generator[float, None, bool]:
    """Whether the artist's scene tells otherwise at the first, the middle and the last frame."""
    with _quiet(context.scene):
        for index in sorted({0, len(looks) // 2, len(looks) - 1}):
            shot = again(context, key)
            seen = _from_scene(context, shot, shot.first_frame + index)
            if seen is not None and not seen.agrees(looks[index]):
                return True
            yield 0.5
    return False


def _swept(context: bpy.types.Context, key: str) -> Generator[float, None, list[_Look]]:
    """The camera in the artist's scene, frame by frame."""
    looks: list[_Look] = []
    with _quiet(context.scene):
        frames = again(context, key).frames
        for frame in frames:
            shot = again(context, key)
            seen = _from_scene(context, shot, frame)
            if seen is None:
                raise UserError(
                    "{camera} is in a collection that this view layer leaves out: tick it in the Outliner.",
                    camera=shot.camera.name,
                )
            looks.append(seen)
            yield 0.5 + 0.5 * len(looks) / len(frames)
    return looks


def _from_scene(context: bpy.types.Context, shot: Shot, frame: int) -> _Look | None:
    """The camera in the artist's scene; None where it is not evaluated there."""
    placed = _footage(context.scene, shot.camera)
    if not all(context.view_layer.objects.get(thing.name) == thing for thing in (shot.camera, placed.empty)):
        return None
    for thing in (shot.camera, placed.empty):
        thing.update_tag()
    context.scene.frame_set(frame)
    if context.scene.camera != shot.camera:  # the clip's time follows the scene's camera: to be rendered, it is that
        context.scene.camera = shot.camera
        context.view_layer.update()
    depsgraph = context.view_layer.depsgraph
    return _look(context.scene, depsgraph, shot.camera, placed, (shot.width, shot.height))


@contextmanager
def _quiet(scene: bpy.types.Scene) -> Iterator[None]:
    """The artist's scene for a walk through frames: frame, un-keyed values and visibility come back.

    The footage's meshes are hidden meanwhile: they move no camera, and make up most of a frame's time.
    """
    name, frame, subframe = scene.name, scene.frame_current, scene.frame_subframe
    camera = scene.camera.name_full if scene.camera else None
    unkeyed = Unkeyed()
    hidden = [
        placed.mesh.name
        for placed in footage.all_placed(scene)
        if placed.mesh is not None and placed.mesh.library is None and not placed.mesh.hide_viewport
    ]
    for mesh in hidden:
        bpy.data.objects[mesh, None].hide_viewport = True
    try:
        yield
    finally:
        scene = bpy.data.scenes.get((name, None))  # by name: a modal walk may end because another file was opened
        if scene is not None:
            scene.frame_set(frame, subframe=subframe)
            scene.camera = next((thing for thing in scene.objects if thing.name_full == camera), None)
        for mesh in hidden:
            thing = bpy.data.objects.get((mesh, None))
            if thing is not None:
                thing.hide_viewport = False
        unkeyed.restore()
