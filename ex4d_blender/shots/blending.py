# SPDX-License-Identifier: GPL-3.0-or-later
"""Blend to Source: a keyable property that carries a camera from the filmed one (0) to the artist's own (1).

A Copy Transforms constraint whose influence is driven does the pose. A driver on the lens would outrank the artist's
keys, so those move, as they are, to a property of the camera's data that the driver reads; turning it off moves them
back. Nothing is baked, and it all works with the extension disabled.
"""

from typing import ClassVar

import bpy

from .. import placed as footage
from ..errors import SaysErrors, UserError
from ..ownership import require_local
from ..versions import fcurves
from . import camera_math
from .properties import NeedsShot, required_shot
from .shot_camera import required_camera

BLEND = "Blend to Source"
"""The custom property on the camera object, and the name of the constraint."""
_OWN = {"lens": "Own Lens", "shift_x": "Own Shift X", "shift_y": "Own Shift Y"}
"""Where the camera's own values live meanwhile: custom properties of its data."""


def is_on(camera: bpy.types.Object) -> bool:
    """Whether a camera blends to the filmed one, or the artist has deleted some of what makes it do so."""
    return BLEND in camera or BLEND in camera.constraints or any(own in camera.data for own in _OWN.values())


def turn_on(
    camera: bpy.types.Object, source: bpy.types.Object, size: tuple[int, int], aspect: tuple[float, float]
) -> None:
    """Add the property, at 1: the artist's camera.

    Args:
        camera: the artist's.
        source: the filmed one.
        size: of the picture, pixels; counts only if the two cameras' sensors are fitted to different sides.
        aspect: the scene's pixel aspect.

    Raises:
        UserError: the camera is the filmed one, or shares its lens.
    """
    _check(camera, source)
    camera[BLEND] = 1.0
    camera.id_properties_ui(BLEND).update(
        min=0.0, max=1.0, soft_min=0.0, soft_max=1.0, description="0 is the filmed camera, 1 is yours"
    )
    camera.property_overridable_library_set(f'["{BLEND}"]', True)
    hold = camera.constraints.new("COPY_TRANSFORMS")
    hold.name, hold.target = BLEND, source
    _driver(hold, "influence", "1 - blend", {"blend": (camera, f'["{BLEND}"]')})

    data, filmed = camera.data, source.data
    fcurves.make_single(data)
    sides = camera_math.view_factor(filmed, *size, aspect) / camera_math.view_factor(data, *size, aspect)
    # Numbers, not variables: a driver of the lens that reads the sensor beside it would be a dependency cycle.
    sensors = camera_math.sensor_size(data) / camera_math.sensor_size(filmed)
    for name, own in _OWN.items():
        data[own] = float(getattr(data, name))
        _retarget(data, name, f'["{own}"]')
        reads = {"blend": (camera, f'["{BLEND}"]'), "own": (data, f'["{own}"]'), "filmed": (filmed, name)}
        same = f"filmed * {sides * sensors if name == 'lens' else sides:.9g}"
        # The influence of a constraint ends at 0 and 1; so must this.
        _driver(data, name, f"own + (1 - min(max(blend, 0), 1)) * ({same} - own)", reads)
    camera.update_tag()
    data.update_tag()


def turn_off(camera: bpy.types.Object) -> None:
    """Remove all of it: the camera is as it was, its keys included."""
    hold = camera.constraints.get(BLEND)
    held = f'constraints["{BLEND}"].influence'  # its driver outlives a constraint that the artist deleted
    for driver in fcurves.drivers(camera):
        if driver.data_path == held:
            camera.animation_data.drivers.remove(driver)
    if hold is not None:
        camera.constraints.remove(hold)
    fcurves.remove(camera, f'["{BLEND}"]')
    if BLEND in camera:
        del camera[BLEND]
    data = camera.data
    for name, own in _OWN.items():
        if own not in data:
            continue
        data.driver_remove(name)
        setattr(data, name, data[own])
        _retarget(data, f'["{own}"]', name)
        del data[own]
    camera.update_tag()
    data.update_tag()


def _check(camera: bpy.types.Object, source: bpy.types.Object) -> None:
    camera_math.check_lens(camera)
    if camera == source:
        raise UserError("{camera} is the filmed camera itself: choose a shot of another camera.", camera=camera.name)
    if camera.data.users - camera.data.use_fake_user > 1:
        raise UserError(
            "{camera} shares its lens with others: use Object > Relations > Make Single User first.", camera=camera.name
        )
    if is_on(camera):
        raise UserError("{camera} blends to the filmed camera already.", camera=camera.name)
    data = camera.data
    strips = {path for path, _ in fcurves.animated_channels(data)} - {
        curve.data_path for curve in (*fcurves.curves(data), *fcurves.drivers(data))
    }
    if strips & set(_OWN):
        raise UserError(
            "The lens of {camera} is animated by NLA strips: bring them back to an action first.", camera=camera.name
        )


def _retarget(data: bpy.types.Camera, before: str, after: str) -> None:
    """Move what animates a property, keys or driver, to another one, as it is."""
    for curve in (*fcurves.curves(data), *fcurves.drivers(data)):
        if curve.data_path == before:
            curve.data_path = after


def _driver(thing: object, path: str, expression: str, reads: dict[str, tuple[bpy.types.ID, str]]) -> None:
    """A driver of a simple expression, which Blender runs with Python scripts off too."""
    driver = thing.driver_add(path).driver
    for name, (source, source_path) in reads.items():
        variable = driver.variables.new()
        variable.name, variable.type = name, "SINGLE_PROP"
        target = variable.targets[0]
        if isinstance(source, bpy.types.Camera):
            target.id_type = "CAMERA"
        target.id, target.data_path = source, source_path
    driver.expression = expression


class EX4D_OT_blend_to_source(NeedsShot, SaysErrors, bpy.types.Operator):
    """Blend to Source."""

    bl_idname = "ex4d.blend_to_source"
    bl_label = "Blend to Source"
    bl_description = (
        "Add a property, to be keyed, that carries the shot's camera from the filmed one (0) to yours (1); "
        "or remove it, and all it made"
    )
    bl_options: ClassVar = {"REGISTER", "UNDO"}

    def run(self, context: bpy.types.Context) -> None:
        """See `SaysErrors`."""
        scene, shot = context.scene, required_shot(context.scene)
        camera = required_camera(scene, shot)
        require_local(camera, camera.data)
        if is_on(camera):
            turn_off(camera)
            return
        placed = footage.of_camera(scene, camera)
        if placed is None or placed.source_camera is None:
            raise UserError("The footage has no source camera to blend to: import the scene again.")
        aspect = scene.render.pixel_aspect_x, scene.render.pixel_aspect_y
        turn_on(camera, placed.source_camera, (shot.width, shot.height), aspect)


register, unregister = bpy.utils.register_classes_factory((EX4D_OT_blend_to_source,))
