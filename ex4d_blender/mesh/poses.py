# SPDX-License-Identifier: GPL-3.0-or-later
"""The footage camera of every clip frame, kept as attributes of the mesh's own vertices.

The mesh object's data has one loose vertex per clip frame: `pose` (4x4) is that frame's camera-to-world in OpenCV's
axes and scene units, `moved` says whether that is more than the identity, `focal` is (fx, fy, 0) and `centre`
(cx, cy, 0), pixels of the working size. The node group reads the row of the frame that it shows. So the mesh follows a
moving camera without keys, whatever time is shown.
"""

import bpy
import numpy as np

POSE, MOVED, FOCAL, CENTRE = "pose", "moved", "focal", "centre"


def write(mesh: bpy.types.Mesh, c2w: np.ndarray, intrinsics: np.ndarray) -> None:
    """Store the cameras.

    Args:
        mesh: data of the mesh object; what it held before is replaced.
        c2w: (T, 4, 4) float, camera-to-world, OpenCV axes, scene units; may hold a uniform scale.
        intrinsics: (T, 4) float: fx, fy, cx, cy, pixels of the working size.
    """
    frames = len(c2w)
    mesh.clear_geometry()
    mesh.vertices.add(frames)
    zeros = np.zeros((frames, 1), np.float32)
    rows = {
        POSE: ("FLOAT4X4", "value", np.swapaxes(c2w, 1, 2)),  # Blender keeps matrices column by column
        MOVED: ("BOOLEAN", "value", np.any(c2w != np.eye(4), axis=(1, 2))),
        FOCAL: ("FLOAT_VECTOR", "vector", np.hstack([intrinsics[:, :2], zeros])),
        CENTRE: ("FLOAT_VECTOR", "vector", np.hstack([intrinsics[:, 2:], zeros])),
    }
    for name, (kind, item, values) in rows.items():
        attribute = mesh.attributes.new(name, kind, "POINT")
        number = bool if kind == "BOOLEAN" else np.float32
        attribute.data.foreach_set(item, np.ascontiguousarray(values, number).ravel())
    mesh.update()


def read(mesh: bpy.types.Mesh) -> tuple[np.ndarray, np.ndarray]:
    """What `write` stored: c2w (T, 4, 4) float64 and intrinsics (T, 4) float64."""
    frames = len(mesh.vertices)
    pose = np.empty(frames * 16, np.float32)
    mesh.attributes[POSE].data.foreach_get("value", pose)
    lens = []
    for name in (FOCAL, CENTRE):
        values = np.empty(frames * 3, np.float32)
        mesh.attributes[name].data.foreach_get("vector", values)
        lens.append(values.reshape(frames, 3)[:, :2])
    return np.swapaxes(pose.reshape(frames, 4, 4), 1, 2).astype(np.float64), np.hstack(lens).astype(np.float64)
