"""Set Up CG, by pixels: the footage hides CG and catches its shadow, in the render engines that can."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import bpy
import numpy as np
import pytest
from conftest import EXTENSION, module
from painted_takes import linear, noise, render_floats, small_render, write_take
from shot_cases import add_shot
from test_mesh_fidelity import eevee, pixels

RED = (1.0, 0.0, 0.0)


@pytest.fixture
def footage(small_scene: Path) -> Any:
    """The small scene, filmed view, Cycles, a sun from above."""
    small_render(64, 48)
    bpy.ops.ex4d.import_scene(directory=str(small_scene))
    placed = module("placed").required(bpy.context)
    bpy.context.scene.camera = placed.source_camera
    sun = bpy.data.objects.new("Sun", bpy.data.lights.new("Sun", "SUN"))
    sun.data.energy, sun.data.angle = 3.0, 0.0
    collection("Lights").objects.link(sun)
    return placed


def collection(name: str) -> Any:
    """A collection of the scene."""
    found = bpy.data.collections.get(name)
    if found is None:
        found = bpy.data.collections.new(name)
        bpy.context.scene.collection.children.link(found)
    return found


def cube(placed: Any, depth: float, u: float, v: float, pixels_wide: float = 10.0) -> Any:
    """A red glowing cube whose front is at a scene depth, in the middle of pixel (u, v) of the filmed view."""
    scale = placed.empty.scale[0]
    size = pixels_wide * depth / 60.0 * scale
    bpy.ops.mesh.primitive_cube_add(size=size)
    found = bpy.context.object
    x, down = (u - 32.0) / 60.0 * depth * scale, (v - 24.0) / 60.0 * depth * scale
    found.location = (x, depth * scale + size / 2, -down)
    material = bpy.data.materials.new("Red")
    if bpy.app.version < (5, 0, 0):
        material.use_nodes = True
    material.cycles.emission_sampling = "NONE"  # a picture, not a lamp: with one sample lamps are noise
    nodes = material.node_tree.nodes
    nodes.clear()
    end, light = nodes.new("ShaderNodeOutputMaterial"), nodes.new("ShaderNodeEmission")
    light.inputs["Color"].default_value = (*RED, 1.0)
    material.node_tree.links.new(light.outputs[0], end.inputs["Surface"])
    found.data.materials.append(material)
    for other in list(found.users_collection):
        other.objects.unlink(found)
    collection("CG Things").objects.link(found)
    bpy.context.view_layer.update()
    return found


def plate(placed: Any, clip: int = 0) -> np.ndarray:
    """A frame of the footage in linear light."""
    facts = placed.facts()
    return linear(pixels(facts.file(facts.color, clip))[..., :3])


def shows_red(shown: np.ndarray, u: int, v: int, wide: int) -> bool:
    """Whether the red cube fills the pixels around (u, v); fails where some are and some are not."""
    inside = shown[v - wide // 2 : v + wide // 2, u - wide // 2 : u + wide // 2, :3]
    red = np.abs(inside - RED).max(axis=-1) < 0.02
    assert red.all() or not red.any(), red
    return bool(red.all())


ENGINES = ["CYCLES", pytest.param("EEVEE", marks=pytest.mark.slow)]


@pytest.mark.parametrize("engine", ENGINES)
def test_a_cube_behind_the_foreground_is_hidden_and_one_in_front_is_seen(
    footage: Any, tmp_path: Path, engine: str
) -> None:
    """The footage's box stands at depth 2 in the pixels 10 to 20, 16 to 32 of its first frame."""
    scene = bpy.context.scene
    scene.render.engine = eevee() if engine == "EEVEE" else engine
    cube(footage, 1.5, 15, 24, 8)
    assert bpy.ops.ex4d.set_up_cg() == {"FINISHED"}
    front = render_floats(tmp_path / "a.exr", 1)
    assert shows_red(front, 15, 24, 6)
    bpy.data.objects.remove(bpy.data.objects["Cube"])
    cube(footage, 3.0, 15, 24, 6)
    behind = render_floats(tmp_path / "b.exr", 1)
    assert not shows_red(behind, 15, 24, 6)
    np.testing.assert_allclose(behind[18:30, 12:18, :3], plate(footage)[18:30, 12:18], atol=0.01)
    later = render_floats(tmp_path / "c.exr", 8)  # the box has gone on 7 pixels to the right
    assert (np.abs(later[22:26, 12:14, :3] - RED).max(axis=-1) < 0.02).all()
    np.testing.assert_allclose(later[22:26, 19:26, :3], plate(footage, 7)[22:26, 19:26], atol=0.01)


def shadowed(shown: np.ndarray, light: np.ndarray) -> np.ndarray:
    """How bright pixels are, as shares of the plate's."""
    return shown[..., :3].sum(axis=-1) / light.sum(axis=-1)


UNDER_THE_CUBE = np.s_[28:33, 44:47]


def floating(placed: Any) -> Any:
    """A cube over the floor: straight under it lie the pixels `UNDER_THE_CUBE`."""
    return cube(placed, 5.0, 48, 14)


def test_its_shadow_darkens_the_plate(footage: Any, tmp_path: Path) -> None:
    thing = floating(footage)
    assert bpy.ops.ex4d.set_up_cg() == {"FINISHED"}
    share = shadowed(render_floats(tmp_path / "a.exr", 1), plate(footage))
    assert np.median(share[UNDER_THE_CUBE]) < 0.1
    assert (np.abs(share[36:46, 26:60] - 1) < 0.03).mean() > 0.99  # beside the shadow; what bounces off it is noise
    thing.hide_render = True
    share = shadowed(render_floats(tmp_path / "b.exr", 1), plate(footage))
    assert share[UNDER_THE_CUBE].min() > 0.97


@pytest.mark.slow
def test_eevee_says_that_it_catches_no_shadows(footage: Any, tmp_path: Path, capfd: Any) -> None:
    """Set up in Cycles first, so that there is a catcher: it must not be seen."""
    floating(footage)
    bpy.ops.ex4d.set_up_cg()
    bpy.context.scene.render.engine = eevee()
    assert bpy.ops.ex4d.set_up_cg() == {"FINISHED"}
    assert "Only Cycles catches shadows" in capfd.readouterr().out
    share = shadowed(render_floats(tmp_path / "a.exr", 1), plate(footage))
    assert share[UNDER_THE_CUBE].min() > 0.97
    bpy.context.scene.render.engine = "CYCLES"
    bpy.ops.ex4d.set_up_cg()
    share = shadowed(render_floats(tmp_path / "b.exr", 1), plate(footage))
    assert np.median(share[UNDER_THE_CUBE]) < 0.1


@pytest.mark.parametrize("before", [True, False])
def test_an_accepted_take_is_the_plate(footage: Any, library_python: str, tmp_path: Path, before: bool) -> None:
    shape = (4, 48, 64)
    folder = write_take(library_python, tmp_path / "t", noise(4, 64, 48, 7), np.ones(shape, bool), np.full(shape, 3.0))
    shot = add_shot(footage.source_camera)
    facts = module("takes.folder").read_take(folder)
    floating(footage)
    if before:
        module("use.compositor").accept(bpy.context, shot, facts)
    bpy.ops.ex4d.set_up_cg()
    if not before:
        module("use.compositor").accept(bpy.context, shot, facts)
        bpy.ops.ex4d.set_up_cg()
    take = linear(noise(4, 64, 48, 7)[1])
    shown = render_floats(tmp_path / "a.exr", 2)
    assert (np.abs(shown[36:46, 26:60, :3] - take[36:46, 26:60]) < 0.02).mean() > 0.99
    assert np.median(shadowed(shown, take)[UNDER_THE_CUBE]) < 0.1
    assert shows_red(shown, 48, 14, 8)


def everything() -> dict[str, Any]:
    """What a file has, by name."""
    kinds = ("objects", "collections", "materials", "meshes", "node_groups", "images", "scenes")
    found = {kind: sorted(thing.name for thing in getattr(bpy.data, kind)) for kind in kinds}
    tree = module("versions.compositor").tree_of(bpy.context.scene)
    found["nodes"] = sorted(node.name for node in tree.nodes) if tree else []
    found["links"] = sorted((link.from_node.name, link.to_node.name) for link in tree.links) if tree else []
    found["layers"] = [
        (layer.name, [(each.name, each.exclude, each.holdout) for each in layer.layer_collection.children])
        for layer in bpy.context.scene.view_layers
    ]
    return found


def test_again_doubles_nothing_and_the_artists_layers_stay(footage: Any) -> None:
    scene = bpy.context.scene
    cube(footage, 3.0, 15, 24)
    hidden = collection("Hidden")
    bpy.context.view_layer.layer_collection.children["Hidden"].exclude = True
    takes = collection("Takes")
    takes["ex4d_takes"] = True
    own = bpy.context.view_layer
    flags = [(each.name, each.exclude, each.holdout) for each in own.layer_collection.children]
    bpy.ops.ex4d.set_up_cg()
    once = everything()
    bpy.ops.ex4d.set_up_cg()
    assert everything() == once
    assert bpy.context.view_layer == own
    assert [layer.name for layer in scene.view_layers] == ["ViewLayer", "CG", "Plate", "Shadow"]
    now = [(each.name, each.exclude, each.holdout) for each in own.layer_collection.children]
    assert now == [*flags, ("Shadow Catchers", True, False)]
    seen = {
        layer.name: {each.name for each in layer.layer_collection.children if not each.exclude}
        for layer in scene.view_layers
    }
    assert seen["CG"] == {"small", "CG Things", "Lights"}
    assert seen["Plate"] == {"small", "Takes"}
    assert seen["Shadow"] == {"CG Things", "Lights", "Shadow Catchers"}
    held = {layer.name for layer in scene.view_layers if layer.layer_collection.children["small"].holdout}
    assert held == {"CG"}
    assert hidden.name not in seen["CG"]


def test_one_undo_takes_it_back(footage: Any, undo_steps: None) -> None:
    before = everything()
    bpy.ops.ed.undo_push(message="Before")
    bpy.ops.ex4d.set_up_cg("EXEC_DEFAULT", True)
    assert everything() != before
    bpy.ops.ed.undo()
    assert everything() == before


def test_the_artists_compositor_stays(footage: Any, tmp_path: Path, capfd: Any) -> None:
    scene, versions = bpy.context.scene, module("versions.compositor")
    tree, _ = versions.ensure_tree(scene)
    tree.nodes.clear()
    layers, blur = tree.nodes.new("CompositorNodeRLayers"), tree.nodes.new("CompositorNodeBlur")
    tree.links.new(layers.outputs["Image"], blur.inputs["Image"])
    tree.links.new(blur.outputs["Image"], versions.output(tree))
    before = set(everything()["links"])
    bpy.ops.ex4d.set_up_cg()
    assert before < set(everything()["links"])
    assert versions.source(versions.output(tree)).node == blur
    assert "link CG over Plate" in capfd.readouterr().out
    over = next(node for node in tree.nodes if node.label == "CG over Plate")
    tree.links.new(over.outputs[0], blur.inputs["Image"])
    before = everything()["links"]
    bpy.ops.ex4d.set_up_cg()  # what was linked by hand is left, too
    assert everything()["links"] == before


def test_it_works_without_the_extension(footage: Any, tmp_path: Path) -> None:
    floating(footage)
    bpy.ops.ex4d.set_up_cg()
    with_it = render_floats(tmp_path / "a.exr", 3)
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "a.blend"))
    bpy.ops.preferences.addon_disable(module=EXTENSION)
    try:
        bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "a.blend"))
        without = render_floats(tmp_path / "b.exr", 3)
    finally:
        bpy.ops.preferences.addon_enable(module=EXTENSION)
    np.testing.assert_allclose(without, with_it, atol=1e-3)
    assert shows_red(without, 48, 14, 8)


def test_it_says_that_renders_show_strips(footage: Any, capfd: Any) -> None:
    versions = module("versions.strips")
    bpy.ops.ex4d.set_up_cg()
    assert "Renders show" not in capfd.readouterr().out
    how = {"length": 8} if bpy.app.version >= (5, 0, 0) else {"frame_end": 9}
    strip = versions.top_strips(bpy.context.scene).new_effect("Red", "COLOR", 2, 1, **how)
    bpy.ops.ex4d.set_up_cg()
    assert "Renders show the sequencer's strips and nothing else" in capfd.readouterr().out
    channel = bpy.context.scene.sequence_editor.channels[2]
    for thing, name, value in (
        (strip, "mute", True),
        (channel, "mute", True),
        (bpy.context.scene.render, "use_sequencer", False),
    ):
        assert versions.are_rendered(bpy.context.scene)
        setattr(thing, name, value)
        assert not versions.are_rendered(bpy.context.scene)
        setattr(thing, name, not value)


@pytest.mark.parametrize("where", ["footage", "above", "above all", "scene"])
def test_what_lies_in_the_footages_collection_is_named(footage: Any, where: str) -> None:
    scene, mesh = bpy.context.scene, footage.mesh
    if where == "footage":
        thing = cube(footage, 3.0, 15, 24)
        bpy.data.collections["small"].objects.link(thing)
        message = "Cube lies in the collection small"
    elif where == "above":
        above, own = collection("Above"), bpy.data.collections["small"]
        above.children.link(own)
        scene.collection.children.unlink(own)
        bpy.ops.ex4d.set_up_cg()
        above.objects.link(cube(footage, 3.0, 15, 24))
        message = "Cube lies in the collection Above, which the layer Plate shows"
    elif where == "above all":
        scene.collection.objects.link(cube(footage, 3.0, 15, 24))
        message = "Cube lies in the collection Scene Collection"
    else:
        bpy.data.collections["small"].objects.unlink(mesh)
        scene.collection.objects.link(mesh)
        message = "small Mesh lies in the Scene Collection"
    before = everything()
    with pytest.raises(RuntimeError, match=message):
        bpy.ops.ex4d.set_up_cg()
    assert everything() == before
