# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes cameras for shots, and has them move.

A new camera is a child of the footage's empty, with a parent inverse that stands its channels upright: x right, y ahead
of the filmed view, z up, in scene units. So its keys read like any camera's, and it follows when the empty is moved,
turned or scaled.
"""

from collections.abc import Iterator

import bpy
import numpy as np
from mathutils import Matrix

from ..errors import UserError
from ..mesh import depth_survey, placing
from ..placed import FOOTAGE_ID, Placed
from . import camera_math, keying
from .moves import MOVES, Settings
from .properties import MAX_FRAMES, Shot
from .source_view import SourceView, shown_frame, source_view, subject_distance

ORBIT = "ex4d_orbit"
"""On the empty that carries a camera around its subject."""


def new_camera(context: bpy.types.Context, placed: Placed, name: str) -> bpy.types.Object:
    """An ordinary camera beside the footage's empty. Raises: UserError."""
    collection = _beside(context, placed)
    camera = bpy.data.objects.new(name, bpy.data.cameras.new(name))
    camera.rotation_mode = "XYZ"
    camera[FOOTAGE_ID] = placed.id
    source = placed.source_camera
    if source is not None:
        camera.data.clip_start, camera.data.clip_end = source.data.clip_start, source.data.clip_end
        camera.data.display_size = source.data.display_size
    scale = max(placed.empty.matrix_world.to_scale())  # the empty may have been scaled since the footage was placed
    placing.fit_clipping(camera.data, scale, depth_survey.survey(placed.facts()))
    collection.objects.link(camera)
    return camera


def move(
    context: bpy.types.Context, placed: Placed, shot: Shot, name: str, settings: Settings, distance: float
) -> bool:
    """Give a shot's camera a move, over the shot's range; what it did before goes.

    Args:
        context: the scene.
        placed: the footage that it looks at.
        shot: its camera must be free to move: see `check_free`.
        name: of `MOVES`.
        settings: see there.
        distance: of the subject, scene units; 0 measures it.

    Returns:
        Whether the keys follow the move to 0.1 degrees and 0.1 %.

    Raises:
        UserError: settings or depth that will not do.
    """
    camera, frames = shot.camera, (shot.frame_start, shot.frame_end)
    if frames[1] - frames[0] >= MAX_FRAMES:
        raise UserError("{shot} is longer than {limit} frames: shorten it.", shot=shot.name, limit=MAX_FRAMES)
    view = source_view(context, placed, shot.frame_start, (shot.width, shot.height))
    fits = keying.channels(name, settings, frames[1] - frames[0] + 1)
    still = all(len(each.keys) == 1 and abs(each.keys[0].value) < 1e-9 for each in fits["location"])
    if distance <= 0:
        facts, first = placed.facts(), shown_frame(placed, shot.frame_start)
        distance = 1.0 if still else subject_distance(facts, first, MOVES[name].reference)

    leave_orbit(camera)
    camera.parent, camera.parent_type = placed.empty, "OBJECT"
    camera.matrix_parent_inverse = _upright(view)
    camera.rotation_mode, camera.scale = "XYZ", (1.0, 1.0, 1.0)
    view.give_lens(camera.data)
    if "orbit" in fits:
        orbit = _orbit(context, placed, view, f"{camera.name} Orbit", distance)
        camera.parent, camera.matrix_parent_inverse = orbit, Matrix.Identity(4)
        keying.write(orbit, "rotation_euler", fits["orbit"], frames, only_moving=True)
    keying.clear_turns(camera)
    keying.write(camera, "location", fits["location"], frames, unit=distance)
    keying.write(camera, "rotation_euler", fits["rotation"], frames)
    keying.write(camera.data, "lens", fits["focal"], frames, unit=view.lens, only_moving=True)
    return not keying.misses(fits)


def check_free(camera: bpy.types.Object, placed: Placed) -> None:
    """Require a camera that a move may be written to.

    Raises:
        UserError: it hangs on a rig of the artist's, is driven or linked.
    """
    parent = camera.parent
    if camera == placed.source_camera:
        raise UserError(
            "{camera} is the filmed camera: a move belongs to another one, make a New Shot.", camera=camera.name
        )
    if camera.library is not None:
        raise UserError(
            "{camera} is linked from another file: make a New Shot, or a library override.", camera=camera.name
        )
    if camera.data.library is not None:
        raise UserError(
            "The lens of {camera} is linked from another file: make a New Shot, or make its data local "
            "(Object > Relations > Make Local).",
            camera=camera.name,
        )
    if camera.data.users - camera.data.use_fake_user > 1:
        raise UserError(
            "{camera} shares its lens with others: use Object > Relations > Make Single User first.", camera=camera.name
        )
    if parent is not None and parent != placed.empty and ORBIT not in parent:
        raise UserError(
            "{camera} hangs on {parent}: make a New Shot, or clear its parent.", camera=camera.name, parent=parent.name
        )
    active = [each for each in camera.constraints if each.enabled and each.name != "Blend to Source"]
    if active:
        raise UserError(
            "{camera} is held by {constraint}: make a New Shot, or remove its constraints.",
            camera=camera.name,
            constraint=active[0].name,
        )
    if keying.is_driven(camera):
        raise UserError(
            "{camera} is moved by drivers: make a New Shot, or delete the drivers (Blend to Source too).",
            camera=camera.name,
        )


def is_animated(camera: bpy.types.Object) -> bool:
    """Whether the camera, its lens, or the orbit that carries it is animated already: a move would replace that."""
    orbit = (camera.parent,) if camera.parent is not None and ORBIT in camera.parent else ()
    return any(keying.is_animated(thing) for thing in (camera, camera.data, *orbit))


def _upright(view: SourceView) -> Matrix:
    """What stands a child of the empty upright in the filmed view."""
    return Matrix((view.c2w @ np.linalg.inv(camera_math.UPRIGHT_FROM_SCENE)).tolist())


def _orbit(
    context: bpy.types.Context, placed: Placed, view: SourceView, name: str, distance: float
) -> bpy.types.Object:
    """An empty at the subject."""
    orbit = bpy.data.objects.new(name, None)
    orbit.empty_display_type, orbit.empty_display_size = "CIRCLE", distance * 0.25
    orbit[ORBIT] = True
    _beside(context, placed).objects.link(orbit)
    orbit.parent, orbit.matrix_parent_inverse = placed.empty, _upright(view)
    orbit.location, orbit.rotation_mode = (0.0, distance, 0.0), "XYZ"
    return orbit


def leave_orbit(camera: bpy.types.Object) -> None:
    """Remove the orbit of an earlier move, if nothing else hangs on it."""
    orbit = camera.parent
    if orbit is None or ORBIT not in orbit:
        return
    camera.parent = None
    if not orbit.children:
        bpy.data.objects.remove(orbit)


def _beside(context: bpy.types.Context, placed: Placed) -> bpy.types.Collection:
    """The collection of the footage's empty, or the scene's own where that is another file's or excluded from view."""
    scene = context.scene
    if scene.library is not None:
        raise UserError("{scene} is linked from another file: make shots in a scene of this file.", scene=scene.name)
    seen = set(_seen(context.view_layer.layer_collection))
    for collection in placed.empty.users_collection:
        if collection in seen and collection.library is None and collection.override_library is None:
            return collection
    return scene.collection


def _seen(layer: bpy.types.LayerCollection) -> Iterator[bpy.types.Collection]:
    """The collections below one that the view layer has: objects of an excluded one are not evaluated."""
    for child in layer.children:
        if not child.exclude:
            yield child.collection
        yield from _seen(child)
