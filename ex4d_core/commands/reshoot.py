"""`ex4d reshoot`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ex4d_core.commands.console import Console, command
from ex4d_core.commands.footage import footage_options, import_footage
from ex4d_core.commands.shot import (
    MOVE_NAMES,
    announce_kernels,
    engine_options,
    make_path,
    move_options,
    render_options,
    split_passes,
    take_setup,
)
from ex4d_core.errors import InputError


@command(
    "reshoot",
    """
  ex4d reshoot my_clip.mp4 --preset orbit --yaw 40 -o my_shot
  ex4d reshoot photo.jpg --preset dolly --amount 0.3 -o push_in
  ex4d reshoot shot.ex4d --trajectory from_blender.json -o take_1
  ex4d reshoot sample --preset 60 --engine draft -o demo
""",
)
@click.argument("source", metavar="INPUT", type=click.Path(path_type=Path))
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="Folder for the results.")
@move_options
@click.option("--trajectory", type=click.Path(path_type=Path), help="A .json or .npz file instead of --preset.")
@engine_options
@render_options
@footage_options
@click.option("--overwrite", is_flag=True, help="Replace the results of another request in the same folder.")
def reshoot_command(
    console: Console,
    source: Path,
    output: Path,
    trajectory: Path | None,
    engine: str,
    seed: int,
    prompt: str,
    quality: str,
    keep_source: bool,
    exr: bool,
    method: str,
    background: str,
    passes: str,
    allow_unseen: bool,
    overwrite: bool,
    **options: Any,
) -> None:
    """All of it: a video in, the video from another camera out.

    INPUT is a video, an image sequence, a still, a scene folder, or the word `sample` for the bundled clip.
    Writes output.mp4 (to look at), contact.png, shot/ and scene.ex4d/ into the folder. What is finished is kept:
    the same command again goes on where it stopped.
    """
    from ex4d_core.camera import load_trajectory
    from ex4d_core.engines import check_request, require
    from ex4d_core.reshooting import reshoot
    from ex4d_core.scene import Scene
    from ex4d_core.scene_format import SCENE_FILE

    timing = ("preset", "radius", "follow", "freeze", "speed")
    move = {name: options.pop(name) for name in (*timing, *MOVE_NAMES)}
    if bool(trajectory) == bool(move["preset"]):
        raise InputError("Say how the camera moves with either --preset or --trajectory.")
    setup = take_setup(options)
    check_request(engine, quality, keep_source, setup)  # said now, not after the import
    if not (output / "shot").exists():  # else it may be finished already
        require(engine, setup, quality)
    announce_kernels(console)
    if (source / SCENE_FILE).is_file():
        scene = Scene.open(source)
    else:
        scene = import_footage(console, source, output / "scene.ex4d", overwrite=overwrite, reuse=True, **options)
    for warning in scene.warnings:
        console.say(f"note: {warning}")
    path = (
        load_trajectory(trajectory, scene.width, scene.height, scene.fps)
        if trajectory
        else make_path(scene, None, move)
    )
    with console.progress() as on_progress:
        result = reshoot(
            scene,
            path,
            output,
            engine=engine,
            method=method,
            background=background == "on",
            passes=split_passes(passes),
            allow_unseen=allow_unseen,
            seed=seed,
            prompt=prompt,
            quality=quality,
            keep_source=keep_source,
            setup=setup,
            exr=exr,
            overwrite=overwrite,
            on_progress=on_progress,
        )
    facts = {name: str(getattr(result, name)) for name in ("output", "contact", "shot", "scene")}
    console.result(facts, f"{result.output}\n{result.contact}")
