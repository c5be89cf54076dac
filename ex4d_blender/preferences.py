# SPDX-License-Identifier: GPL-3.0-or-later
"""The extension's preferences: where the sidecar is, and where outputs go while a .blend has no place of its own."""

import tempfile
from pathlib import Path

import bpy
from bpy.props import BoolProperty, StringProperty

from .errors import UserError
from .versions.path_options import BLEND_RELATIVE

EXTENSION = __package__ or ""
_UNSAVED = (
    "The folder {folder} for imported scenes cannot be written ({reason}): choose another one as Outputs in the "
    "extension's preferences."
)
_SAVED = (
    "The folder {folder} of this .blend, where imported scenes go, cannot be written ({reason}): save the .blend in "
    "another one."
)


class Preferences(bpy.types.AddonPreferences):
    """Kept in Blender's own preferences."""

    bl_idname = EXTENSION

    executable: StringProperty(
        name="Executable",
        description="The `ex4d` program that runs the sidecar; empty looks for it where programs are installed",
        subtype="FILE_PATH",
        options=BLEND_RELATIVE,
    )
    data_folder: StringProperty(
        name="Data Folder",
        description="Where the sidecar keeps its jobs and their results; empty uses its own place. "
        "It must be new, empty, or a sidecar's already",
        subtype="DIR_PATH",
        options=BLEND_RELATIVE,
    )
    address: StringProperty(
        name="Address", description="Of a sidecar on another machine, such as http://gpu-box:8188", maxlen=1024
    )
    token: StringProperty(
        name="Token",
        description="The line in the token file with which that sidecar was started; kept in Blender's preferences",
        subtype="PASSWORD",
        maxlen=1024,
    )
    use_address: BoolProperty(
        name="Connect at Start", description="Connect to this address by itself when Blender starts"
    )
    outputs: StringProperty(
        name="Outputs",
        description="Where imported scenes and shots go while the .blend is not saved; "
        "empty uses the extension's own folder",
        subtype="DIR_PATH",
        options=BLEND_RELATIVE,
    )
    engine_folder: StringProperty(
        name="Engine Folder",
        description="Where the engine is installed: new, empty, or an engine's already; "
        "empty uses the extension's own folder",
        subtype="DIR_PATH",
        options=BLEND_RELATIVE,
    )
    engine_wheels: StringProperty(
        name="Wheel Folder",
        description="A folder with wheels to install the engine from, without a network; empty uses the network",
        subtype="DIR_PATH",
        options=BLEND_RELATIVE,
    )

    def draw(self, context: bpy.types.Context) -> None:
        """The preferences' page."""
        layout = self.layout
        layout.use_property_split, layout.use_property_decorate = True, False
        layout.label(text="This Machine")
        layout.prop(self, "executable")
        layout.prop(self, "data_folder")
        layout.prop(self, "engine_folder")
        layout.prop(self, "engine_wheels")
        layout.operator("ex4d.install_engine")
        layout.separator()
        layout.label(text="Another Machine")
        layout.prop(self, "address")
        layout.prop(self, "token")
        layout.prop(self, "use_address")
        layout.operator("ex4d.connect_sidecar")
        layout.separator()
        layout.label(text="Unsaved Files")
        layout.prop(self, "outputs")


def preferences() -> Preferences:
    """The preferences as they are now."""
    return bpy.context.preferences.addons[EXTENSION].preferences


def own_folder(name: str) -> Path:
    """A folder for the extension's own files, below the user's extension folder; made."""
    return Path(bpy.utils.extension_path_user(EXTENSION, path=name, create=True))


def outputs_folder() -> Path:
    """Where outputs go: beside the .blend, or while it is unsaved where the preferences say. It may not exist yet."""
    if bpy.data.filepath:
        return Path(bpy.data.filepath).parent
    chosen = preferences().outputs
    return Path(bpy.path.abspath(chosen)) if chosen else own_folder("outputs")


def require_outputs() -> None:
    """Require a folder that outputs can go to, made or not; it is not made.

    Raises:
        UserError: it cannot be written.
    """
    folder = outputs_folder()
    try:
        there = next((path for path in (folder, *folder.parents) if path.exists()), folder)
        with tempfile.TemporaryFile(dir=there):  # the only way that tells on each system
            return
    except OSError as error:
        message = _SAVED if bpy.data.filepath else _UNSAVED
        raise UserError(message, folder=folder, reason=error.strerror or error) from error


register, unregister = bpy.utils.register_classes_factory((Preferences,))
