#!/usr/bin/env python3
"""Draw the pictures of docs/geometry.md and docs/depth/background.md from the bundled sample.

usage: make_geometry_images.py [--out docs/images] [--frame 24] [--angle 40]
"""

from __future__ import annotations

import argparse
import math
import tempfile
from pathlib import Path

from environment import in_environment

in_environment()

import cv2
import numpy as np
from numpy.typing import NDArray

from ex4d_core import sample
from ex4d_core.camera import Camera, Trajectory, look_at
from ex4d_core.frame import RenderedFrame, render_frame
from ex4d_core.images import write_png
from ex4d_core.ingest import import_scene
from ex4d_core.mesh import build_mesh, occlusion_bits
from ex4d_core.rendering import render
from ex4d_core.scene import Scene

Image = NDArray[np.uint8]

WIDTH = 416
"""Of each panel, pixels."""
UNSEEN = (255, 0, 144)


def main() -> None:
    """Read the arguments, render, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("docs/images"))
    parser.add_argument("--frame", type=int, default=24)
    parser.add_argument("--angle", type=float, default=40.0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        import_scene(sample.clip_path(), Path(folder) / "sample.ex4d", **sample.import_options())
        scene = Scene.open(Path(folder) / "sample.ex4d")
        draw(scene, options.frame, options.angle, options.out)


def draw(scene: Scene, frame: int, angle_degrees: float, out: Path) -> None:
    """Write geometry_mesh.png, geometry_methods.png and background.png."""
    color, depth, lens = scene.color(frame), scene.depth(frame), scene.intrinsics(frame)
    angle, radius = math.radians(angle_degrees), sample.facts().orbit_radius
    target = np.array([0.0, 0.0, radius])
    camera = Camera(look_at(target + radius * np.array([math.sin(angle), 0, -math.cos(angle)]), target), lens)
    mesh = build_mesh(depth, lens)
    flags = (color // 3).copy()
    flags[occlusion_bits(mesh) > 0] = UNSEEN
    limited = marked(render_frame(color, mesh, camera))
    endless = marked(render_frame(color, mesh, camera, bridge_reach=math.inf))
    reference = marked(render_frame(color, build_mesh(depth, lens, "reference"), camera))
    out.mkdir(parents=True, exist_ok=True)
    write_png(out / "geometry_mesh.png", beside(color, flags))
    write_png(out / "geometry_methods.png", beside(reference, endless, limited))
    path = Trajectory(
        camera.c2w[None],
        np.array([lens.as_tuple()]),
        np.array([float(frame)]),
        lens.width,
        lens.height,
        scene.fps,
    )
    (behind,) = render(scene, path)
    layer = scene.background_layer(0)
    clean = np.where(np.isfinite(layer.depth)[..., None], layer.color, np.array(UNSEEN, np.uint8))
    write_png(out / "background.png", beside(clean, limited, marked(behind)))


def marked(frame: RenderedFrame) -> Image:
    """The frame's colour, with what was never seen in one loud colour."""
    return np.where(frame.mask[..., None], frame.color, np.array(UNSEEN, np.uint8))


def beside(*images: Image) -> Image:
    """Panels in a row, with a gap between them."""
    height = round(images[0].shape[0] * WIDTH / images[0].shape[1])
    panels: list[Image] = []
    for image in images:
        panels += [cv2.resize(image, (WIDTH, height), interpolation=cv2.INTER_AREA).astype(np.uint8)]
        panels += [np.full((height, 8, 3), 255, np.uint8)]
    return np.concatenate(panels[:-1], axis=1)


if __name__ == "__main__":
    main()
