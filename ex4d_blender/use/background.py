# SPDX-License-Identifier: GPL-3.0-or-later
"""*Accept as Background*: the take behind the scene in the shot camera's view."""

import bpy

from ..ownership import require_local
from ..shots import Shot, camera_math
from ..shots.properties import render_size
from ..takes.folder import TakeFacts
from . import marks, picture

USE = "BACKGROUND"


def accept(context: bpy.types.Context, shot: Shot, facts: TakeFacts) -> None:
    """Show the take as a background image of the shot's camera; the artist's own images stay.

    Raises:
        UserError: no camera, a linked one, one that a take cannot be made for, or pictures that are missing.
    """
    camera = marks.required_camera(shot)
    check(camera)
    facts.require_files()
    for data in bpy.data.cameras:  # the shot may have had another camera
        for background in [] if data == camera.data or data.library else _of_shot(data, shot.key):
            data.background_images.remove(background)
    found = _of_shot(camera.data, shot.key)
    if found:
        replace(shot.key, facts)
    else:
        background = camera.data.background_images.new()
        background.image = picture.load(context.scene, shot, facts, USE)
        background.alpha, background.display_depth = 1.0, "BACK"
        picture.show(background.image_user, facts)
        fit(background, camera.data, context.scene, facts)
    camera.data.show_background_images = True


def check(camera: bpy.types.Object) -> None:
    """Whether the camera's images stay in the file; a library override keeps them. Raises: UserError."""
    if camera.data.library is not None:
        require_local(camera.data)


def replace(shot: str, facts: TakeFacts) -> int:
    """Let every background of a shot show another take.

    Returns:
        How many.
    """
    for image in marks.marked(bpy.data.images, USE, shot):
        picture.swap(image, facts)
    count = 0
    for scene in bpy.data.scenes:
        cameras = {thing.data for thing in scene.objects if thing.type == "CAMERA" and thing.data.library is None}
        for data in cameras:
            for background in _of_shot(data, shot):
                picture.show(background.image_user, facts)
                fit(background, data, scene, facts)
                count += 1
    return count


def _of_shot(data: bpy.types.Camera, shot: str) -> list[bpy.types.CameraBackgroundImage]:
    return [each for each in data.background_images if each.image and marks.marked([each.image], USE, shot)]


def fit(
    background: bpy.types.CameraBackgroundImage, data: bpy.types.Camera, scene: bpy.types.Scene, facts: TakeFacts
) -> None:
    """Let the take lie where it was taken: as wide as the lens makes its frame, overscan beyond it.

    A picture of the render's shape is stretched over the frame. Another one, or one with overscan, Blender fits into
    the frame by its own shape, and the scale says how much wider the take is than that.
    """
    render, aspect = render_size(scene), (scene.render.pixel_aspect_x, scene.render.pixel_aspect_y)
    frame, (width, height) = facts.frame_size, (facts.width, facts.height)
    has_shape = abs(width * render[1] / render[0] - height) <= 0.5 or abs(height * render[0] / render[1] - width) <= 0.5
    if has_shape and frame == (width, height):
        background.frame_method, background.scale = "STRETCH", 1.0
        return
    background.frame_method = "FIT"
    background.image.display_aspect = aspect  # else Blender takes its pixels for square
    wider = (width / camera_math.view_factor(data, *frame, aspect)) / (
        render[0] / camera_math.view_factor(data, *render, aspect)
    )
    background.scale = wider / min(1.0, (width / height) / (render[0] / render[1]))
