# SPDX-License-Identifier: GPL-3.0-or-later
"""Between the space under the empty, where a camera chosen in Blender may have filmed, and the scene folder's own.

They are one unless a footage camera was chosen (`footage_camera`). All that leaves Blender goes through `in_footage`.
"""

import numpy as np

from ..errors import UserError
from ..mesh import poses
from ..placed import SOLVED, Placed
from ..scene_folder import SceneFacts


def in_footage(placed: Placed, c2w: np.ndarray, source_time: np.ndarray) -> np.ndarray:
    """Poses under the empty as the scene folder means them: as if its own cameras had filmed.

    Without a chosen camera nothing changes. With one, a pose is taken relative to where the footage camera stands for
    the clip frame that is looked at, and put at the folder's camera of that frame.

    Args:
        placed: the footage.
        c2w: (T, 4, 4) float64, OpenCV axes, scene units, relative to the empty.
        source_time: (T,) clip frames, float.

    Returns:
        (T, 4, 4) float64.

    Raises:
        UserError: the mesh, which knows the poses, is gone, or the scene folder.
    """
    if SOLVED not in placed.empty:
        return c2w
    facts = placed.facts()
    shown = np.clip(np.floor(np.asarray(source_time) + 0.5), 0, facts.frames - 1).astype(int)
    return own_poses(facts)[shown] @ np.linalg.inv(standing_poses(placed)[shown]) @ c2w


def standing_poses(placed: Placed) -> np.ndarray:
    """Where the footage camera stands under the empty: (T, 4, 4), as `own_poses`. Raises: UserError."""
    if SOLVED not in placed.empty:
        return own_poses(placed.facts())
    require_parts(placed)
    return poses.read(placed.mesh.data)[0]


def own_poses(facts: SceneFacts) -> np.ndarray:
    """The scene folder's own cameras: (T, 4, 4) float64, OpenCV axes, scene units."""
    return np.tile(np.eye(4), (facts.frames, 1, 1)) if facts.source_c2w is None else facts.source_c2w


def require_parts(placed: Placed) -> None:
    """Require mesh and source camera. Raises: UserError."""
    if placed.mesh is None or placed.source_camera is None:
        raise UserError(
            "The mesh or the source camera of {empty} was deleted: undo, or place it again.", empty=placed.empty.name
        )
