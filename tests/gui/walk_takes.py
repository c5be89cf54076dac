"""The walk, from the camera to the take in the scene: generate, accept, compare, replace. Imported inside Blender."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import bpy
import numpy as np
from artist import (
    area_of,
    look_from_the_side,
    look_through,
    measured,
    module,
    nodes,
    override,
    panels,
    picture,
    settled,
    until,
    viewport,
)
from demo_blender import PLACE, at
from screen import screen

OVERSCAN_PERCENT = 10.0
FRAME = 33
"""Of the pictures."""


def steps(sidecar: Any) -> Iterator[float]:
    """A take, its uses, another take of a longer lens, and that in place of the first."""
    scene = bpy.context.scene
    (shot,) = scene.ex4d_shots
    scene.frame_set(FRAME)
    look_through(shot.camera)
    generate = scene.ex4d_generate
    generate.engine_menu, generate.overscan = "draft", OVERSCAN_PERCENT
    preflight = module("generating.preflight")
    yield from until(lambda: getattr(preflight.answer(), "fits", False), "the answer whether the shot fits")
    yield from panels("5_generate", down=4000, rows=slice(-760, -420))
    yield from a_take("take_001", "5_generating")
    yield from panels("6_take", down=4000, rows=slice(-820, -450))
    for name in module("use.uses").USES:
        with override():
            bpy.ops.ex4d.accept_take("EXEC_DEFAULT", True, use={name})
        yield from SEEN.get(name, seen_in_the_camera)(name)
    yield from another_take()


def a_take(name: str, running: str | None = None) -> Iterator[float]:
    """Press *Generate* and wait for the take; a picture while it is made."""
    scene = bpy.context.scene
    (shot,) = scene.ex4d_shots
    with override():
        assert bpy.ops.ex4d.generate("INVOKE_DEFAULT", True) == {"RUNNING_MODAL"}
    yield from until(lambda: len(scene.ex4d_wished_takes), "the camera to be sampled")
    (wish,) = scene.ex4d_wished_takes
    if running:
        job, previews = wish.job, module("generating.previews")
        yield from until(lambda: previews.icon(job), "a thumbnail")
        yield from panels(running, down=4000, rows=slice(-940, -540), still=False)
        assert len(scene.ex4d_wished_takes), "it was too quick for a picture"
    yield from until(lambda: not len(scene.ex4d_wished_takes), "the take")
    assert shot.takes[-1].name == name
    shot.active_take = len(shot.takes) - 1


def facts() -> Any:
    """What the folder of the active take says."""
    (shot,) = bpy.context.scene.ex4d_shots
    return module("takes.listing").facts_of(shot.takes[shot.active_take])


def seen_in_the_camera(name: str) -> Iterator[float]:
    """A use that shows in the view through the camera."""
    yield from picture(f"6_{name.lower()}")


def plane_seen(name: str) -> Iterator[float]:
    """The plane through the camera, without the footage in front of it, and from the side."""
    yield from compared_with_the_take(name)
    camera = bpy.context.scene.camera
    look_from_the_side(camera, at(*PLACE), -0.6)
    yield from picture("6_plane_from_the_side")
    look_through(camera)
    hide_planes(True)


def background_seen(name: str) -> Iterator[float]:
    """The background alone: footage and plane are switched off."""
    yield from compared_with_the_take(name)
    hide_planes(False)


def projection_seen(name: str) -> Iterator[float]:
    """The take on the footage's mesh: Solid viewports show the footage itself there."""
    viewport().shading.type = "MATERIAL"
    hide_planes(True)
    yield 20.0  # EEVEE compiles its shaders first
    yield from picture(f"6_{name.lower()}")
    hide_planes(False)
    viewport().shading.type = "SOLID"
    bpy.ops.ed.undo()  # for CG, what the footage never saw is to be open again
    yield 0.5


def compositor_seen(_name: str) -> Iterator[float]:
    """The node in the compositor."""
    tree = module("versions.compositor").tree_of(bpy.context.scene)
    assert any(node.type == "GROUP" and node.node_tree.name.startswith("EX-4D Take") for node in tree.nodes)
    yield from nodes("6_compositor")


def strip_seen(_name: str) -> Iterator[float]:
    """The strip in the sequencer: the shot's frames, its handles trimmed."""
    area, scene, strips = area_of("VIEW_3D"), bpy.context.scene, module("versions.strips")
    (shot,) = scene.ex4d_shots
    strip = next(each for each in strips.all_strips(scene) if each.type == "IMAGE")
    assert strips.handles(strip) == (shot.frame_start, shot.frame_end + 1)
    assert strips.content_start(strip) == shot.frame_start - shot.handle_before
    area.ui_type = "SEQUENCE_EDITOR"
    area.spaces.active.view_type = "SEQUENCER_PREVIEW"
    if hasattr(bpy.context.workspace, "sequencer_scene"):
        bpy.context.window_manager.windows[0].workspace.sequencer_scene = scene
    yield 1.0
    with override("SEQUENCE_EDITOR"):
        bpy.ops.sequencer.view_all()
    yield from picture("6_strip", of="SEQUENCE_EDITOR")
    area.ui_type = "VIEW_3D"


SEEN: dict[str, Callable[[str], Iterator[float]]] = {
    "PLANE": plane_seen,
    "BACKGROUND": background_seen,
    "PROJECTION": projection_seen,
    "COMPOSITOR": compositor_seen,
    "SEQUENCER": strip_seen,
}
"""What is looked at of a use; of one that is not here, the view through the camera."""


def another_take() -> Iterator[float]:
    """A longer lens, a second take; both compared, and the second in place of the first wherever that is shown."""
    scene = bpy.context.scene
    (shot,) = scene.ex4d_shots
    first = facts().folder
    shot.camera.data.lens *= 1.2
    yield from a_take("take_002")
    compare = bpy.context.window_manager.ex4d_compare
    compare.show = True
    yield from picture("7_compare")
    yield from panels("7_compare_panel", down=4000, rows=slice(-900, -480))
    compare.show = False
    with override():
        bpy.ops.ex4d.replace_take("EXEC_DEFAULT", True)
    take = module("use.marks").TAKE
    folders = {str(thing[take]) for thing in (*bpy.data.images, *bpy.data.objects) if take in thing}
    assert folders
    assert all(folder.rstrip("/").endswith("take_002") for folder in folders), folders
    assert facts().folder != first
    yield from compared_with_the_take("replaced")


def compared_with_the_take(name: str) -> Iterator[float]:
    """Without the footage, the view through the camera is the take: a picture, and the mean error where it is free.

    It lies right if it is nearest to the take as it is, and farther from one that is moved by two of its pixels.
    """
    hide_footage(True)
    yield from picture(f"{'7' if name == 'replaced' else '6'}_{name.lower()}")
    yield from settled()
    errors: dict[str, float] = {
        f"{x} {y}": error_against_the_take(x, y) for x, y in ((0, 0), (2, 0), (-2, 0), (0, 2), (0, -2))
    }
    measured[f"{name.lower()}_error"] = dict(errors)
    right = errors.pop("0 0")
    assert right < 4, (name, right)
    assert right < 0.5 * min(errors.values()), (name, right, errors)
    hide_footage(False)


def error_against_the_take(across: int, down: int) -> float:
    """The mean error of the screen, of 255, against the active take's picture moved by so many pixels of it."""
    take, scene = facts(), bpy.context.scene
    pixels = module("coverage.png").read_png(take.png(scene.frame_current - take.frame_start))[..., :3].astype(float)
    width, height = take.frame_size
    with override():
        region = bpy.context.region
        (left, bottom), (right, top) = module("coverage.view").frame_corners(bpy.context)
        hidden = next(r for r in bpy.context.area.regions if r.type == "UI").x - region.x
    x = np.arange(int(left + 0.1 * (right - left)), min(int(right), hidden) - 10)
    y = np.arange(int(bottom + 0.1 * (top - bottom)), int(bottom + 0.9 * (top - bottom)))
    shown = screen()[::-1][region.y + y[0] : region.y + y[-1] + 1, region.x + x[0] : region.x + x[-1] + 1]
    column = (x + 0.5 - left) / (right - left) * width + (take.width - width) / 2 - 0.5 + across
    row = (top - y - 0.5) / (top - bottom) * height + (take.height - height) / 2 - 0.5 + down
    return float(np.abs(shown - between(pixels, row, column)).mean())


def between(pixels: np.ndarray, row: np.ndarray, column: np.ndarray) -> np.ndarray:
    """Bilinear samples at every row and column: (R, C, 3), rows and columns in pixels, the first one's middle is 0."""
    up, left = np.floor(row).astype(int), np.floor(column).astype(int)
    part_down, part_across = (row - up)[:, None, None], (column - left)[None, :, None]
    upper = pixels[up][:, left] * (1 - part_across) + pixels[up][:, left + 1] * part_across
    lower = pixels[up + 1][:, left] * (1 - part_across) + pixels[up + 1][:, left + 1] * part_across
    return upper * (1 - part_down) + lower * part_down


def hide_footage(hide: bool) -> None:
    """The eye of the footage's mesh in the outliner, and the lines of the ground."""
    (placed,) = module("placed").all_placed(bpy.context.scene)
    placed.mesh.hide_set(hide)
    overlay = viewport().overlay
    overlay.show_floor = overlay.show_axis_x = overlay.show_axis_y = not hide


def hide_planes(hide: bool) -> None:
    """The eye of the takes' collection."""
    bpy.context.view_layer.layer_collection.children["Takes"].hide_viewport = hide
