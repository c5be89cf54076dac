"""The generated frames as OpenEXR, for compositing: linear colour with mask and depth as layers.

Channels, chosen by trying: Blender (4.2 to 5.2) reads them as a multilayer image whose compositor node has the sockets
Combined, Alpha, depth and mask, and shows the colour where only colour is shown; other programs find R, G, B, A where
they look for them.

| channel | type | |
|---|---|---|
| R G B | half | linear light, primaries of Rec. 709 (recorded in `chromaticities`) |
| A | half | 1 |
| mask.Y | half | 1 = seen in the source video, 0 = not |
| depth.Z | float | z-depth of the mesh in the camera, scene units; 1e10 = no mesh; left out without the scene |
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ex4d_core.ahead import beside, in_order
from ex4d_core.background.showing import Backdrop
from ex4d_core.camera import Trajectory
from ex4d_core.clip import iter_frames
from ex4d_core.exr_out import REC709, encode_exr
from ex4d_core.files import explained
from ex4d_core.images import read_image, to_uint8
from ex4d_core.progress import Cancelled, OnProgress, stop_if
from ex4d_core.raster import warm_up
from ex4d_core.rendering import depth_of_sample
from ex4d_core.scene import Scene

EXR_NAME = "%06d.exr"
NOTHING_THERE = np.float32(1e10)
"""Depth where there is no mesh, as Blender's own Z has it."""


@dataclass(frozen=True)
class View:
    """What the depth of a shot is rendered from."""

    scene: Scene
    trajectory: Trajectory
    method: str
    background: bool = True
    """Whether the shot was rendered with the persistent background."""


def write_exr_frames(
    out: Path,
    pictures: Path,
    mask: Path,
    view: View | None,
    frames: int,
    on_progress: OnProgress,
    cancelled: Cancelled,
) -> None:
    """Write one file for each frame, a few frames in memory at a time.

    Args:
        out: an empty folder.
        pictures: pattern of the generated pictures, 8-bit sRGB.
        mask: video, over half bright = seen.
        view: None: without depth.
        frames: of the shot.
        on_progress: told about each frame.
        cancelled: asked between frames.

    Raises:
        InputError: a picture, the mask or the scene is damaged.
        OutputError: a file cannot be written.
        CancelledError: `cancelled` said so.
    """
    if view is not None:
        beside(lambda _: warm_up(), cancelled, "compile")
    backdrop = Backdrop.of(view.scene, view.method, view.background) if view is not None else None
    seen = _InTurn(iter_frames(mask))

    def encode(index: int, unwanted: Cancelled) -> bytes:
        channels = _colour(to_uint8(read_image(Path(str(pictures) % index))))
        channels["mask.Y"] = (to_uint8(seen[index])[..., 0] > 127).astype(np.float16)
        if view is not None:
            stop_if(unwanted)
            depth = depth_of_sample(view.scene, view.trajectory, index, view.method, backdrop)
            channels["depth.Z"] = np.where(np.isfinite(depth), depth, NOTHING_THERE)
        return encode_exr(channels, REC709)

    workers = min(4, os.cpu_count() or 1)
    with closing(in_order(encode, frames, workers, cancelled, "exr")) as encoded:
        for index, content in enumerate(encoded):
            path = out / (EXR_NAME % index)
            with explained(path):
                path.write_bytes(content)
            on_progress(index + 1, frames, "writing EXR")


def linear_from_srgb8() -> NDArray[np.float16]:
    """(256,) float16: the light of each 8-bit value by the sRGB curve (IEC 61966-2-1), 1 = white."""
    encoded = np.arange(256) / 255
    return np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4).astype(np.float16)


_LIGHT = linear_from_srgb8()


def _colour(picture: NDArray[np.uint8]) -> dict[str, NDArray[np.float16] | NDArray[np.float32]]:
    light = _LIGHT[picture]  # [h, w, 3]
    return {
        **{name: light[..., place] for place, name in enumerate("RGB")},
        "A": np.ones(picture.shape[:2], np.float16),
    }


class _InTurn:
    """Frames of a video, which come one after the other, for threads that ask for them nearly in order."""

    def __init__(self, frames: Iterator[NDArray[np.generic]]) -> None:
        self._frames = frames
        self._lock = threading.Lock()
        self._waiting: dict[int, NDArray[np.generic]] = {}
        self._next = 0

    def __getitem__(self, index: int) -> NDArray[np.generic]:
        """A frame, once."""
        with self._lock:
            while index not in self._waiting:
                self._waiting[self._next] = next(self._frames)
                self._next += 1
            return self._waiting.pop(index)
