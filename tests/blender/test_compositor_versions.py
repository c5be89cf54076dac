"""A scene's compositor tree, and the nodes in it that Blender has renamed, in every version."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import bpy
import numpy as np
import pytest
from conftest import module
from painted_takes import render_floats, small_render


@pytest.fixture
def tree() -> Any:
    """The tree of a scene that had none."""
    small_render(8, 8)
    versions, scene = module("versions.compositor"), bpy.context.scene
    assert versions.tree_of(scene) is None
    found, is_new = versions.ensure_tree(scene)
    assert is_new
    assert versions.tree_of(scene) == found
    return found


def colour(tree: Any, *values: float) -> Any:
    """A socket that gives a colour, as wide as the render."""
    node = tree.nodes.new("CompositorNodeRGB")
    node.outputs[0].default_value = values
    return node.outputs[0]


def shown(tree: Any, socket: Any, path: Path) -> list[float]:
    """The colour that a render shows with this at its output."""
    tree.links.new(socket, module("versions.compositor").output(tree))
    return np.round(render_floats(path / "a.exr", 1)[4, 4].astype(float), 4).tolist()


def test_what_is_there_stays(tree: Any) -> None:
    versions, scene = module("versions.compositor"), bpy.context.scene
    target = versions.output(tree)
    assert target.type == "RGBA"
    tree.links.new(colour(tree, 1, 0, 0, 1), target)
    nodes = [node.name for node in tree.nodes]
    assert versions.ensure_tree(scene) == (tree, False)
    assert versions.output(tree) == target
    assert [node.name for node in tree.nodes] == nodes
    tree.nodes.remove(target.node)
    assert not versions.output(tree).is_linked
    assert len(tree.nodes) == len(nodes)


def test_a_tree_that_was_off_is_switched_on(tree: Any) -> None:
    versions, scene = module("versions.compositor"), bpy.context.scene
    if bpy.app.version >= (5, 0, 0):
        scene.compositing_node_group = None
        assert versions.ensure_tree(scene)[1]
    else:
        scene.use_nodes = False
        assert versions.tree_of(scene) is None
        assert versions.ensure_tree(scene) == (tree, False)
        assert scene.use_nodes


def test_nodes_do_what_they_are_called(tree: Any, tmp_path: Path) -> None:
    versions = module("versions.compositor")
    over, product, darker = versions.alpha_over(tree), versions.mix(tree, "MULTIPLY"), versions.mix(tree, "DARKEN")
    below, above = colour(tree, 0.2, 0.4, 0.6, 1.0), colour(tree, 0.5, 0.0, 0.25, 0.5)
    for node in (over, product, darker):
        tree.links.new(below, node.below)
        tree.links.new(above, node.above)
    assert shown(tree, over.result, tmp_path) == [0.6, 0.2, 0.55, 1.0]
    assert shown(tree, product.result, tmp_path) == [0.1, 0.0, 0.15, 1.0]
    assert shown(tree, darker.result, tmp_path) == [0.2, 0.0, 0.25, 1.0]
    for operation, result in (("SUBTRACT", 0.75), ("MULTIPLY", 0.25)):
        node = versions.math(tree, operation)
        node.inputs[0].default_value, node.inputs[1].default_value = 1.0, 0.25
        assert shown(tree, node.outputs[0], tmp_path) == [result] * 3 + [1.0]


@pytest.mark.parametrize("smooth", [True, False])
def test_a_transform_may_mix_pixels_or_not(tree: Any, tmp_path: Path, smooth: bool) -> None:
    versions = module("versions.compositor")
    image = bpy.data.images.new("Stripes", 4, 4, float_buffer=True)
    image.colorspace_settings.is_data = True
    image.pixels.foreach_set(np.tile([[0, 0, 0, 1], [1, 1, 1, 1]], (8, 1)).astype(np.float32).ravel())
    node, fit = tree.nodes.new("CompositorNodeImage"), versions.transform(tree, smooth=smooth)
    node.image = image
    fit.inputs["Scale"].default_value = 2.0
    tree.links.new(node.outputs[0], fit.inputs[0])
    tree.links.new(fit.outputs[0], versions.output(tree))
    values = set(np.round(render_floats(tmp_path / "a.exr", 1)[4, 2:6, 0], 3).tolist())
    assert (values <= {0.0, 1.0}) != smooth


def test_sources_are_seen_through_reroutes(tree: Any) -> None:
    versions = module("versions.compositor")
    one, way, target = colour(tree, 1, 1, 1, 1), tree.nodes.new("NodeReroute"), versions.output(tree)
    tree.links.new(way.outputs[0], target)
    assert versions.source(target) is None
    tree.links.new(one, way.inputs[0])
    assert versions.source(target) == one


def test_a_linked_compositor_is_refused(tree: Any, tmp_path: Path) -> None:
    versions, name = module("versions.compositor"), bpy.context.scene.name
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "a.blend"))
    bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
    with bpy.data.libraries.load(str(tmp_path / "a.blend"), link=True) as (_, wanted):
        wanted.scenes = [name]
    with pytest.raises(module("errors").UserError, match="linked from another file"):
        versions.ensure_tree(wanted.scenes[0])
