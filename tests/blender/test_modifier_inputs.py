"""Inputs of Geometry Nodes modifiers by name, in every version."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import bpy
import pytest
from conftest import module


@pytest.fixture
def modifier() -> Any:
    """A modifier whose group has inputs of several types, and moves its mesh by one of them."""
    tree = bpy.data.node_groups.new("Group", "GeometryNodeTree")
    tree.interface.new_socket("Geometry", in_out="INPUT", socket_type="NodeSocketGeometry")
    tree.interface.new_socket("Geometry", in_out="OUTPUT", socket_type="NodeSocketGeometry")
    panel = tree.interface.new_panel("Panel")
    for name, kind in (("Height", "Float"), ("Count", "Int"), ("On", "Bool"), ("Picture", "Image"), ("Who", "Object")):
        tree.interface.new_socket(name, in_out="INPUT", socket_type=f"NodeSocket{kind}", parent=panel)
    tree.interface.new_socket("Height", in_out="OUTPUT", socket_type="NodeSocketFloat")
    nodes, links = tree.nodes, tree.links
    start, end = nodes.new("NodeGroupInput"), nodes.new("NodeGroupOutput")
    move, combine = nodes.new("GeometryNodeTransform"), nodes.new("ShaderNodeCombineXYZ")
    links.new(start.outputs["Geometry"], move.inputs["Geometry"])
    links.new(start.outputs["Height"], combine.inputs["Z"])
    links.new(combine.outputs[0], move.inputs["Translation"])
    links.new(move.outputs["Geometry"], end.inputs["Geometry"])
    mesh = bpy.data.meshes.new("Point")
    mesh.vertices.add(1)
    owner = bpy.data.objects.new("Point", mesh)
    bpy.context.scene.collection.objects.link(owner)
    made = owner.modifiers.new('Quoted "name"', "NODES")
    made.node_group = tree
    return made


def _height(owner: bpy.types.Object) -> float:
    bpy.context.view_layer.update()
    return owner.evaluated_get(bpy.context.evaluated_depsgraph_get()).data.vertices[0].co.z


def test_what_is_written_is_read(modifier: Any) -> None:
    inputs = module("versions.modifier_inputs")
    image, other = bpy.data.images.new("Picture", 2, 2), bpy.data.objects.new("Other", None)
    for name, value in {"Height": 2.5, "Count": 7, "On": True, "Picture": image, "Who": other}.items():
        inputs.write(modifier, name, value)
        assert inputs.read(modifier, name) == value


def test_a_written_input_is_evaluated(modifier: Any) -> None:
    owner, inputs = modifier.id_data, module("versions.modifier_inputs")
    for height in (2.0, -3.0):
        inputs.write(modifier, "Height", height)
        assert _height(owner) == height


def test_inputs_are_found_by_name_among_inputs_alone(modifier: Any) -> None:
    inputs = module("versions.modifier_inputs")
    key = inputs.identifier(modifier, "Height")
    (item,) = [item for item in modifier.node_group.interface.items_tree if getattr(item, "identifier", "") == key]
    assert (item.name, item.in_out) == ("Height", "INPUT")  # not the output of that name
    for name in ("Depth", "Panel"):
        with pytest.raises(KeyError, match="Group has no input"):
            inputs.identifier(modifier, name)


def test_the_path_leads_to_the_value_and_takes_keys_and_drivers(modifier: Any, tmp_path: Path) -> None:
    owner, inputs, scene = modifier.id_data, module("versions.modifier_inputs"), bpy.context.scene
    inputs.write(modifier, "Height", 1.5)
    path = inputs.data_path(modifier, "Height")
    assert owner.path_resolve(path) == 1.5
    assert owner.keyframe_insert(path, frame=1)
    inputs.write(modifier, "Height", 4.5)
    assert owner.keyframe_insert(path, frame=11)
    for frame, height in ((1, 1.5), (11, 4.5)):
        scene.frame_set(frame)
        assert _height(owner) == pytest.approx(height)
    owner.animation_data_clear()
    owner["up"] = 8.0
    driver = owner.driver_add(path).driver
    variable = driver.variables.new()
    variable.name, variable.targets[0].id, variable.targets[0].data_path = "up", owner, '["up"]'
    driver.expression = "up / 2"
    owner.update_tag()
    assert _height(owner) == pytest.approx(4.0)
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "a.blend"))
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "a.blend"))
    assert _height(bpy.data.objects["Point"]) == pytest.approx(4.0)


def test_an_input_is_drawn_as_the_property_at_its_path(modifier: Any) -> None:
    drawn: list[tuple[Any, str, dict[str, Any]]] = []

    class Layout:
        """Stands for a layout, which only a window has."""

        def prop(self, owner: Any, name: str, **how: Any) -> None:
            """Notes what was to be drawn."""
            drawn.append((owner, name, how))

    inputs = module("versions.modifier_inputs")
    inputs.write(modifier, "Count", 5)
    inputs.draw(Layout(), modifier, "Count", icon="TIME")
    inputs.draw(Layout(), modifier, "Count", text="Number")
    (owner, name, how), (_, _, named) = drawn
    assert (owner[name[2:-2]] if name.startswith("[") else getattr(owner, name)) == 5
    assert (how, named) == ({"text": "Count", "icon": "TIME"}, {"text": "Number"})
