"""`ex4d distort`."""

from __future__ import annotations

from pathlib import Path

import click

from ex4d_core.commands.console import Console, command


@command(
    "distort",
    """
  ex4d distort shot.ex4d/shots/orbit -o orbit_over_plate.mp4
  ex4d distort shot.ex4d/shots/orbit/exr -o orbit_distorted/
  ex4d distort graded.mov --scene shot.ex4d -o graded_distorted/
""",
)
@click.argument("source", metavar="SHOT_OR_VIDEO", type=click.Path(path_type=Path))
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="A .mp4, or a folder of images.")
@click.option(
    "--scene", type=click.Path(path_type=Path), metavar="NAME.ex4d", help="Whose distortion; default the shot's."
)
@click.option("--overwrite", is_flag=True, help="Replace an earlier result.")
def distort_command(console: Console, source: Path, output: Path, scene: Path | None, overwrite: bool) -> None:
    """Put the lens distortion of the footage back on a result.

    Import removes the distortion that a camera solve knows, so that the scene is straight; this bends a shot, its
    EXR frames, or what was made of them, as the footage's lens would have, to lie over the original plate.
    """
    from ex4d_core.redistort import distort_result

    with console.progress() as on_progress:
        made = distort_result(source, output, scene=scene, overwrite=overwrite, on_progress=on_progress)
    if made.missing > 0:
        fills = made.fills_degrees
        remedy = "" if fills is None else f": a shot with a lens of {fills:.1f} degrees fills it"
        console.say(f"note: {100 * made.missing:.1f} % of the frame, at its border, lies outside of the shot{remedy}.")
    facts = {
        "output": str(output),
        "frames": made.frames,
        "missing": made.missing,
        "fills_degrees": made.fills_degrees,
    }
    console.result(facts, f"{output}: {made.frames} frames")
