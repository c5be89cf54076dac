"""A room filmed along a known path: its true views as a folder of ground truth, and shots that show it."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import numpy as np
from camera_cases import HEIGHT, LENS, ROOM, WIDTH, World, walk
from numpy.typing import NDArray

from ex4d_core.camera import Trajectory, invert_pose, save_trajectory
from ex4d_core.clip import write_lossless
from ex4d_core.images import write_png

FPS = Fraction(12)
FAR = 100.0
"""Units, where no board is."""


def room(frames: int, way: tuple[float, float, float] = (0.9, -0.15, 0.5), turn: float = -14.0) -> World:
    """The room, along a path that begins at the source camera."""
    return World(ROOM, walk(frames, way, turn), (LENS,) * frames)


def pictures(world: World) -> NDArray[np.uint8]:
    """(T, H, W, 3) uint8."""
    return np.stack([world[frame] for frame in range(len(world))])


def trajectory(world: World) -> Trajectory:
    """The path."""
    lens = np.repeat(np.array([LENS.as_tuple()]), len(world), axis=0)
    return Trajectory(world.c2w, lens, np.arange(len(world), dtype=np.float64), WIDTH, HEIGHT, FPS)


def visible(world: World, frame: int) -> NDArray[np.bool_]:
    """(H, W) bool: what of a frame the camera of frame 0 sees."""
    x, y = np.meshgrid(np.arange(WIDTH) + 0.5, np.arange(HEIGHT) + 0.5)
    z = np.minimum(world.depth(frame), FAR)
    local = np.stack([(x - LENS.cx) / LENS.fx * z, (y - LENS.cy) / LENS.fy * z, z], axis=-1)
    move = invert_pose(world.c2w[0]) @ world.c2w[frame]
    there = local @ move[:3, :3].T + move[:3, 3]
    column = np.floor(there[..., 0] / there[..., 2] * LENS.fx + LENS.cx).astype(int)
    row = np.floor(there[..., 1] / there[..., 2] * LENS.fy + LENS.cy).astype(int)
    inside = (there[..., 2] > 0) & (column >= 0) & (row >= 0) & (column < WIDTH) & (row < HEIGHT)
    seen = np.minimum(world.depth(0), FAR)[row.clip(0, HEIGHT - 1), column.clip(0, WIDTH - 1)]
    return inside & (np.abs(seen / there[..., 2] - 1) < 0.03)


def write_truth(world: World, folder: Path, keys: tuple[int, ...]) -> Path:
    """A folder of ground truth: the source stands at the path's beginning, path 30 is the path."""
    folder.mkdir(parents=True)
    total = len(world)
    low, high = 1 / (2 * FAR), 2.0
    meta = {
        "scene": "room", "width": WIDTH, "height": HEIGHT, "frames": total, "fps": float(FPS),
        "K": LENS.matrix().tolist(), "key_frames": list(keys), "source_c2w": [world.c2w[0].tolist()] * total,
        "disparity_range": {"source": [low, high], "30": [low, high]},
    }  # fmt: skip
    (folder / "meta.json").write_text(json.dumps(meta))
    np.savez(folder / "target_from_source.npz", path_30=invert_pose(world.c2w) @ world.c2w[0])
    write_lossless(folder / "source.mp4", [world[0]] * total, FPS)
    write_lossless(folder / "path_30.mp4", [world[key] for key in keys], FPS)
    for name in ("source_disparity", "path_30_disparity", "path_30_visible"):
        (folder / name).mkdir()
    for frame in range(total):
        write_png(folder / "source_disparity" / f"{frame:03d}.png", _stored(world, 0, low, high))
    for key in keys:
        write_png(folder / "path_30_disparity" / f"{key:03d}.png", _stored(world, key, low, high))
        write_png(folder / "path_30_visible" / f"{key:03d}.png", visible(world, key))
    return folder


def write_shot(folder: Path, frames: NDArray[np.uint8], path: Trajectory | None = None) -> Path:
    """A shot folder as far as it is looked at: pictures, and the path that they were made for."""
    (folder / "output").mkdir(parents=True)
    for index, frame in enumerate(frames):
        write_png(folder / "output" / f"{index:06d}.png", frame)
    if path is not None:
        save_trajectory(path, folder / "trajectory.json")
    return folder


def _stored(world: World, frame: int, low: float, high: float) -> NDArray[np.uint16]:
    disparity = 1 / np.minimum(world.depth(frame), FAR)
    return np.round((disparity - low) / (high - low) * 65535).astype(np.uint16)
