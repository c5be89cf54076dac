"""Footage and cameras for the tests of shots: an empty that names a scene folder, without the mesh."""

from pathlib import Path

import bpy
import numpy as np
from conftest import module
from mathutils import Matrix


def stand_in(folder: Path, *, scale: float = 1.0, frame_start: float = 1.0) -> bpy.types.Object:
    """The empty and the source camera of a footage, as placing makes them; no mesh, so that tests are quick."""
    placed, scene = module("placed"), bpy.context.scene
    facts = module("scene_folder").read_scene(folder)
    empty = bpy.data.objects.new("Footage", None)
    empty.rotation_euler.x = np.radians(-90)
    empty.scale = (scale, scale, scale)
    empty[placed.FOLDER], empty[placed.FRAME_START], empty[placed.SPEED] = str(folder), frame_start, 1.0
    data = bpy.data.cameras.new("Source Camera")
    data.sensor_fit, data.sensor_width, data.sensor_height = "HORIZONTAL", 36.0, 36.0 * facts.height / facts.width
    data.lens = facts.intrinsics[0, 0] / facts.width * data.sensor_width
    camera = bpy.data.objects.new("Source Camera", data)
    camera.parent = empty
    camera.matrix_basis = Matrix(np.diag([1.0, -1, -1, 1]).tolist())
    for thing, role in ((empty, "empty"), (camera, "source_camera")):
        thing[placed.FOOTAGE_ID], thing[placed.ROLE] = "test", role
        scene.collection.objects.link(thing)
    scene.render.resolution_x, scene.render.resolution_y = facts.width, facts.height
    scene.camera = camera
    bpy.context.view_layer.update()
    return empty


def add_camera(name: str = "Camera", location: tuple = (0.0, 0.0, 0.0)) -> bpy.types.Object:
    """A camera in the scene that looks along +Y."""
    camera = bpy.data.objects.new(name, bpy.data.cameras.new(name))
    camera.location, camera.rotation_euler.x = location, np.radians(90)
    bpy.context.scene.collection.objects.link(camera)
    return camera


def add_shot(camera: bpy.types.Object, frames: tuple[int, int] = (1, 8)) -> bpy.types.PropertyGroup:
    """A shot of that camera, the active one."""
    return module("shots.properties").add_shot(bpy.context.scene, "Shot 010", camera, frames)
