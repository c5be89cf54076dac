"""A take in the compositor, by pixels: picture, mask and depth on the right frames, at the right size."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import bpy
import numpy as np
import pytest
from conftest import EXTENSION, ex4d, module
from painted_takes import linear, noise, render_floats, show, small_render, write_take
from shot_cases import add_camera, add_shot, stand_in

MASK = np.zeros((4, 36, 64), bool)
MASK[:, 5:30, 7:40] = True
MASK[2, 0:5] = True
DEPTH = np.broadcast_to(np.linspace(2.0, 5.0, 64, dtype=np.float32), (4, 36, 64)).copy()
DEPTH[:, 18:] += 1.0


def accept(folder: Path, shot: Any = None) -> str | None:
    """Accept a take, for a shot of the scene's camera by default; what was said."""
    facts = module("takes.folder").read_take(folder)
    return module("use.compositor").accept(bpy.context, shot or add_shot(bpy.context.scene.camera), facts)


@pytest.fixture
def take(library_python: str, tmp_path: Path) -> Path:
    """Four frames from Blender's frame 1001 on."""
    return write_take(library_python, tmp_path / "take_001", noise(), MASK, DEPTH, frame_start=1001)


@pytest.mark.parametrize("start", [1, 1001])
def test_a_new_compositor_shows_the_take_on_its_frames(library_python: str, tmp_path: Path, start: int) -> None:
    small_render()
    bpy.context.scene.frame_start = start
    folder = write_take(library_python, tmp_path / "take_001", noise(), MASK, DEPTH, frame_start=start)
    assert accept(folder) is None
    for frame in (start, start + 1, start + 3, start + 2):
        shown = render_floats(tmp_path / "a.exr", frame)
        np.testing.assert_allclose(shown[..., :3], linear(noise()[frame - start]), atol=1e-3)
        assert (shown[..., 3] == 1).all()
    show("Mask")
    for frame in (start + 1, start + 2):
        np.testing.assert_array_equal(render_floats(tmp_path / "a.exr", frame)[..., 0], MASK[frame - start])
    show("Invented")
    np.testing.assert_array_equal(render_floats(tmp_path / "a.exr", start)[..., 0], ~MASK[0])
    show("Depth")
    np.testing.assert_allclose(render_floats(tmp_path / "a.exr", start)[..., 0], DEPTH[0], rtol=1e-6)


def test_without_exr_there_are_picture_and_mask(library_python: str, tmp_path: Path) -> None:
    small_render()
    folder = write_take(library_python, tmp_path / "take_001", noise(), MASK, DEPTH, frame_start=11, exr=False)
    assert "no EXR files with depth" in accept(folder)
    for frame in (0, 2, 3):
        shown = render_floats(tmp_path / "a.exr", 11 + frame)
        np.testing.assert_allclose(shown[..., :3], linear(noise()[frame]), atol=1e-3)
    show("Mask")
    for frame in (1, 2):
        np.testing.assert_allclose(render_floats(tmp_path / "a.exr", 11 + frame)[..., 0], MASK[frame], atol=0.01)
    show("Depth")
    assert (render_floats(tmp_path / "a.exr", 12)[..., 0] > 1e9).all()
    (folder / "mask.mp4").unlink()
    with pytest.raises(module("errors").UserError, match="mask.mp4 is missing"):
        accept(folder)


@pytest.mark.parametrize("percent", [100, 50])
def test_overscan_lies_outside_the_frame(library_python: str, tmp_path: Path, percent: int) -> None:
    """128x72 around a frame of 64x36: the render shows the middle, at whatever size."""
    small_render()
    bpy.context.scene.render.resolution_percentage = percent
    color = np.repeat(np.repeat(noise(2, 64, 36), 2, axis=1), 2, axis=2)
    size = (2, 72, 128)
    folder = write_take(library_python, tmp_path / "t", color, np.ones(size, bool), np.ones(size), overscan=1.0)
    accept(folder)
    shown = render_floats(tmp_path / "a.exr", 2)[..., :3]
    expected = linear(color[1, 18:54, 32:96])
    if percent == 50:
        expected = expected.reshape(18, 2, 32, 2, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(shown, expected, atol=2e-3)


@pytest.mark.parametrize(("fit", "size"), [("AUTO", (64, 48)), ("VERTICAL", (128, 36))])
def test_a_render_of_another_shape(library_python: str, tmp_path: Path, fit: str, size: tuple[int, int]) -> None:
    """The take lies where the shot's camera sees it: the sensor's side that counts is filled."""
    small_render(*size)
    bpy.context.scene.camera.data.sensor_fit = fit
    accept(write_take(library_python, tmp_path / "t", noise(), MASK, DEPTH))
    shown = render_floats(tmp_path / "a.exr", 1)
    left, top = (size[0] - 64) // 2, (size[1] - 36) // 2
    inside = shown[top : top + 36, left : left + 64]
    np.testing.assert_allclose(inside[..., :3], linear(noise()[0]), atol=1e-3)
    assert (inside[..., 3] == 1).all()
    assert shown[..., 3].sum() == 64 * 36  # nothing beside it


def test_depth_is_blenders_own(small_scene: Path, library_python: str, tmp_path: Path) -> None:
    """The face of a cube 3 m from the camera, against a take whose depth times the empty's scale is 3."""
    small_render()
    empty = stand_in(small_scene, scale=2.5)
    parent = bpy.data.objects.new("Parent", None)
    parent.scale = (2.0, 2.0, 2.0)
    bpy.context.scene.collection.objects.link(parent)
    empty.parent = parent
    bpy.context.scene.render.resolution_x, bpy.context.scene.render.resolution_y = 64, 36
    camera = add_camera(location=(1.0, 2.0, 3.0))
    camera.rotation_euler.z = 0.4
    shot, bpy.context.scene.camera = add_shot(camera), camera
    bpy.ops.mesh.primitive_cube_add(size=2)
    cube = bpy.context.object
    bpy.context.view_layer.update()
    ahead = -camera.matrix_world.col[2].xyz
    cube.location, cube.rotation_euler = camera.matrix_world.translation + ahead * 4.0, camera.rotation_euler
    folder = write_take(library_python, tmp_path / "t", noise(), MASK, np.full((4, 36, 64), 0.6), shot=shot.key)
    accept(folder, shot)
    show("Depth")
    ours = render_floats(tmp_path / "a.exr", 1)[..., 0]
    versions = module("versions.compositor")
    bpy.context.view_layer.use_pass_z = True
    tree = versions.tree_of(bpy.context.scene)
    layers = tree.nodes.new("CompositorNodeRLayers")
    tree.links.new(layers.outputs["Depth"], versions.output(tree))
    theirs = render_floats(tmp_path / "b.exr", 1)[18, 32, 0]
    assert theirs == pytest.approx(3.0, abs=1e-3)
    assert np.abs(ours / theirs - 1).max() < 0.005
    # The cube a little nearer is in front, a little farther behind: Z Combine.
    combine = tree.nodes.new("CompositorNodeZcombine")
    node = module("use.compositor").node_of(tree, shot.key)
    for index, socket in enumerate((node.outputs["Image"], node.outputs["Depth"])):
        tree.links.new(socket, combine.inputs[index])
    tree.links.new(layers.outputs["Image"], combine.inputs[2])
    tree.links.new(layers.outputs["Depth"], combine.inputs[3])
    tree.links.new(combine.outputs[0], versions.output(tree))
    picture = linear(noise()[0])[18, 32]
    for way, shows_take in ((0.02, True), (-0.02, False)):
        cube.location = camera.matrix_world.translation + ahead * (4.0 + way)
        shown = render_floats(tmp_path / "c.exr", 1)[18, 32, :3]
        assert np.allclose(shown, picture, atol=2e-3) == shows_take
    # and without the extension, another scale
    empty.scale = (1.25, 1.25, 1.25)
    show("Depth")
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "a.blend"))
    bpy.ops.preferences.addon_disable(module=EXTENSION)
    try:
        bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "a.blend"))
        np.testing.assert_allclose(render_floats(tmp_path / "d.exr", 1)[..., 0], 1.5, rtol=1e-4)
    finally:
        bpy.ops.preferences.addon_enable(module=EXTENSION)


def test_the_depth_of_a_generated_shot_is_blenders(small_scene: Path, library_python: str, tmp_path: Path) -> None:
    """The library's depth pass and Blender's own of the mesh, through a moving camera."""
    small_render(64, 48)
    scene = bpy.context.scene
    scene.frame_start, scene.frame_end = 1001, 1004
    bpy.ops.ex4d.import_scene(directory=str(small_scene), frame_start=1001)
    bpy.ops.ex4d.new_shot(preset="ORBIT", angle=0.3)
    bpy.ops.ex4d.export_trajectory(filepath=str(tmp_path / "path.json"))
    shot = tmp_path / "shot"
    ex4d(library_python, "render", small_scene, "--trajectory", tmp_path / "path.json", "-o", shot)
    ex4d(library_python, "generate", shot, "--exr")
    assert bpy.ops.ex4d.import_result(directory=str(shot), use={"COMPOSITOR"}) == {"FINISHED"}
    empty = module("placed").required(bpy.context).empty
    assert empty.scale[0] != 1
    versions = module("versions.compositor")
    tree = versions.tree_of(scene)
    bpy.context.view_layer.use_pass_z = True
    layers = tree.nodes.new("CompositorNodeRLayers")
    for size in (1.0, 3.0):
        empty.scale = (size,) * 3
        show("Depth")
        ours = render_floats(tmp_path / "a.exr", 1004)[..., 0]
        show("Mask")
        seen = render_floats(tmp_path / "b.exr", 1004)[..., 0] == 1
        tree.links.new(layers.outputs["Depth"], versions.output(tree))
        theirs = render_floats(tmp_path / "c.exr", 1004)[..., 0]
        assert 0.3 < seen.mean() < 1
        off = np.abs(ours / theirs - 1)[seen]
        assert np.median(off) < 1e-4
        # the shot is made of quads, which take rims that bend for round, what is shown is the mesh
        assert (off < 0.005).mean() > 0.97, "but at edges, where either may see past"


def test_the_artists_tree_and_links_stay(take: Path, library_python: str, tmp_path: Path) -> None:
    """Render Layers go on to the output; what the artist links to the group is there after another take."""
    small_render()
    scene, versions = bpy.context.scene, module("versions.compositor")
    camera = add_camera()
    shot, scene.camera = add_shot(camera), camera
    tree, _ = versions.ensure_tree(scene)
    tree.nodes.clear()
    layers, glare = tree.nodes.new("CompositorNodeRLayers"), tree.nodes.new("CompositorNodeGlare")
    tree.links.new(layers.outputs["Image"], glare.inputs["Image"])
    tree.links.new(glare.outputs["Image"], versions.output(tree))
    before = links(tree)
    assert "output shows something else: link EX-4D Take Shot 010" in accept(take, shot)
    assert links(tree) == before
    group = module("use.compositor").find(shot.key)
    assert group.name == "EX-4D Take Shot 010"
    node = module("use.compositor").node_of(tree, shot.key)
    alpha = tree.nodes.new("CompositorNodeSetAlpha")
    tree.links.new(node.outputs["Image"], alpha.inputs["Image"])
    tree.links.new(node.outputs["Mask"], alpha.inputs["Alpha"])
    tree.links.new(alpha.outputs["Image"], versions.output(tree))
    node.location = (12.0, 34.0)
    before, nodes = links(tree), len(tree.nodes)
    for exr in (True, False, True):
        other = tmp_path / f"take_{exr}_{len(list(tmp_path.iterdir()))}"
        write_take(library_python, other, noise(seed=5), ~MASK, DEPTH, frame_start=1001, exr=exr)
        assert (accept(other, shot) is None) == exr  # the output shows it, through a node of the artist's
        assert (links(tree), len(tree.nodes), tuple(node.location)) == (before, nodes, (12.0, 34.0))
        assert len([image for image in bpy.data.images if image.filepath]) == 1 + (not exr)
        shown = render_floats(tmp_path / "a.exr", 1001)
        np.testing.assert_allclose(shown[..., 3], ~MASK[0], atol=0.01)
        picture = linear(noise(seed=5)[0])
        np.testing.assert_allclose(shown[~MASK[0]][:, :3], picture[~MASK[0]], atol=0.005)
    assert len([tree for tree in bpy.data.node_groups if tree.get("ex4d_use")]) == 1
    assert module("placed").absolute(group["ex4d_take"]) == other


@pytest.mark.skipif(bpy.app.version >= (5, 0, 0), reason="its compositors have no such switch")
def test_nodes_that_the_artist_switched_off(take: Path) -> None:
    scene = bpy.context.scene
    small_render()
    scene.use_nodes = True
    layers = next(node for node in scene.node_tree.nodes if node.bl_idname == "CompositorNodeRLayers")
    versions = module("versions.compositor")
    scene.use_nodes = False
    told = accept(take)
    assert "nodes were switched off" in told
    assert "output shows something else" in told
    assert versions.source(versions.output(scene.node_tree)).node == layers


def test_it_says_what_renders_show_instead(take: Path, capfd: Any) -> None:
    render = bpy.context.scene.render
    small_render()
    bpy.ops.ex4d.import_result(directory=str(take), use={"COMPOSITOR", "SEQUENCER"})
    assert "Renders show the sequencer's strips" in capfd.readouterr().out
    render.use_sequencer = False
    bpy.ops.ex4d.accept_take(use={"COMPOSITOR"})
    assert "Renders" not in capfd.readouterr().out
    render.use_compositing = False
    bpy.ops.ex4d.accept_take(use={"COMPOSITOR"})
    assert "Renders leave out the compositor" in capfd.readouterr().out


def test_a_second_shot_is_not_what_the_output_shows(take: Path, library_python: str, tmp_path: Path) -> None:
    small_render()
    assert accept(take) is None
    other = write_take(library_python, tmp_path / "take_002", noise(), MASK, DEPTH, frame_start=1005)
    assert "output shows something else: link EX-4D Take Shot 010.001" in accept(other)


def links(tree: Any) -> set[tuple[str, ...]]:
    """Who is linked to whom."""
    return {
        (link.from_node.name, link.from_socket.identifier, link.to_node.name, link.to_socket.identifier)
        for link in tree.links
    }


def test_edges_are_not_premultiplied(take: Path, tmp_path: Path) -> None:
    """The picture goes on under the mask's edge, so that a softened matte gets no dark rim."""
    small_render()
    accept(take)
    shown = render_floats(tmp_path / "a.exr", 1001)
    invented = ~MASK[0]
    np.testing.assert_allclose(shown[invented][:, :3], linear(noise()[0])[invented], atol=1e-3)


@pytest.mark.parametrize("lost", ["drivers", "output"])
def test_a_group_that_the_artist_took_apart(take: Path, lost: str) -> None:
    small_render()
    shot = add_shot(bpy.context.scene.camera)
    accept(take, shot)
    group = module("use.compositor").find(shot.key)
    if lost == "drivers":
        group.animation_data_clear()
    else:
        group.interface.remove(group.interface.items_tree["Image"])
    assert accept(take, shot) is None
    assert module("use.compositor").replace(shot.key, module("takes.folder").read_take(take)) == 1


def test_the_shot_gets_another_camera(take: Path, small_scene: Path) -> None:
    small_render()
    shot = add_shot(bpy.context.scene.camera)
    stand_in(small_scene)
    accept(take, shot)
    shot.camera = add_camera("Other")
    accept(take, shot)
    (group,) = (group for group in bpy.data.node_groups if group.get("ex4d_use") == "COMPOSITOR")
    asked = {v.name: v.targets[0].id for c in group.animation_data.drivers for v in c.driver.variables}
    assert (asked["fit"], asked["scale"]) == (shot.camera, bpy.data.objects["Footage"])


def test_a_single_user_copy_of_the_group_is_what_changes(take: Path) -> None:
    small_render()
    shot = add_shot(bpy.context.scene.camera)
    accept(take, shot)
    versions = module("versions.compositor")
    tree = versions.tree_of(bpy.context.scene)
    node = module("use.compositor").node_of(tree, shot.key)
    node.node_tree = node.node_tree.copy()
    nodes = len(tree.nodes)
    del node.node_tree["ex4d_take"]
    accept(take, shot)
    assert (len(tree.nodes), versions.source(versions.output(tree)).node) == (nodes, node)
    assert node.node_tree["ex4d_take"]
