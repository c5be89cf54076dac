# SPDX-License-Identifier: GPL-3.0-or-later
"""The list of shots: duplicate, remove, reorder, solo, look through."""

from typing import ClassVar

import bpy
from bpy.props import EnumProperty, StringProperty

from ..errors import SaysErrors, UserError
from .properties import NeedsShot, Shot, add_shot, find_shot, render_size, required_shot
from .shot_camera import camera_of, is_among, required_camera

SOLO = "ex4d_solo"
"""On the scene, while a shot is alone: its key, and what the scene had before (camera, preview range)."""


def solo_key(scene: bpy.types.Scene) -> str:
    """The key of the shot that is alone; empty if none is."""
    state = scene.get(SOLO)
    return str(state["key"]) if state is not None else ""


def end_solo(scene: bpy.types.Scene) -> None:
    """Give the scene back the camera and the preview range that it had."""
    state = scene.get(SOLO)
    if state is None:
        return
    scene.use_preview_range = bool(state["preview"])
    scene.frame_preview_start, scene.frame_preview_end = int(state["first"]), int(state["last"])
    camera = state.get("camera")
    if camera is not None and is_among(scene.objects, camera):
        scene.camera = camera
    del scene[SOLO]


def start_solo(scene: bpy.types.Scene, shot: Shot) -> None:
    """Play this shot alone, through its camera, handles included."""
    end_solo(scene)
    scene[SOLO] = {
        "key": shot.key,
        "preview": scene.use_preview_range,
        "first": scene.frame_preview_start,
        "last": scene.frame_preview_end,
    }
    if scene.camera is not None:
        scene[SOLO]["camera"] = scene.camera
    scene.use_preview_range = True
    scene.frame_preview_end = shot.last_frame
    scene.frame_preview_start = shot.first_frame
    scene.frame_preview_end = shot.last_frame
    scene.camera = shot.camera


class _OfShot(NeedsShot, SaysErrors):
    """Mixin of operators on one shot of the list, by key; the active one by default."""

    key: StringProperty(
        name="Shot", description="Key of the shot; the active one by default", options={"SKIP_SAVE", "HIDDEN"}
    )

    def shot(self, context: bpy.types.Context) -> Shot:
        """The shot that is meant. Raises: UserError."""
        shot = find_shot(context.scene, self.key) if self.key else required_shot(context.scene)
        if shot is None:
            raise UserError("That shot is not in the list any more: choose another one.")
        return shot

    def camera(self, context: bpy.types.Context) -> bpy.types.Object:
        """Its camera. Raises: UserError."""
        return required_camera(context.scene, self.shot(context))


class EX4D_OT_duplicate_shot(_OfShot, bpy.types.Operator):
    """Duplicate Shot."""

    bl_idname = "ex4d.duplicate_shot"
    bl_label = "Duplicate Shot"
    bl_description = "Make a shot of the same camera, range and size, to be changed"
    bl_options: ClassVar = {"REGISTER", "UNDO"}

    def run(self, context: bpy.types.Context) -> None:
        """See `SaysErrors`."""
        scene, source = context.scene, self.shot(context)
        kept = {
            name: getattr(source, name)
            for name in ("handle_before", "handle_after", "width", "height", "starts_elsewhere")
        }
        key, name, camera = source.key, source.name, source.camera
        copy = add_shot(scene, name, camera, (source.frame_start, source.frame_end))
        for name, value in kept.items():
            setattr(copy, name, value)
        place = [shot.key for shot in scene.ex4d_shots].index(key) + 1
        scene.ex4d_shots.move(scene.ex4d_active_shot, place)
        scene.ex4d_active_shot = place


class EX4D_OT_remove_shot(_OfShot, bpy.types.Operator):
    """Remove Shot."""

    bl_idname = "ex4d.remove_shot"
    bl_label = "Remove Shot"
    bl_description = "Take the shot off the list; its camera stays"
    bl_options: ClassVar = {"REGISTER", "UNDO"}

    def run(self, context: bpy.types.Context) -> None:
        """See `SaysErrors`."""
        scene, key = context.scene, self.shot(context).key
        if solo_key(scene) == key:
            end_solo(scene)
        place = [shot.key for shot in scene.ex4d_shots].index(key)
        scene.ex4d_shots.remove(place)
        if scene.ex4d_active_shot > place or scene.ex4d_active_shot >= len(scene.ex4d_shots):
            scene.ex4d_active_shot -= 1


class EX4D_OT_move_shot(_OfShot, bpy.types.Operator):
    """Move Shot."""

    bl_idname = "ex4d.move_shot"
    bl_label = "Move Shot"
    bl_description = "Move the active shot up or down in the list"
    bl_options: ClassVar = {"REGISTER", "UNDO"}

    direction: EnumProperty(
        name="Direction", items=[("UP", "Up", "To the front"), ("DOWN", "Down", "To the end")], default="UP"
    )

    def run(self, context: bpy.types.Context) -> set[str] | None:
        """See `SaysErrors`."""
        scene, place = context.scene, context.scene.ex4d_active_shot
        self.shot(context)
        to = place + (1 if self.direction == "DOWN" else -1)
        if not 0 <= to < len(scene.ex4d_shots):
            return {"CANCELLED"}
        scene.ex4d_shots.move(place, to)
        scene.ex4d_active_shot = to
        return None


class EX4D_OT_solo_shot(_OfShot, bpy.types.Operator):
    """Solo Shot."""

    bl_idname = "ex4d.solo_shot"
    bl_label = "Solo Shot"
    bl_description = "Play only this shot, through its camera; once more gives the scene its camera and range back"
    bl_options: ClassVar = {"REGISTER", "UNDO"}

    def run(self, context: bpy.types.Context) -> None:
        """See `SaysErrors`."""
        scene, shot = context.scene, self.shot(context)
        if solo_key(scene) == shot.key:
            end_solo(scene)
            return
        self.camera(context)
        start_solo(scene, shot)
        if not shot.first_frame <= scene.frame_current <= shot.last_frame:
            scene.frame_set(shot.frame_start)


class EX4D_OT_view_shot(_OfShot, bpy.types.Operator):
    """Look Through."""

    bl_idname = "ex4d.view_shot"
    bl_label = "Look Through"
    bl_description = "Make this shot's camera the scene's, and look through it"
    bl_options: ClassVar = {"REGISTER", "UNDO"}

    def run(self, context: bpy.types.Context) -> None:
        """See `SaysErrors`."""
        context.scene.camera = self.camera(context)
        space = context.space_data
        if space is not None and space.type == "VIEW_3D" and space.region_3d is not None:
            space.region_3d.view_perspective = "CAMERA"


class EX4D_OT_take_render_size(_OfShot, bpy.types.Operator):
    """Take Render Size."""

    bl_idname = "ex4d.take_render_size"
    bl_label = "Take Render Size"
    bl_description = "Give the shot the size that the scene renders at now"
    bl_options: ClassVar = {"REGISTER", "UNDO"}

    def run(self, context: bpy.types.Context) -> None:
        """See `SaysErrors`."""
        shot = self.shot(context)
        shot.width, shot.height = render_size(context.scene)


class EX4D_UL_shots(bpy.types.UIList):
    """The shots, each with its frames; a double click renames."""

    def draw_item(
        self,
        context: bpy.types.Context,
        layout: bpy.types.UILayout,
        _data: object,
        item: Shot,
        _icon: int,
        _active_data: object,
        _active_property: str,
    ) -> None:
        """Called by Blender."""
        row = layout.row(align=True)
        scene = context.scene
        camera = camera_of(scene, item)
        row.alert = camera is None
        row.prop(item, "name", text="", emboss=False, icon="OUTLINER_OB_CAMERA" if camera else "ERROR")
        frames = row.row(align=True)
        frames.alignment = "RIGHT"
        frames.label(text=f"{item.frame_start} - {item.frame_end}", translate=False)
        looking = camera is not None and scene.camera == camera
        row.operator("ex4d.view_shot", text="", icon="HIDE_OFF" if looking else "HIDE_ON", emboss=False).key = item.key
        alone = solo_key(scene) == item.key
        row.operator("ex4d.solo_shot", text="", icon="SOLO_ON" if alone else "SOLO_OFF", emboss=False).key = item.key


register, unregister = bpy.utils.register_classes_factory(
    (
        EX4D_OT_duplicate_shot,
        EX4D_OT_remove_shot,
        EX4D_OT_move_shot,
        EX4D_OT_solo_shot,
        EX4D_OT_view_shot,
        EX4D_OT_take_render_size,
        EX4D_UL_shots,
    )
)
