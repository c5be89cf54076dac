"""`ex4d camera`, `ex4d render` and `ex4d generate`, and the options they share with `reshoot`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from ex4d_core.commands.console import Console, command
from ex4d_core.errors import InputError
from ex4d_core.methods import DEFAULT_METHOD, METHODS

if TYPE_CHECKING:
    from ex4d_core.camera import Trajectory
    from ex4d_core.engines import EngineSetup
    from ex4d_core.scene import Scene


def _named_folder(text: str) -> Path:
    """A path that says something: an empty one, a script's unset variable, is not the current folder."""
    if not text:
        raise InputError("--model-dir is empty: give a folder, or leave it out.")
    return Path(text)


_MOVE_OPTIONS = (
    click.option("--preset", metavar="P", help="The move: orbit, arc, dolly, ...; `ex4d camera --list` shows all."),
    click.option("--yaw", type=float, metavar="DEG", help="Degrees around the subject, positive to the right."),
    click.option("--pitch", type=float, metavar="DEG", help="Degrees over the subject, positive up."),
    click.option("--amount", type=float, metavar="A", help="Length of the move as a share of the radius; signed."),
    click.option("--zoom", type=float, metavar="X", help="Factor on the focal length at the end."),
    click.option("--turns", type=float, metavar="N", help="How many times around."),
    click.option(
        "--easing",
        type=click.Choice(["linear", "ease_in", "ease_out", "ease_in_out"]),
        default="linear",
        show_default=True,
        help="How the move starts and stops.",
    ),
    click.option("--back", "there_and_back", is_flag=True, help="Out and back to the start."),
    click.option(
        "--look-at", type=float, nargs=3, metavar="X Y Z", help="Point to look at, in the source camera's frame."
    ),
    click.option(
        "--radius", type=float, metavar="R", help="Distance of the subject, scene units; default from the depth."
    ),
    click.option("--follow", is_flag=True, help="Let the move ride on the source camera of each frame."),
    click.option("--freeze", type=float, metavar="N", help="Hold frame N of the clip: the camera moves, time stands."),
    click.option(
        "--speed", type=float, default=1.0, show_default=True, metavar="F", help="Clip frames per output frame."
    ),
)
_RENDER_OPTIONS = (
    click.option(
        "--method",
        type=click.Choice(METHODS),
        default=DEFAULT_METHOD,
        show_default=True,
        help="How the frame's depth is made solid.",
    ),
    click.option(
        "--background",
        type=click.Choice(["on", "off"]),
        default="on",
        show_default=True,
        help="Show what was seen at another time behind what moves, where the scene has such a background.",
    ),
    click.option(
        "--passes",
        default="",
        metavar="depth,risk",
        help="Passes to write beside colour and mask: depth, risk, risk-exr.",
    ),
    click.option("--allow-unseen", is_flag=True, help="Go on where a frame sees nothing of the footage."),
)
_ENGINE_OPTIONS = (
    click.option("--engine", default="draft", show_default=True, metavar="E", help="What fills the unseen."),
    click.option(
        "--seed",
        type=click.IntRange(0, 2**63 - 1),
        default=0,
        show_default=True,
        help="For engines that draw at random.",
    ),
    click.option("--prompt", default="", help="For engines that read one."),
    click.option("--quality", default="", metavar="Q", help="One of the engine's; default its first."),
    click.option("--keep-source", is_flag=True, help="For engines that can be asked to keep what was seen."),
    click.option(
        "--model-dir",
        type=_named_folder,
        metavar="PATH",
        help="A folder with the engine's models, of any known layout; default what `ex4d models` has.",
    ),
    click.option("--memory", default="", metavar="M", help="How the GPU's memory is used; default what fits."),
    click.option("--attention", default="", metavar="A", help="Attention backend; default the fastest here."),
    click.option("--cache", default="", metavar="C", help="With --quality cached: first-block or taylorseer."),
    click.option("--steps", type=click.IntRange(1), metavar="N", help="Denoising steps; default the quality's."),
    click.option("--exr", is_flag=True, help="Also write exr/: linear half-float frames with mask and depth."),
)


def _with(options: tuple[Callable[..., Any], ...]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


move_options = _with(_MOVE_OPTIONS)
render_options = _with(_RENDER_OPTIONS)
engine_options = _with(_ENGINE_OPTIONS)

MOVE_NAMES = ("yaw", "pitch", "amount", "zoom", "turns", "look_at", "easing", "there_and_back")
"""Options that make up a `Move`."""


def make_path(scene: Scene, frames: int | None, options: dict[str, Any]) -> Trajectory:
    """The trajectory that a command's options ask for (see `move_options`)."""
    from ex4d_core.presets import Move, preset

    if not options["preset"]:
        raise InputError("No move is given: add --preset, for instance --preset orbit --yaw 40.")
    chosen = {name: options[name] for name in MOVE_NAMES}
    move = Move(options["preset"], **chosen)
    timing = {name: options[name] for name in ("radius", "follow", "freeze", "speed")}
    return preset(scene, move, frames=frames, **timing)


def take_setup(options: dict[str, Any]) -> EngineSetup:
    """How the engine is to be run, taken out of a command's options (see `engine_options`)."""
    from ex4d_core.engines import EngineSetup

    given = {field.name: options.pop(field.name) for field in fields(EngineSetup)}
    return EngineSetup(**{name: value for name, value in given.items() if value is not None})


def split_passes(text: str) -> tuple[str, ...]:
    """'depth,risk' -> ('depth', 'risk')."""
    return tuple(name.strip() for name in text.split(",") if name.strip())


@command(
    "camera",
    """
  ex4d camera shot.ex4d --preset orbit --yaw 60 --pitch 10 --easing ease_in_out -o orbit.json
  ex4d camera shot.ex4d --preset 180 --frames 49 --radius 2.74 -o camera.npz
  ex4d camera shot.ex4d --preset arc --freeze 24 -o bullet_time.json
  ex4d camera --list
""",
)
@click.argument("scene", metavar="NAME.ex4d", required=False, type=click.Path(path_type=Path))
@move_options
@click.option("--frames", type=int, metavar="N", help="Length of the path; default the clip's.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="A .json or .npz file.")
@click.option("--list", "show_list", is_flag=True, help="List the presets and stop.")
def camera_command(
    console: Console, scene: Path | None, frames: int | None, output: Path | None, show_list: bool, **options: Any
) -> None:
    """Make a camera trajectory from a named move."""
    from ex4d_core.camera import load_trajectory, save_trajectory
    from ex4d_core.presets import PRESETS
    from ex4d_core.scene import Scene

    if show_list:
        console.result(
            {name: preset.help for name, preset in PRESETS.items()},
            "\n".join(f"{name:11} {preset.help}" for name, preset in PRESETS.items()),
        )
        return
    if scene is None or output is None:
        raise InputError("Give a scene folder and -o with a .json or .npz name: see `ex4d camera --help`.")
    trajectory = make_path(Scene.open(scene), frames, options)
    if output.exists():
        load_trajectory(output, 1, 1, trajectory.fps)  # an earlier path may be replaced, nothing else
    save_trajectory(trajectory, output)
    console.result({"trajectory": str(output), "frames": len(trajectory)}, f"{output}: {len(trajectory)} frames")


@command(
    "render",
    """
  ex4d render shot.ex4d --trajectory orbit.json -o shot.ex4d/shots/orbit
  ex4d render shot.ex4d --trajectory camera.npz -o shots/180 --method reference --passes depth,risk
""",
)
@click.argument("scene", metavar="NAME.ex4d", type=click.Path(path_type=Path))
@click.option("--trajectory", required=True, type=click.Path(path_type=Path), help="A .json or .npz file.")
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="The shot folder to make.")
@render_options
@click.option("--overwrite", is_flag=True, help="Replace an existing shot.")
def render_command(
    console: Console,
    scene: Path,
    trajectory: Path,
    output: Path,
    method: str,
    background: str,
    passes: str,
    allow_unseen: bool,
    overwrite: bool,
) -> None:
    """Render a scene from a trajectory: color.mp4, mask.mp4 (white = seen), trajectory.json, shot.json."""
    from ex4d_core.camera import load_trajectory
    from ex4d_core.rendering import render_shot
    from ex4d_core.scene import Scene
    from ex4d_core.shot import read_shot

    opened = Scene.open(scene)
    path = load_trajectory(trajectory, opened.width, opened.height, opened.fps)
    announce_kernels(console)
    with console.progress() as on_progress:
        render_shot(
            opened,
            path,
            output,
            method=method,
            background=background == "on",
            passes=split_passes(passes),
            allow_unseen=allow_unseen,
            overwrite=overwrite,
            on_progress=on_progress,
        )
    frames = read_shot(output).frames
    unseen, stretched = [frame.unseen for frame in frames], [frame.stretched for frame in frames]
    said = f"{output}: {len(frames)} frames, never seen {_mean_and_worst(unseen)}"
    measured = [share for share in stretched if share is not None]
    if measured:
        said += f"; of the rest stretched over 2x {_mean_and_worst(measured)}"
    console.result({"shot": str(output), "frames": len(frames), "unseen": unseen, "stretched": stretched}, said)


def _mean_and_worst(shares: list[float]) -> str:
    return f"{sum(shares) / len(shares):.1%} on average, {max(shares):.1%} at worst"


def announce_kernels(console: Console) -> None:
    """Say so before the rasterizer is compiled, once per machine."""
    from ex4d_core.raster import needs_compiling

    if needs_compiling():
        console.say("Compiling the rasterizer, once on this machine: about 20 seconds ...")


@command(
    "generate",
    """
  ex4d generate shot.ex4d/shots/orbit --engine draft --exr
  ex4d generate --color color.mp4 --mask mask.mp4 --engine draft -o output.mp4
  ex4d generate --from shots/orbit/shot.json --overwrite
""",
)
@click.argument("shot", required=False, type=click.Path(path_type=Path))
@click.option(
    "--from",
    "recipe",
    metavar="SHOT.JSON",
    type=click.Path(path_type=Path),
    help="Make a shot as this one was made; options that are given replace what it says.",
)
@click.option("--color", type=click.Path(path_type=Path), help="Conditioning made elsewhere: colour video.")
@click.option("--mask", type=click.Path(path_type=Path), help="Its mask video: white = seen.")
@engine_options
@click.option("-o", "--output", type=click.Path(path_type=Path), help="With --color: the video to write.")
@click.option("--overwrite", is_flag=True, help="Replace an existing result.")
def generate_command(
    console: Console,
    shot: Path | None,
    recipe: Path | None,
    color: Path | None,
    mask: Path | None,
    exr: bool,
    output: Path | None,
    overwrite: bool,
    **options: Any,
) -> None:
    """Fill what was never seen, with a chosen engine.

    Give a shot folder made by `ex4d render` (writes output.mp4 and output/ into it, and exr/ with --exr), or --color,
    --mask and -o. A shot that is generated already keeps its output: the same request with --exr then only writes
    exr/, anew where it was there. --from takes engine, seed and settings from the shot.json of a shot; without
    another shot folder that one is made again.
    """
    from ex4d_core.generate import generate_pair, generate_shot

    if recipe is not None:
        shot, options = _as_before(recipe, shot, options)
    else:
        options["setup"] = take_setup(options)
    if (shot is None) == (color is None and mask is None):
        raise InputError("Give either a shot folder, or --color and --mask with -o: see `ex4d generate --help`.")
    with console.progress() as on_progress:
        if shot is not None:
            if output is not None:
                raise InputError("A shot folder keeps its own output.mp4: leave out -o.")
            written = generate_shot(shot, exr=exr, overwrite=overwrite, on_progress=on_progress, **options)
        else:
            if color is None or mask is None or output is None:
                raise InputError("Conditioning made elsewhere needs all of --color, --mask and -o.")
            if exr:
                raise InputError("Two videos give one video, and no folder for EXR files: leave out --exr.")
            written = generate_pair(color, mask, out=output, overwrite=overwrite, on_progress=on_progress, **options)
    console.result({"output": str(written), "engine": options["engine"]}, str(written))


def _as_before(recipe: Path, shot: Path | None, options: dict[str, Any]) -> tuple[Path, dict[str, Any]]:
    """The shot to make, and the arguments of `generate_shot` as a shot.json and the command line have them."""
    from ex4d_core.engines import EngineSetup
    from ex4d_core.generate.again import read_recipe

    context = click.get_current_context()
    typed = {name for name in options if context.get_parameter_source(name) is ParameterSource.COMMANDLINE}
    of_setup = typed & {field.name for field in fields(EngineSetup)}
    again = read_recipe(recipe).changed(
        {name: options[name] for name in typed - of_setup}, {name: options[name] for name in of_setup}
    )
    again.check()
    return shot or again.folder, again.options()
