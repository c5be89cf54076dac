"""The seam between a video diffusion model and what is done around every one of them (`around`).

A model takes one `Window` of conditioning, at a size and length that it can do, and gives the video. It knows nothing
of shots, long clips, other aspect ratios and files.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ex4d_core.generate.profiles import Profile
from ex4d_core.progress import Cancelled, OnProgress, never_cancelled, silent

OnPreview = Callable[[NDArray[np.uint8]], None]
"""Shown what a video will be, while it is made: (t, h, w, 3) uint8 sRGB, fewer frames and smaller than the result."""


def no_preview(_frames: NDArray[np.uint8]) -> None:
    """For those who do not look."""


@dataclass(frozen=True)
class Limits:
    """What a model can do at once."""

    frames: int
    """Longest window, 4n+1."""
    pixels: int
    """Budget of a frame: larger shots are made smaller and the result scaled back."""
    multiple: int = 16
    """Width and height are multiples of this, pixels."""


@dataclass(frozen=True, eq=False)
class Window:
    """Conditioning of one piece of a shot."""

    color: NDArray[np.uint8]
    """(T, h, w, 3) uint8 sRGB, black where the mask is False; T = 4n+1, h and w multiples of `Limits.multiple`."""
    mask: NDArray[np.bool_]
    """(T, h, w) bool, True = seen in the source video, or generated before (chained windows)."""
    prompt: str
    """What the artist wrote; empty: the model's own."""
    seed: int
    """Of this window."""
    profile: Profile
    reference: NDArray[np.uint8] | None = None
    """(h, w, 3) uint8 sRGB, a picture of the footage, for models that take one."""


@dataclass(frozen=True)
class Report:
    """How a model tells what it does, and hears that it shall stop."""

    on_progress: OnProgress = silent
    """Done, total and stage; the stages of a window are "encoding", "denoising" (one for each step) and "decoding"."""
    on_preview: OnPreview = no_preview
    cancelled: Cancelled = never_cancelled
    """Asked between the blocks of the transformer and the chunks of the VAE."""


class VideoModel(Protocol):
    """A video diffusion model that is loaded."""

    @property
    def settings(self) -> Mapping[str, Any]:
        """How the last window was made, JSON values, for `Engine.settings`: `seconds` of each stage, `vae_share` of
        them, calls of blocks that a cache saved ..."""
        ...

    def video(self, window: Window, report: Report) -> NDArray[np.uint8]:
        """Generate a window: (T, h, w, 3) uint8 sRGB. The same window gives the same video on one device.

        Raises:
            CancelledError: `report.cancelled` said so; the model can be used again.
            torch.OutOfMemoryError: it does not fit; the model is to be dropped.
        """
        ...
