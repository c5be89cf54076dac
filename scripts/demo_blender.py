"""The whole way in Blender: bundled clip, camera, sidecar, take, CG in it, picture. Run by `demo.py --blender`.

Runs inside Blender without a window (`blender -b --python`), or in an environment with the bpy wheel, with one argument
after `--`: a JSON file that names the extension's zip, the library's `ex4d` program, the clip with its depth, and a
folder for `demo.blend` and `blender.png`.
"""

from __future__ import annotations

import importlib
import json
import math
import sys
from pathlib import Path
from typing import Any

import bpy
from mathutils import Vector

EXTENSION = "bl_ext.user_default.ex4d"
ANGLE_DEGREES = 30.0
FRAME = 33
"""Of the picture: the robot has left the middle, where the CG stands."""
FLOOR = ((0.40, 0.93), (0.70, 0.93), (0.55, 0.80))
"""Points of the pavement in the first frame, shares of width and height from the upper left."""
PLACE = (0.60, 0.86)
"""Where the CG stands, likewise."""


def main(task: dict[str, Any]) -> None:
    """All steps; each is the operator behind a button."""
    bpy.ops.extensions.package_install_files(repo="user_default", filepath=task["zip"], enable_on_install=True)
    preferences = bpy.context.preferences.addons[EXTENSION].preferences
    preferences.executable, preferences.data_folder = task["executable"], task["data"]
    out = Path(task["out"])
    scene = bpy.context.scene
    for thing in list(bpy.data.objects):
        bpy.data.objects.remove(thing)
    bpy.ops.wm.save_as_mainfile(filepath=str(out / "demo.blend"))

    say("The sidecar imports the clip")
    bpy.ops.ex4d.import_footage(filepath=task["clip"], **task["options"])
    bpy.ops.ex4d.match_scene()
    scene.view_settings.view_transform = "Standard"
    bpy.context.view_layer.update()
    bpy.ops.ex4d.set_ground(**{f"point_{x}": at(*share) for x, share in zip("abc", FLOOR, strict=True)})
    bpy.context.view_layer.update()

    say("A camera orbits, and the sidecar makes its shot")
    bpy.ops.ex4d.new_shot(preset="ARC", angle=math.radians(ANGLE_DEGREES))
    bpy.ops.ex4d.generate(engine="draft")
    bpy.ops.ex4d.accept_take(use={"PLANE", "BACKGROUND", "COMPOSITOR"})

    say("CG stands in it")
    stand_something(scene)
    render = scene.render
    render.engine = "CYCLES"
    scene.cycles.samples, scene.cycles.use_denoising = 48, False
    bpy.ops.ex4d.set_up_cg()
    for layer in scene.view_layers:
        layer.use = layer.name in ("CG", "Shadow")  # the plate is the take
    scene.frame_set(FRAME)
    render.filepath = str(out / "blender.png")
    bpy.ops.render.render(write_still=True)
    bpy.ops.wm.save_mainfile()


def at(across: float, down: float) -> Vector:
    """A point of the footage's mesh at the first frame, in the world."""
    (footage,) = importlib.import_module(f"{EXTENSION}.placed").all_placed(bpy.context.scene)
    facts = footage.facts()
    level = importlib.import_module(f"{EXTENSION}.versions.modifier_inputs").read(
        footage.mesh.modifiers[0], "Viewport Level"
    )
    columns = math.ceil((facts.width - 1) / level) + 1
    rows = math.ceil((facts.height - 1) / level) + 1
    mesh = footage.mesh.evaluated_get(bpy.context.evaluated_depsgraph_get())
    number = round(down * (rows - 1)) * columns + round(across * (columns - 1))
    return mesh.matrix_world @ mesh.data.vertices[number].co


def stand_something(scene: bpy.types.Scene) -> None:
    """A monkey on a pedestal where the pavement is free, a sun and a sky like the footage's."""
    foot = at(*PLACE)
    cg = bpy.data.collections.new("Stage")
    scene.collection.children.link(cg)
    bpy.ops.mesh.primitive_cylinder_add(vertices=96, radius=0.3, depth=0.5, location=(foot.x, foot.y, 0.25))
    pedestal = bpy.context.object
    bpy.ops.mesh.primitive_monkey_add(size=0.75, location=(foot.x, foot.y, 0.85))
    monkey = bpy.context.object
    bpy.ops.object.shade_smooth()
    monkey.modifiers.new("Subdivision", "SUBSURF").render_levels = 2
    bpy.ops.object.light_add(type="SUN", rotation=(math.radians(40), math.radians(-25), 0))
    sun = bpy.context.object
    sun.data.energy, sun.data.angle = 3.0, math.radians(3)
    for thing, color in ((pedestal, (0.6, 0.55, 0.5, 1)), (monkey, (0.05, 0.25, 0.6, 1))):
        material = bpy.data.materials.new(thing.name)
        material.use_nodes = True
        material.node_tree.nodes["Principled BSDF"].inputs["Base Color"].default_value = color
        thing.data.materials.append(material)
    for thing in (pedestal, monkey, sun):
        for collection in thing.users_collection:
            collection.objects.unlink(thing)
        cg.objects.link(thing)
    world = scene.world or bpy.data.worlds.new("Sky")
    scene.world = world
    world.use_nodes = True
    for node in world.node_tree.nodes:
        if node.type == "BACKGROUND":
            node.inputs["Color"].default_value, node.inputs["Strength"].default_value = (0.75, 0.85, 1.0, 1.0), 0.8


def say(text: str) -> None:
    """What goes on, on stderr."""
    print(f"{text} ...", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[sys.argv.index("--") + 1]).read_text("utf-8")))
