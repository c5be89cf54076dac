"""The camera path of a ground truth's view, in the world of a scene that was imported from its clip.

A shot is compared with the true view pixel by pixel, so it has to be rendered along the very path; the scene's units
are those of its depth, which may be an estimate.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ex4d_core.camera import Trajectory, invert_pose
from ex4d_core.errors import InputError
from ex4d_core.evaluation.truth import open_truth
from ex4d_core.scene import Scene


def true_trajectory(folder: Path, path: str, scene: Scene) -> Trajectory:
    """The path of a true view.

    Args:
        folder: of the ground truth.
        path: of its paths.
        scene: imported from its clip, all frames.

    Returns:
        A camera for each frame of the clip, with the scene's source cameras and its scale (the median of its depth
        over the true one), and the true lens at the scene's size.

    Raises:
        InputError: there is no such path, or the scene is of another clip.
    """
    truth = open_truth(folder, (scene.width, scene.height))
    if path not in truth.paths:
        raise InputError(f"{folder} has no path {path}: choose from {', '.join(truth.paths)}.")
    if scene.frames != truth.frames:
        raise InputError(
            f"{scene.path} has {scene.frames} frames and the clip of {folder} {truth.frames}: "
            f"import {folder / 'source.mp4'}, all of it."
        )
    ratios = [float(np.median(scene.depth(key) / truth.depth(key))) for key in truth.key_frames]
    from_source = truth.target_from_source[path].copy()
    from_source[:, :3, 3] *= np.median(ratios)
    source = np.stack([scene.source_camera(frame).c2w for frame in range(scene.frames)])
    return Trajectory(
        source @ invert_pose(from_source),
        np.repeat(np.array([truth.lens.as_tuple()]), scene.frames, axis=0),
        np.arange(scene.frames, dtype=np.float64),
        scene.width,
        scene.height,
        scene.fps,
        scene_hash=scene.content_hash,
    )
