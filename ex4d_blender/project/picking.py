# SPDX-License-Identifier: GPL-3.0-or-later
"""Picks points of the footage in a viewport, and hands them to *Set Scale* or *Set Ground*."""

import blf
import bpy
import gpu
from bpy.app.translations import pgettext_iface
from bpy_extras import view3d_utils
from gpu_extras.batch import batch_for_shader
from mathutils import Vector

from ..errors import SaysErrors, UserError
from ..placed import Placed, find, required
from ..translation import translated
from . import standing

_NAVIGATION = {
    "MIDDLEMOUSE",
    "WHEELUPMOUSE",
    "WHEELDOWNMOUSE",
    "WHEELINMOUSE",
    "WHEELOUTMOUSE",
    "TRACKPADPAN",
    "TRACKPADZOOM",
    "MOUSEROTATE",
    "MOUSESMARTZOOM",
    "NDOF_MOTION",
    "ACCENT_GRAVE",
    "HOME",
    "NUMPAD_PERIOD",
    *(f"NUMPAD_{digit}" for digit in range(10)),
}

_NO_MOUSE = (
    "Points are picked with the mouse in a 3D viewport: a script gives them to ex4d.set_scale or ex4d.set_ground."
)


def cast(depsgraph: bpy.types.Depsgraph, placed: Placed, origin: Vector, direction: Vector) -> Vector | None:
    """Where a ray meets the footage's mesh as it is shown now.

    Args:
        depsgraph: evaluated.
        placed: the footage; other objects in the way do not count.
        origin: in world space; likewise `direction`.

    Returns:
        In world space; None where the ray misses.

    Raises:
        UserError: the mesh is gone or hidden.
    """
    mesh = placed.mesh.evaluated_get(depsgraph) if placed.mesh else None
    if mesh is None or mesh.type != "MESH" or not mesh.data.polygons:
        raise UserError(
            "The mesh of {empty} is not there or hidden: show it to pick points on it.", empty=placed.empty.name
        )
    world = mesh.matrix_world
    local = world.inverted()
    start = local @ origin
    toward = (local.to_3x3() @ direction).normalized()
    hit, place, _normal, _face = mesh.ray_cast(start, toward, depsgraph=depsgraph)
    return world @ place if hit else None


class _Pick(SaysErrors):
    """Modal: a click is a point, Backspace takes the last one back, Esc or the right button stops."""

    wanted: int
    hint: str

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """In a viewport."""
        if context.area is not None and context.area.type == "VIEW_3D":
            return True
        cls.poll_message_set(translated(_NO_MOUSE))
        return False

    def apply(self, points: list[Vector]) -> None:
        """Called with all points."""
        raise NotImplementedError

    def check(self, placed: Placed) -> None:
        """Before picking begins. Raises: UserError."""
        raise NotImplementedError

    def run(self, context: bpy.types.Context) -> None:
        """A script has no mouse."""
        raise UserError(_NO_MOUSE)

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        """Begin."""
        try:
            placed = required(context)
            self.check(placed)
        except UserError as error:
            self.report({"ERROR"}, error.said)
            return {"CANCELLED"}
        self._footage = placed.id
        self._points: list[Vector] = []
        self._area, self._frame = context.area, context.scene.frame_current
        self._drawing = bpy.types.SpaceView3D.draw_handler_add(self._draw, (), "WINDOW", "POST_PIXEL")
        context.window.cursor_modal_set("CROSSHAIR")
        context.window_manager.modal_handler_add(self)
        self._say(context)
        return {"RUNNING_MODAL"}

    def modal(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        """One event."""
        if event.type in {"ESC", "RIGHTMOUSE"} and event.value == "PRESS":
            self.cancel(context)
            return {"CANCELLED"}
        if event.type == "BACK_SPACE" and event.value == "PRESS":
            del self._points[-1:]
            self._say(context)
            return {"RUNNING_MODAL"}
        region, view = _region_under(self._area, event)
        if event.type == "LEFTMOUSE" and region is not None:
            return self._click(context, event, region, view) if event.value == "PRESS" else {"RUNNING_MODAL"}
        if event.type in _NAVIGATION or region is None:
            return {"PASS_THROUGH"}
        return {"RUNNING_MODAL"}

    def cancel(self, context: bpy.types.Context) -> None:
        """Also called by Blender, when a file is opened meanwhile."""
        bpy.types.SpaceView3D.draw_handler_remove(self._drawing, "WINDOW")
        context.window.cursor_modal_restore()
        context.workspace.status_text_set(None)
        self._area.tag_redraw()

    def _click(
        self, context: bpy.types.Context, event: bpy.types.Event, region: bpy.types.Region, view: bpy.types.RegionView3D
    ) -> set[str]:
        placed = find(context.scene, self._footage)  # undo or delete may have passed since
        if placed is None:
            self.cancel(context)
            self.report({"ERROR"}, "The footage is gone: place it again.")
            return {"CANCELLED"}
        at = Vector((event.mouse_x - region.x, event.mouse_y - region.y))
        origin = view3d_utils.region_2d_to_origin_3d(region, view, at)
        direction = view3d_utils.region_2d_to_vector_3d(region, view, at)
        try:
            point = cast(context.evaluated_depsgraph_get(), placed, origin, direction)
        except UserError as error:
            self.cancel(context)
            self.report({"ERROR"}, error.said)
            return {"CANCELLED"}
        if point is None:
            self.report({"WARNING"}, "There is no footage under the cursor")
            return {"RUNNING_MODAL"}
        self._points.append(point)
        self._say(context)
        if len(self._points) < self.wanted:
            return {"RUNNING_MODAL"}
        self.cancel(context)
        self.apply(self._points)
        return {"FINISHED"}

    def _say(self, context: bpy.types.Context) -> None:
        keys = pgettext_iface("Click: point {number} of {count}   Backspace: take back   Esc: cancel").format(
            number=len(self._points) + 1, count=self.wanted
        )
        context.workspace.status_text_set(f"{pgettext_iface(self.hint)}   {keys}")
        self._area.tag_redraw()

    def _draw(self) -> None:
        """The points so far, joined, with their distance."""
        context = bpy.context
        if context.area != self._area or context.region_data is None:
            return
        seen = [view3d_utils.location_3d_to_region_2d(context.region, context.region_data, p) for p in self._points]
        shown = [tuple(at) for at in seen if at is not None]
        if not shown:
            return
        color = context.preferences.themes[0].view_3d.vertex_select
        shader = gpu.shader.from_builtin("UNIFORM_COLOR")
        shader.bind()
        shader.uniform_float("color", (*color, 1.0))
        gpu.state.point_size_set(8.0 * context.preferences.system.ui_scale)
        batch_for_shader(shader, "POINTS", {"pos": shown}).draw(shader)
        if len(shown) > 1:
            batch_for_shader(shader, "LINE_STRIP", {"pos": shown}).draw(shader)
        gpu.state.point_size_set(1.0)
        for number, (x, y) in enumerate(shown, start=1):
            blf.size(0, 12.0 * context.preferences.system.ui_scale)
            blf.color(0, *color, 1.0)
            blf.position(0, x + 10, y + 6, 0)
            blf.draw(0, str(number))


class PickScale(_Pick, bpy.types.Operator):
    """Set Scale, by picking."""

    bl_idname = "ex4d.pick_scale"
    bl_label = "Set Scale"
    bl_description = "Pick two points of the footage and say how far they are apart in reality"
    bl_options = {"REGISTER"}

    wanted = 2
    hint = "Set Scale: two points whose distance you know"

    def check(self, placed: Placed) -> None:
        """See `standing.require_free`."""
        standing.require_free(placed, "scale")

    def apply(self, points: list[Vector]) -> None:
        """Ask for the distance."""
        bpy.ops.ex4d.set_scale("INVOKE_DEFAULT", point_a=points[0], point_b=points[1])


class PickGround(_Pick, bpy.types.Operator):
    """Set Ground, by picking."""

    bl_idname = "ex4d.pick_ground"
    bl_label = "Set Ground"
    bl_description = "Pick three points on the footage's ground: they come to lie on Blender's ground plane"
    bl_options = {"REGISTER"}

    wanted = 3
    hint = "Set Ground: three points on the floor, far apart"

    def check(self, placed: Placed) -> None:
        """See `standing.require_free`."""
        standing.require_free(placed, "location", "rotation")

    def apply(self, points: list[Vector]) -> None:
        """Done at once; undo takes it back."""
        bpy.ops.ex4d.set_ground("EXEC_DEFAULT", True, point_a=points[0], point_b=points[1], point_c=points[2])


def _region_under(
    area: bpy.types.Area, event: bpy.types.Event
) -> tuple[bpy.types.Region | None, bpy.types.RegionView3D | None]:
    """The main region of the area under the mouse (one of four in a quad view), and its view."""
    views = list(area.spaces.active.region_quadviews) or [area.spaces.active.region_3d]
    regions = [region for region in area.regions if region.type == "WINDOW"]
    over_panel = any(
        _over(region, event) for region in area.regions if region.type not in ("WINDOW", "XR") and region.width > 1
    )
    for region, view in zip(regions, views, strict=False):
        if _over(region, event) and not over_panel:
            return region, view
    return None, None


def _over(region: bpy.types.Region, event: bpy.types.Event) -> bool:
    return region.x <= event.mouse_x < region.x + region.width and region.y <= event.mouse_y < region.y + region.height


register, unregister = bpy.utils.register_classes_factory((PickScale, PickGround))
