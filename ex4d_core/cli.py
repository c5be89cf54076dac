"""The `ex4d` command: finds subcommands, and turns errors into one sentence and an exit code.

Subcommands are imported when they are called, so that help answers at once. Other packages add theirs
through the entry-point group `ex4d.commands`.
"""

from __future__ import annotations

import _thread
import importlib
import json
import logging
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager
from importlib.metadata import EntryPoint, entry_points

import click

from ex4d_core import __version__
from ex4d_core.errors import Ex4dError
from ex4d_core.memory import keep_memory

# name -> (module, one line for `ex4d --help`); kept here so that the list needs no import
_COMMANDS = {
    "reshoot": ("ex4d_core.commands.reshoot", "All of it: a video in, the video from another camera out."),
    "import": ("ex4d_core.commands.footage", "Turn a video or image sequence into a scene folder."),
    "camera": ("ex4d_core.commands.shot", "Make a camera trajectory from a named move."),
    "render": ("ex4d_core.commands.shot", "Render a scene from a trajectory: colour and mask."),
    "generate": ("ex4d_core.commands.shot", "Fill what was never seen, with a chosen engine."),
    "mesh": ("ex4d_core.commands.mesh", "Export the DW-Mesh as PLY, OBJ or GLB."),
    "depth": ("ex4d_core.commands.depth", "List the depth estimators: licence, size, and whether they are ready."),
    "distort": ("ex4d_core.commands.distort", "Put the footage's lens distortion back on a shot."),
    "evaluate": ("ex4d_core.commands.evaluate", "Measure depth, renders and generated shots against the truth."),
    "train": ("ex4d_core.commands.train", "Train the LoRA and the geometry encoder on footage of your own."),
    "models": ("ex4d_core.commands.models", "Download, verify and remove the weights that are loaded."),
    "info": ("ex4d_core.commands.info", "Say what a clip, scene, trajectory or shot holds."),
    "doctor": ("ex4d_core.commands.doctor", "Say what this machine can run, and what to do about the rest."),
}

USAGE_ERROR = 2
INTERRUPTED = 130
_INTERRUPTED = "Interrupted: run the same command again to go on."
_AGAIN_SECONDS = 0.01


class Commands(click.Group):
    """A group whose subcommands are imported on demand."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*_COMMANDS, *sorted(_plugins())]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in _COMMANDS:
            module = importlib.import_module(_COMMANDS[cmd_name][0])
            return getattr(module, f"{cmd_name}_command")
        plugin = _plugins().get(cmd_name)
        return plugin.load() if plugin else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        rows = [(name, text) for name, (_, text) in _COMMANDS.items()]
        for name, plugin in sorted(_plugins().items()):
            rows.append((name, plugin.load().get_short_help_str(80)))
        with formatter.section("Commands"):
            formatter.write_dl(rows)


def _plugins() -> dict[str, EntryPoint]:
    return {entry.name: entry for entry in entry_points(group="ex4d.commands")}


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Start with:  ex4d reshoot my_clip.mp4 --preset orbit --yaw 40 -o my_shot",
)
@click.version_option(__version__, prog_name="ex4d")
def ex4d() -> None:
    """See one video from another camera."""


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit.

    Exit codes: 0 done, 1 an error that the user can mend, 2 a wrong call, 130 interrupted.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    as_json = "--json" in arguments
    keep_memory()
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s", stream=sys.stderr)
    try:
        with ctrl_c_counts():
            code = ex4d.main(arguments, prog_name="ex4d", standalone_mode=False)
        sys.exit(code if isinstance(code, int) else 0)
    except Ex4dError as error:
        _fail(error.code, str(error), error.exit_code, as_json)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        sys.exit(USAGE_ERROR)
    except click.UsageError as error:
        if error.ctx and not as_json:
            click.echo(f"{error.ctx.get_usage()}\nTry '{error.ctx.command_path} --help'.", err=True)
        _fail("bad-usage", error.format_message(), USAGE_ERROR, as_json)
    except click.ClickException as error:
        _fail("error", error.format_message(), error.exit_code, as_json)
    except (click.Abort, KeyboardInterrupt):
        _fail("interrupted", _INTERRUPTED, INTERRUPTED, as_json)
    except RuntimeError as error:
        if not isinstance(error.__context__, KeyboardInterrupt):  # which leaves `threading` with a lock it cannot give
            raise
        _fail("interrupted", _INTERRUPTED, INTERRUPTED, as_json)
    except MemoryError:
        _fail("out-of-memory", "This machine ran out of memory: give a smaller --size or --max-side.", 1, as_json)


@contextmanager
def ctrl_c_counts() -> Generator[None]:
    """Python swallows a Ctrl-C that arrives in what is called while something is cleared away: let it come again."""
    before = sys.unraisablehook

    def told(what: sys.UnraisableHookArgs) -> None:
        if issubclass(what.exc_type, KeyboardInterrupt):
            again = threading.Timer(_AGAIN_SECONDS, _thread.interrupt_main)
            again.daemon = True
            again.start()
        else:
            before(what)

    sys.unraisablehook = told
    try:
        yield
    finally:
        sys.unraisablehook = before


def _fail(code: str, message: str, exit_code: int, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps({"error": {"code": code, "message": message}}))
    else:
        click.echo(f"ex4d: {message}", err=True)
    sys.exit(exit_code)


if __name__ == "__main__":
    main()
