# SPDX-License-Identifier: GPL-3.0-or-later
"""Operators on takes: *Accept*, *Replace Footage in Place*, *Import Result*."""

from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import bpy
from bpy.props import EnumProperty, StringProperty

from ..errors import SaysErrors, UserError
from ..ownership import require_local
from ..shots import Shot, active_shot, find_shot
from ..shots.takes import Take, add_take
from ..takes import camera
from ..takes.folder import TakeFacts, read_take, take_folder
from ..takes.listing import NeedsTake, facts_of
from ..translation import translated
from ..versions import compositor
from ..versions.path_options import BLEND_RELATIVE
from . import marks
from .uses import USES

_ITEMS = [(name, use.label, use.description, use.icon, 1 << i) for i, (name, use) in enumerate(USES.items())]


def accept(context: bpy.types.Context, operator: bpy.types.Operator, shot: Shot, take: Take, uses: set[str]) -> None:
    """Accept a take as what is asked for, and say what the artist should know. Raises: UserError."""
    facts = facts_of(take)
    for name, use in USES.items():
        told = use.accept(context, shot, facts) if name in uses else None
        if told:
            operator.report({"WARNING"}, told)
    unseen = compositor.told_of_render(context.scene) if "COMPOSITOR" in uses else ""
    if unseen:  # a strip may have come with it
        operator.report({"WARNING"}, unseen)
    warn_of_rate(context, operator, facts)


def require(context: bpy.types.Context, shot: Shot | None, facts: TakeFacts, uses: set[str]) -> None:
    """Look whether a take can be accepted as all that is asked for, before anything is changed. Raises: UserError."""
    require_local(context.scene)
    for name in uses:
        USES[name].require(shot, facts)
        USES[name].check(context, shot, facts)


def warn_of_rate(context: bpy.types.Context, operator: bpy.types.Operator, facts: TakeFacts) -> None:
    """Report where take and scene run at different rates."""
    told = marks.told_of_rate(context.scene, facts.fps)
    if told:
        operator.report({"WARNING"}, told)


class EX4D_OT_accept_take(NeedsTake, bpy.types.Operator):
    """Accept Take."""

    bl_idname = "ex4d.accept_take"
    bl_label = "Accept Take"
    bl_description = "Show the active take in the scene; what shows another take of the shot shows this one instead"
    bl_options: ClassVar = {"REGISTER", "UNDO"}

    use: EnumProperty(
        name="Use", description="What the take is shown as", items=_ITEMS, options={"ENUM_FLAG"}, default={"PLANE"}
    )

    @classmethod
    def description(cls, _context: bpy.types.Context, properties: bpy.types.OperatorProperties) -> str:
        """The use's own tooltip, on a button for one."""
        (one, *more) = properties.use or {"PLANE"}
        return cls.bl_description if more else USES[one].description

    def run(self, context: bpy.types.Context) -> None:
        """See `accept`."""
        shot, take = self.chosen(context)
        if not self.use:
            raise UserError("There is no use to accept the take as: choose one, such as Plane.")
        require(context, shot, facts_of(take), self.use)
        accept(context, self, shot, take, self.use)


class EX4D_OT_replace_take(NeedsTake, bpy.types.Operator):
    """Replace Footage in Place."""

    bl_idname = "ex4d.replace_take"
    bl_label = "Replace Footage in Place"
    bl_description = (
        "Let all that shows this shot, in every scene, show the active take; distances, trims, effects and links stay"
    )
    bl_options: ClassVar = {"REGISTER", "UNDO"}

    def run(self, context: bpy.types.Context) -> None:
        """Every use of the shot."""
        shot, take = self.chosen(context)
        facts = facts_of(take)
        shown = [use for name, use in USES.items() if marks.is_shown(name, shot.key)]
        for use in shown:
            use.require(shot, facts)
        count = sum(use.replace(shot.key, facts) for use in shown)
        if not count:
            raise UserError("Nothing shows {shot} yet: accept the take, for example as Plane.", shot=shot.name)
        self.report({"INFO"}, translated("{count} replaced by {take}", count=count, take=take.name))
        warn_of_rate(context, self, facts)


class EX4D_OT_import_result(SaysErrors, bpy.types.Operator):
    """Import Result."""

    bl_idname = "ex4d.import_result"
    bl_label = "Import Result"
    bl_description = "Take a finished shot, a folder with trajectory.json and output, into the list and the scene"
    bl_options: ClassVar = {"REGISTER", "UNDO"}

    directory: StringProperty(name="Folder", subtype="DIR_PATH", options={"SKIP_SAVE", *BLEND_RELATIVE})
    filter_folder: bpy.props.BoolProperty(default=True, options={"HIDDEN"})
    use: EnumProperty(
        name="Use", description="What the take is shown as", items=_ITEMS, options={"ENUM_FLAG"}, default=set()
    )
    shot: StringProperty(
        name="Shot",
        description="Key or name of the shot that it belongs to; empty finds it, or makes one",
        options={"SKIP_SAVE"},
    )

    def invoke(self, context: bpy.types.Context, _event: bpy.types.Event) -> set[str]:
        """Ask for the folder."""
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def run(self, context: bpy.types.Context) -> None:
        """Take in, then accept."""
        if not self.directory:
            raise UserError("There is no folder to import: give directory, a shot's folder.")
        facts = read_take(take_folder(Path(bpy.path.abspath(self.directory))))
        facts.require_files()
        scene = context.scene
        shot = self._shot(scene, facts)
        is_anywhere = not facts.shot and facts.frame_start == 0  # the command line counts from 0
        if is_anywhere:
            facts = replace(facts, frame_start=scene.frame_start if shot is None else shot.first_frame)
        require(context, shot, facts, self.use)
        if shot is None:
            shot = camera.make_shot(context, facts, facts.frame_start)
        take = add_take(shot, facts)
        scene.ex4d_active_shot = [each.key for each in scene.ex4d_shots].index(shot.key)
        try:
            accept(context, self, shot, take, self.use)
        except UserError as error:  # what nobody foresaw: finished all the same, for only so one undo takes it all back
            self.report({"ERROR"}, error.said)
            return
        self.report({"INFO"}, translated("{take} is in the list of {shot}", take=take.name, shot=shot.name))

    def _shot(self, scene: bpy.types.Scene, facts: TakeFacts) -> Shot | None:
        """The shot asked for, else the take's own, else the active one; None if there is none. Raises: UserError."""
        if self.shot:
            found = find_shot(scene, self.shot) or next((s for s in scene.ex4d_shots if s.name == self.shot), None)
            if found is None:
                raise UserError("There is no shot {shot!r}: look at the Shots panel for what there is.", shot=self.shot)
            return found
        return (find_shot(scene, facts.shot) if facts.shot else None) or active_shot(scene)


register, unregister = bpy.utils.register_classes_factory(
    (EX4D_OT_accept_take, EX4D_OT_replace_take, EX4D_OT_import_result)
)
