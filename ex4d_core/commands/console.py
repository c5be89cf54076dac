"""What subcommands share: options, progress on the terminal, results for people and for machines."""

from __future__ import annotations

import json
import logging
import re
import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from ex4d_core.progress import OnProgress

_BAR_AFTER_SECONDS = 2.0
_LINE_EVERY_SECONDS = 10.0


@dataclass(frozen=True)
class Console:
    """How one call talks to its user."""

    as_json: bool
    quiet: bool

    def result(self, values: dict[str, Any], text: str) -> None:
        """Print the outcome on stdout: `text` for people, `values` with --json, nothing with --quiet."""
        if self.as_json:
            click.echo(json.dumps(values, ensure_ascii=False))
        elif not self.quiet:
            click.echo(text)

    def say(self, text: str) -> None:
        """Tell people what goes on, on stderr."""
        if not self.quiet:
            click.echo(text, err=True)

    @contextmanager
    def progress(self) -> Generator[OnProgress]:
        """Bars on a terminal for what takes over two seconds, plain lines elsewhere."""
        if self.quiet:
            from ex4d_core.progress import silent

            yield silent
        elif sys.stderr.isatty():
            with _bars() as on_progress:
                yield on_progress
        else:
            yield _lines()


@contextmanager
def _bars() -> Generator[OnProgress]:
    from rich.console import Console as RichConsole
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

    bars = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=RichConsole(stderr=True),
    )
    tasks: dict[str, TaskID] = {}
    began: dict[str, float] = {}

    def on_progress(done: int, total: int, stage: str) -> None:
        since = began.setdefault(stage, time.monotonic())
        if stage in tasks:
            bars.update(tasks[stage], completed=done, total=total)
        elif time.monotonic() - since > _BAR_AFTER_SECONDS:
            if not tasks:
                bars.start()
            tasks[stage] = bars.add_task(stage, completed=done, total=total)

    try:
        yield on_progress
    finally:
        if tasks:
            bars.stop()


def _lines() -> OnProgress:
    """For logs and pipes: a line now and then instead of a bar."""
    last = time.monotonic()

    def on_progress(done: int, total: int, stage: str) -> None:
        nonlocal last
        if time.monotonic() - last > _LINE_EVERY_SECONDS:
            last = time.monotonic()
            click.echo(f"{stage}: {done} of {total}", err=True)

    return on_progress


def command(name: str, examples: str) -> Callable[[Callable[..., int | None]], click.Command]:
    """A subcommand with --json and --quiet, whose help ends with examples; gets a `Console` first."""

    def decorate(function: Callable[..., int | None]) -> click.Command:
        @click.command(name, epilog="\b\nExamples:\n" + examples.strip("\n"))
        @click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON object.")
        @click.option("--quiet", is_flag=True, help="Print nothing but errors.")
        @wraps(function)
        def run(*args: Any, as_json: bool, quiet: bool, **options: Any) -> int | None:
            root = logging.getLogger()
            level = root.level
            if quiet:
                root.setLevel(logging.ERROR)
            try:
                return function(Console(as_json, quiet), *args, **options)
            finally:
                root.setLevel(level)  # who runs commands one after another in a process wants it for this one alone

        return run

    return decorate


class Size(click.ParamType):
    """WxH in pixels."""

    name = "WxH"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        if isinstance(value, tuple):
            return value
        match = re.fullmatch(r"(\d+)[xX](\d+)", str(value))
        if not match or "0" in (match[1].lstrip("0") or "0", match[2].lstrip("0") or "0"):
            self.fail(f"{value!r} is not a size: write it like 832x480.", param, ctx)
        return int(match[1]), int(match[2])


class Rate(click.ParamType):
    """A frame rate as a number or a ratio: 24, 23.976, 24000/1001."""

    name = "FPS"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        from fractions import Fraction

        if isinstance(value, Fraction):
            return value
        try:
            rate = Fraction(str(value))
        except (ValueError, ZeroDivisionError):
            self.fail(f"{value!r} is not a frame rate: write it like 24 or 24000/1001.", param, ctx)
        ntsc = Fraction(round(rate) * 1000, 1001)
        # 23.976, 29.97 and 59.94 are how people write 24000/1001, 30000/1001 and 60000/1001
        if rate.denominator != 1 and abs(rate - ntsc) < Fraction(1, 100):
            rate = ntsc
        if not 0 < rate <= 1000:
            self.fail(f"{value!r} is not a usable frame rate: give a positive number up to 1000.", param, ctx)
        return rate.limit_denominator(100_000)
