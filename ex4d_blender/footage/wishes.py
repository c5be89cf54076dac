# SPDX-License-Identifier: GPL-3.0-or-later
"""What a scene waits for: imports that were asked for in it and have not been placed yet.

They stand in the .blend, so that they survive whatever happens to Blender, and go with the undo of their import. How
far each is stands nowhere but in memory and on the sidecar.
"""

import bpy
from bpy.props import BoolProperty, CollectionProperty, IntProperty, StringProperty

from ..versions.path_options import BLEND_RELATIVE


class EX4D_Import(bpy.types.PropertyGroup):
    """An import that a scene waits for; `name` is shown, and the folder's name."""

    job: StringProperty(name="Job", description="Its id on the sidecar")
    footage: StringProperty(name="Footage", subtype="FILE_PATH", options=BLEND_RELATIVE)
    depth: StringProperty(name="Depth", subtype="FILE_PATH", options=BLEND_RELATIVE)
    solve: StringProperty(name="Solve", subtype="FILE_PATH", options=BLEND_RELATIVE)
    options: StringProperty(name="Options", description="What it was asked for, as JSON")
    frame_start: IntProperty(name="Frame Start", description="Frame of the scene that shows the clip's first")
    was_undone: BoolProperty(
        name="Was Undone", description="It has stood in the scene: it is placed only when asked for"
    )


def all_wishes(scene: bpy.types.Scene) -> list[EX4D_Import]:
    """What a scene waits for."""
    return list(scene.ex4d_imports)


def find(scene: bpy.types.Scene, job: str) -> EX4D_Import | None:
    """The one of a job."""
    return next((wish for wish in scene.ex4d_imports if wish.job == job), None)


def forget(scene: bpy.types.Scene, job: str) -> None:
    """The scene no longer waits for a job."""
    for number in reversed(range(len(scene.ex4d_imports))):
        if scene.ex4d_imports[number].job == job:
            scene.ex4d_imports.remove(number)


def register() -> None:
    """Called when the extension is enabled."""
    bpy.utils.register_class(EX4D_Import)
    bpy.types.Scene.ex4d_imports = CollectionProperty(type=EX4D_Import, options={"HIDDEN"})


def unregister() -> None:
    """What scenes wait for stays in the file."""
    del bpy.types.Scene.ex4d_imports
    bpy.utils.unregister_class(EX4D_Import)
