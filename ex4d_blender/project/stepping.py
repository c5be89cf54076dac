# SPDX-License-Identifier: GPL-3.0-or-later
"""Operators whose work takes seconds: in steps between redraws, with a progress cursor, until done or Esc."""

import time
from collections.abc import Iterator

import bpy

from ..errors import SaysErrors, UserError
from ..translation import translated

_TICK_SECONDS = 0.01
_BUDGET_SECONDS = 0.006
"""Work of a tick; the last step begun may exceed it."""


class Stepped(SaysErrors):
    """Mixin of operators: implement `steps` and `done`. Called from a script they run to the end at once."""

    def steps(self, context: bpy.types.Context) -> Iterator[float]:
        """The work; yields the share done, 0 to 1. Closed early it must leave nothing half done. Raises: UserError."""
        raise NotImplementedError

    def done(self, context: bpy.types.Context) -> None:
        """After the last step: report, redraw."""

    def run(self, context: bpy.types.Context) -> None:
        """To the end; see `SaysErrors`."""
        for _share in self.steps(context):
            pass
        self.done(context)

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        """In a window: step by step."""
        if bpy.app.background:
            return self.execute(context)
        self._work = self.steps(context)
        self._timer = context.window_manager.event_timer_add(_TICK_SECONDS, window=context.window)
        context.window_manager.progress_begin(0, 1)
        context.window_manager.modal_handler_add(self)
        return {"RUNNING_MODAL"}

    def modal(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        """One tick."""
        if event.type == "ESC" and event.value == "PRESS":
            self.cancel(context)
            self.report({"INFO"}, translated("Stopped"))
            return {"CANCELLED"}
        if event.type != "TIMER":
            return {"PASS_THROUGH"}
        try:
            share = advance(self._work, _BUDGET_SECONDS)
            if share is None:
                self.cancel(context)
                self.done(context)
                return {"FINISHED"}
        except UserError as error:
            self.cancel(context)
            self.report({"ERROR"}, error.said)
            return {"CANCELLED"}
        context.window_manager.progress_update(share)
        return {"RUNNING_MODAL"}

    def cancel(self, context: bpy.types.Context) -> None:
        """Also called by Blender, when a file is opened meanwhile."""
        self._work.close()
        context.window_manager.event_timer_remove(self._timer)
        context.window_manager.progress_end()


def advance(work: Iterator[float], seconds: float) -> float | None:
    """Take steps until the time is up; the share done, None when there are no more."""
    end = time.perf_counter() + seconds
    while True:
        share = next(work, None)
        if share is None or time.perf_counter() >= end:
            return share
