# SPDX-License-Identifier: GPL-3.0-or-later
"""The sidecar's own coverage of a frame, as a texture for the overlay: its risk pass (docs/geometry.md)."""

from dataclasses import dataclass
from pathlib import Path

import bpy
import gpu
import numpy as np

from . import record, stale
from .png import read_png
from .view import Shown

RISK_PATTERN = "risk/%06d.png"


@dataclass(frozen=True)
class Truth:
    """One frame as the sidecar rendered it."""

    texture: gpu.types.GPUTexture
    """Red 1 where unseen, green how stretched; the top row first."""
    unseen: float
    """Share of the picture, 0 to 1."""


_last: tuple[tuple[object, ...], Truth] | None = None


def texture(context: bpy.types.Context, seen: Shown) -> Truth | None:
    """The current frame's, where it is asked for and the camera still is where it was.

    Raises:
        UserError: the sidecar's picture is damaged.
    """
    global _last
    scene = context.scene
    if not scene.ex4d_coverage.use_rendered:
        return None
    found = record.read(scene.camera)
    index = found.index(scene.frame_current) if found else None
    if index is None or scene.frame_subframe or stale.is_stale(context, scene.camera):
        return None
    file = found.shot_folder / (RISK_PATTERN % index)
    try:
        key = file, file.stat().st_mtime_ns
    except OSError:
        return None
    if _last is None or _last[0] != key:
        _last = key, _load(file, found.finer * seen.facts.plate_finer)
    return _last[1]


def forget() -> None:
    """Give the texture back."""
    global _last
    _last = None


def _load(file: Path, finer: float) -> Truth:
    risk = read_png(file).astype(np.float32) / 255
    height, width = risk.shape[:2]
    pixels = np.zeros((height, width, 4), np.float32)
    pixels[..., 0] = risk[..., 0]
    # its green counts source pixels for each of its own; see `surface.View.finer`
    pixels[..., 1] = np.where(risk[..., 0] > 0.5, 0.0, 1.0 - np.clip((1.0 - risk[..., 1]) * finer, 0.0, 1.0))
    pixels[..., 3] = 1.0
    buffer = gpu.types.Buffer("FLOAT", pixels.size, pixels.ravel())
    return Truth(
        gpu.types.GPUTexture((width, height), format="RGBA16F", data=buffer), float((risk[..., 0] > 0.5).mean())
    )
