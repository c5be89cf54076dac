"""`ex4d train run`."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ex4d_core.commands.console import Console, command

if TYPE_CHECKING:
    from ex4d_core.training.trainer import Step

_LINE_EVERY_SECONDS = 10.0
_RECENT = 0.9
"""Weight of the past in the seconds a step takes, from which the time that is left is guessed."""


@command(
    "run",
    """
  ex4d train run street.toml
  torchrun --nproc-per-node 4 -m ex4d_core.cli train run street.toml
""",
)
@click.argument("config", type=click.Path(path_type=Path))
def run_command(console: Console, config: Path) -> None:
    """Train as the TOML file CONFIG says, or go on where an earlier run was stopped.

    Checkpoints, log and validation go to the folder `out` of CONFIG. Ctrl-C writes a checkpoint and stops; the same
    command goes on from the newest one. For many GPUs start it with torchrun or accelerate launch.
    """
    from ex4d_core.training.config import read_config
    from ex4d_core.training.trainer import train

    settings = read_config(config)
    leads = os.environ.get("RANK", "0") == "0"
    report = _reporter(console) if leads else _silent
    with _asked_to_stop() as stop:
        outcome = train(settings, report, stop)
    if not leads:
        return
    values = {
        "steps": outcome.steps,
        "checkpoint": str(outcome.checkpoint),
        "loss": outcome.loss,
        "validation_loss": outcome.validation,
        "damaged": list(outcome.damaged),
        "skipped": outcome.skipped,
    }
    lines = [f"{outcome.steps} steps are done: {outcome.checkpoint / 'ex4d.ckpt'}"]
    if outcome.validation is not None:
        lines.append(f"loss on held-out clips: {outcome.validation:.4f}")
    if outcome.damaged:
        lines.append(f"{len(outcome.damaged)} damaged clips were left out, {outcome.skipped} samples on the way:")
        lines += [f"  {line}" for line in outcome.damaged]
    console.result(values, "\n".join(lines))


def _reporter(console: Console) -> Callable[[Step], None]:
    """A line for the first step, the last, and one now and then."""
    last, seconds = -_LINE_EVERY_SECONDS, 0.0

    def report(step: Step) -> None:
        nonlocal last, seconds
        seconds = _RECENT * seconds + (1 - _RECENT) * step.seconds if seconds else step.seconds
        now, left = time.monotonic(), step.steps - step.number
        if left and now - last < _LINE_EVERY_SECONDS:
            return
        last = now
        console.say(
            f"step {step.number} of {step.steps}: loss {step.loss:.4f}, learning rate {step.rate:.2g}, "
            f"{seconds:.2g} s a step, {_duration(left * seconds)} left"
        )

    return report


def _silent(_step: Any) -> None:
    """Of the processes that do not lead."""


def _duration(seconds: float) -> str:
    """For people: 3 h 20 min."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"


@contextmanager
def _asked_to_stop() -> Generator[Callable[[], bool]]:
    """Ctrl-C and SIGTERM let the step end and its checkpoint be written; a second one stops at once."""
    asked = False

    def ask(number: int, _frame: object) -> None:
        nonlocal asked
        asked = True
        signal.signal(number, signal.default_int_handler)

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
