# SPDX-License-Identifier: GPL-3.0-or-later
"""Generate and Generate All: shots go to the sidecar, and takes come back."""

import json
from typing import Any

import bpy
from bpy.props import BoolProperty, FloatProperty, IntProperty, StringProperty

from .. import sidecar
from ..errors import SaysErrors, UserError
from ..preferences import outputs_folder, require_outputs
from ..shots.exporting import SamplesShot
from ..shots.properties import NeedsShot, Shot
from ..shots.trajectory import TrajectorySample
from ..sidecar import waiting
from . import arriving, folders, keeping, settings, wishes
from .asking import wish_for
from .overscan import widened
from .sending import send
from .settings import Chosen


class _Generates(NeedsShot, SamplesShot):
    """Mixin of both. What is not given is as the scene has it."""

    engine: StringProperty(name="Engine", description="Of the sidecar's engines", options={"SKIP_SAVE"})
    quality: StringProperty(name="Quality", description="Of those that the engine names", options={"SKIP_SAVE"})
    prompt: StringProperty(name="Prompt", description="What the picture shows", options={"SKIP_SAVE"})
    seed: IntProperty(name="Seed", description="Another number, another invention", min=0, options={"SKIP_SAVE"})
    keep_source: BoolProperty(
        name="Keep Source", description="Put the footage's pixels back over the picture", options={"SKIP_SAVE"}
    )
    overscan: FloatProperty(
        name="Overscan",
        description="How much wider and higher than the frame, percent",
        min=0.0,
        max=100.0,
        options={"SKIP_SAVE"},
    )
    exr: BoolProperty(name="EXR", description="Also get linear EXR images with mask and depth", options={"SKIP_SAVE"})

    def invoke(self, context: bpy.types.Context, _event: bpy.types.Event) -> set[str]:
        """From a button: the cameras are sampled in small steps."""
        try:
            self._check(context)
        except UserError as error:
            self.report({"ERROR"}, error.said)
            return {"CANCELLED"}
        return self.begin(context)

    def run(self, context: bpy.types.Context) -> None:
        """From a script."""
        self._check(context)
        super().run(context)

    def sampled(self, context: bpy.types.Context, shot: Shot, sample: TrajectorySample) -> None:
        """Send the camera to the sidecar; in background mode, wait for the take. Raises: UserError."""
        now = sidecar.required_connection()
        chosen = self._chosen(context)
        wide = widened(sample, chosen.overscan)
        wish = wish_for(context.scene, shot)
        wish.settings, wish.camera = json.dumps(chosen.record(shot)), wishes.packed(wide)
        job = wish.job
        try:
            send(now, context.scene, wish, follow=waiting.operators_wait())
            if waiting.operators_wait():
                keeping.keep(self, job)
        except UserError:
            wishes.forget(job)
            raise
        if not waiting.operators_wait():
            self.report({"INFO"}, "The sidecar generates the shot; its take comes by itself when it is done")

    def _chosen(self, context: bpy.types.Context) -> Chosen:
        names = ("engine", "quality", "prompt", "seed", "keep_source", "exr")
        given: dict[str, Any] = {n: getattr(self, n) for n in names if self.properties.is_property_set(n)}
        if self.properties.is_property_set("overscan"):
            given["overscan"] = round(self.overscan / 100, 6)
        return settings.chosen(context.scene, **given)

    def _check(self, context: bpy.types.Context) -> None:
        """Look at all that can be told before the cameras are sampled. Raises: UserError."""
        require_outputs()
        sidecar.required_connection()
        self._chosen(context).check()


class EX4D_OT_generate(_Generates, bpy.types.Operator):
    """Generate."""

    bl_idname = "ex4d.generate"
    bl_label = "Generate"
    bl_description = "Let the sidecar generate the active shot, handles included; what comes back is a new take of it"
    bl_options = {"UNDO"}  # not REGISTER: each adjustment afterwards would ask the sidecar for another job


class EX4D_OT_generate_all(_Generates, bpy.types.Operator):
    """Generate All."""

    bl_idname = "ex4d.generate_all"
    bl_label = "Generate All"
    bl_description = "Let the sidecar generate every shot in the list, one after another"
    bl_options = {"UNDO"}

    def shots(self, context: bpy.types.Context) -> list[Shot]:
        """All of the scene."""
        return list(context.scene.ex4d_shots)


class _OnWish(SaysErrors):
    """Mixin of operators on a take that is waited for."""

    job: StringProperty(name="Job", description="Its id on the sidecar", options={"SKIP_SAVE", "HIDDEN"})

    def wish(self) -> tuple[bpy.types.Scene, wishes.EX4D_TakeWish]:
        """The take, and the scene that waits for it. Raises: UserError."""
        found = wishes.find(self.job)
        if found is None:
            raise UserError("No scene waits for the take {job!r}: generate the shot again.", job=self.job)
        return found


class EX4D_OT_send_take(_OnWish, bpy.types.Operator):
    """Generate Again."""

    bl_idname = "ex4d.send_take"
    bl_label = "Generate Again"
    bl_description = "Ask the sidecar for this take again, with the camera and the settings of the time"
    bl_options = {"REGISTER"}

    def run(self, context: bpy.types.Context) -> None:
        """Under the same id, so that nothing is done twice; in background mode, to the end."""
        scene, wish = self.wish()
        arriving.awaited.wait_for(self.job)
        send(sidecar.required_connection(), scene, wish, follow=waiting.operators_wait())


class EX4D_OT_forget_take(_OnWish, bpy.types.Operator):
    """Do Not Wait."""

    bl_idname = "ex4d.forget_take"
    bl_label = "Do Not Wait"
    bl_description = "The scene no longer waits for this take; what the sidecar does goes on, cancel that in the list"
    bl_options = {"UNDO"}

    def run(self, context: bpy.types.Context) -> None:
        """What was fetched of it goes too."""
        scene, wish = self.wish()
        arriving.awaited.stop(self.job)
        folders.drop_partial(folders.takes_folder(outputs_folder(), wish.footage, wish.name), self.job)
        folders.drop_partial(arriving.takes_folder(scene, wish), self.job)
        wishes.forget(self.job)


register, unregister = bpy.utils.register_classes_factory(
    (EX4D_OT_generate, EX4D_OT_generate_all, EX4D_OT_send_take, EX4D_OT_forget_take)
)
