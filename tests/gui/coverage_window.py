"""Plate and overlay in a real Blender window against the library's render.

Runs inside Blender, started by
`test_coverage_window.py` with a JSON file that names the zip, the scene folder, the rendered shot and a results folder.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import traceback
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

import bpy
import gpu
import numpy as np
from mathutils import Matrix
from screen import save_screen

TASK = json.loads(Path(sys.argv[sys.argv.index("--") + 1]).read_text("utf-8"))
OUT, SHOT = Path(TASK["out"]), Path(TASK["shot"])
bpy.context.preferences.view.show_splash = False


def module(name: str) -> Any:
    """A module of the installed extension."""
    return importlib.import_module(f"bl_ext.user_default.ex4d.{name}")


def override() -> Any:
    """The context of the 3D viewport."""
    window = bpy.context.window_manager.windows[0]
    area = next(area for area in window.screen.areas if area.type == "VIEW_3D")
    region = next(region for region in area.regions if region.type == "WINDOW")
    return bpy.context.temp_override(window=window, area=area, region=region)


def steps() -> Iterator[float]:
    """The cameras of the shot one by one, then the overlay on the screen."""
    bpy.ops.extensions.package_install_files(repo="user_default", filepath=TASK["zip"], enable_on_install=True)
    for thing in list(bpy.data.objects):
        bpy.data.objects.remove(thing)
    scene = bpy.context.scene
    plates = yield from plates_shown(scene)
    placed = module("mesh.placing").place(bpy.context, Path(TASK["scene"]), 1)
    placed.empty.scale = (0.7, 0.7, 0.7)
    camera = bpy.data.objects.new("Camera", bpy.data.cameras.new("Camera"))
    scene.collection.objects.link(camera)
    scene.camera = camera
    document = json.loads((SHOT / "trajectory.json").read_text())
    scene.render.resolution_x, scene.render.resolution_y = document["width"], document["height"]
    yield 1.0
    flip = Matrix.Diagonal((1.0, -1.0, -1.0, 1.0))
    rows = []
    for index, frame in enumerate(document["frames"]):
        fx, _, cx, _ = frame["intrinsics"]
        camera.data.lens, camera.data.shift_x = fx * 36 / document["width"], 0.5 - cx / document["width"]
        pose = placed.empty.matrix_world @ Matrix(frame["c2w"])
        camera.matrix_world = Matrix.LocRotScale(pose.to_translation(), (pose @ flip).to_quaternion(), (1, 1, 1))
        scene.frame_set(index + 1)
        with override():
            unseen, mask = count()
            drawn = solid(camera, document["width"], document["height"])
        risk = module("coverage.png").read_png(SHOT / f"risk/{index:06d}.png")[..., 0] > 127
        both, either = (drawn & ~risk).sum(), (drawn | ~risk).sum()
        rows.append({"unseen": unseen, "disagree": float((mask != risk).mean()), "viewport_iou": float(both / either)})
    with override():
        space = bpy.context.space_data
        space.region_3d.view_perspective = "CAMERA"
        bpy.ops.view3d.view_center_camera()
        scene.frame_set(2)
    pictures = {}
    for name in ("off", "on", "off again"):
        yield 3.0
        pictures[name] = save_screen(OUT / f"coverage_{name.replace(' ', '_')}.png")
        with override():
            bpy.ops.ex4d.preview_coverage()
        assert space.shading.light == ("STUDIO" if name == "on" else "FLAT")
    red, green, blue = np.moveaxis(pictures["on"], -1, 0)
    hatched = float(((red > 150) & (green < 60) & (blue < 60)).mean())  # the default theme's colour of backs
    same = float((np.abs(pictures["off"].astype(int) - pictures["off again"]) > 24).any(axis=-1).mean())
    (OUT / "coverage.json").write_text(
        json.dumps({"frames": rows, "hatched": hatched, "not_restored": same, "plates": plates})
    )


def count() -> tuple[float, np.ndarray]:
    """The share of the camera's picture that is unseen, and where, the top row first."""
    overlay, view = module("coverage.overlay"), module("coverage.view")
    unseen = overlay.unseen_share(bpy.context)
    size = view.camera_view(bpy.context, view.shown(bpy.context))
    with overlay._counted.target().bind():
        buffer = gpu.state.active_framebuffer_get().read_color(0, 0, size.width, size.height, 1, 0, "UBYTE")
    buffer.dimensions = size.width * size.height
    return unseen, np.frombuffer(bytes(buffer), np.uint8).reshape(size.height, size.width)[::-1] > 127


def plates_shown(scene: bpy.types.Scene) -> Generator[float, None, dict[str, dict[str, float]]]:
    """How far viewports are from the plate, from the source camera; then the footage is taken away again."""
    footage = module("mesh.placing").place(bpy.context, Path(TASK["clip"]), 1)
    facts, mesh = footage.facts(), footage.mesh
    scene.view_settings.view_transform = "Standard"
    # One sample in the middle of each pixel: anti-aliasing mixes neighbours.
    bpy.context.preferences.system.viewport_aa = "OFF"
    scene.eevee.taa_samples, scene.render.filter_size, scene.render.film_transparent = 1, 0.0, True
    scene.render.resolution_x, scene.render.resolution_y = facts.width, facts.height
    plate = module("coverage.png").read_png(facts.file(facts.color, 1))[..., :3].astype(int)
    found = {}
    # Before 5.0 Blender scales EEVEE's picture down where it draws a viewport off the screen.
    for shading in ("SOLID", "MATERIAL", "RENDERED")[: 3 if bpy.app.version >= (5, 0, 0) else 1]:
        for hide in (False, True):
            module("versions.modifier_inputs").write(mesh.modifiers[0], "Hide Occluded", hide)
            mesh.update_tag()
            scene.frame_set(2)
            with override():
                space = bpy.context.space_data
                space.shading.type = shading
                if shading == "SOLID":
                    space.shading.light, space.shading.color_type = "FLAT", "TEXTURE"
                shown(footage.source_camera, facts.width, facts.height)  # asks for the shaders
                yield 1.0 if shading == "SOLID" else 15.0
            with override():
                picture = shown(footage.source_camera, facts.width, facts.height)
            drawn = picture[..., 3] == 255
            off = np.abs(picture[..., :3].astype(int) - plate).max(axis=-1)[drawn]
            name = f"{shading.lower()}{' hide' if hide else ''}"
            found[name] = {"drawn": float(drawn.mean()), "off": float((off > 1).mean()), "mean": float(off.mean())}
    with override():
        shading = bpy.context.space_data.shading
        shading.type, shading.light, shading.color_type = "SOLID", "STUDIO", "MATERIAL"  # as they were
    for thing in list(bpy.data.objects):
        bpy.data.objects.remove(thing)
    return found


def solid(camera: bpy.types.Object, width: int, height: int) -> np.ndarray:
    """Where a Solid viewport draws the mesh, backs left out: (H, W) bool, the top row first."""
    shading = bpy.context.space_data.shading
    shading.show_backface_culling = True
    picture = shown(camera, width, height)
    shading.show_backface_culling = False
    return picture[..., 3] > 127


def shown(camera: bpy.types.Object, width: int, height: int) -> np.ndarray:
    """What the viewport shows through a camera, without overlays and background: (H, W, 4) uint8, the top row first."""
    context = bpy.context
    space, depsgraph = context.space_data, context.evaluated_depsgraph_get()
    space.overlay.show_overlays = False
    offscreen = gpu.types.GPUOffScreen(width, height)
    projection = camera.calc_matrix_camera(depsgraph, x=width, y=height)
    view = camera.matrix_world.inverted()
    looking = (context.scene, context.view_layer, space, context.region, view, projection)
    offscreen.draw_view3d(*looking, do_color_management=True, draw_background=False)
    with offscreen.bind():
        buffer = gpu.state.active_framebuffer_get().read_color(0, 0, width, height, 4, 0, "UBYTE")
    offscreen.free()
    space.overlay.show_overlays = True
    buffer.dimensions = width * height * 4
    return np.frombuffer(bytes(buffer), np.uint8).reshape(height, width, 4)[::-1]


def tick() -> float:
    """Called by Blender's timer."""
    try:
        return next(_running)
    except StopIteration:
        os._exit(0)
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)


_running = steps()
bpy.app.timers.register(tick, first_interval=1.0, persistent=True)
