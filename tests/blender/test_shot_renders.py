"""What leaves Blender is what Blender shows: cuts without the extension, and an exported shot under a moving camera."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import bpy
import numpy as np
from conftest import EXTENSION, ex4d, library, module
from test_mesh_fidelity import _UNPACK, NOISE, pixels, rendered, set_up
from test_project_camera import FRAMES, moving, solve_camera  # noqa: F401


def test_two_bound_cameras_render_their_own_times_without_the_extension(small_scene: Path, tmp_path: Path) -> None:
    """Cameras where the footage's stood, with Source Times of their own, cut by markers: each renders its plate."""
    footage = module("mesh.placing").place(bpy.context, small_scene, 1)
    facts, scene = footage.facts(), bpy.context.scene
    plates = [pixels(facts.file(facts.color, clip)) for clip in (2, 6)]
    set_up("CYCLES", facts.width, facts.height)
    bpy.context.view_layer.update()
    for name, time, frame in (("A", 2.0, 1), ("B", 6.0, 4)):
        camera = bpy.data.objects.new(name, footage.source_camera.data.copy())
        camera.parent, camera.matrix_local = footage.empty, footage.source_camera.matrix_local.copy()
        scene.collection.objects.link(camera)
        camera["Source Time"] = time
        scene.timeline_markers.new(name, frame=frame).camera = camera
    scene.camera = bpy.data.objects["A"]
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "cut.blend"))
    bpy.ops.preferences.addon_disable(module=EXTENSION)
    try:
        bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "cut.blend"))
        for frame, plate in ((3, 0), (4, 1), (5, 1), (1, 0)):
            image = rendered(tmp_path / f"{frame}.png", frame)
            assert bpy.context.scene.camera.name == "AB"[plate]
            off = [(np.abs(image - each).max(axis=-1) > NOISE).mean() for each in plates]
            assert off[plate] < 0.001 < 0.5 < off[1 - plate], frame
    finally:
        bpy.ops.preferences.addon_enable(module=EXTENSION)


def test_a_shot_under_a_moving_footage_camera_renders_alike(
    moving: tuple[Path, np.ndarray],  # noqa: F811
    library_python: str,
    tmp_path: Path,
) -> None:
    """A solve is followed, the artist's camera moves on its own; exported, the library renders what Blender does."""
    folder, poses = moving
    assert bpy.ops.ex4d.import_scene(directory=str(folder)) == {"FINISHED"}
    solve = solve_camera(poses)
    assert bpy.ops.ex4d.follow_camera(camera="Solve") == {"FINISHED"}
    footage, scene = module("placed").required(bpy.context), bpy.context.scene
    facts = footage.facts()
    module("versions.modifier_inputs").write(footage.mesh.modifiers[0], "Hide Occluded", True)
    artist = bpy.data.objects.new("Artist", solve.data.copy())
    scene.collection.objects.link(artist)
    for frame, place, turn in ((1, (0.0, 0.0, 0.0), 0.0), (FRAMES, (7.0, 5.0, 0.8), 0.25)):
        artist.location, artist.rotation_euler = place, (np.radians(90), 0, turn)
        artist.keyframe_insert("location", frame=frame)
        artist.keyframe_insert("rotation_euler", frame=frame)
    set_up("CYCLES", facts.width, facts.height)
    scene.frame_start, scene.frame_end = 1, FRAMES
    scene.camera = bpy.context.view_layer.objects.active = artist
    assert bpy.ops.ex4d.use_active_camera() == {"FINISHED"}
    assert bpy.ops.ex4d.export_trajectory(filepath=str(tmp_path / "path.json")) == {"FINISHED"}
    ex4d(library_python, "render", folder, "--trajectory", tmp_path / "path.json", "-o", tmp_path / "shot",
         "--method", "dwmesh", "--background", "off")  # fmt: skip
    library(library_python, _UNPACK, tmp_path / "shot")
    unseen: list[Any] = []
    for t in range(FRAMES):
        image = rendered(tmp_path / f"view{t}.png", 1 + t)
        mask = pixels(tmp_path / f"shot/mask{t}.png")[..., 0] > 127
        ours, both = image[..., 3] > 127, mask & (image[..., 3] > 127)
        overlap = both.sum() / (mask | ours).sum()
        error = np.abs(image - pixels(tmp_path / f"shot/color{t}.png"))[..., :3][both].mean()
        print(f"frame {t}: IoU {overlap:.4f}, colour {error:.2f}/255, unseen {1 - mask.mean():.2f}")
        assert overlap >= 0.99
        assert error < 2.0
        unseen.append(1 - mask.mean())
    assert max(unseen) > 0.1  # the artist's camera does see what was never filmed: the masks say something
