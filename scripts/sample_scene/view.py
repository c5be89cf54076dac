"""Light, the source camera, the cameras of an orbit around the subject, and how frames are rendered."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import bpy
import numpy as np
from mathutils import Matrix, Vector

from .materials import srgb

WIDTH, HEIGHT, FPS, FRAMES = 832, 480, 24, 49
LENS_MM, SENSOR_MM = 30.0, 36.0
FOCAL_PX = LENS_MM / SENSOR_MM * WIDTH
"""Focal length at full size; square pixels, principal point in the centre."""
EYE_HEIGHT = 1.0
"""Of the source camera, metres."""
SUBJECT_DISTANCE = 3.4
"""From the source camera to the point that orbits look at, metres."""
SUNBEAM = (-0.5, 0.52, -0.62)
"""Direction of the light."""
FAR = 60.0
"""Depth given to the sky and to all that is farther, metres."""


def light() -> None:
    """A low warm sun from the right behind the camera, and a blue sky with a few clouds."""
    data = bpy.data.lights.new("sun", "SUN")
    data.energy, data.angle, data.color = 4.6, math.radians(1.2), srgb("ffe3bd")
    sun = bpy.data.objects.new("sun", data)
    bpy.context.scene.collection.objects.link(sun)
    sun.rotation_euler = Vector(SUNBEAM).to_track_quat("-Z", "Y").to_euler()
    world = bpy.data.worlds.new("sky")
    bpy.context.scene.world = world
    world.use_nodes = True
    nodes, links = world.node_tree.nodes, world.node_tree.links
    where = nodes.new("ShaderNodeTexCoord").outputs["Generated"]
    split = nodes.new("ShaderNodeSeparateXYZ")
    links.new(where, split.inputs[0])
    sky = nodes.new("ShaderNodeValToRGB")
    links.new(split.outputs[2], sky.inputs[0])
    stops = ((0.0, "f3e6cf"), (0.12, "cfe0e2"), (0.35, "8fbcd8"), (1.0, "5f97c6"))
    while len(sky.color_ramp.elements) < len(stops):
        sky.color_ramp.elements.new(0.5)
    for element, (position, code) in zip(sky.color_ramp.elements, stops, strict=True):
        element.position, element.color = position, (*srgb(code), 1)
    flat = nodes.new("ShaderNodeMapping")
    flat.inputs["Scale"].default_value = (1.0, 1.0, 3.2)
    links.new(where, flat.inputs["Vector"])
    noise = nodes.new("ShaderNodeTexNoise")
    noise.inputs["Scale"].default_value, noise.inputs["Detail"].default_value = 3.6, 7.0
    links.new(flat.outputs[0], noise.inputs["Vector"])
    cover = nodes.new("ShaderNodeValToRGB")
    cover.color_ramp.elements[0].position, cover.color_ramp.elements[1].position = 0.52, 0.68
    links.new(noise.outputs[0], cover.inputs[0])
    mix = nodes.new("ShaderNodeMix")
    mix.data_type = "RGBA"
    links.new(cover.outputs[0], mix.inputs[0])
    links.new(sky.outputs[0], mix.inputs[6])
    mix.inputs[7].default_value = (*srgb("fff6ea"), 1)
    background = nodes["Background"]
    background.inputs[1].default_value = 1.05
    links.new(mix.outputs[2], background.inputs[0])


def camera(orbit_degrees: float = 0.0) -> None:
    """The source camera, level, or one on the orbit of the preset `60` around the subject, at an angle."""
    data = bpy.data.cameras.new("camera")
    data.lens, data.sensor_width, data.sensor_fit = LENS_MM, SENSOR_MM, "HORIZONTAL"
    data.clip_start, data.clip_end = 0.05, 500.0
    thing = bpy.data.objects.new("camera", data)
    bpy.context.scene.collection.objects.link(thing)
    bpy.context.scene.camera = thing
    a, r = math.radians(orbit_degrees), SUBJECT_DISTANCE
    eye = Vector((r * math.sin(a), r * (1 - math.cos(a)), EYE_HEIGHT + 0.2 * r * (1 - math.cos(a))))
    backward = (eye - Vector((0, r, EYE_HEIGHT))).normalized()
    right = Vector((0, 0, 1)).cross(backward).normalized()
    rotation = Matrix((right, backward.cross(right), backward)).transposed()
    thing.matrix_world = Matrix.Translation(eye) @ rotation.to_4x4()


@dataclass(frozen=True)
class Quality:
    """What a render costs."""

    samples: int
    percent: int


def settings(quality: Quality) -> None:
    """Cycles on the CPU, deterministic, without depth of field or motion blur."""
    scene = bpy.context.scene
    scene.render.engine = "CYCLES"
    scene.render.resolution_x, scene.render.resolution_y = WIDTH, HEIGHT
    scene.render.resolution_percentage = quality.percent
    scene.render.fps = FPS
    scene.render.use_motion_blur = False
    scene.render.use_persistent_data = True
    scene.render.dither_intensity = 0.0
    scene.view_settings.view_transform = "AgX"
    scene.view_settings.look = "AgX - Medium High Contrast"
    scene.view_settings.exposure = 0.35
    cycles = scene.cycles
    cycles.device, cycles.seed, cycles.use_animated_seed = "CPU", 0, False
    cycles.use_adaptive_sampling, cycles.adaptive_threshold, cycles.adaptive_min_samples = True, 0.03, 12
    cycles.max_bounces, cycles.diffuse_bounces, cycles.glossy_bounces = 4, 2, 2
    cycles.transmission_bounces, cycles.transparent_max_bounces = 2, 2
    cycles.caustics_reflective = cycles.caustics_refractive = False
    cycles.sample_clamp_indirect = 4.0
    cycles.denoiser, cycles.denoising_input_passes = "OPENIMAGEDENOISE", "RGB_ALBEDO_NORMAL"
    layer = scene.view_layers[0]
    layer.use_pass_z = True
    scene.use_nodes = True
    nodes = scene.node_tree.nodes
    nodes.clear()
    nodes.new("CompositorNodeRLayers")
    nodes.new("CompositorNodeComposite")


def _render(path: Path, output: str) -> None:
    scene = bpy.context.scene
    tree = scene.node_tree
    tree.links.clear()
    source = next(n for n in tree.nodes if n.bl_idname == "CompositorNodeRLayers")
    target = next(n for n in tree.nodes if n.bl_idname == "CompositorNodeComposite")
    tree.links.new(source.outputs[output], target.inputs[0])
    scene.render.filepath = str(path)
    bpy.ops.render.render(write_still=True)


def render_colour(path: Path, quality: Quality) -> None:
    """One picture as 8-bit sRGB PNG."""
    scene = bpy.context.scene
    scene.cycles.samples, scene.cycles.use_denoising = quality.samples, True
    scene.cycles.pixel_filter_type, scene.cycles.filter_width = "BLACKMAN_HARRIS", 1.5
    scene.render.image_settings.file_format = "PNG"
    scene.render.image_settings.color_mode, scene.render.image_settings.color_depth = "RGB", "8"
    _render(path, "Image")


def render_depth(path: Path) -> None:
    """z-depth at pixel centres as a float EXR, metres; the sky is very far (1e10).

    One sample through a filter of almost no width, so that no pixel is an average of two surfaces.
    """
    scene = bpy.context.scene
    scene.cycles.samples, scene.cycles.use_denoising = 1, False
    scene.cycles.pixel_filter_type, scene.cycles.filter_width = "GAUSSIAN", 0.01
    scene.render.image_settings.file_format = "OPEN_EXR"
    scene.render.image_settings.color_mode, scene.render.image_settings.color_depth = "RGB", "32"
    _render(path, "Depth")


def read_image(path: Path) -> np.ndarray:
    """(H, W, 3) float32 as stored: 0..1 of a PNG, metres of a depth EXR."""
    image = bpy.data.images.load(str(path))
    image.colorspace_settings.name = "Non-Color"
    width, height = image.size
    pixels = np.empty(width * height * 4, np.float32)
    image.pixels.foreach_get(pixels)
    bpy.data.images.remove(image)
    return pixels.reshape(height, width, 4)[::-1, :, :3].copy()


def write_png(path: Path, picture: np.ndarray) -> None:
    """Write (H, W, 3) float 0..1 as 8-bit PNG."""
    height, width = picture.shape[:2]
    image = bpy.data.images.new("picture", width, height)
    image.colorspace_settings.name = "Non-Color"
    pixels = np.ones((height, width, 4), np.float32)
    pixels[..., :3] = picture[::-1]
    image.pixels.foreach_set(pixels.ravel())
    image.file_format = "PNG"
    image.save(filepath=str(path))
    bpy.data.images.remove(image)
