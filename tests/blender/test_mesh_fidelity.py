"""What Blender renders of the mesh, against the plate and against the core's own render."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import bpy
import numpy as np
import pytest
from conftest import ex4d, library, module
from mathutils import Matrix

NOISE = 4.0
"""Where neighbours differ by 255, a sample 0.005 pixels beside the centre (the narrowest filter) is off by up to 3."""


def pixels(path: Path) -> np.ndarray:
    """(H, W, 4) float32 as stored, 0 to 255, rows from the top."""
    image = bpy.data.images.load(str(path))
    image.colorspace_settings.is_data = True
    image.alpha_mode = "CHANNEL_PACKED"
    width, height = image.size
    values = np.empty(width * height * 4, np.float32)
    image.pixels.foreach_get(values)
    bpy.data.images.remove(image)
    return values.reshape(height, width, 4)[::-1] * 255


def set_up(engine: str, width: int, height: int) -> None:
    """One sample in the middle of each pixel, Standard, transparent where there is nothing."""
    scene = bpy.context.scene
    render = scene.render
    render.engine, render.film_transparent, render.filter_size, render.dither_intensity = engine, True, 0.01, 0.0
    render.resolution_x, render.resolution_y, render.resolution_percentage = width, height, 100
    scene.view_settings.view_transform = "Standard"
    scene.cycles.samples, scene.cycles.use_adaptive_sampling, scene.cycles.use_denoising = 1, False, False
    scene.cycles.pixel_filter_type, scene.cycles.filter_width = "BOX", 0.01
    scene.eevee.taa_render_samples = 1
    render.image_settings.file_format, render.image_settings.color_mode = "PNG", "RGBA"


def rendered(path: Path, frame: int) -> np.ndarray:
    """The scene at a frame, as `pixels`."""
    bpy.context.scene.frame_set(frame)
    bpy.context.scene.render.filepath = str(path)
    bpy.ops.render.render(write_still=True)
    return pixels(path)


def eevee() -> str:
    """EEVEE's name in this version."""
    return "BLENDER_EEVEE_NEXT" if bpy.app.version < (5, 0, 0) else "BLENDER_EEVEE"


def _is_the_plate(engine: str, folder: Path, output: Path, frame: int, hide: bool, off: float) -> None:
    footage = module("mesh.placing").place(bpy.context, folder, 1)
    facts = footage.facts()
    module("versions.modifier_inputs").write(footage.mesh.modifiers[0], "Hide Occluded", hide)
    set_up(engine, facts.width, facts.height)
    image = rendered(output / "view.png", 1 + frame)
    plate = pixels(facts.file(facts.color, frame))
    assert (image[..., 3] == 255).mean() > 0.999
    wrong = np.abs(image - plate).max(axis=-1) > off
    # A ray through the middle of a pixel goes through a vertex, where rounding lets it slip to either side of a jump.
    assert wrong.mean() < (0.0005 if hide else 0.001), f"{wrong.mean():.2%} of the pixels"


@pytest.mark.parametrize("hide", [True, False])
def test_cycles_shows_the_plate_from_the_source_camera(small_scene: Path, tmp_path: Path, hide: bool) -> None:
    _is_the_plate("CYCLES", small_scene, tmp_path, 5, hide, NOISE)


@pytest.mark.slow
def test_cycles_shows_the_plate_of_the_bundled_clip(sample_scene: Path, tmp_path: Path) -> None:
    _is_the_plate("CYCLES", sample_scene, tmp_path, 20, True, 1.01)


@pytest.mark.slow
def test_eevee_shows_the_plate_from_the_source_camera(small_scene: Path, tmp_path: Path) -> None:
    _is_the_plate(eevee(), small_scene, tmp_path, 5, True, NOISE)


@pytest.mark.slow
def test_eevee_shows_the_plate_of_the_bundled_clip(library_python: str, tmp_path: Path) -> None:
    folder = tmp_path / "clip.ex4d"
    ex4d(library_python, "import", "sample", "--size", "208x120", "--start", "20", "--frames", "2", "-o", folder)
    _is_the_plate(eevee(), folder, tmp_path, 1, True, 1.01)


def stand(yaw: float, pitch: float, distance: float, nearer: float) -> np.ndarray:
    """(4, 4) camera-to-world: around a point ahead, OpenCV axes."""
    y, p = math.radians(yaw), math.radians(pitch)
    turn = np.array([[math.cos(y), 0, math.sin(y)], [0, 1, 0], [-math.sin(y), 0, math.cos(y)]])
    tilt = np.array([[1, 0, 0], [0, math.cos(p), -math.sin(p)], [0, math.sin(p), math.cos(p)]])
    pose = np.eye(4)
    pose[:3, :3] = turn @ tilt
    pose[:3, 3] = np.array([0, 0, distance]) - pose[:3, :3] @ np.array([0, 0, distance - nearer])
    return pose


_UNPACK = """
import sys
import av
for name in ("color", "mask"):
    for i, frame in enumerate(av.open(f"{sys.argv[1]}/{name}.mp4").decode(video=0)):
        from PIL import Image
        Image.fromarray(frame.to_ndarray(format="rgb24")).save(f"{sys.argv[1]}/{name}{i}.png")
"""


def _compare(
    engine: str, folder: Path, python: str, output: Path, poses: list[np.ndarray]
) -> list[tuple[float, float]]:
    """IoU of the masks and mean colour error (of 255) within both, for each camera, against `ex4d render`."""
    footage = module("mesh.placing").place(bpy.context, folder, 1)
    facts, empty, scene = footage.facts(), footage.empty, bpy.context.scene
    times = [float(min(2 * i, facts.frames - 1)) for i in range(len(poses))]
    trajectory: dict[str, Any] = {
        "schema": "ex4d.trajectory/1",
        "width": facts.width,
        "height": facts.height,
        "fps": [24, 1],
        "frame_start": 0,
        "scene_hash": facts.content_hash,
        "frames": [
            {"c2w": pose.tolist(), "intrinsics": facts.intrinsics[0].tolist(), "source_time": time}
            for pose, time in zip(poses, times, strict=True)
        ],
    }
    (output / "path.json").write_text(json.dumps(trajectory))
    ex4d(python, "render", folder, "--trajectory", output / "path.json", "-o", output / "shot", "--method", "dwmesh",
         "--background", "off")  # fmt: skip
    library(python, _UNPACK, output / "shot")
    # Wherever the empty stands, the scene stands with it.
    empty.location, empty.rotation_euler = (3.0, -2.0, 1.0), (-1.2, 0.3, 0.7)
    camera = bpy.data.objects.new("Artist", footage.source_camera.data.copy())
    scene.collection.objects.link(camera)
    scene.camera = camera
    set_up(engine, facts.width, facts.height)
    bpy.context.view_layer.update()
    scores = []
    for i, (pose, time) in enumerate(zip(poses, times, strict=True)):
        world = np.array(empty.matrix_world) @ pose @ np.diag([1.0, -1.0, -1.0, 1.0])
        world[:3, :3] /= np.linalg.norm(world[:3, :3], axis=0)
        camera.matrix_world = Matrix(world.tolist())
        camera["Source Time"] = time
        camera.update_tag()
        image = rendered(output / f"view{i}.png", 1 + i)
        mask, colour = pixels(output / f"shot/mask{i}.png")[..., 0] > 127, pixels(output / f"shot/color{i}.png")
        ours = image[..., 3] > 127
        both = mask & ours
        scores.append((both.sum() / (mask | ours).sum(), np.abs(image - colour)[..., :3][both].mean()))
    return scores


def test_cycles_renders_what_the_core_renders(small_scene: Path, library_python: str, tmp_path: Path) -> None:
    poses = [stand(20, 0, 5, 0), stand(-15, 10, 5, 1), stand(40, -5, 5, 0)]
    for overlap, error in _compare("CYCLES", small_scene, library_python, tmp_path, poses):
        assert overlap >= 0.99
        assert error < 2.0


@pytest.mark.slow
def test_cycles_renders_what_the_core_renders_of_the_clip(
    sample_scene: Path, library_python: str, tmp_path: Path
) -> None:
    poses = [stand(20, 0, 5.5, 0), stand(45, -5, 5.5, 1)]
    for overlap, error in _compare("CYCLES", sample_scene, library_python, tmp_path, poses):
        assert overlap >= 0.999
        assert error < 0.1


@pytest.mark.slow
def test_eevee_renders_what_the_core_renders(small_scene: Path, library_python: str, tmp_path: Path) -> None:
    for overlap, error in _compare(eevee(), small_scene, library_python, tmp_path, [stand(20, 0, 5, 0)]):
        assert overlap >= 0.99
        assert error < 2.0
