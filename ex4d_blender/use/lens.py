# SPDX-License-Identifier: GPL-3.0-or-later
"""What a shot's camera sees of a take, as expressions of simple drivers; docs/blender/shots.md has the formulas.

They run without the extension and with Python scripts switched off.
"""

import re
from dataclasses import dataclass

import bpy

from ..takes.folder import TakeFacts

_LENS = {
    "lens": "data.lens",
    "sw": "data.sensor_width",
    "sh": "data.sensor_height",
    "fit": "data.sensor_fit",
    "shift_x": "data.shift_x",
    "shift_y": "data.shift_y",
}
_ASPECT = {"ax": "render.pixel_aspect_x", "ay": "render.pixel_aspect_y"}


@dataclass(frozen=True)
class View:
    """Where a take's picture lies at distance 1 from its camera, along the camera's x and y: expressions.

    `sw`, `sh` are the sensor's width and height, `fit` which of them counts (0 Auto, 1 Horizontal, 2 Vertical), `ax`,
    `ay` the pixel aspect.
    """

    middle_x: str
    middle_y: str
    width: str
    """Overscan included; likewise `height`."""
    height: str


def view(facts: TakeFacts) -> View:
    """Of a take."""
    width, height = facts.frame_size
    side = "(sh if fit == 2 else sw) / lens"
    wide, high = f"{width} * ax", f"({height} * ay)"
    is_wide = f"(fit == 1 or (fit == 0 and {wide} >= {high}))"
    return View(
        f"{side} * shift_x",
        f"{side} * shift_y",
        f"{side} * (1 if {is_wide} else {wide} / {high}) * {facts.width / width!r}",
        f"{side} * ({high} / ({wide}) if {is_wide} else 1) * {facts.height / height!r}",
    )


def during(facts: TakeFacts) -> str:
    """Whether the scene is at a frame of the take."""
    return f"frame >= {facts.frame_start} and frame <= {facts.last_frame}"


def read(driver: bpy.types.Driver, expression: str, camera: bpy.types.Object) -> set[str]:
    """Give a driver the variables of `View` that an expression names; all names in the expression."""
    names = set(re.findall(r"[a-z_]+", expression))
    for name in sorted(names & _LENS.keys()):
        target = variable(driver, name, "SINGLE_PROP")
        target.id, target.data_path = camera, _LENS[name]
    for name in sorted(names & _ASPECT.keys()):
        target = variable(driver, name, "CONTEXT_PROP")
        target.context_property, target.data_path = "ACTIVE_SCENE", _ASPECT[name]
        target.use_fallback_value, target.fallback_value = True, 1.0
    return names


def variable(driver: bpy.types.Driver, name: str, kind: str) -> bpy.types.DriverTarget:
    """A new variable's target."""
    made = driver.variables.new()
    made.name, made.type = name, kind
    return made.targets[0]
