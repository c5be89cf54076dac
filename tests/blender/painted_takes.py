"""Takes made up for tests: pictures of known values, as a generated shot's folder has them."""

from __future__ import annotations

import json
from pathlib import Path

import bpy
import numpy as np
from conftest import library, module
from shot_cases import add_camera
from test_mesh_fidelity import set_up

_WRITE = """
import sys
from fractions import Fraction
from pathlib import Path
import av, numpy as np, OpenEXR
from PIL import Image
folder, exr = Path(sys.argv[1]), sys.argv[2] == "exr"
data = np.load(folder / "take.npz")
(folder / "output").mkdir()
if exr:
    (folder / "exr").mkdir()
with av.open(folder / "mask.mp4", "w") as file:
    stream = file.add_stream("libx264rgb", 24, options={"qp": "0", "g": "1"})
    stream.height, stream.width = data["mask"].shape[1:]
    stream.pix_fmt = "rgb24"
    for i, (color, mask, depth) in enumerate(zip(data["color"], data["mask"], data["depth"])):
        Image.fromarray(color).save(folder / f"output/{i:06d}.png")
        shown = np.repeat(mask[..., None].astype(np.uint8) * 255, 3, axis=2)
        file.mux(stream.encode(av.VideoFrame.from_ndarray(shown, "rgb24")))
        if exr:
            c = color / 255.0
            linear = np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4).astype(np.float16)
            channels = {name: linear[..., k].copy() for k, name in enumerate("RGB")}
            channels |= {"mask.Y": mask.astype(np.float16), "depth.Z": depth}
            header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
            OpenEXR.File(header, channels).write(str(folder / f"exr/{i:06d}.exr"))
    file.mux(stream.encode())
(folder / "take.npz").unlink()
"""


def write_take(
    python: str,
    folder: Path,
    color: np.ndarray,
    mask: np.ndarray,
    depth: np.ndarray,
    *,
    frame_start: int = 1,
    exr: bool = True,
    overscan: float = 0.0,
    shot: str = "",
    focal: float = 60.0,
) -> Path:
    """A take's folder: `color` (T, H, W, 3) uint8 sRGB, `mask` (T, H, W) bool, `depth` (T, H, W) float32."""
    frames, height, width = mask.shape
    folder.mkdir(parents=True)
    np.savez(folder / "take.npz", color=color, mask=mask, depth=depth.astype(np.float32))
    library(python, _WRITE, folder, "exr" if exr else "")
    sample = {"c2w": np.eye(4).tolist(), "intrinsics": [focal, focal, width / 2, height / 2]}
    trajectory = {"schema": "ex4d.trajectory/1", "width": width, "height": height, "fps": [24, 1]}
    trajectory |= {"frame_start": frame_start, "scene_hash": ""}
    trajectory["frames"] = [sample | {"source_time": float(t)} for t in range(frames)]
    (folder / "trajectory.json").write_text(json.dumps(trajectory))
    take = {"schema": "ex4d.take/1", "shot": shot, "shot_name": "", "number": 1, "name": folder.name}
    take["settings"] = {"overscan": overscan, "handles": [0, 0]}
    (folder / "take.json").write_text(json.dumps(take))
    return folder


def noise(frames: int = 4, width: int = 64, height: int = 36, seed: int = 0) -> np.ndarray:
    """(T, H, W, 3) uint8."""
    return np.random.default_rng(seed).integers(0, 256, (frames, height, width, 3), np.uint8)


def linear(color: np.ndarray) -> np.ndarray:
    """sRGB as 0 to 255 in linear light, float."""
    c = color / 255.0
    return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)


def floats(path: Path) -> np.ndarray:
    """(H, W, 4) float32 of an EXR that Blender wrote, rows from the top."""
    image = bpy.data.images.load(str(path))
    image.colorspace_settings.is_data = True
    width, height = image.size
    values = np.empty(width * height * 4, np.float32)
    image.pixels.foreach_get(values)
    bpy.data.images.remove(image)
    return values.reshape(height, width, 4)[::-1]


def render_floats(path: Path, frame: int) -> np.ndarray:
    """What the scene renders at a frame, compositor included, scene linear."""
    scene = bpy.context.scene
    settings = scene.render.image_settings
    settings.file_format, settings.color_depth, settings.color_mode = "OPEN_EXR", "32", "RGBA"
    scene.frame_set(frame)
    scene.render.filepath = str(path)
    bpy.ops.render.render(write_still=True)
    return floats(path)


def small_render(width: int = 64, height: int = 36, engine: str = "CYCLES") -> None:
    """One sample in the middle of each pixel; a camera, without which Blender renders nothing."""
    set_up(engine, width, height)
    bpy.context.scene.camera = add_camera("Any")


def show(name: str) -> None:
    """Let the render show an output of the take's group."""
    versions = module("versions.compositor")
    tree = versions.tree_of(bpy.context.scene)
    node = next(node for node in tree.nodes if node.bl_idname == "CompositorNodeGroup")
    tree.links.new(node.outputs[name], versions.output(tree))
