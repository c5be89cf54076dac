"""`ex4d mesh`."""

from __future__ import annotations

from pathlib import Path

import click

from ex4d_core.commands.console import Console, command
from ex4d_core.errors import InputError
from ex4d_core.methods import METHODS

SUFFIXES = (".ply", ".obj", ".glb")


@command(
    "mesh",
    """
  ex4d mesh shot.ex4d --frame 0 -o shot.glb
  ex4d mesh shot.ex4d --frame all --visible -o meshes/shot.ply
  ex4d mesh shot.ex4d --method quads -o shot.glb
""",
)
@click.argument("scene", type=click.Path(path_type=Path))
@click.option("--frame", default="0", show_default=True, metavar="N|all", help="Which frame; all writes one file each.")
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="A .ply, .obj or .glb file.")
@click.option("--visible", "visible_only", is_flag=True, help="Only what the camera saw: no bridges, back, occluders.")
@click.option(
    "--method",
    type=click.Choice(METHODS),
    default="dwmesh",
    show_default=True,
    help="Kind of mesh; dwmesh is what Blender shows, quads what renders are made of.",
)
def mesh_command(console: Console, scene: Path, frame: str, output: Path, visible_only: bool, method: str) -> None:
    """Export the mesh of one frame, or of all.

    It stands in the scene's world: that of the source camera's solve, or else of the source camera itself.
    With --frame all the frame number is put into the name: shot.glb becomes shot.000000.glb, ...
    """
    from ex4d_core.mesh import build_mesh
    from ex4d_core.mesh_export import export_mesh
    from ex4d_core.quads import build_quads
    from ex4d_core.scene import Scene

    if output.suffix not in SUFFIXES:
        raise InputError(f"Cannot write a mesh as {output.name}: use a name ending in {', '.join(SUFFIXES)}.")
    opened = Scene.open(scene)
    frames = _chosen(frame, opened.frames)
    written: list[str] = []
    with console.progress() as on_progress:
        for done, t in enumerate(frames):
            name = output if frame != "all" else output.with_name(f"{output.stem}.{t:06d}{output.suffix}")
            color, depth, camera = opened.color(t), opened.depth(t), opened.source_camera(t)
            if method == "quads":
                quads = build_quads(color, depth, camera.intrinsics)
                mesh, color = quads.solid, quads.color
            else:
                mesh = build_mesh(depth, camera.intrinsics, method)
            export_mesh(mesh, color, name, visible_only=visible_only, c2w=camera.c2w)
            written.append(str(name))
            on_progress(done + 1, len(frames), "exporting meshes")
    console.result({"files": written}, "\n".join(written))


def _chosen(frame: str, frames: int) -> list[int]:
    if frame == "all":
        return list(range(frames))
    if not frame.isdigit() or int(frame) >= frames:
        raise InputError(f"There is no frame {frame!r}: choose 0 to {frames - 1}, or all.")
    return [int(frame)]
