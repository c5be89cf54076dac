"""What Blender makes of the EXR files that the library writes: sockets, values, and the right frame of the sequence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import bpy
import numpy as np
import pytest
from conftest import ex4d, library

FRAMES, WIDTH, HEIGHT = 4, 64, 48
FIRST = 1001
SHOWN = (0, 2)

_PATH = """
import sys
from pathlib import Path
from ex4d_core.camera import save_trajectory
from ex4d_core.presets import Move, preset
from ex4d_core.scene import Scene
# So far aside that the last frames look past the mesh, where there is no depth at all.
move = Move("truck", amount=0.8)
save_trajectory(preset(Scene.open(Path(sys.argv[1])), move, radius=4.0, frames=4), Path(sys.argv[2]))
"""
_VALUES = """
import sys
from pathlib import Path
import numpy as np, OpenEXR
frames = []
for path in sorted(Path(sys.argv[1]).glob("*.exr")):
    with OpenEXR.File(str(path), separate_channels=True) as file:
        frames.append({name: np.asarray(channel.pixels, np.float32) for name, channel in file.channels().items()})
np.savez(sys.argv[2], **{name: np.stack([frame[name] for frame in frames]) for name in frames[0]})
"""


@pytest.fixture(scope="module")
def shot(small_scene: Path, library_python: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A generated shot of 4 frames with EXR."""
    folder = tmp_path_factory.mktemp("exr")
    library(library_python, _PATH, small_scene, folder / "path.json")
    ex4d(library_python, "render", small_scene, "--trajectory", folder / "path.json", "-o", folder / "shot")
    ex4d(library_python, "generate", folder / "shot", "--exr")
    return folder / "shot"


@pytest.fixture(scope="module")
def values(shot: Path, library_python: str) -> dict[str, np.ndarray]:
    """Every channel as the OpenEXR library reads it: (T, H, W) float32."""
    library(library_python, _VALUES, shot / "exr", shot / "values.npz")
    found = dict(np.load(shot / "values.npz"))
    assert 0 < found["mask.Y"].mean() < 1
    assert (found["depth.Z"] == np.float32(1e10)).any()
    assert (found["depth.Z"][found["mask.Y"] == 0] < 100).any(), "invented pixels have a depth"
    return found


def sequence(shot: Path) -> bpy.types.Image:
    image = bpy.data.images.load(str(shot / "exr/000000.exr"))
    image.source = "SEQUENCE"
    return image


def timed(user: Any) -> None:
    """Show the file 000000 at FIRST."""
    user.frame_duration, user.frame_start, user.frame_offset = FRAMES, FIRST, -1
    user.use_auto_refresh = True


def rendered(file: Path, frame: int) -> np.ndarray:
    """(H, W, 4) float32 as the scene renders, no view transform."""
    scene = bpy.context.scene
    scene.frame_set(frame)
    scene.render.filepath = str(file)
    bpy.ops.render.render(write_still=True)
    image = bpy.data.images.load(str(file))
    image.colorspace_settings.name = "Non-Color"
    pixels = np.empty(HEIGHT * WIDTH * image.channels, np.float32)
    image.pixels.foreach_get(pixels)
    pixels = pixels.reshape(HEIGHT, WIDTH, image.channels)[::-1]
    bpy.data.images.remove(image)
    return pixels


@pytest.fixture
def stage() -> bpy.types.Scene:
    """A scene that renders float images of the shot's size, one exact sample per pixel."""
    scene = bpy.context.scene
    scene.render.engine = "CYCLES"
    scene.cycles.samples, scene.cycles.use_denoising = 1, False
    scene.cycles.pixel_filter_type = "BOX"
    scene.view_settings.view_transform = "Raw"
    scene.render.resolution_x, scene.render.resolution_y = WIDTH, HEIGHT
    settings = scene.render.image_settings
    settings.file_format, settings.color_mode, settings.color_depth = "OPEN_EXR", "RGBA", "32"
    camera = bpy.data.objects.new("camera", bpy.data.cameras.new("camera"))
    camera.data.type, camera.data.ortho_scale, camera.location = "ORTHO", 2.0, (0, 0, 2)
    scene.collection.objects.link(camera)
    scene.camera = camera
    return scene


def compositor(scene: bpy.types.Scene) -> tuple[Any, Any]:
    """An empty compositor tree and the socket that is the result."""
    if bpy.app.version < (5, 0):
        scene.use_nodes = True
        tree = scene.node_tree
        tree.nodes.clear()
        return tree, tree.nodes.new("CompositorNodeComposite").inputs[0]
    tree = bpy.data.node_groups.new("Compositing", "CompositorNodeTree")
    scene.compositing_node_group = tree
    tree.interface.new_socket("Image", in_out="OUTPUT", socket_type="NodeSocketColor")
    return tree, tree.nodes.new("NodeGroupOutput").inputs[0]


def test_the_compositor_has_image_mask_and_depth(
    stage: bpy.types.Scene, shot: Path, values: dict[str, np.ndarray], tmp_path: Path
) -> None:
    image = sequence(shot)
    tree, result = compositor(stage)
    node = tree.nodes.new("CompositorNodeImage")
    node.image = image
    timed(node)
    assert image.type == "MULTILAYER"
    assert [(socket.name, socket.type) for socket in node.outputs if socket.enabled] == [
        ("Combined", "RGBA"),
        ("Alpha", "VALUE"),
        ("depth", "VALUE"),
        ("mask", "VALUE"),
    ]
    color = np.stack([values[name] for name in "RGBA"], axis=-1)
    for name, expected in (("Combined", color), ("depth", values["depth.Z"]), ("mask", values["mask.Y"])):
        tree.links.new(node.outputs[name], result)
        for index in SHOWN:
            found = rendered(tmp_path / "out.exr", FIRST + index)
            np.testing.assert_array_equal(found if name == "Combined" else found[..., 0], expected[index], name)


def test_an_image_texture_shows_the_colour_of_the_frame(
    stage: bpy.types.Scene, shot: Path, values: dict[str, np.ndarray], tmp_path: Path
) -> None:
    bpy.ops.mesh.primitive_plane_add(size=2)
    plane = bpy.context.object
    plane.scale = (1, HEIGHT / WIDTH, 1)
    material = bpy.data.materials.new("plate")
    material.use_nodes = True
    tree = material.node_tree
    tree.nodes.clear()
    texture, emission, output = (
        tree.nodes.new(f"ShaderNode{kind}") for kind in ("TexImage", "Emission", "OutputMaterial")
    )
    texture.image, texture.interpolation = sequence(shot), "Closest"
    timed(texture.image_user)
    tree.links.new(texture.outputs["Color"], emission.inputs["Color"])
    tree.links.new(emission.outputs[0], output.inputs["Surface"])
    plane.data.materials.append(material)
    for index in SHOWN:
        found = rendered(tmp_path / "out.exr", FIRST + index)
        expected = np.stack([values[name][index] for name in "RGB"], axis=-1)
        assert np.abs(found[..., :3] - expected).mean() < 1e-3


def test_the_colour_space_is_linear_rec709(stage: bpy.types.Scene, shot: Path) -> None:
    """Of a layered image Blender knows the size only once something has shown it."""
    image = sequence(shot)
    assert image.colorspace_settings.name == "Linear Rec.709"
    tree, _ = compositor(stage)
    tree.nodes.new("CompositorNodeImage").image = image
    assert tuple(image.size) == (WIDTH, HEIGHT)
    assert image.is_float


def test_a_camera_background_takes_the_sequence(
    stage: bpy.types.Scene, shot: Path, values: dict[str, np.ndarray]
) -> None:
    """Viewports cannot be drawn here; that the image user finds the file of the frame is what can go wrong."""
    image = sequence(shot)
    background = stage.camera.data.background_images.new()
    background.image = image
    timed(background.image_user)
    for index in SHOWN:
        stage.frame_set(FIRST + index)
        assert Path(image.filepath_from_user(image_user=background.image_user)) == shot / f"exr/{index:06d}.exr"
