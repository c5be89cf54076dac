# SPDX-License-Identifier: GPL-3.0-or-later
"""Samples a shot's camera: what Blender would render from, frame by frame.

The fast way evaluates the camera in a temporary scene that holds nothing but it and the footage's empty (0.01 to 0.04
ms a frame, however heavy the artist's scene). That scene cannot know what depends on the artist's scene itself, such
as drivers on its current frame or physics: where `dependence` finds such, or one of four frames differs, the artist's
is swept frame by frame. `steps` does all of it in small steps, for a modal operator; `sample` in one go.
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
from ..versions import fcurves
from . import camera_math, dependence
from .properties import MAX_FRAME, MAX_FRAMES, Shot, find_shot
from .quiet import quiet
from .shot_camera import is_shown, required_camera
from .trajectory import TrajectorySample
from .unkeyed import Unkeyed

_CHUNK = 100
"""Frames that are sampled in one step: a tenth of a second."""
_TOLERANCE = 1e-5
"""Relative difference between two evaluations of one camera that is rounding: less than 0.02 pixels."""
_COMPARED = (0.0, 2**0.5 - 1, 3**0.5 - 1, 1.0)
"""Which frames are compared, shares of the shot: what repeats does not come round at all of them."""

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
    hangs_on = dependence.involved(shot.camera, _footage(context.scene, shot.camera).empty)
    start = dependence.simulated_from(context.scene, hangs_on)
    differs = start is not None or dependence.asks_the_scene(hangs_on) or (yield from _differs(context, key, looks))
    shot = again(context, key)
    if differs:
        if not sweep:
            raise NeedsSweep(
                "{camera} depends on the scene around it: export it with Export Trajectory, which goes through the "
                "frames one by one.",
                camera=shot.camera.name,
            )
        looks = yield from _swept(context, key, start)
        shot = again(context, key)
    return _sample(context.scene, shot, looks)


def look(context: bpy.types.Context, camera: bpy.types.Object, frame: int, size: tuple[int, int]) -> _Look:
    """One camera at one frame, the fast way, for a picture of this size (pixels). Raises: UserError."""
    _check_lens(camera)
    with _alone(context, camera, _footage(context.scene, camera)) as looking:
        return looking(frame, size)


def _result(work: Steps) -> TrajectorySample:
    while True:
        try:
            next(work)
        except StopIteration as done:
            return done.value


def _check(scene: bpy.types.Scene, shot: Shot) -> None:
    _check_lens(required_camera(scene, shot))
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


def _check_lens(camera: bpy.types.Object) -> None:
    """As `camera_math.check_lens`, unless keys tell otherwise for each frame."""
    if camera.type != "CAMERA" or "type" not in {path for path, _ in fcurves.animated_channels(camera.data)}:
        camera_math.check_lens(camera)


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
    if seen.data.type != "PERSP":
        raise UserError(
            "{camera} is no perspective camera at frame {frame}: delete the keys of its Type under Object Data > Lens.",
            camera=camera.name,
            frame=scene.frame_current,
        )
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
    hidden = [thing for thing in {camera, placed.empty} if thing.hide_viewport]  # those are not evaluated
    alone = bpy.data.scenes.new("EX-4D Sampling")
    try:
        for thing in {camera, placed.empty}:
            alone.collection.objects.link(thing)
            thing.hide_viewport = False
            thing.update_tag()  # custom properties set by a script do not make themselves known
        alone.camera = camera
        for name in ("fps", "fps_base", "frame_map_old", "frame_map_new", "pixel_aspect_x", "pixel_aspect_y"):
            setattr(alone.render, name, getattr(real.render, name))

        def looking(frame: int, size: tuple[int, int]) -> _Look:
            alone.frame_set(frame)
            return _look(alone, alone.view_layers[0].depsgraph, camera, placed, size)

        yield looking
    finally:
        for thing in hidden:
            thing.hide_viewport = True
        # Driven values are nobody's keys: they are to be those of the artist's frame again.
        alone.frame_set(real.frame_current, subframe=real.frame_subframe)
        bpy.data.scenes.remove(alone)
        unkeyed.restore()


def _differs(context: bpy.types.Context, key: str, looks: list[_Look]) -> Generator[float, None, bool]:
    """Whether the artist's scene tells otherwise at a few frames. One that leaves out camera or empty tells nothing."""
    with quiet(context.scene):
        for index in sorted({round(share * (len(looks) - 1)) for share in _COMPARED}):
            shot = again(context, key)
            _visit(context, shot, shot.first_frame + index)
            if _left_out(context, shot) is None and not _seen(context, shot).agrees(looks[index]):
                return True
            yield 0.5
    return False


def _swept(context: bpy.types.Context, key: str, start: int | None) -> Generator[float, None, list[_Look]]:
    """The camera in the artist's scene, frame by frame; from `start` on, where a simulation begins before the shot."""
    looks: list[_Look] = []
    with quiet(context.scene):
        frames = again(context, key).frames
        walk = range(min(frames.start, frames.start if start is None else start), frames.stop)
        for frame in walk:
            shot = again(context, key)
            _visit(context, shot, frame)
            left_out = _left_out(context, shot)
            if left_out is not None:
                raise UserError(
                    "{name} is left out of this view layer: tick its collection in the Outliner, and show it in "
                    "viewports.",
                    name=left_out.name,
                )
            if frame in frames:
                looks.append(_seen(context, shot))
            yield 0.5 + 0.5 * (frame + 1 - walk.start) / len(walk)
    return looks


def _visit(context: bpy.types.Context, shot: Shot, frame: int) -> None:
    """Have the artist's scene evaluate a frame, with the shot's camera as its own: the clip's time follows that."""
    for thing in (shot.camera, _footage(context.scene, shot.camera).empty):
        thing.update_tag()
    context.scene.frame_set(frame)
    if context.scene.camera != shot.camera:
        context.scene.camera = shot.camera
        context.view_layer.update()


def _left_out(context: bpy.types.Context, shot: Shot) -> bpy.types.Object | None:
    """Camera or empty, whichever the artist's scene does not evaluate; a camera of its own it does only in part."""
    things = shot.camera, _footage(context.scene, shot.camera).empty
    layer = context.view_layer.layer_collection
    return next((thing for thing in things if thing.hide_viewport or not is_shown(layer, thing)), None)


def _seen(context: bpy.types.Context, shot: Shot) -> _Look:
    """The camera where the artist's scene is now."""
    placed, size = _footage(context.scene, shot.camera), (shot.width, shot.height)
    return _look(context.scene, context.view_layer.depsgraph, shot.camera, placed, size)
