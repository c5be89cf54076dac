# SPDX-License-Identifier: GPL-3.0-or-later
"""What is being done to the engine now, and what came of it. In background mode, to its end at once."""

import time
from pathlib import Path
from typing import Any

import bpy

from ..preferences import preferences
from ..sidecar import connection, redraw, waiting
from ..translation import translated
from . import place
from .installing.marker import program
from .problems import EngineError
from .work import Work, error_of

_work: Work | None = None
_error: EngineError | None = None
_note = ""


def work() -> Work | None:
    """What is being done now."""
    return _work


def error() -> EngineError | None:
    """What went wrong last; None once something else was begun."""
    return _error


def note() -> str:
    """What was done last, as a sentence."""
    return _note


def forget() -> None:
    """Drop what went wrong."""
    global _error, _note
    _error, _note = None, ""


def require_idle() -> None:
    """Raises: EngineError while something is being done."""
    if _work:
        raise EngineError("running")


def begin(job: dict[str, Any]) -> None:
    """Let the helper do a job, when nothing else is done; in background mode, wait for it. Raises: EngineError."""
    global _work
    forget()
    _work = Work(job)
    if not waiting.operators_wait():
        return
    while _work:
        connection().step()
        step()
        time.sleep(0.02)
    if _error:
        raise _error


def blocked(found: EngineError) -> None:
    """Show an error of an operator in the panel, with its remedy."""
    global _error
    _error = found
    redraw()


def step() -> None:
    """Called by every tick."""
    global _work
    if _work is None:
        return
    changed = _work.step()
    if _work.outcome:
        ended, _work = _work, None
        _learn(ended)
    if changed:
        redraw()


def end() -> None:
    """The extension is being disabled, or Blender ends: what is done now is cancelled, and can be gone on with."""
    global _work
    if _work:
        _work.close()
    _work = None
    forget()
    place.forget()


def _learn(ended: Work) -> None:
    global _error, _note
    outcome, folder = ended.outcome or {}, Path(ended.job["folder"])
    forget()
    place.forget()
    if outcome["event"] == "failed":
        _error = error_of(ended.job, outcome)
    elif outcome["event"] == "cancelled":
        _note = "Cancelled: what has come is kept."
    elif ended.job["action"] == "install":
        _use(outcome["executable"])
        _note = "The engine is installed: press Start."
    else:
        if preferences().executable == str(program(folder, "ex4d")):
            _use("")
        _note = translated("The engine is removed.")
        if left := ", ".join(outcome["left"]):
            _note = translated(
                "The engine is removed, and files of others in {folder} stay: {left}.", folder=folder, left=left
            )


def _use(executable: str) -> None:
    preferences().executable = executable
    bpy.context.preferences.is_dirty = True
