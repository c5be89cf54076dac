# SPDX-License-Identifier: GPL-3.0-or-later
"""Which clip frame is shown: one driver on the empty, which mesh, plate and background follow.

`Source Frame` of the empty is the shown clip frame, a whole number: the scene camera's own Source Time where it has
one, else the frame's place in the clip. Plain properties and simple expressions: they run without the extension and
with Python scripts switched off.
"""

import bpy

from ..placed import FRAME_START, SOURCE_TIME, SPEED
from . import images

SOURCE_FRAME = "Source Frame"
"""On the empty, driven: the clip frame shown now (float, whole, within the clip)."""

NO_SOURCE_TIME = -1e9
"""What the driver reads where the scene's camera has no Source Time, or where there is no camera."""

Animated = bpy.types.ID
"""A datablock that can have drivers."""


def drive_source_frame(empty: bpy.types.Object, frames: int) -> None:
    """Write the one driver that knows time.

    The camera is found through the scene that is being evaluated, not through a fixed one: so it follows the scene's
    active camera, markers included, and a linked or appended empty does not drag its old scene along.

    Args:
        empty: has `Frame Start` and `Speed`.
        frames: length of the clip.
    """
    empty[SOURCE_FRAME] = 0.0
    empty.driver_remove(_item(SOURCE_FRAME))
    driver = empty.driver_add(_item(SOURCE_FRAME)).driver
    own = driver.variables.new()
    own.name, own.type = "own", "CONTEXT_PROP"
    target = own.targets[0]
    target.context_property = "ACTIVE_SCENE"
    target.data_path = f"camera{_item(SOURCE_TIME)}"
    target.use_fallback_value, target.fallback_value = True, NO_SOURCE_TIME
    # Blender evaluates a driver after a switch of the camera only if it also reads plain properties of the scene (from
    # 4.5 on) and of its camera (4.2). Without them the frame of a cut shows the time of the camera before it.
    for name, path in (("order", "frame_start"), ("cut", "camera.hide_render")):
        variable = driver.variables.new()
        variable.name, variable.type = name, "CONTEXT_PROP"
        target = variable.targets[0]
        target.context_property, target.data_path, target.use_fallback_value = "ACTIVE_SCENE", path, True
    _read(driver, "start", empty, FRAME_START)
    _read(driver, "speed", empty, SPEED)
    asked = f"(own if own > {NO_SOURCE_TIME / 2:.0f} else (frame - start) * speed)"
    driver.expression = f"min(max(floor({asked} + 0.5), 0), {frames - 1})"


def follow(follower: Animated, path: str, empty: bpy.types.Object, add: int = 0, index: int = -1) -> bpy.types.FCurve:
    """Drive a property with the shown clip frame plus a number.

    Returns:
        The driver's curve; keys on it map the clip frame to the property's value.
    """
    curve = follower.driver_add(path, index) if index >= 0 else follower.driver_add(path)
    _read(curve.driver, "clip", empty, SOURCE_FRAME)
    curve.driver.expression = f"clip + {add}" if add >= 0 else f"clip - {-add}"
    return curve


def show_clip(empty: bpy.types.Object, tree: bpy.types.NodeTree, node: bpy.types.Node) -> None:
    """Let an Image Texture node show the clip frame shown."""
    images.show(node.image_user)
    follow(tree, f'nodes["{node.name}"].image_user.frame_offset', empty, add=-1)


def _read(driver: bpy.types.Driver, name: str, empty: bpy.types.Object, item: str) -> None:
    variable = driver.variables.new()
    variable.name, variable.type = name, "SINGLE_PROP"
    variable.targets[0].id = empty
    variable.targets[0].data_path = _item(item)


def _item(name: str) -> str:
    return f'["{name}"]'


def drive(follower: Animated, path: str, source: bpy.types.Object, variables: dict[str, str], expression: str) -> None:
    """Drive a property with those of an object: `variables` are names in the expression and paths from the object."""
    driver = follower.driver_add(path).driver
    for name, source_path in variables.items():
        variable = driver.variables.new()
        variable.name, variable.type = name, "SINGLE_PROP"
        variable.targets[0].id, variable.targets[0].data_path = source, source_path
    driver.expression = expression
