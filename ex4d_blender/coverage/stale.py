# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether what the sidecar found still holds: the camera may have moved since.

Two looks, both without evaluating anything: the fingerprint of what the move is made of, taken again after a change,
and at each frame that is visited the camera itself against the one that was rendered.
"""

import bpy
import numpy as np
from bpy.app.handlers import persistent

from ..errors import UserError
from ..placed import of_camera, source_time
from ..project.solved import in_footage
from ..shots import camera_math
from ..shots.properties import Shot
from . import inputs, record

_TOLERANCE = 1e-4
"""Relative difference of two cameras that is rounding."""

_fingerprints: dict[str, str] = {}
"""Camera's name -> its fingerprint now, since the last change of anything."""
_moved: dict[tuple[str, str], set[int]] = {}
"""Camera's name and the fingerprint it was rendered with -> visited frames at which it was elsewhere."""


def is_stale(context: bpy.types.Context, camera: bpy.types.Object) -> bool:
    """Whether a camera with a record has changed since, as far as can be told at this frame."""
    found = record.read(camera)
    if found is None:
        return True
    shot = shot_of(context.scene, camera)
    placed = of_camera(context.scene, camera)
    if shot is None or placed is None:
        return True
    if camera.name not in _fingerprints:
        _fingerprints[camera.name] = inputs.fingerprint(context.scene, shot, placed)
    moved = _moved.setdefault((camera.name, found.inputs), set())
    index = found.index(context.scene.frame_current)
    if index is not None and not context.scene.frame_subframe:
        (moved.discard if _is_there(context, camera, found, index) else moved.add)(index)
    return _fingerprints[camera.name] != found.inputs or bool(moved)


def shot_of(scene: bpy.types.Scene, camera: bpy.types.Object | None) -> Shot | None:
    """The shot of a camera: the active one where it is its, else the first."""
    from ..shots import active_shot

    active = active_shot(scene)
    if camera is None or (active is not None and active.camera == camera):
        return active
    return next((shot for shot in scene.ex4d_shots if shot.camera == camera), None)


def forget() -> None:
    """Look anew: a render has come back, or another file was opened."""
    _fingerprints.clear()
    _moved.clear()


def _is_there(context: bpy.types.Context, camera: bpy.types.Object, found: record.Record, index: int) -> bool:
    rendered = record.trajectory_of(found.shot_folder)
    placed = of_camera(context.scene, camera)
    if rendered is None or placed is None or index >= len(rendered[0]):
        return True
    depsgraph = context.evaluated_depsgraph_get()
    seen, empty = camera.evaluated_get(depsgraph), placed.empty.evaluated_get(depsgraph)
    poses, _, times = rendered
    try:
        pose = camera_math.scene_pose(
            np.array(empty.matrix_world, np.float64),
            np.array(seen.matrix_world, np.float64),
            (placed.empty.name, camera.name),
        )
        time = source_time(placed, seen, context.scene.frame_current_final)
        pose = in_footage(placed, pose[None], np.array([time]))[0]
    except UserError:
        return False
    size = 1.0 + np.abs(poses[index]).max()
    return bool(np.abs(pose - poses[index]).max() <= _TOLERANCE * size and abs(time - times[index]) <= 1e-3)


@persistent
def _changed(scene: bpy.types.Scene, depsgraph: bpy.types.Depsgraph) -> None:
    """Something was edited (or the frame was: then nothing of this is looked at again before the next drawing)."""
    if _fingerprints and any(
        isinstance(update.id, bpy.types.Object | bpy.types.Camera | bpy.types.Action | bpy.types.Scene)
        for update in depsgraph.updates
    ):
        _fingerprints.clear()


@persistent
def _opened(*_: object) -> None:
    forget()


def register() -> None:
    """Watch for changes."""
    bpy.app.handlers.depsgraph_update_post.append(_changed)
    for handlers in (bpy.app.handlers.load_post, bpy.app.handlers.undo_post, bpy.app.handlers.redo_post):
        handlers.append(_opened)


def unregister() -> None:
    """See `register`."""
    for handlers, handler in (
        (bpy.app.handlers.depsgraph_update_post, _changed),
        (bpy.app.handlers.load_post, _opened),
        (bpy.app.handlers.undo_post, _opened),
        (bpy.app.handlers.redo_post, _opened),
    ):
        if handler in handlers:
            handlers.remove(handler)
    forget()
