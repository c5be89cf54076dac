"""The walk, with CG in the shot: a monkey on a pedestal, and the render. Imported inside Blender."""

from __future__ import annotations

from collections.abc import Iterator

import bpy
import numpy as np
from artist import OUT, area_of, measured, module, nodes, override, picture, until
from demo_blender import stand_something
from walk_takes import facts


def steps() -> Iterator[float]:
    """Put it there, *Set Up CG*, render."""
    scene, area = bpy.context.scene, area_of("VIEW_3D")
    first = scene.frame_current
    scene.frame_set(1)  # the place is one of the first frame
    with override():
        bpy.context.view_layer.update()
        stand_something(scene)
    scene.frame_set(first)
    scene.render.engine = "CYCLES"
    scene.cycles.samples, scene.cycles.use_denoising, scene.render.resolution_percentage = 8, False, 50
    scene.render.image_settings.color_mode = "RGB"
    scene.render.use_sequencer = False  # else a render is what the strips show
    with override():
        bpy.ops.ex4d.set_up_cg("EXEC_DEFAULT", True)
    yield from picture("8_cg")
    yield from nodes("8_compositor")

    for layer in scene.view_layers:
        layer.use = layer.name in ("CG", "Shadow")  # the plate is the take
    bpy.context.preferences.view.render_display_type = "NONE"
    area.ui_type = "IMAGE_EDITOR"
    with override("IMAGE_EDITOR"):
        bpy.ops.render.render("INVOKE_DEFAULT")
    yield from until(lambda: bpy.app.is_job_running("RENDER"), "the render to begin")
    yield from until(lambda: not bpy.app.is_job_running("RENDER"), "the render")
    result = area.spaces.active.image = bpy.data.images["Render Result"]
    yield 0.5
    with override("IMAGE_EDITOR"):
        bpy.ops.image.view_all(fit_view=True)
    yield from picture("8_render", of="IMAGE_EDITOR")
    area.ui_type = "VIEW_3D"
    check(result)


def check(result: bpy.types.Image) -> None:
    """The CG covers some of the take, and the rest of the render is the take, but for the shadow."""
    path = OUT / "project" / "render.png"
    result.save_render(str(path))
    render = module("coverage.png").read_png(path)[..., :3].astype(float)
    take = frame_of_the_take()
    height, width = take.shape[:2]
    assert render.shape == (height // 2, width // 2, 3), render.shape
    halved = take.reshape(height // 2, 2, width // 2, 2, 3).mean(axis=(1, 3))
    off = np.abs(render - halved).max(axis=-1)
    measured["render"] = {"cg": float((off > 40).mean()), "plate": float(np.median(off))}
    assert 0.03 < measured["render"]["cg"] < 0.3, measured["render"]
    assert measured["render"]["plate"] < 8, measured["render"]


def frame_of_the_take() -> np.ndarray:
    """The active take's picture at this frame, without overscan: (H, W, 3), 0 to 255."""
    take = facts()
    width, height = take.frame_size
    left, top = (take.width - width) // 2, (take.height - height) // 2
    path = take.png(bpy.context.scene.frame_current - take.frame_start)
    pixels = module("coverage.png").read_png(path)[top : top + height, left : left + width, :3]
    return pixels.astype(float)
