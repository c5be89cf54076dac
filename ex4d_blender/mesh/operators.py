# SPDX-License-Identifier: GPL-3.0-or-later
"""Import Scene: a scene folder from disk into Blender, without the sidecar."""

from pathlib import Path

import bpy
from bpy.props import IntProperty, StringProperty

from ..errors import SaysErrors, UserError
from ..project import arriving
from ..versions.path_options import BLEND_RELATIVE


class EX4D_OT_import_scene(arriving.InObjectMode, SaysErrors, bpy.types.Operator):
    """Import Scene."""

    bl_idname = "ex4d.import_scene"
    bl_label = "Import EX-4D Scene"
    bl_description = "Place a scene folder (NAME.ex4d): the footage as a mesh, and the camera that filmed it"
    bl_options = {"REGISTER", "UNDO"}

    directory: StringProperty(
        name="Scene Folder",
        description="The folder that ends in .ex4d",
        subtype="DIR_PATH",
        options={"SKIP_SAVE", *BLEND_RELATIVE},
    )
    filter_folder: bpy.props.BoolProperty(default=True, options={"HIDDEN"})
    frame_start: IntProperty(
        name="Start Frame",
        description="The frame that shows the first frame of the footage; if not given, the first frame of the scene",
        options={"SKIP_SAVE"},
    )

    def run(self, context: bpy.types.Context) -> None:
        """Place it and make the empty the active object."""
        if not self.directory:
            raise UserError("No scene folder was given: choose a folder that ends in .ex4d.")
        folder = Path(bpy.path.abspath(self.directory))
        start = self.frame_start if self.properties.is_property_set("frame_start") else None
        found = arriving.arrive(self, context, folder, start)
        for thing in context.selected_objects:
            thing.select_set(False)
        context.view_layer.objects.active = found.empty
        found.empty.select_set(True)

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        """Let the artist choose the folder."""
        if self.directory:
            return self.execute(context)
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}


register, unregister = bpy.utils.register_classes_factory((EX4D_OT_import_scene,))
