"""Small clips and depths for the tests of scenes and imports."""

from __future__ import annotations

import hashlib
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from ex4d_core.camera import Intrinsics
from ex4d_core.clip import write_lossless
from ex4d_core.scene import Scene, write_scene

FRAMES, HEIGHT, WIDTH = 6, 36, 64


def colors(frames: int = FRAMES, height: int = HEIGHT, width: int = WIDTH, seed: int = 0) -> NDArray[np.uint8]:
    """(T, H, W, 3) noise, so that a mixed-up or resampled frame is noticed."""
    return np.random.default_rng(seed).integers(0, 256, (frames, height, width, 3), np.uint8)


def depths(frames: int = FRAMES, height: int = HEIGHT, width: int = WIDTH) -> NDArray[np.float32]:
    """(T, H, W) z-depth: a sloping floor at 4 to 8 and a box at 2 that moves right by a pixel a frame."""
    depth = np.broadcast_to(np.linspace(8, 4, height, dtype=np.float32)[:, None], (frames, height, width)).copy()
    for t in range(frames):
        depth[t, height // 3 : 2 * height // 3, 10 + t : 20 + t] = 2.0
    return depth


def clip_file(folder: Path, frames: NDArray[np.uint8] | None = None, name: str = "clip.mp4") -> Path:
    """A lossless clip at 24 frames per second."""
    path = folder / name
    write_lossless(path, iter(colors() if frames is None else frames), Fraction(24))
    return path


def depth_npy(folder: Path, depth: NDArray[np.generic] | None = None, name: str = "depth.npy") -> Path:
    """Depth as an array file."""
    path = folder / name
    np.save(path, depths() if depth is None else depth)
    return path


def small_scene(folder: Path, frames: int = 3) -> Scene:
    """A scene of noise with depth."""
    lens = Intrinsics.unknown_lens(WIDTH, HEIGHT)
    return write_scene(folder / "a.ex4d", colors(frames), depths(frames), fps=Fraction(24), intrinsics=lens)


def encode_grey(
    path: Path, planes: NDArray[np.generic], pixel_format: str, codec: str, color_range: int | None = None
) -> Path:
    """A video whose luma planes are exactly `planes` (T, H, W)."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=24)
        stream.height, stream.width = planes.shape[1:]
        stream.pix_fmt = pixel_format
        if color_range is not None:
            stream.color_range = color_range
        if codec == "libx264":
            stream.options = {"qp": "0", "preset": "ultrafast"}
        if codec == "libx265":
            stream.options = {"x265-params": "lossless=1:log-level=none", "preset": "ultrafast"}
        for plane in planes:
            frame = av.VideoFrame(planes.shape[2], planes.shape[1], pixel_format)
            for index, target in enumerate(frame.planes):
                rows = np.frombuffer(memoryview(target), planes.dtype).reshape(target.height, -1)
                writable = np.array(rows)
                middle = 2 ** (frame.format.components[0].bits - 1)
                writable[:, : target.width] = plane if index == 0 else middle
                target.update(writable.tobytes())
            if color_range is not None:
                frame.color_range = color_range
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def all_bytes(folder: Path) -> dict[str, str]:
    """SHA-256 of every file of a folder by relative name."""
    files = (f for f in folder.rglob("*") if f.is_file())
    return {f.relative_to(folder).as_posix(): hashlib.sha256(f.read_bytes()).hexdigest() for f in files}
