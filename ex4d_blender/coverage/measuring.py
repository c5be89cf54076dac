# SPDX-License-Identifier: GPL-3.0-or-later
"""Measure Coverage: a quick render of the shot by the sidecar; what it finds is kept on the camera."""

import hashlib
import json
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import bpy

from .. import interface, sidecar, unasked
from ..client import Event, Task
from ..errors import SaysErrors, UserError
from ..placed import of_camera
from ..preferences import own_folder
from ..shots import find_shot, trajectory
from ..shots.exporting import SamplesShot
from ..shots.properties import Shot
from ..shots.trajectory import TrajectorySample
from ..sidecar import waiting
from ..translation import translated
from . import inputs, numbers, record, stale
from .record import Record

_MOST_SIDE = 832
"""Longest side of the quick render, pixels: the share it finds is that of the full size to about a thousandth."""
_KEPT = 8
"""How many renders stay on disk; the curves on the cameras stay anyway."""


@dataclass(frozen=True)
class Measured:
    """A render that has come back."""

    shot: str
    """The key of its shot."""
    record: Record
    plate: float = 1.0
    """`SceneFacts.plate_finer` of its footage."""


_under_way: dict[str, float] = {}
"""Key of a shot -> how far its render is, 0 to 1."""
_back: dict[str, Measured] = {}
"""Key of a shot -> what waits for a moment in which datablocks may change."""


class EX4D_OT_measure_coverage(SamplesShot, bpy.types.Operator):
    """Starts the render; in background mode also waits for it and keeps it."""

    bl_idname = "ex4d.measure_coverage"
    bl_label = "Measure Coverage"
    bl_description = (
        "Let the sidecar render the active shot quickly, and show for every frame how much of the picture the footage "
        "never saw, and how much of the rest is stretched: as strips in Timeline and Dope Sheet, and as the properties "
        "Unseen and Stretched of the camera"
    )
    bl_options: ClassVar = {"REGISTER", "UNDO"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """One render of a shot at a time."""
        shot = stale.shot_of(context.scene, None)
        if shot is not None and shot.key in _under_way:
            cls.poll_message_set(translated("The coverage of this shot is being measured: wait for it."))
            return False
        return True

    def invoke(self, context: bpy.types.Context, _event: bpy.types.Event) -> set[str]:
        """From a button: the camera is sampled in small steps."""
        return self.begin(context)

    def sampled(self, context: bpy.types.Context, shot: Shot, sample: TrajectorySample) -> None:
        """Send the camera to the sidecar. Raises: UserError."""
        record.check(shot.camera)
        placed = of_camera(context.scene, shot.camera)
        if placed is None:
            raise UserError("There is no footage in this scene: use Import Footage, or Import Scene.")
        quick, finer = _quick(sample)
        document = trajectory.document(quick)
        background = context.scene.ex4d_generate.use_background
        # the pass is named: renders from before it had numbers are made again
        folder = own_folder("coverage") / _digest(document | {"background": background, "numbers": "stretched"})
        found = Record(
            first=sample.frame_start,
            frames=len(sample),
            inputs=inputs.fingerprint(context.scene, shot, placed),
            folder=str(folder),
            finer=finer,
        )
        measured = Measured(shot.key, found, placed.facts().plate_finer)
        if _is_there(folder, len(sample)):
            keep(context, measured)
            return
        _tidy(folder.parent)
        files = ("shot.json", "trajectory.json")
        task = sidecar.RenderShot(placed, document, ("risk",), folder, files=files, background=background)
        if waiting.operators_wait():
            sidecar.run(task)
            keep(context, measured)
        else:
            _start(task, measured)


class EX4D_OT_keep_coverage(SaysErrors, bpy.types.Operator):
    """Called by itself when a render has come back; see `tick`."""

    bl_idname = "ex4d.keep_coverage"
    bl_label = "Coverage Measured"
    bl_description = "Keep what the sidecar has found out about a shot's camera"
    bl_options: ClassVar = {"UNDO", "INTERNAL"}

    shot: bpy.props.StringProperty(name="Shot", description="Key of the shot", options={"HIDDEN", "SKIP_SAVE"})

    def run(self, context: bpy.types.Context) -> None:
        """Raises: UserError."""
        measured = _back.pop(self.shot, None)
        if measured is not None:
            keep(context, measured)


def keep(context: bpy.types.Context, measured: Measured) -> None:
    """Write what was found onto the shot's camera. Raises: UserError."""
    shot = next((shot for scene in bpy.data.scenes if (shot := find_shot(scene, measured.shot))), None)
    if shot is None or shot.camera is None:
        raise UserError("The shot whose coverage was measured is gone: measure another one.")
    found = numbers.read(measured.record.shot_folder, measured.record.finer * measured.plate)
    if len(found.unseen) != measured.record.frames:
        raise UserError(
            "{folder} has {count} frames instead of {frames}: measure the coverage again.",
            folder=measured.record.folder,
            count=len(found.unseen),
            frames=measured.record.frames,
        )
    record.write(shot.camera, measured.record, found)
    stale.forget()
    interface.redraw(context, "VIEW_3D", "DOPESHEET_EDITOR")


def progress(shot: Shot) -> float | None:
    """How far a shot's render is, 0 to 1; None where none is under way."""
    return _under_way.get(shot.key)


def tick() -> None:
    """Called with each tick of the sidecar: keeps what has come back, once nothing else goes on."""
    if _back and unasked.may_change():
        key = next(iter(_back))
        try:
            unasked.call(bpy.ops.ex4d.keep_coverage, shot=key)
        except UserError as error:
            _back.pop(key, None)
            sidecar.complain(error.said)


def _start(task: "Task[Path]", measured: Measured) -> None:
    key = measured.shot

    def note(event: Event) -> None:
        share = event.data.get("fraction")
        if isinstance(share, int | float):
            _under_way[key] = float(share)
            sidecar.redraw()

    def end(task: "Task[Path]") -> None:
        _under_way.pop(key, None)
        if task.error:
            sidecar.complain(sidecar.sentence(task.error))
        else:
            _back[key] = measured
        sidecar.redraw()

    _under_way[key] = 0.0
    sidecar.start(task, note, end)


def _quick(sample: TrajectorySample) -> tuple[TrajectorySample, float]:
    """The same cameras at a size that renders fast, and its pixels for each of the shot's."""
    smaller = min(1.0, _MOST_SIDE / max(sample.width, sample.height))
    width, height = max(round(sample.width * smaller), 1), max(round(sample.height * smaller), 1)
    across, down = width / sample.width, height / sample.height
    lenses = sample.intrinsics * (across, down, across, down)
    return replace(sample, width=width, height=height, intrinsics=lenses), across


def _digest(document: dict[str, object]) -> str:
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()[:24]


def _is_there(folder: Path, frames: int) -> bool:
    """Whether the very same was rendered before."""
    try:
        return len(numbers.read(folder).unseen) == frames
    except UserError:
        return False


def _tidy(folder: Path) -> None:
    """Make room: the oldest renders go."""
    renders = sorted((f for f in folder.iterdir() if f.is_dir()), key=lambda f: f.stat().st_mtime, reverse=True)
    for old in renders[_KEPT - 1 :]:
        shutil.rmtree(old, ignore_errors=True)


_CLASSES = (EX4D_OT_measure_coverage, EX4D_OT_keep_coverage)
_register_classes, _unregister_classes = bpy.utils.register_classes_factory(_CLASSES)


def register() -> None:
    """The operators, and the tick that keeps what comes back."""
    _register_classes()
    sidecar.every_tick(tick)


def unregister() -> None:
    """See `register`."""
    sidecar.no_longer(tick)
    _under_way.clear()
    _back.clear()
    _unregister_classes()
