# SPDX-License-Identifier: GPL-3.0-or-later
"""Video files dropped into a viewport."""

import bpy


class EX4D_FH_footage(bpy.types.FileHandler):
    """Adds Import Footage to the menu of what Blender can do with a dropped video."""

    bl_idname = "EX4D_FH_footage"
    bl_label = "EX-4D Footage"
    bl_import_operator = "ex4d.import_footage"
    bl_file_extensions = ";".join(sorted(bpy.path.extensions_movie))

    @classmethod
    def poll_drop(cls, context: bpy.types.Context) -> bool:
        """Where footage can stand."""
        return context.area is not None and context.area.type == "VIEW_3D"


register, unregister = bpy.utils.register_classes_factory((EX4D_FH_footage,))
