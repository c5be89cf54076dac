# SPDX-License-Identifier: GPL-3.0-or-later
"""Import Footage: a video or an image sequence becomes a scene, by a job of the sidecar."""

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import bpy
from bpy.props import BoolProperty, CollectionProperty, FloatProperty, IntProperty, StringProperty

from .. import sidecar
from ..client import Task, same_data
from ..errors import SaysErrors, UserError
from ..preferences import require_outputs
from ..project import arriving
from ..sidecar import waiting
from ..versions.path_options import BLEND_RELATIVE
from . import filling, placing, wishes
from .knowledge import Knowledge
from .source import IMAGE_SUFFIXES, Source, find_sources
from .transfers import SendImport


class EX4D_OT_import_footage(Knowledge, SaysErrors, bpy.types.Operator):
    """Import Footage as EX-4D Scene."""

    bl_idname = "ex4d.import_footage"
    bl_label = "Import Footage as EX-4D Scene"
    bl_description = "Let the sidecar make a scene of a video or an image sequence; it then stands in Blender"
    bl_options = {"UNDO"}  # not REGISTER: each adjustment afterwards would ask the sidecar for another job

    filepath: StringProperty(subtype="FILE_PATH", options={"SKIP_SAVE", *BLEND_RELATIVE})
    directory: StringProperty(subtype="DIR_PATH", options={"SKIP_SAVE", "HIDDEN", *BLEND_RELATIVE})
    files: CollectionProperty(type=bpy.types.OperatorFileListElement, options={"SKIP_SAVE", "HIDDEN"})
    filter_movie: BoolProperty(default=True, options={"HIDDEN", "SKIP_SAVE"})
    filter_image: BoolProperty(default=True, options={"HIDDEN", "SKIP_SAVE"})
    filter_folder: BoolProperty(default=True, options={"HIDDEN", "SKIP_SAVE"})

    as_sequence: BoolProperty(
        name="Image Sequence",
        description="Take all images that are numbered like the chosen ones; else each chosen image is a still",
        default=True,
    )
    max_side: IntProperty(
        name="Working Size",
        description="Longest side of the mesh and of what models see, in pixels; the full-size plate is kept beside it",
        default=1024,
        min=2,
        max=16384,
        subtype="PIXEL",
    )
    first: IntProperty(name="First Frame", description="Of the footage, from 0", min=0, options={"SKIP_SAVE"})
    frames: IntProperty(name="Frames", description="How many to take; 0 takes all", min=0, options={"SKIP_SAVE"})
    frame_rate: FloatProperty(
        name="Frame Rate",
        description="0 takes the footage's; for images the scene's",
        min=0.0,
        max=1000.0,
        options={"SKIP_SAVE"},
    )
    frame_start: IntProperty(
        name="Start Frame",
        description="The frame of the scene that shows the first frame of the footage; "
        "if not given, the first frame of the scene",
        options={"SKIP_SAVE"},
    )

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        """Asks for files, or where they were dropped, for the options."""
        if not self.properties.is_property_set("frame_start"):
            self.frame_start = context.scene.frame_start
        if self.filepath or self.directory:
            return context.window_manager.invoke_props_dialog(self, width=420, confirm_text="Import Footage")
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def draw(self, context: bpy.types.Context) -> None:
        """The options, beside the file browser and in the dialog of a drop."""
        layout = self.layout
        layout.use_property_split = True
        layout.use_property_decorate = False
        if len(self.files) > 1 and not self._only_images():
            column = layout.column()
            column.label(text="Each clip becomes a scene of its own:", icon="INFO")
            for file in list(self.files)[:8]:
                column.label(text=file.name, translate=False)
        elif self._only_images():
            layout.prop(self, "as_sequence")
        self.draw_knowledge(layout)
        for name in ("max_side", "first", "frames", "frame_rate", "frame_start"):
            layout.prop(self, name)

    def run(self, context: bpy.types.Context) -> None:
        """In background mode to the end: the scene then stands in Blender."""
        arriving.check(context, self._start().get("frame_start"))
        paths = self._paths()
        folders = [path for path in paths if (path / "scene.json").is_file()]
        if folders:
            for folder in folders:
                arriving.arrive(self, context, folder, self._start().get("frame_start"))
            return
        sources = find_sources(paths, as_sequence=self.as_sequence)
        depth, solve = self.depth_source(len(sources)), self.solve_source(len(sources))
        require_outputs()
        now = sidecar.required_connection()
        for source in sources:
            wish = context.scene.ex4d_imports.add()
            wish.job, wish.name = sidecar.new_job_id(source.name), source.name
            wish.footage, wish.depth = str(source.path), str(depth.path) if depth else ""
            wish.solve = str(solve.path) if solve else ""
            wish.options = json.dumps(self._options(context, source))
            wish.frame_start = self.frame_start if self._start() else context.scene.frame_start
            job = wish.job
            try:
                send(now, wish)
            except UserError:
                wishes.forget(context.scene, job)
                raise
            if waiting.operators_wait():
                placing.place(self, context, job)
        if not waiting.operators_wait():
            self.report({"INFO"}, "The sidecar imports the footage; it will stand in the scene when it is done")

    def _paths(self) -> list[Path]:
        """What was chosen, absolute. Raises: UserError if nothing was."""
        folder = Path(bpy.path.abspath(self.directory)) if self.directory else None
        names = [file.name for file in self.files if file.name]
        if folder and names:
            return [(folder / name).absolute() for name in names]
        if self.filepath and not (folder and Path(bpy.path.abspath(self.filepath)) == folder):
            return [Path(bpy.path.abspath(self.filepath)).absolute()]
        if folder:
            return [folder.absolute()]
        raise UserError("No footage was given: choose a video, an image sequence or a .ex4d folder.")

    def _only_images(self) -> bool:
        """Whether what is chosen, as far as anything is, are images or folders."""
        names = [file.name for file in self.files if file.name] or [Path(self.filepath).name]
        return all(Path(name).suffix.lower() in {"", *IMAGE_SUFFIXES} for name in names)

    def _start(self) -> dict[str, int]:
        """The start frame, if one was given."""
        return {"frame_start": self.frame_start} if self.properties.is_property_set("frame_start") else {}

    def _options(self, context: bpy.types.Context, source: Source) -> dict[str, Any]:
        """The body of the import job, without its files; the full-size plate is always kept."""
        options: dict[str, Any] = {"plate": True, "max_side": self.max_side, "start": self.first}
        if self.frames:
            options["frames"] = self.frames
        options |= self.known()
        render = context.scene.render
        rate = self.frame_rate or (render.fps / render.fps_base if source.is_sequence else 0.0)
        if rate:
            exact = Fraction(rate).limit_denominator(1001)
            options["fps"] = [exact.numerator, exact.denominator]
        return options


def send(now: sidecar.Connection, wish: wishes.EX4D_Import) -> None:
    """Send an import to the sidecar: by ticks, or in background mode to the job's end. Raises: UserError."""
    assert now.server is not None
    job = wish.job
    task = SendImport(
        now.server,
        job,
        json.loads(wish.options),
        *(
            find_sources([Path(path)], as_sequence=False)[0] if path else None
            for path in (wish.footage, wish.depth, wish.solve)
        ),
        is_local=now.is_local,
        follow=waiting.operators_wait(),
        find_server=same_data(now.server) if now.is_local else None,
    )
    if waiting.operators_wait():
        sidecar.run_job(task)
        return

    def end(task: Task[Any]) -> None:
        if task.error:
            sidecar.complain(sidecar.sentence(task.error))

    filling.awaited.follow(job, "upload", task, end)


class EX4D_OT_send_import(SaysErrors, bpy.types.Operator):
    """Send Again."""

    bl_idname = "ex4d.send_import"
    bl_label = "Send Again"
    bl_description = "Ask the sidecar for this import again; what it has of it already is used"
    bl_options = {"REGISTER"}

    job: StringProperty(name="Job", options={"SKIP_SAVE", "HIDDEN"})

    def run(self, context: bpy.types.Context) -> None:
        """Under the same id, so that nothing is done twice."""
        wish = wishes.find(context.scene, self.job)
        if wish is None or not wish.options:
            raise UserError("This scene waits for no such import: import the footage again.")
        send(sidecar.required_connection(), wish)


register, unregister = bpy.utils.register_classes_factory((EX4D_OT_import_footage, EX4D_OT_send_import))
