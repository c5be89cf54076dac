"""`ex4d info`."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import click

from ex4d_core.commands.console import Console, command


@command(
    "info",
    """
  ex4d info my_clip.mp4
  ex4d info shot.ex4d --verify
  ex4d info camera.json --json
""",
)
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--verify", is_flag=True, help="Scenes: hash every file and compare with the content hash.")
def info_command(console: Console, path: Path, verify: bool) -> None:
    """Say what a clip, scene, trajectory or shot holds."""
    from ex4d_core.scene_format import SCENE_FILE
    from ex4d_core.shot import SHOT_FILE

    if (path / SCENE_FILE).is_file():
        with console.progress() as on_progress:
            facts = _scene(path, verify, on_progress)
    elif (path / SHOT_FILE).is_file():
        facts = _shot(path)
    elif path.suffix in (".json", ".npz"):
        facts = _trajectory(path)
    else:
        facts = _clip(path)
    width = max(len(name) for name in facts)
    lines = [f"{name.replace('_', ' '):{width}}  {_readable(value)}" for name, value in facts.items()]
    console.result(facts, "\n".join(lines))


def _readable(value: object) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "unknown"}[value]
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list | tuple):
        return ", ".join(_readable(v) for v in value) or "none"
    return str(value)


def _rate(fps: Fraction) -> str:
    return f"{fps} ({float(fps):.3f})" if fps.denominator != 1 else str(fps)


def _scene(path: Path, verify: bool, on_progress: Any) -> dict[str, Any]:
    from ex4d_core.scene import Scene

    scene = Scene.open(path, verify=verify, on_progress=on_progress)
    lens = scene.intrinsics(0)
    depth = scene.depth(0)
    return {
        "kind": "scene",
        "size": f"{scene.width}x{scene.height}",
        "frames": scene.frames,
        "fps": _rate(scene.fps),
        "fov_degrees": lens.fov_x_degrees,
        "intrinsics": list(lens.as_tuple()),
        "source_camera": "still, at the origin" if scene.source_c2w is None else "given for each frame",
        "depth_estimator": scene.estimator,
        "depth_units": scene.units,
        "depth_range_of_frame_0": [float(depth.min()), float(depth.max())],
        "shots": sorted(p.name for p in (path / "shots").glob("*") if p.is_dir()),
        "content_hash": scene.content_hash,
        "verified": verify,
        "warnings": list(scene.warnings),
    }


def _shot(path: Path) -> dict[str, Any]:
    from ex4d_core.shot import read_shot

    shot = read_shot(path)
    unseen = [frame.unseen for frame in shot.frames]
    stretched = [frame.stretched for frame in shot.frames if frame.stretched is not None]
    return {
        "kind": "shot",
        "scene": shot.scene.path if shot.scene else None,
        "engine": shot.request.engine or "none yet: run `ex4d generate`",
        "method": shot.request.method,
        "frames": len(shot.frames),
        "never_seen_mean": sum(unseen) / len(unseen) if unseen else None,
        "never_seen_worst": max(unseen, default=None),
        "stretched_mean": sum(stretched) / len(stretched) if stretched else None,
        "stretched_worst": max(stretched, default=None),
        "files": sorted(p.name for p in path.iterdir()),
    }


def _trajectory(path: Path) -> dict[str, Any]:
    from ex4d_core.camera import load_trajectory, npz_size

    width, height = npz_size(path) if path.suffix == ".npz" else (1, 1)
    trajectory = load_trajectory(path, width, height, Fraction(24))
    positions = trajectory.c2w[:, :3, 3]
    return {
        "kind": "trajectory",
        "size": f"{trajectory.width}x{trajectory.height}",
        "frames": len(trajectory),
        "fps": _rate(trajectory.fps) if path.suffix == ".json" else "as its scene (npz has none)",
        "source_time": [float(trajectory.source_time[0]), float(trajectory.source_time[-1])],
        "first_position": positions[0].tolist(),
        "last_position": positions[-1].tolist(),
        "scene_hash": trajectory.scene_hash,
    }


def _clip(path: Path) -> dict[str, Any]:
    from ex4d_core.clip import probe_clip

    clip = probe_clip(path)
    return {
        "kind": clip.kind,
        "size": f"{clip.width}x{clip.height}",
        "frames": clip.frames,
        "fps": _rate(clip.fps),
        "variable_rate": clip.variable_rate,
        "pixel_aspect": str(clip.pixel_aspect),
        "bit_depth": clip.bit_depth,
        "audio": clip.has_audio,
    }
