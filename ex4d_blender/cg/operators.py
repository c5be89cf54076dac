# SPDX-License-Identifier: GPL-3.0-or-later
"""Set Up CG."""

from typing import ClassVar

import bpy

from ..errors import SaysErrors
from ..ownership import require_local
from ..placed import NeedsFootage, Placed, all_placed
from ..shots import active_shot
from ..versions import compositor
from . import catcher, layers, stack


class EX4D_OT_set_up_cg(NeedsFootage, SaysErrors, bpy.types.Operator):
    """Set Up CG."""

    bl_idname = "ex4d.set_up_cg"
    bl_label = "Set Up CG"
    bl_description = (
        "Make the view layers CG and Plate, let the footage hide CG and catch its shadows, and stack all of it in the "
        "compositor; again to bring it up to date"
    )
    bl_options: ClassVar = {"REGISTER", "UNDO"}

    def run(self, context: bpy.types.Context) -> None:
        """See `SaysErrors`."""
        scene = context.scene
        require_local(scene)
        footage = [placed for placed in all_placed(scene) if placed.mesh is not None]
        collections = layers.footage_collections(scene, footage)
        shadow = scene.render.engine == "CYCLES"
        found = _layers(context, footage, shadow)
        layers.set_up(scene, found, collections)
        scene.render.film_transparent = scene.render.use_compositing = True
        switched = compositor.told_of_switching(scene)
        if not stack.build(scene, active_shot(scene), shadow=shadow):
            self.report(
                {"INFO"}, "The compositor's output shows something else: link CG over Plate to where you want it"
            )
        if not shadow:
            self.report(
                {"INFO"}, "Only Cycles catches shadows: choose it as Render Engine and use Set Up CG again for them"
            )
        for told in (switched, compositor.told_of_render(scene)):
            if told:
                self.report({"WARNING"}, told)


def _layers(context: bpy.types.Context, footage: list[Placed], shadow: bool) -> dict[str, bpy.types.ViewLayer]:
    scene = context.scene
    names = (layers.CG, layers.PLATE, *((layers.SHADOW,) if shadow else ()))
    found = {name: layers.ensure(scene, name, context.view_layer) for name in names}
    if shadow:
        for placed in footage:
            catcher.ensure(scene, placed)
        found[layers.SHADOW].cycles.use_pass_shadow_catcher = True
        found[layers.SHADOW].update_render_passes()
    rendered = scene.view_layers.get(layers.SHADOW)
    if rendered is not None:  # another engine would show the catcher itself
        rendered.use = shadow
    return found


register, unregister = bpy.utils.register_classes_factory((EX4D_OT_set_up_cg,))
