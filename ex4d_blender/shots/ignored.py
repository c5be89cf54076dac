# SPDX-License-Identifier: GPL-3.0-or-later
"""What a camera has that a generated shot will not show, and saying so once."""

import bpy

from ..said_once import unsaid
from ..translation import translated


def ignored(camera: bpy.types.Object, scene: bpy.types.Scene) -> list[str]:
    """Blender's own names of them, in its catalogues: `Depth of Field`, `Motion Blur`, `Stereoscopy`."""
    found = []
    if camera.data.dof.use_dof:
        found.append("Depth of Field")
    if scene.render.use_motion_blur:
        found.append("Motion Blur")
    if scene.render.use_multiview:
        found.append("Stereoscopy")
    return found


def tell(operator: bpy.types.Operator, camera: bpy.types.Object, scene: bpy.types.Scene) -> None:
    """Report what is ignored of a camera and was not reported before."""
    new = [effect for effect in ignored(camera, scene) if unsaid(camera, effect)]
    if new:
        listed = ", ".join(translated(effect) for effect in new)
        operator.report(
            {"INFO"},
            translated(
                "{camera}: generated shots leave out what it has of {effects}.", camera=camera.name, effects=listed
            ),
        )
