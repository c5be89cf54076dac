# SPDX-License-Identifier: GPL-3.0-or-later
"""Export Trajectory: the active shot's camera, as a file that the library, the sidecar and EX-4D read."""

from collections.abc import Generator
from pathlib import Path
from typing import ClassVar

import bpy
from bpy.props import BoolProperty, StringProperty

from ..errors import SaysErrors, UserError, reported
from ..translation import translated
from ..versions.path_options import BLEND_RELATIVE
from . import ignored, sampling, trajectory
from .properties import NeedsShot, Shot, find_shot, required_shot
from .trajectory import TrajectorySample

_Sampled = tuple[str, TrajectorySample]
"""The key of a shot, and its trajectory."""


class SamplesShot(SaysErrors):
    """Mixin of operators that need a shot's trajectory: implement `sampled`, and call `begin` from `invoke`.

    Called with an event, Blender stays alive while a heavy scene is gone through: Esc cancels. Run from a script, it
    runs to its end. Several shots are sampled one after another, before anything is done with any of them.
    """

    _work: "Generator[float, None, list[_Sampled]] | None" = None
    _timer: bpy.types.Timer | None = None

    def shots(self, context: bpy.types.Context) -> list[Shot]:
        """The shots that are meant: the active one, unless an operator knows better. Raises: UserError."""
        return [required_shot(context.scene)]

    def sampled(self, context: bpy.types.Context, shot: Shot, sample: TrajectorySample) -> None:
        """What to do with a trajectory. Raises: UserError."""
        raise NotImplementedError

    def run(self, context: bpy.types.Context) -> None:
        """All at once."""
        work = self._steps(context, [shot.key for shot in self.shots(context)])
        while True:
            try:
                next(work)
            except StopIteration as done:
                self._end(context, done.value)
                return

    def begin(self, context: bpy.types.Context) -> set[str]:
        """Start the modal work."""
        try:
            self._work = self._steps(context, [shot.key for shot in self.shots(context)])
            next(self._work)  # the fast way; what is refused is refused here
        except UserError as error:
            self.report({"ERROR"}, error.said)
            return {"CANCELLED"}
        window_manager = context.window_manager
        window_manager.progress_begin(0, 100)
        self._timer = window_manager.event_timer_add(0.01, window=context.window)
        window_manager.modal_handler_add(self)
        return {"RUNNING_MODAL"}

    def modal(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        """Called by Blender; swallows all input, so that nobody edits what is being sampled."""
        if event.type == "ESC" and event.value == "PRESS":
            self.cancel(context)
            self.report({"INFO"}, "Cancelled: nothing was written.")
            return {"CANCELLED"}
        if event.type != "TIMER":
            return {"RUNNING_MODAL"}
        try:
            share = next(self._work)
            context.window_manager.progress_update(share * 100)
            if context.workspace is not None:
                context.workspace.status_text_set(
                    translated("Sampling the camera: {share:.0%}, Esc cancels", share=share)
                )
            return {"RUNNING_MODAL"}
        except StopIteration as done:
            self._stop(context)
            return self._finish(context, done.value)
        except UserError as error:
            self._stop(context)
            self.report({"ERROR"}, error.said)
            return {"CANCELLED"}

    def cancel(self, context: bpy.types.Context) -> None:
        """Called by Blender too, where another file is opened or a window closed."""
        self._work.close()
        self._stop(context)

    def _finish(self, context: bpy.types.Context, samples: "list[_Sampled]") -> set[str]:
        try:
            self._end(context, samples)
        except UserError as error:
            self.report({"ERROR"}, error.said)
            return {"CANCELLED"}
        return {"FINISHED"}

    @staticmethod
    def _steps(context: bpy.types.Context, keys: list[str]) -> "Generator[float, None, list[_Sampled]]":
        """The trajectories of shots, one after another; yields the share that is done, 0..1."""
        samples = []
        for number, key in enumerate(keys):
            shot = find_shot(context.scene, key) or sampling.again(context, key)  # which says that it is gone
            work = sampling.steps(context, shot)
            try:
                while True:
                    yield (number + next(work)) / len(keys)
            except StopIteration as done:
                samples.append((key, done.value))
            finally:
                work.close()  # where this one is closed early: what the sampling has changed comes back
        return samples

    def _end(self, context: bpy.types.Context, samples: "list[_Sampled]") -> None:
        for key, sample in samples:
            shot = sampling.again(context, key)
            camera = shot.camera
            self.sampled(context, shot, sample)
            ignored.tell(self, camera, context.scene)

    def _stop(self, context: bpy.types.Context) -> None:
        window_manager = context.window_manager
        window_manager.progress_end()
        if self._timer is not None:
            window_manager.event_timer_remove(self._timer)
            self._timer = None
        if context.workspace is not None:
            context.workspace.status_text_set(None)


class EX4D_OT_export_trajectory(NeedsShot, SamplesShot, bpy.types.Operator):
    """Export Trajectory."""

    bl_idname = "ex4d.export_trajectory"
    bl_label = "Export Trajectory"
    bl_description = "Write the active shot's camera, range and handles, as .json, or as EX-4D's .npz"
    bl_options: ClassVar = {"REGISTER"}

    filepath: StringProperty(
        name="File", description="Ends in .json or .npz", subtype="FILE_PATH", options={"SKIP_SAVE", *BLEND_RELATIVE}
    )
    filter_glob: StringProperty(default="*.json;*.npz", options={"HIDDEN"})
    check_existing: BoolProperty(default=True, options={"HIDDEN", "SKIP_SAVE"})

    def invoke(self, context: bpy.types.Context, _event: bpy.types.Event) -> set[str]:
        """Ask for a file; then the work is modal."""
        if self.filepath:
            return self.begin(context)
        shot = required_shot(context.scene)
        self.filepath = bpy.path.abspath(f"//{bpy.path.clean_name(shot.name)}.json") or f"{shot.name}.json"
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def execute(self, context: bpy.types.Context) -> set[str]:
        """From a script or in background: at once. From the file selector: by a modal call of the same operator."""
        if bpy.app.background or not self.options.is_invoke:
            return super().execute(context)
        try:
            bpy.ops.ex4d.export_trajectory("INVOKE_DEFAULT", filepath=self.filepath)
        except RuntimeError as error:  # how Python learns of the inner call's report
            self.report({"ERROR"}, reported(error))
            return {"CANCELLED"}
        return {"FINISHED"}

    def run(self, context: bpy.types.Context) -> None:
        """See `SaysErrors`."""
        self._file()
        super().run(context)

    def begin(self, context: bpy.types.Context) -> set[str]:
        """See `SamplesShot`."""
        try:
            self._file()
        except UserError as error:
            self.report({"ERROR"}, error.said)
            return {"CANCELLED"}
        return super().begin(context)

    def sampled(self, _context: bpy.types.Context, shot: Shot, sample: TrajectorySample) -> None:
        """Write the file."""
        file = self._file()
        trajectory.write(sample, file)
        if file.suffix.lower() == ".npz" and not trajectory.shows_each_frame(sample):
            self.report(
                {"WARNING"},
                translated(
                    "{file} cannot say which clip frames {shot} shows, and will be read as the clip from its first "
                    "frame on: write a .json to keep them.",
                    file=file.name,
                    shot=shot.name,
                ),
            )
        self.report(
            {"INFO"},
            translated("{shot}: {count} frames written to {file}", shot=shot.name, count=len(sample), file=file.name),
        )

    def _file(self) -> Path:
        """The file asked for. Raises: UserError before any work is done."""
        if not self.filepath:
            raise UserError("There is no file to write: give filepath, a name that ends in .json or .npz.")
        file = Path(bpy.path.abspath(self.filepath))
        trajectory.check_name(file)
        return file


register, unregister = bpy.utils.register_classes_factory((EX4D_OT_export_trajectory,))
