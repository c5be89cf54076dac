# SPDX-License-Identifier: GPL-3.0-or-later
"""The client's tasks that run at the moment, stepped by the tick; in background mode, to their end at once."""

import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from ..client import ClientError, Event, Json, Task, wait
from ..errors import UserError
from ..wording import for_artists
from . import waiting
from .joblist import JobView, job_view

STEPS_SECONDS = 0.002  # no further task is stepped in a tick after this long; one step takes `STEP_SECONDS` at most

BREATH_SECONDS = 0.2  # how often the connection is looked after while a script waits for a task
EAGER_SECONDS = 0.01  # until the next tick while there is more to do at once
SOCKET_SECONDS = 0.03  # … while it depends on what the sidecar sends

T = TypeVar("T")
OnEvent = Callable[[Event], object]
OnEnd = Callable[[Task[Any]], object]
_log = logging.getLogger(__name__)


@dataclass
class _Running:
    task: Task[Any]
    on_event: OnEvent | None
    on_end: OnEnd | None


_running: list[_Running] = []
_errors: list[str] = []


def start(task: Task[Any], on_event: OnEvent | None = None, on_end: OnEnd | None = None) -> None:
    """Let the tick step a task.

    Args:
        task: from `client`, or one of that kind.
        on_event: called with each of its events, from the tick.
        on_end: called once when it is done, with the task, whose `error` or `result` is set. Without it an error is
            shown in the panel. Both run on the main thread, between two things that the artist does: they must not
            change datablocks, for there is no undo step to hold the change.
    """
    _running.append(_Running(task, on_event, on_end))


def run(task: Task[T], on_event: OnEvent | None = None) -> T:
    """Step a task to its end and return its result: for background mode, where nobody waits. Raises: UserError."""
    from .ticking import connection

    try:
        while True:
            try:
                return wait(task, BREATH_SECONDS, on_event)
            except ClientError as error:
                if error.code != "wait-timeout" or task.done:
                    raise UserError(sentence(error)) from error
            connection().step()  # where the sidecar dies meanwhile it is started again, and the task finds it
    finally:
        task.close()


def do(task: Task[Any], on_end: OnEnd) -> None:
    """What an operator has to be done: in background mode to its end, else by ticks. An error is raised, or shown.

    Args:
        task: as of `start`.
        on_end: likewise; also called where the task has failed by ticks.

    Raises:
        UserError: it has failed in background mode.
    """

    def end(ended: Task[Any]) -> None:
        if ended.error:
            complain(sentence(ended.error))
        on_end(ended)

    if waiting.operators_wait():
        run(task)
        end(task)
    else:
        start(task, on_end=end)


def run_job(task: Task[Json]) -> JobView:
    """As `run`, for a task whose result is a job at its end. Raises: UserError, also of a job that did not succeed."""
    from .ticking import connection

    document = run(task)
    connection().learn(document)
    view = job_view(document)
    if view.problem:
        raise UserError(view.problem)
    if view.state != "succeeded":
        raise UserError(
            "The job {job} has no result ({state}): retry it in the Sidecar panel.", job=view.name, state=view.state
        )
    return view


def step_all(on_job: Callable[[Json], object]) -> float:
    """Step what runs, each in its turn.

    Args:
        on_job: gets the document of each job that a task has submitted.

    Returns:
        In how many seconds it wants to go on.
    """
    begin, soonest = time.perf_counter(), math.inf
    for one in list(_running):
        _running.remove(one)
        _running.append(one)  # the first in the next tick is who had to wait in this one
        _step(one, on_job)
        if time.perf_counter() - begin > STEPS_SECONDS:
            break
    for one in _running:
        pause = one.task.waiting_for()
        left = SOCKET_SECONDS if pause.sockets else max(pause.until - time.monotonic(), EAGER_SECONDS)
        soonest = min(soonest, left)
    return soonest


def _step(one: _Running, on_job: Callable[[Json], object]) -> None:
    try:
        for event in one.task.step():
            if event.kind == "job":
                on_job(event.data)
            if one.on_event:
                one.on_event(event)
    except Exception:  # a fault of ours in one task must not end the timer, and with it all others
        _log.exception("a task of the sidecar failed")
        one.task.close()
    if not one.task.done:
        return
    _running.remove(one)
    try:
        if one.on_end:
            one.on_end(one.task)
        elif one.task.error:
            complain(sentence(one.task.error))
    except Exception:
        _log.exception("the end of a task of the sidecar failed")
        complain("Something went wrong inside EX-4D: look into Blender's console, and report what stands there.")


def sentence(error: ClientError) -> str:
    """An error as one sentence, in Blender's words."""
    return for_artists(str(error)).rstrip(".") + "."


def complain(text: str) -> None:
    """Show a sentence in the panel, as the newest of a few."""
    _errors[:] = [*(error for error in _errors if error != text), text][-3:]


def complaints() -> list[str]:
    """What went wrong lately, oldest first."""
    return list(_errors)


def dismiss() -> None:
    """Forget what went wrong."""
    _errors.clear()


def close_all() -> None:
    """End everything where it stands: the extension is being disabled."""
    for one in _running:
        one.task.close()
    _running.clear()
    dismiss()
