# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether the active shot fits the sidecar's machine, asked when what it depends on has changed; never by drawing."""

import json
import time
from dataclasses import dataclass
from typing import Any

import bpy

from .. import sidecar
from ..client import Server, Task
from ..client.http import Flow
from ..errors import SaysErrors, UserError
from ..shots.properties import NeedsShot, Shot, active_shot, required_shot
from ..shots.trajectory import SCHEMA
from ..sidecar import Connection, waiting
from ..wording import for_artists
from . import settings
from .overscan import widened_size
from .remedies import Remedy, of_engine, of_shortage

LOOK_SECONDS = 0.5

Question = tuple[str, str, int, int, int]
"""The sidecar's address, the fields of the job, and the picture's width, height and frames."""


@dataclass(frozen=True)
class Answer:
    """What the sidecar says."""

    fits: bool
    shortages: tuple[str, ...]
    """One sentence each, with what would fit."""
    remedies: tuple[Remedy, ...] = ()


class AskPreflight(Task[Answer]):
    """Asks whether a take would fit. Result: the answer. The cameras do not matter for it: those sent are dummies."""

    def __init__(self, server: Server, fields: dict[str, Any], width: int, height: int, frames: int) -> None:

        super().__init__(server)
        self._engine, self._quality = str(fields["engine"]), str(fields.get("quality", ""))
        sample = {"c2w": [[float(i == j) for j in range(4)] for i in range(4)], "source_time": 0.0}
        sample["intrinsics"] = [float(width), float(width), width / 2, height / 2]
        head = {"schema": SCHEMA, "width": width, "height": height, "fps": [24, 1]}
        request = {"kind": "reshoot", "scene": "preflight", **fields}
        before = f'{json.dumps(request)[:-1]}, "trajectory": {json.dumps(head)[:-1]}, "frames": ['
        one = json.dumps(sample, separators=(",", ":")).encode()
        # Of a long shot, json.dumps would take longer than a tick may.
        self._body = b"".join((before.encode(), one, (b"," + one) * (frames - 1), b"]}}"))

    def flow(self) -> Flow[Answer]:
        """One request."""
        reply = yield from self.call("POST", "/v1/preflight", self._body, "application/json")
        found = [one for one in reply.document.get("shortages") or () if isinstance(one, dict)]
        remedies = [remedy for one in found for remedy in of_shortage(one, self._engine, self._quality)]
        return Answer(
            fits=bool(reply.document.get("fits")),
            shortages=tuple(for_artists(str(one.get("message"))) for one in found),
            remedies=tuple(dict.fromkeys(remedies)),  # two shortages may have the same one
        )


_seen: Question | None = None  # at the last look: asked for when it is still the same at the next
_asked: Question | None = None
_answer: Answer | None = None
_next_look = 0.0


def answer() -> Answer | None:
    """What is known of the active shot as it is; None while it is asked for."""
    return _answer


def tick() -> None:
    """Called with each tick of the sidecar."""
    global _seen, _asked, _answer, _next_look
    if time.monotonic() < _next_look:
        return
    _next_look = time.monotonic() + LOOK_SECONDS
    windows, now = bpy.context.window_manager.windows, sidecar.connection()
    scene = windows[0].scene if windows else bpy.context.scene
    shot = active_shot(scene) if scene else None
    try:
        question = question_of(now, scene, shot) if shot is not None and now.state == "ready" else None
    except UserError as error:
        assert scene is not None
        _seen, _asked = None, None
        _answer = Answer(False, (error.said,), tuple(of_engine(settings.chosen(scene).engine)))
        return
    if question != _asked and question == _seen:
        _ask(now, question)
    elif question != _asked:
        _answer = None
    _seen = question


def question_of(now: Connection, scene: bpy.types.Scene, shot: Shot) -> Question:
    """What the answer depends on. Raises: UserError where it is certain that the shot cannot be generated."""

    chosen = settings.chosen(scene)
    chosen.check()
    width, height = widened_size(shot.width, shot.height, chosen.overscan)
    fields = chosen.request() | {"prompt": "", "seed": 0}  # which make nothing larger
    assert now.server is not None
    return now.server.address, json.dumps(fields), width, height, len(shot.frames)


def _task(now: Connection, question: Question) -> AskPreflight:

    assert now.server is not None
    _, fields, width, height, frames = question
    return AskPreflight(now.server, json.loads(fields), width, height, frames)


def _ask(now: Connection, question: Question | None) -> None:
    global _asked, _answer
    _asked, _answer = question, None
    if question is None:
        return

    def end(task: Task[Answer]) -> None:
        global _answer
        if question == _asked:
            _answer = Answer(False, (sidecar.sentence(task.error),)) if task.error else task.result
            sidecar.redraw()

    sidecar.start(_task(now, question), on_end=end)


class EX4D_OT_preflight(NeedsShot, SaysErrors, bpy.types.Operator):
    """Check Fit."""

    bl_idname = "ex4d.preflight"
    bl_label = "Check Fit"
    bl_description = "Ask the sidecar again whether the active shot fits its machine: memory, disk, and the engine"

    def run(self, context: bpy.types.Context) -> None:
        """In background mode it reports the answer."""
        now = sidecar.required_connection()
        question = question_of(now, context.scene, required_shot(context.scene))
        if not waiting.operators_wait():
            _ask(now, question)
            return
        found = sidecar.run(_task(now, question))
        if not found.fits:
            raise UserError(found.shortages[0])
        self.report({"INFO"}, "The shot fits this machine")


_register_classes, _unregister_classes = bpy.utils.register_classes_factory((EX4D_OT_preflight,))


def register() -> None:
    """Called when the extension is enabled."""
    _register_classes()
    sidecar.every_tick(tick)


def unregister() -> None:
    """Called when the extension is disabled."""
    sidecar.no_longer(tick)
    forget()
    _unregister_classes()


def forget() -> None:
    """What was asked and answered."""
    global _seen, _asked, _answer
    _seen = _asked = _answer = None
