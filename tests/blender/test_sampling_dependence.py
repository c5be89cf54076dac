"""Cameras that follow the scene, others' files, hidden things or simulations: sampled as the scene moves them."""

from collections.abc import Callable
from pathlib import Path

import bpy
import numpy as np
import pytest
from conftest import module
from shot_cases import add_camera, add_shot, stand_in


def _follow_the_scene(thing: bpy.types.ID, path: str, index: int, expression: str) -> None:
    """Drive a channel by the scene's current frame, `f`."""
    driver = thing.driver_add(path, index).driver
    variable = driver.variables.new()
    variable.name, variable.targets[0].id_type = "f", "SCENE"
    variable.targets[0].id, variable.targets[0].data_path = bpy.context.scene, "frame_current"
    driver.expression = expression
    bpy.context.view_layer.update()


def _on_a_dolly(name: str = "Camera", expression: str = "f * 2") -> bpy.types.Object:
    """A camera whose parent follows the scene's frame; nothing of its own tells."""
    camera, dolly = add_camera(name), bpy.data.objects.new("Dolly", None)
    bpy.context.scene.collection.objects.link(dolly)
    camera.parent = dolly
    _follow_the_scene(dolly, "location", 0, expression)
    return camera


@pytest.fixture
def linked_camera(tmp_path: Path) -> Callable[[], bpy.types.Object]:
    """Links a camera called `Camera` from another file, at x = 7, into the scene."""
    camera = add_camera(location=(7, 0, 0))
    bpy.data.libraries.write(str(tmp_path / "other.blend"), {camera})
    bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)

    def link() -> bpy.types.Object:
        with bpy.data.libraries.load(str(tmp_path / "other.blend"), link=True) as (_, to):
            to.objects = ["Camera"]
        bpy.context.scene.collection.objects.link(to.objects[0])
        bpy.context.view_layer.update()
        return to.objects[0]

    return link


@pytest.mark.parametrize("first", [True, False])
def test_a_linked_camera_of_the_same_name(
    small_scene: Path, linked_camera: Callable[[], bpy.types.Object], first: bool
) -> None:
    """Each is sampled as itself, whichever Blender finds first by that name."""
    stand_in(small_scene)
    linked = linked_camera() if first else None
    camera = _on_a_dolly()
    linked = linked or linked_camera()
    assert linked.name == camera.name == "Camera"
    sample = module("shots.sampling").sample(bpy.context, add_shot(camera), sweep=True)
    assert np.allclose(sample.c2w[:, 0, 3], [2.0 * frame for frame in range(1, 9)])
    sample = module("shots.sampling").sample(bpy.context, add_shot(linked))
    assert np.allclose(sample.c2w[:, 0, 3], 7.0)


@pytest.mark.parametrize("how", ["excluded", "collection", "object"])
@pytest.mark.parametrize("what", ["Camera", "Footage"])
def test_what_the_scene_leaves_out_is_not_guessed(small_scene: Path, what: str, how: str) -> None:
    """Blender evaluates such a camera in part, if at all: one that follows the scene would stand still."""
    empty, camera = stand_in(small_scene), add_camera()
    scene, layer = bpy.context.scene, bpy.context.view_layer
    left_out = bpy.data.collections.new("Left Out")
    scene.collection.children.link(left_out)
    for thing in (camera,) if what == "Camera" else (empty, *empty.children):
        left_out.objects.link(thing)
        scene.collection.objects.unlink(thing)
    if how == "excluded":
        layer.layer_collection.children["Left Out"].exclude = True
    else:
        hidden = left_out if how == "collection" else bpy.data.objects[what]
        hidden.hide_viewport = True
    for thing, axis in ((camera, 0), (empty, 1)):
        for frame in (1, 8):
            thing.location[axis] = frame
            thing.keyframe_insert("location", frame=frame)
    shot, sampling = add_shot(camera), module("shots.sampling")
    sample = sampling.sample(bpy.context, shot, sweep=True)  # keys alone need no scene
    assert np.allclose(sample.c2w[[0, -1], 0, 3], [1, 8], atol=1e-5)
    assert np.allclose(sample.c2w[[0, -1], 2, 3], [-1, -8], atol=1e-5)
    if how == "object":
        assert hidden.hide_viewport
    dolly = camera.parent = bpy.data.objects.new("Dolly", None)
    _follow_the_scene(dolly, "location", 0, "f * 2")
    with pytest.raises(module("errors").UserError, match=f"{what} is left out of this view layer: tick"):
        sampling.sample(bpy.context, shot, sweep=True)
    left_out.hide_viewport = bpy.data.objects[what].hide_viewport = False
    layer.layer_collection.children["Left Out"].exclude = False
    sample = sampling.sample(bpy.context, shot, sweep=True)
    assert np.allclose(sample.c2w[[0, -1], 0, 3], [3, 24], atol=1e-5)


def test_what_repeats_is_not_taken_for_still(small_scene: Path) -> None:
    """At the first, the middle and the last of 49 frames, the driven parent is where it would be without the scene."""
    stand_in(small_scene)
    camera = _on_a_dolly(expression="sin((f - 1) * pi / 24)")
    sample = module("shots.sampling").sample(bpy.context, add_shot(camera, (1, 49)), sweep=True)
    assert np.allclose(sample.c2w[:, 0, 3], np.sin(np.arange(49) * np.pi / 24), atol=1e-5)


@pytest.mark.parametrize("through", ["constraint", "bone", "driver", "data"])
def test_whatever_the_camera_hangs_on_may_ask_the_scene(small_scene: Path, through: str) -> None:
    stand_in(small_scene)
    camera, scene = add_camera(), bpy.context.scene
    target = bpy.data.objects.new("Target", bpy.data.armatures.new("Target") if through == "bone" else None)
    scene.collection.objects.link(target)
    holder = camera
    if through == "data":
        _follow_the_scene(camera.data, "shift_x", -1, "f / 100")
    elif through == "driver":
        target["Push"] = 0.0
        _follow_the_scene(target, '["Push"]', -1, "f")
        driver = camera.driver_add("location", 0).driver
        variable = driver.variables.new()
        variable.name, variable.targets[0].id, variable.targets[0].data_path = "push", target, '["Push"]'
        driver.expression = "push"
    else:
        if through == "bone":
            bpy.context.view_layer.objects.active = target
            bpy.ops.object.mode_set(mode="EDIT")
            target.data.edit_bones.new("Bone").tail = (0, 0, 1)
            bpy.ops.object.mode_set(mode="OBJECT")
            camera.parent, camera.parent_type, camera.parent_bone = target, "BONE", "Bone"
            holder, target = target.pose.bones["Bone"], bpy.data.objects.new("Hand", None)
            scene.collection.objects.link(target)
        holder.constraints.new("COPY_LOCATION").target = target
        _follow_the_scene(target, "location", 0, "f")
    dependence = module("shots.dependence")
    assert dependence.asks_the_scene(dependence.involved(camera))


def test_a_simulation_is_played_from_its_start(small_scene: Path) -> None:
    """Before anybody has played it a falling parent stands still, wherever one looks."""
    stand_in(small_scene)
    scene = bpy.context.scene
    bpy.ops.rigidbody.world_add()
    bpy.ops.mesh.primitive_cube_add(location=(0, 0, 20))
    cube = bpy.context.object
    bpy.ops.rigidbody.object_add()
    camera = add_camera()
    camera.parent = cube
    scene.frame_set(1)
    shot, sampling = add_shot(camera, (10, 30)), module("shots.sampling")
    with pytest.raises(sampling.NeedsSweep):
        sampling.sample(bpy.context, shot)
    heights = -sampling.sample(bpy.context, shot, sweep=True).c2w[:, 1, 3]
    played = []
    for frame in range(1, 31):
        scene.frame_set(frame)
        played.append(camera.matrix_world.translation.z)
    assert played[-1] < 18
    assert np.allclose(heights, played[9:], atol=1e-4)


def test_simulations_are_seen(small_scene: Path) -> None:
    dependence, scene = module("shots.dependence"), bpy.context.scene
    bpy.ops.mesh.primitive_cube_add()
    cube = bpy.context.object
    assert dependence.simulated_from(scene, [cube]) is None
    cube.modifiers.new("Cloth", "CLOTH").point_cache.frame_start = 5
    assert dependence.simulated_from(scene, [cube]) == 5
    cube.modifiers.clear()
    inner, outer = (bpy.data.node_groups.new(name, "GeometryNodeTree") for name in ("Inner", "Outer"))
    outer.nodes.new("GeometryNodeGroup").node_tree = inner
    modifier = cube.modifiers.new("Nodes", "NODES")
    modifier.node_group = outer
    assert dependence.simulated_from(scene, [cube]) is None
    inner.nodes.new("GeometryNodeSimulationInput")
    scene.frame_start = 3
    assert dependence.simulated_from(scene, [cube]) == 3
