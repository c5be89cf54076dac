# SPDX-License-Identifier: GPL-3.0-or-later
"""Buttons of the Engine panel. None of them changes the .blend, so none has undo."""

from pathlib import Path

import bpy
from bpy.props import BoolProperty, EnumProperty, StringProperty

from ..errors import SaysErrors
from ..preferences import preferences
from ..sidecar import redraw
from ..translation import translated
from ..versions.path_options import BLEND_RELATIVE
from . import doing, place
from .jobs import install_job, remove_job
from .kinds import kind_items, kinds, machine, uv
from .problems import EngineError
from .report import report


class OnEngine(SaysErrors):
    """Mixin: an error is reported, and stays in the panel with the button that mends it. Implement `work_on`."""

    def run(self, context: bpy.types.Context) -> None:
        """Called by `execute`."""
        try:
            doing.require_idle()
            self.work_on(context)
        except EngineError as error:
            doing.blocked(error)
            raise

    def work_on(self, context: bpy.types.Context) -> None:
        """The operator's work. Raises: EngineError."""
        raise NotImplementedError


class GoesOnline(OnEngine):
    """Mixin of what downloads: asks first, and says what comes from where. `settings` says to where and which."""

    def settings(self) -> tuple[Path, str, str]:
        """Folder, kind, wheel folder."""
        raise NotImplementedError

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        """Asks."""
        return context.window_manager.invoke_props_dialog(self, width=460)

    def draw(self, context: bpy.types.Context) -> None:
        """What will happen."""
        folder, kind, wheels = self.settings()
        if "kind" in self.bl_rna.properties:
            self.layout.prop(self, "kind")
        if kind not in kinds():
            return
        column = self.layout.column(align=True)
        for line in plan(folder, kind, wheels):
            column.label(text=line, translate=False)
        if not wheels and not bpy.app.online_access:
            column.label(text="Blender is set to stay offline", icon="ERROR")

    def work_on(self, context: bpy.types.Context) -> None:
        """Begins; in background mode until it is done."""
        folder, kind, wheels = self.settings()
        job = install_job(folder, kind, wheels, fresh=getattr(self, "fresh", False))
        self.keep(context)
        doing.begin(job)

    def keep(self, context: bpy.types.Context) -> None:
        """Called when nothing stands against the work, and before it: what broke off is to be found again."""


class EX4D_OT_install_engine(GoesOnline, bpy.types.Operator):
    """Install the program that does the work into a folder of its own; nothing goes into Blender's Python"""

    bl_idname = "ex4d.install_engine"
    bl_label = "Install Engine"

    directory: StringProperty(
        name="Folder", description="Where to; empty: as in the preferences", subtype="DIR_PATH", options=BLEND_RELATIVE
    )
    wheels: StringProperty(
        name="Wheel Folder",
        description="Install from wheels in this folder, without a network; empty: as in the preferences",
        subtype="DIR_PATH",
        options=BLEND_RELATIVE,
    )
    kind: EnumProperty(name="For", description="What the engine is to compute on", items=kind_items())

    def settings(self) -> tuple[Path, str, str]:
        """As given, else as in the preferences."""
        chosen = preferences()
        wheels = bpy.path.abspath(self.wheels or chosen.engine_wheels)
        folder = Path(bpy.path.abspath(self.directory)).absolute() if self.directory else place.chosen_folder()
        return folder, self.kind if kinds() else machine(), str(Path(wheels).absolute()) if wheels else ""

    def keep(self, context: bpy.types.Context) -> None:
        """The folders, in the preferences."""
        chosen = preferences()
        if self.directory:
            chosen.engine_folder = self.directory
        if self.wheels:
            chosen.engine_wheels = self.wheels
        context.preferences.is_dirty = True


class Again(GoesOnline):
    """Mixin of what is done to the engine that is there."""

    def settings(self) -> tuple[Path, str, str]:
        """As it was installed; another wheel folder may be in the preferences by now."""
        here = place.place()
        if here.marker is None:
            raise EngineError("no-folder", folder=here.folder)
        wheels = preferences().engine_wheels
        return here.folder, here.marker.kind, bpy.path.abspath(wheels) if wheels else ""

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Only where there is one."""
        if place.place().marker is None:
            cls.poll_message_set(translated("There is no engine here yet: use Install Engine."))
            return False
        return True


class EX4D_OT_repair_engine(Again, bpy.types.Operator):
    """Make the engine anew, or go on with an installation that broke off; what was downloaded is used again"""

    bl_idname = "ex4d.repair_engine"
    bl_label = "Repair"

    fresh: BoolProperty(name="Download Again", description="Use nothing of what was downloaded", default=False)

    def draw(self, context: bpy.types.Context) -> None:
        """What will happen."""
        super().draw(context)
        self.layout.prop(self, "fresh")


class EX4D_OT_update_engine(Again, bpy.types.Operator):
    """Replace the engine by the one that belongs to this extension; a sidecar that runs from it is ended first"""

    bl_idname = "ex4d.update_engine"
    bl_label = "Update Engine"


class EX4D_OT_cancel_engine(bpy.types.Operator):
    """Stop the work on the engine; it can be gone on with"""

    bl_idname = "ex4d.cancel_engine"
    bl_label = "Cancel"

    def execute(self, context: bpy.types.Context) -> set[str]:
        """The helper ends by itself."""
        if now := doing.work():
            now.cancel()
        return {"FINISHED"}


class EX4D_OT_remove_engine(OnEngine, bpy.types.Operator):
    """Delete the engine with all that was downloaded for it; jobs, results and files of others stay"""

    bl_idname = "ex4d.remove_engine"
    bl_label = "Remove"

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        """Asks."""
        return context.window_manager.invoke_confirm(self, event)

    def work_on(self, context: bpy.types.Context) -> None:
        """Only a folder with our marker."""
        doing.begin(remove_job(place.chosen_folder()))
        if doing.note():  # in background mode; otherwise the panel says it, when it is done
            self.report({"INFO"}, doing.note())


class EX4D_OT_copy_report(SaysErrors, bpy.types.Operator):
    """Copy versions, graphics card, state and the ends of the logs for a report, without names of yours in paths"""

    bl_idname = "ex4d.copy_report"
    bl_label = "Copy Report"

    def run(self, context: bpy.types.Context) -> None:
        """Onto the clipboard."""
        context.window_manager.clipboard = report()
        self.report({"INFO"}, "The report is on the clipboard")


class EX4D_OT_dismiss_engine(bpy.types.Operator):
    """Remove this message"""

    bl_idname = "ex4d.dismiss_engine"
    bl_label = "Dismiss"

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Forgets it, and looks at the folder again."""
        doing.forget()
        place.forget()
        redraw()
        return {"FINISHED"}


def plan(folder: Path, kind: str, wheels: str) -> list[str]:
    """What an installation does, line by line."""
    facts = kinds()[kind]
    lines = [translated("Into {folder}, about {size} GB there", folder=folder, size=facts["disk_gb"])]
    if wheels:
        return [*lines, translated("From the wheels in {folder}; nothing is downloaded", folder=wheels)]
    lines.append(translated("Download of about {size} GB:", size=facts["download_gb"]))
    lines.append(translated("packages from pypi.org, each checked by its hash"))
    if facts["torch"]:
        lines.append(translated("PyTorch from {index}, not checked by hash", index=facts["torch"]["index"]))
    if uv():
        lines.append(translated("uv from pypi.org, and a Python from github.com/astral-sh where there is none here"))
    return lines


register, unregister = bpy.utils.register_classes_factory(
    (
        EX4D_OT_install_engine,
        EX4D_OT_repair_engine,
        EX4D_OT_update_engine,
        EX4D_OT_cancel_engine,
        EX4D_OT_remove_engine,
        EX4D_OT_copy_report,
        EX4D_OT_dismiss_engine,
    )
)
