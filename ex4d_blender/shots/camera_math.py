# SPDX-License-Identifier: GPL-3.0-or-later
"""From Blender's cameras to OpenCV's, and back: the one place where the two conventions meet.

Blender: x right, y up, z backward, a lens in millimetres on a sensor. OpenCV: x right, y down, z forward, focal length
and principal point in pixels with pixel centres at +0.5. docs/blender/shots.md has the formulas.
"""

from typing import Any

import bpy
import numpy as np

from ..errors import UserError

BLENDER_FROM_OPENCV = np.diag([1.0, -1.0, -1.0, 1.0])
"""Camera axes; its own inverse."""

UPRIGHT_FROM_SCENE = np.array([[1, 0, 0, 0], [0, 0, 1, 0], [0, -1, 0, 0], [0, 0, 0, 1]], np.float64)
"""Scene space (x right, y down, z forward) to axes as Blender's users know them: x right, y forward, z up."""

_REMEDIES = {
    "ORTHO": "{camera} is orthographic: set its Type to Perspective under Object Data > Lens.",
    "PANO": "{camera} is panoramic: set its Type to Perspective under Object Data > Lens.",
    "CUSTOM": "{camera} has a custom lens: set its Type to Perspective under Object Data > Lens.",
}
_SHEAR = 1e-5
"""Largest cosine between two axes of a frame, and largest difference of their lengths, that still is no shear."""


def check_lens(camera: bpy.types.Object) -> None:
    """Require a camera that a trajectory can describe.

    Raises:
        UserError: orthographic, panoramic or custom lens, or no camera at all.
    """
    if camera.type != "CAMERA":
        raise UserError("{camera} is no camera: choose a camera for the shot.", camera=camera.name)
    if camera.data.type != "PERSP":
        remedy = _REMEDIES.get(camera.data.type, "{camera} is no perspective camera: make it one.")
        raise UserError(remedy, camera=camera.name)


def fits_width(data: Any, width: int, height: int, aspect: tuple[float, float]) -> bool:
    """Whether the sensor is fitted to the picture's width (else its height), as Blender decides it.

    Args:
        data: camera data (`sensor_fit` is read).
        width: picture size, pixels; likewise `height`.
        height: see `width`.
        aspect: the scene's pixel aspect, x and y.
    """
    if data.sensor_fit == "AUTO":
        return width * aspect[0] >= height * aspect[1]
    return data.sensor_fit == "HORIZONTAL"


def sensor_size(data: Any) -> float:
    """The side of the sensor that counts, millimetres: the height only if the fit is Vertical."""
    return data.sensor_height if data.sensor_fit == "VERTICAL" else data.sensor_width


def view_factor(data: Any, width: int, height: int, aspect: tuple[float, float]) -> float:
    """How many pixels (of the picture's width) the sensor's side spans; arguments as in `fits_width`."""
    return width if fits_width(data, width, height, aspect) else height * aspect[1] / aspect[0]


def intrinsics(data: Any, width: int, height: int, aspect: tuple[float, float]) -> np.ndarray:
    """The lens of a camera for a picture of some size; arguments as in `fits_width`, lens, sensor and shift are read.

    Returns:
        (4,) float64: fx, fy, cx, cy, pixels, pixel centres at +0.5.
    """
    factor, stretch = view_factor(data, width, height, aspect), aspect[1] / aspect[0]
    fx = data.lens * factor / sensor_size(data)
    return np.array(
        [fx, fx / stretch, width / 2 - data.shift_x * factor, height / 2 + data.shift_y * factor / stretch], np.float64
    )


def scene_pose(
    empty: np.ndarray, camera: np.ndarray, names: tuple[str, str] = ("The empty", "The camera")
) -> np.ndarray:
    """Where a camera stands in the footage's own space, free of the empty's place and scale.

    Args:
        empty: (4, 4) float64, the empty's `matrix_world`.
        camera: (4, 4) float64, the camera's `matrix_world`; scaled as you like.
        names: of both, for the message.

    Returns:
        (4, 4) float64 camera-to-world, OpenCV axes, scene units.

    Raises:
        UserError: the empty is scaled unevenly, mirrored or flat, or a parent shears the camera.
    """
    base = _rotation(empty)  # first: what hangs on it is as uneven as it is
    lengths = np.linalg.norm(empty[:3, :3], axis=0)
    if base is None or lengths.max() - lengths.min() > _SHEAR * lengths.max() or np.linalg.det(base) < 0:
        raise UserError(
            "{empty} has the scale {scale}: give it and its parents one positive scale for all axes.",
            empty=names[0],
            scale=_said(empty),
        )
    rotation = _rotation(camera)
    if rotation is None:
        raise UserError(
            "{camera} is sheared or flat: apply its parents' uneven scale (Object > Apply > Scale).", camera=names[1]
        )
    if np.linalg.det(rotation) < 0:
        raise UserError("{camera} is mirrored: give it and its parents positive scales.", camera=names[1])
    pose = np.eye(4)
    pose[:3, :3] = _nearest_rotation(base.T @ rotation) @ BLENDER_FROM_OPENCV[:3, :3]
    # Not the transpose: far from the empty its rounding (1e-7) would move the camera by hundredths of a pixel.
    pose[:3, 3] = np.linalg.solve(empty[:3, :3], camera[:3, 3] - empty[:3, 3])
    return pose


def blender_from_pose(pose: np.ndarray) -> np.ndarray:
    """A pose in scene space as a camera's matrix in upright axes; see `UPRIGHT_FROM_SCENE`. (..., 4, 4) both."""
    return UPRIGHT_FROM_SCENE @ pose @ BLENDER_FROM_OPENCV


def _rotation(matrix: np.ndarray) -> np.ndarray | None:
    """The matrix's axes at length 1, as Blender makes a camera's; None where they are not at right angles."""
    lengths = np.linalg.norm(matrix[:3, :3], axis=0)
    if not (np.isfinite(matrix).all() and lengths.min() > 0):
        return None
    axes = matrix[:3, :3] / lengths
    return axes if np.abs(axes.T @ axes - np.eye(3)).max() < _SHEAR else None


def _nearest_rotation(matrix: np.ndarray) -> np.ndarray:
    """Without the rounding of Blender's 32-bit numbers; (3, 3) both."""
    u, _, vt = np.linalg.svd(matrix)
    return u @ vt


def _said(matrix: np.ndarray) -> str:
    lengths = np.linalg.norm(matrix[:3, :3], axis=0)
    lengths = lengths * (np.sign(np.linalg.det(matrix[:3, :3])) or 1.0)
    return ", ".join(f"{length:.4g}" for length in lengths)
