"""The bundled sample: a robot crosses a sunlit courtyard. Modelled in code, rendered with Cycles.

World axes are Blender's: x right, y away from the camera, z up, metres, origin on the ground below the camera.
"""

import bpy
import numpy as np

from . import courtyard, props, robot, view
from .meshes import Mover


def build(seed: int = 7) -> list[Mover]:
    """Replace Blender's scene by ours; returns what moves, posed by the caller."""
    bpy.ops.wm.read_factory_settings(use_empty=True)
    rng = np.random.default_rng(seed)
    courtyard.build(rng)
    pinwheel = props.build(rng)  # first, because the robot's pot and tulip share its materials
    view.light()
    return [robot.build(), robot.chick(), pinwheel, courtyard.balloon()]
