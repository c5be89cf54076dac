"""Runs in Blender: the colours that cameras see. `python colors.py JOB.json`, or `blender -b -P colors.py -- JOB.json`.

The job: `scene`, `size`, `focal` (share of the width), `samples`, and `views`, each with `file` (PNG to write),
`seconds` and `c2w`. Views come in the order of time. A file is there when it is whole, and is not made again.
"""

import importlib
import json
import os
import sys
from pathlib import Path

import bpy
import numpy as np
from mathutils import Matrix

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from benchmark.scene import Look, Part


def main() -> None:
    """Render what is not there yet."""
    job = json.loads(Path(sys.argv[-1]).read_text(encoding="utf-8"))
    views = [view for view in job["views"] if not os.path.exists(view["file"])]
    if not views:
        return
    bpy.ops.wm.read_factory_settings(use_empty=True)
    parts = importlib.import_module(f"benchmark.{job['scene']}").scene().parts
    things = [(part, _mesh(part)) for part in parts]
    camera = _studio(job["size"], job["focal"], job["samples"])
    time = None
    for number, view in enumerate(views):
        if view["seconds"] != time:
            time = view["seconds"]
            for part, mesh in things:
                if part.moves:
                    _place(mesh, part.build(time).vertices)
        camera.matrix_world = Matrix(np.asarray(view["c2w"]) @ np.diag([1.0, -1.0, -1.0, 1.0]))
        half = view["file"].removesuffix(".png") + ".part.png"
        bpy.context.scene.render.filepath = half
        bpy.ops.render.render(write_still=True)
        os.replace(half, view["file"])
        print(f"{job['scene']}: {number + 1} of {len(views)}", file=sys.stderr, flush=True)


def _studio(size: int, focal: float, samples: int) -> bpy.types.Object:
    """Camera, light, and how it is rendered."""
    scene = bpy.context.scene
    camera = bpy.data.objects.new("camera", bpy.data.cameras.new("camera"))
    camera.data.sensor_width, camera.data.lens, camera.data.sensor_fit = 36, 36 * focal, "HORIZONTAL"
    camera.data.clip_start, camera.data.clip_end = 0.01, 1000
    sun = bpy.data.objects.new("sun", bpy.data.lights.new("sun", "SUN"))
    sun.data.energy, sun.data.angle = 3.0, 0.0  # one light without size: each sample finds the same, nothing to denoise
    sun.rotation_euler = (0.75, 0.15, -0.6)
    for thing in (camera, sun):
        scene.collection.objects.link(thing)
    scene.camera = camera
    scene.render.engine = "CYCLES"
    scene.cycles.samples, scene.cycles.use_adaptive_sampling = samples, False
    scene.cycles.max_bounces, scene.cycles.diffuse_bounces = 0, 0
    scene.cycles.use_denoising = False
    scene.render.threads_mode, scene.render.threads = "FIXED", int(os.environ.get("OMP_NUM_THREADS", "1"))
    scene.render.use_persistent_data = True
    scene.render.resolution_x = scene.render.resolution_y = size
    scene.render.resolution_percentage = 100
    scene.view_settings.view_transform = "Standard"
    scene.render.image_settings.file_format, scene.render.image_settings.color_mode = "PNG", "RGB"
    return camera


def _mesh(part: Part) -> bpy.types.Mesh:
    """A part as an object in the scene."""
    built = part.build(0.0)
    mesh = bpy.data.meshes.new("part")
    mesh.from_pydata(built.vertices.tolist(), [], built.faces.tolist())
    layer = mesh.uv_layers.new(name="surface")
    layer.uv.foreach_set("vector", built.uv[built.faces.ravel()].astype(np.float32).ravel())
    mesh.polygons.foreach_set("use_smooth", np.full(len(built.faces), part.smooth))
    mesh.materials.append(_material(part.look))
    thing = bpy.data.objects.new("part", mesh)
    bpy.context.scene.collection.objects.link(thing)
    if part.look.kind == "sky":  # seen, but no light and no shadow comes from it
        thing.visible_shadow = thing.visible_diffuse = thing.visible_glossy = False
    return mesh


def _place(mesh: bpy.types.Mesh, vertices: np.ndarray) -> None:
    mesh.vertices.foreach_set("co", vertices.astype(np.float32).ravel())
    mesh.update()


def _material(look: Look) -> bpy.types.Material:
    """A diffuse surface with the texture, and fine grain over it so that there is something to track."""
    material = bpy.data.materials.new(look.kind)
    material.use_nodes = True
    material.cycles.emission_sampling = "NONE"  # nothing is lit by it: no rays look for it, and there is no noise
    tree = material.node_tree
    tree.nodes.clear()
    new, link = tree.nodes.new, tree.links.new
    out = new("ShaderNodeOutputMaterial")
    where = new("ShaderNodeTexCoord").outputs["UV"]
    first, second = (*look.first, 1), (*look.second, 1)

    def noise(size: float, detail: float) -> bpy.types.NodeSocket:
        node = new("ShaderNodeTexNoise")
        node.inputs["Scale"].default_value, node.inputs["Detail"].default_value = 1 / size, detail
        link(where, node.inputs["Vector"])
        return node.outputs["Fac"]

    def mix(share: bpy.types.NodeSocket, a: object, b: object, kind: str = "MIX") -> bpy.types.NodeSocket:
        node = new("ShaderNodeMix")
        node.data_type, node.blend_type = "RGBA", kind
        link(share, node.inputs["Factor"])
        for socket, value in ((node.inputs["A"], a), (node.inputs["B"], b)):
            if isinstance(value, bpy.types.NodeSocket):
                link(value, socket)
            else:
                socket.default_value = value
        return node.outputs["Result"]

    def ramp(share: bpy.types.NodeSocket, low: float, high: float) -> bpy.types.NodeSocket:
        node = new("ShaderNodeMapRange")
        node.inputs["From Min"].default_value, node.inputs["From Max"].default_value = low, high
        link(share, node.inputs["Value"])
        return node.outputs["Result"]

    if look.kind in ("brick", "windows"):
        node = new("ShaderNodeTexBrick")
        node.inputs["Scale"].default_value = 1 / look.size
        link(where, node.inputs["Vector"])
        if look.kind == "brick":
            node.inputs["Color1"].default_value, node.inputs["Color2"].default_value = first, second
            node.inputs["Mortar"].default_value = tuple(
                0.5 * (a + b) + 0.12 for a, b in zip(first, second, strict=True)
            )
            node.inputs["Mortar Size"].default_value = 0.025
        else:  # panes are the bricks, the wall is the mortar
            node.offset, node.inputs["Brick Width"].default_value = 0, 1.0
            node.inputs["Row Height"].default_value = 1.35
            node.inputs["Color1"].default_value = second
            node.inputs["Color2"].default_value = tuple(min(1, 2.2 * c) for c in second)
            node.inputs["Mortar"].default_value, node.inputs["Mortar Size"].default_value = first, 0.28
        color = node.outputs["Color"]
    elif look.kind == "checker":
        node = new("ShaderNodeTexChecker")
        node.inputs["Scale"].default_value = 1 / look.size
        node.inputs["Color1"].default_value, node.inputs["Color2"].default_value = first, second
        link(where, node.inputs["Vector"])
        color = node.outputs["Color"]
    elif look.kind == "stripes":
        node = new("ShaderNodeTexWave")
        node.bands_direction = "Y"
        node.inputs["Scale"].default_value, node.inputs["Distortion"].default_value = 0.314 / look.size, 1.5
        link(where, node.inputs["Vector"])
        color = mix(ramp(node.outputs["Fac"], 0.3, 0.7), first, second)
    else:
        color = mix(ramp(noise(look.size, 2), 0.35, 0.65), first, second)
    if look.kind == "sky":
        shader = new("ShaderNodeEmission")
        link(color, shader.inputs["Color"])
    else:
        grain = mix(ramp(noise(0.11, 1), 0.3, 0.7), (0.62, 0.62, 0.62, 1), (1.3, 1.3, 1.3, 1))
        whole = new("ShaderNodeValue").outputs[0]
        whole.default_value = 1
        color = mix(whole, color, grain, "MULTIPLY")
        diffuse, ambient, shader = (new(f"ShaderNode{kind}") for kind in ("BsdfDiffuse", "Emission", "AddShader"))
        link(color, diffuse.inputs["Color"])
        # light from all round, more of it from above: free of noise, unlike a sky that is sampled
        normal, axes = new("ShaderNodeNewGeometry").outputs["Normal"], new("ShaderNodeSeparateXYZ")
        link(normal, axes.inputs[0])
        height = new("ShaderNodeMapRange")
        for name, value in (("From Min", -1.0), ("To Min", 0.16), ("To Max", 0.5)):
            height.inputs[name].default_value = value
        link(axes.outputs["Z"], height.inputs["Value"])
        link(mix(whole, color, (0.85, 0.95, 1.1, 1), "MULTIPLY"), ambient.inputs["Color"])
        link(height.outputs[0], ambient.inputs["Strength"])
        link(diffuse.outputs[0], shader.inputs[0])
        link(ambient.outputs[0], shader.inputs[1])
    link(shader.outputs[0], out.inputs["Surface"])
    return material


main()
