"""What a rendered frame becomes in a shot folder (DESIGN section 3): pictures of two videos, passes, a record.

Passes are encoded where the frame is made, in its thread, and only written where frames come in order.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ex4d_core.depth.encoding import Encoding
from ex4d_core.encoder import VideoFeed
from ex4d_core.exr_out import encode_exr
from ex4d_core.files import explained
from ex4d_core.frame import LARGEST_HALF, RenderedFrame
from ex4d_core.images import encode_png
from ex4d_core.progress import Cancelled, stop_if
from ex4d_core.shot import COLOR_FILE, MASK_FILE, PASS_PATTERNS, ShotFrame


@dataclass(frozen=True, eq=False)
class FrameFiles:
    """A frame ready to be written."""

    color: NDArray[np.uint8]
    """(h, w, 3) uint8 sRGB."""
    mask: NDArray[np.bool_]
    """(h, w) bool."""
    passes: dict[str, bytes]
    """Name of the pass -> content of the frame's file."""
    record: ShotFrame
    behind_surface: bool
    """See `RenderedFrame`."""

    @classmethod
    def of(cls, frame: RenderedFrame, passes: tuple[str, ...], encoding: Encoding) -> FrameFiles:
        """Encode the passes and count.

        Args:
            frame: with its resolution, if a pass wants it.
            passes: of `PASSES`.
            encoding: of the depth, that of the scene.
        """
        encode = {
            "depth": lambda: encode_exr({"Y": _stored_depth(frame.depth, encoding)}),
            "risk": lambda: encode_png(frame.risk()),
            "risk-exr": lambda: encode_exr(frame.risk_channels()),
        }
        stretched, percentiles = frame.stretched, frame.resolution_percentiles
        record = ShotFrame(
            unseen=round(frame.unseen, 6),
            seen_at_another_time=round(frame.seen_at_another_time, 6),
            stretched=None if stretched is None else round(stretched, 6),
            resolution=None if percentiles is None else {p: float(f"{v:.4g}") for p, v in percentiles.items()},
        )
        encoded = {name: encode[name]() for name in passes}
        return cls(frame.color, frame.mask, encoded, record, frame.behind_surface)


def write_frames(
    frames: Iterator[FrameFiles], folder: Path, fps: Fraction, passes: tuple[str, ...], cancelled: Cancelled
) -> tuple[list[ShotFrame], list[int]]:
    """Write videos and passes, encoding beside whoever makes the frames, a few of which wait at a time.

    Args:
        frames: in order.
        folder: of the shot.
        fps: frames per second.
        passes: of `PASSES`, as the frames have them.
        cancelled: asked between files.

    Returns:
        The frames' records, and which of them look from behind a surface.

    Raises:
        OutputError: a file cannot be written.
        CancelledError: `cancelled` said so.
    """
    records: list[ShotFrame] = []
    behind: list[int] = []
    with explained(folder):
        for name in passes:
            (folder / name).mkdir()
    with ExitStack() as stack:
        color = stack.enter_context(VideoFeed(folder / COLOR_FILE, fps))
        mask = stack.enter_context(VideoFeed(folder / MASK_FILE, fps))
        for index, frame in enumerate(frames):
            color.put(frame.color)
            stop_if(cancelled)
            mask.put(frame.mask)
            for name, content in frame.passes.items():
                stop_if(cancelled)
                path = folder / (PASS_PATTERNS[name] % index)
                with explained(path):
                    path.write_bytes(content)
            stop_if(cancelled)
            records.append(frame.record)
            if frame.behind_surface:
                behind.append(index)
    return records, behind


def _stored_depth(depth: NDArray[np.float32], encoding: Encoding) -> NDArray[np.float16] | NDArray[np.float32]:
    """(h, w) z-depth, inf = nothing there -> half disparity (0 there), or itself."""
    if encoding == "float-depth":
        return depth
    return np.minimum(np.float32(1) / depth, LARGEST_HALF).astype(np.float16)
