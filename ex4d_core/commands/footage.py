"""`ex4d import`, and the options about footage that it shares with `reshoot`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ex4d_core.commands.console import Console, Rate, Size, command
from ex4d_core.errors import InputError

if TYPE_CHECKING:
    from ex4d_core.scene import Scene

SAMPLE = "sample"
"""What stands for the bundled clip where a clip is expected."""


def _list_sensors(context: click.Context, _option: click.Parameter, wanted: bool) -> None:
    from ex4d_core.sensors import SENSORS

    if wanted:
        click.echo("\n".join(f"{width:6.2f} mm  {name}" for name, width in SENSORS.items()))
        context.exit()


_OPTIONS = (
    click.option(
        "--depth", type=click.Path(path_type=Path), help="Depth: EXR, PNG, NPZ, NPY or video; file or folder."
    ),
    click.option(
        "--depth-kind",
        type=click.Choice(["metric", "relative", "disparity", "depthcrafter"]),
        default="relative",
        show_default=True,
        help="What its numbers mean: metres, depth up to scale, 1/depth, or DepthCrafter's disparity as in EX-4D.",
    ),
    click.option("--depth-range", type=float, nargs=2, metavar="LO HI", help="What 0 and the largest integer mean."),
    click.option("--depth-channel", metavar="NAME", help="The EXR channel or NPZ array with depth; default by name."),
    click.option("--estimator", metavar="NAME", help="Who finds the depth without --depth: see `ex4d depth list`."),
    click.option(
        "--depth-model-dir",
        type=click.Path(path_type=Path),
        metavar="DIR",
        help="A folder with the estimator's weights or checkout; default what `ex4d models` has.",
    ),
    click.option(
        "--sharpen-edges/--keep-edges",
        "sharpen",
        default=None,
        help="Put the depth's edges where the colour has them; default for networks' depth.",
    ),
    click.option("--fov", type=float, metavar="DEG", help="Horizontal field of view."),
    click.option("--focal-mm", type=float, metavar="MM", help="Focal length; give the sensor too."),
    click.option("--sensor-mm", type=float, metavar="MM", help="Width of the sensor, along the picture's longer side."),
    click.option(
        "--sensor", metavar="NAME", help="A camera or format instead, as in 'Super 35': --sensors lists them."
    ),
    click.option(
        "--sensors", is_flag=True, is_eager=True, expose_value=False, callback=_list_sensors, help="List them and stop."
    ),
    click.option("--focal-px", type=float, metavar="F", help="Focal length in pixels, at the size of the input."),
    click.option(
        "--source-camera",
        default="static",
        show_default=True,
        metavar="static|estimate|SOLVE",
        help="The camera that took it: stands still, is to be found, or is solved: a trajectory or a COLMAP folder.",
    ),
    click.option("--start", type=int, default=0, show_default=True, metavar="N", help="First frame to take."),
    click.option("--frames", type=int, metavar="N", help="How many frames to take; default all."),
    click.option("--size", type=Size(), help="Working size."),
    click.option("--max-side", type=int, metavar="N", help="Longest side of the working size; default 1024."),
    click.option("--fps", type=Rate(), help="Frame rate; default the footage's."),
    click.option("--plate", is_flag=True, help="Also keep the frames at full size."),
)


def footage_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of `ex4d import` to a command."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


def import_footage(console: Console, source: Path, out: Path, *, overwrite: bool, reuse: bool, **options: Any) -> Scene:
    """Run the import with a command's options (see `footage_options`)."""
    from ex4d_core.ingest import import_scene

    if str(source) == SAMPLE and not source.exists():
        from ex4d_core import sample

        source = sample.clip_path()
        if options["depth"] is None:
            options |= sample.import_options()
    options["fov_degrees"] = options.pop("fov")
    options["depth_range"] = options["depth_range"] or None
    options["model_dir"] = options.pop("depth_model_dir")
    camera = options["source_camera"]
    if not camera:
        raise InputError("--source-camera is empty: give static, estimate, or a solved camera's file or folder.")
    options["estimate_camera"] = camera == "estimate"
    options["source_camera"] = None if camera in ("static", "estimate") else Path(camera)
    with console.progress() as on_progress:
        return import_scene(source, out, overwrite=overwrite, reuse=reuse, on_progress=on_progress, **options)


@command(
    "import",
    """
  ex4d import my_clip.mp4 -o my_clip.ex4d
  ex4d import frames/ -o shot.ex4d --fps 24 --focal-mm 35 --sensor-mm 36
  ex4d import plate_####.exr -o shot.ex4d --depth z/ --depth-kind metric --plate
  ex4d import photo.jpg -o photo.ex4d --fov 60
""",
)
@click.argument("source", metavar="VIDEO_OR_SEQUENCE", type=click.Path(path_type=Path))
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="The scene folder: NAME.ex4d.")
@footage_options
@click.option(
    "--background",
    type=click.Choice(["on", "off"]),
    default="on",
    show_default=True,
    help="Gather what was seen at another time; off is quicker, for renders that do without.",
)
@click.option("--overwrite", is_flag=True, help="Replace an existing scene; its shots stay.")
def import_command(
    console: Console, source: Path, output: Path, background: str, overwrite: bool, **options: Any
) -> None:
    """Turn a video, an image sequence or a still into a scene folder.

    Without --depth the depth is estimated: by depth-anything-v2-small where its weights are here, else from the
    pictures alone, without weights or network. Nothing is downloaded unasked. An interrupted
    import goes on where it stopped when the same command is run again. The word `sample` stands for the
    bundled clip.
    """
    options["background"] = background == "on"
    scene = import_footage(console, source, output, overwrite=overwrite, reuse=False, **options)
    for warning in scene.warnings:
        console.say(f"note: {warning}")
    facts = {
        "scene": str(output),
        "width": scene.width,
        "height": scene.height,
        "frames": scene.frames,
        "fps": [scene.fps.numerator, scene.fps.denominator],
        "depth_estimator": scene.estimator,
        "content_hash": scene.content_hash,
        "warnings": list(scene.warnings),
    }
    console.result(
        facts, f"{output}: {scene.frames} frames, {scene.width}x{scene.height}, depth from {scene.estimator}"
    )
