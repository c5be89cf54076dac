# SPDX-License-Identifier: GPL-3.0-or-later
"""The Shots panel."""

import bpy

from ..interface import SidebarPanel
from . import blending
from .frames import count
from .ignored import ignored
from .properties import Shot, active_shot, render_size
from .shot_camera import camera_of


class EX4D_PT_shots(SidebarPanel, bpy.types.Panel):
    """Shots: the list, and the active one."""

    bl_idname = "EX4D_PT_shots"
    bl_label = "Shots"
    bl_order = 30

    def draw(self, context: bpy.types.Context) -> None:
        """Called by Blender."""
        layout, scene = self.layout, context.scene
        buttons = layout.column(align=True)
        buttons.operator_menu_enum("ex4d.new_shot", "preset", text="New Shot", icon="ADD")
        buttons.operator("ex4d.use_active_camera", icon="CAMERA_DATA")
        buttons.operator("ex4d.shots_from_markers", icon="MARKER_HLT")
        if not scene.ex4d_shots:
            return
        row = layout.row()
        row.template_list("EX4D_UL_shots", "", scene, "ex4d_shots", scene, "ex4d_active_shot", rows=4)
        tools = row.column(align=True)
        tools.operator("ex4d.duplicate_shot", text="", icon="DUPLICATE")
        tools.operator("ex4d.remove_shot", text="", icon="REMOVE")
        tools.separator()
        tools.operator("ex4d.move_shot", text="", icon="TRIA_UP").direction = "UP"
        tools.operator("ex4d.move_shot", text="", icon="TRIA_DOWN").direction = "DOWN"
        shot = active_shot(scene)
        if shot is not None:
            _draw_shot(layout, scene, shot)


def _draw_shot(layout: bpy.types.UILayout, scene: bpy.types.Scene, shot: Shot) -> None:
    column = layout.column()
    column.use_property_split, column.use_property_decorate = True, False
    column.prop(shot, "camera")
    frames = column.column(align=True)
    frames.prop(shot, "frame_start", text="Frame Start")
    frames.prop(shot, "frame_end", text="End")
    handles = column.column(align=True)
    handles.prop(shot, "handle_before", text="Handle Before")
    handles.prop(shot, "handle_after", text="After")
    size = column.column(align=True)
    size.prop(shot, "width", text="Size X")
    size.prop(shot, "height", text="Y")
    if (shot.width, shot.height) != render_size(scene):
        column.operator("ex4d.take_render_size")
    _draw_count(layout, shot)
    camera = camera_of(scene, shot)
    if camera is not None:
        _draw_camera(layout, scene, camera)
    elif shot.camera is not None:
        layout.label(text="The camera is not in this scene", icon="ERROR")
    layout.operator("ex4d.export_trajectory", icon="EXPORT")


def _draw_count(layout: bpy.types.UILayout, shot: Shot) -> None:
    """Frames asked, made and back."""
    say, numbers = bpy.app.translations.pgettext_iface, count(shot)
    box = layout.box().column(align=True)
    made = say("Frames made: {}").format(numbers.made)
    if numbers.lead_in:
        made = say("Frames made: {}, {} of them to lead in").format(numbers.made, numbers.lead_in)
    for text in (say("Frames asked: {}").format(numbers.asked), made, say("Frames back: {}").format(numbers.back)):
        box.label(text=text, translate=False)
    box.operator("ex4d.check_shot_start", icon="FILE_REFRESH")


def _draw_camera(layout: bpy.types.UILayout, scene: bpy.types.Scene, camera: bpy.types.Object) -> None:
    layout.operator_menu_enum("ex4d.apply_move", "preset", icon="ANIM")
    row = layout.row(align=True)
    if blending.BLEND in camera:
        row.prop(camera, f'["{blending.BLEND}"]', text="Blend to Source", slider=True)
    row.operator(
        "ex4d.blend_to_source",
        text="" if blending.is_on(camera) else None,
        icon="X" if blending.is_on(camera) else "CON_TRANSLIKE",
    )
    if camera.data.type != "PERSP":
        layout.label(text="Only perspective cameras make shots", icon="ERROR")
    elif ignored(camera, scene):
        layout.label(text="Depth of field, motion blur and stereo are ignored", icon="INFO")


register, unregister = bpy.utils.register_classes_factory((EX4D_PT_shots,))
