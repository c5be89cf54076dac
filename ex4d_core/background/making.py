"""The layers of the background of a clip, made once and written into the scene folder."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ex4d_core.ahead import beside
from ex4d_core.camera import Camera, Intrinsics
from ex4d_core.depth import ColorFrames
from ex4d_core.depth.encoding import encode_depth
from ex4d_core.depth.exr import write_exr
from ex4d_core.files import explained
from ex4d_core.images import write_png
from ex4d_core.progress import Cancelled, OnProgress
from ex4d_core.scene_format import (
    BACKGROUND_COLOR,
    BACKGROUND_DEPTH,
    BackgroundDocument,
    BackgroundLayer,
    DepthDocument,
)

Floats = NDArray[np.float32]

_LEAST_AGREEMENT = 0.5
"""A background that fewer of the pixels of its frames show is none: the footage is not steady after all."""
_LEAST_GAIN = 0.0005
"""A layer that shows less than this share of its pixels anew is not worth drawing."""

LEFT_OUT = BackgroundDocument(
    note="The background was left out of the import: to see what was seen at another time, import again with "
    "--background on."
)
"""Of a scene whose import was asked not to gather it."""


def make_background(
    folder: Path,
    document: DepthDocument,
    colors: ColorFrames,
    depth: Callable[[int], Floats],
    lenses: Sequence[Intrinsics],
    c2w: NDArray[np.float64] | None,
    cuts: tuple[int, ...],
    moving: str,
    on_progress: OnProgress,
    cancelled: Cancelled,
) -> BackgroundDocument:
    """Fuse what stands still in a clip into clean layers, and write them into `background/`.

    A camera at rest gets one layer for each take, a solved one as few as show most of what it saw.

    Args:
        folder: the scene folder that is being made.
        document: how its depth is stored.
        colors: T frames (H, W, 3) uint8 sRGB.
        depth: frame -> (H, W) float32 z-depth, scene units, finite and positive.
        lenses: T lenses at that size.
        c2w: (T, 4, 4) float64 camera-to-world, OpenCV axes, scene units; None: the camera rests at the origin.
        cuts: frames that begin another take.
        moving: why the background is not steady, a sentence; empty if it is.
        on_progress: told about the frames looked at.
        cancelled: asked several times a second.

    Returns:
        What `scene.json` says of it. Without layers where there is nothing to gain, or `note` says why not.

    Raises:
        OutputError: a file cannot be written.
        CancelledError: `cancelled` said so.
    """
    from ex4d_core.background.takes import Take, takes_of  # compiles kernels: only where a background is made

    with explained(folder):
        shutil.rmtree(folder / Path(BACKGROUND_COLOR).parent, ignore_errors=True)  # of a run that was stopped
    if moving:
        return BackgroundDocument(note=f"The background layer is off: {moving[0].lower()}{moving[1:]}")
    poses = np.broadcast_to(np.eye(4), (len(colors), 4, 4)) if c2w is None else c2w
    cameras = [Camera(pose, lens) for pose, lens in zip(poses, lenses, strict=True)]
    layers: list[BackgroundLayer] = []
    restless: list[int] = []
    spans = takes_of(len(colors), cuts)
    for first, last in spans:
        take = Take(colors, depth, cameras, first, last)
        if len(take.times) < 2:
            continue
        take.find_motion(on_progress, cancelled)
        for camera in beside(lambda _, take=take: take.viewpoints(), cancelled, "viewpoints"):
            layer = take.fuse(camera, on_progress, cancelled)
            if layer.agreement < _LEAST_AGREEMENT:
                restless.append(first)
                break
            if layer.gain < _LEAST_GAIN:
                continue
            stored = encode_depth(np.where(layer.there, layer.depth, np.float32(1)), document.encoding, document.far)
            stored[~layer.there] = 0
            _write(folder, document, len(layers), layer.color, stored)
            layers.append(
                BackgroundLayer(
                    first=first,
                    last=last,
                    c2w=camera.c2w.tolist(),
                    intrinsics=camera.intrinsics.as_tuple(),
                )
            )
    return BackgroundDocument(layers=layers, note=_note(restless, len(spans)))


def _note(restless: list[int], takes: int) -> str:
    if not restless:
        return ""
    why = "little of the picture stays where it is (estimated depth that flickers, or a camera that moves)"
    if takes == 1:
        return f"The background layer is off: {why}."
    named = ", ".join(str(frame) for frame in restless)
    return f"The background layer is off in the takes that begin at frame {named}: {why}."


def _write(
    folder: Path, document: DepthDocument, number: int, color: NDArray[np.uint8], stored: NDArray[np.floating]
) -> None:
    """Files under their names are whole, as those of the frames."""
    path = folder / (BACKGROUND_COLOR % number)
    with explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(".next" + path.suffix)
    write_png(temporary, color)
    with explained(path):
        os.replace(temporary, path)
    path = folder / (BACKGROUND_DEPTH % number)
    temporary = path.with_name(".next" + path.suffix)
    write_exr(temporary, stored, document.channel)  # pyright: ignore[reportArgumentType]
    with explained(path):
        os.replace(temporary, path)
