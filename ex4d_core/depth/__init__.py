"""Depth estimators: what they are asked, what they give, what there is to know about each.

`depth.registry` finds one by name. Each lives in a module of its own, imported when it is asked for.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from ex4d_core.camera import Intrinsics
from ex4d_core.progress import Cancelled, OnProgress

if TYPE_CHECKING:
    from ex4d_core.distortion import Distortion

DepthKind = Literal["metric", "relative", "disparity", "depthcrafter"]
Units = Literal["metric", "relative"]

DEPTH_KINDS: tuple[DepthKind, ...] = ("metric", "relative", "disparity", "depthcrafter")
"""What the numbers of a depth file mean: metres, depth up to scale, 1/depth up to scale, or disparity from 0 to 1 that
becomes depth as in the reference system (docs/reference.md)."""


class ColorFrames(Protocol):
    """A clip's frames, (H, W, 3) uint8 sRGB each: an array (T, H, W, 3), or files read one at a time."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> NDArray[np.uint8]: ...


class DepthFrames(Protocol):
    """Depth of a clip, produced frame by frame, as often as asked."""

    def __len__(self) -> int: ...

    def iterate(self, start: int = 0) -> Iterator[NDArray[np.float32]]:
        """From frame `start` on: (H, W) float32 z-depth, scene units, > 0; infinite is sky."""
        ...


@dataclass(frozen=True)
class DepthResult:
    """What an estimator found."""

    depth: DepthFrames
    nearest: float
    """Smallest depth of the clip, scene units."""
    farthest: float
    """Largest finite depth of the clip, scene units."""
    units: Units
    conversion: dict[str, object] = field(default_factory=dict)
    """What turned the estimator's numbers into depth; for `scene.json`."""
    warnings: tuple[str, ...] = ()
    """What people should know about this depth; one sentence each."""
    intrinsics: tuple[Intrinsics, ...] | None = None
    """Lens of each frame, where the estimator tells, at the size of the frames."""
    exact: bool = False
    """Whether depth is stored unrounded, where half floats would do (see `encoding`)."""
    source_c2w: NDArray[np.float64] | None = None
    """(T, 4, 4) float64 camera-to-world in the units of `depth`, frame 0 the identity, where the estimator tells."""


@dataclass(frozen=True)
class DepthRequest:
    """What an estimator may want to know beyond the frames."""

    path: Path | None = None
    """File or folder of depth, for `file`."""
    kind: DepthKind = "relative"
    """What its numbers mean."""
    value_range: tuple[float, float] | None = None
    """What 0 and the largest integer stand for, in the units of `kind`; for integer images and videos."""
    clip_size: tuple[int, int] | None = None
    """Width and height of the clip as displayed, before it was brought to working size, pixels."""
    clip_start: int = 0
    """First frame taken from the clip."""
    clip_frames: int | None = None
    """Frames of the whole clip, of which the scene may take a part."""
    model_dir: Path | None = None
    """A folder with the estimator's weights, or its checkout; None: what `ex4d models` has."""
    work: Path | None = None
    """A folder where an estimator keeps what is finished, so that a rerun goes on; None: a temporary one."""
    cuts: tuple[int, ...] = ()
    """Frames that begin another take: nothing is carried over from the frame before."""
    channel: str | None = None
    """Name of the EXR channel or NPZ array with depth in `path`; None: the one that is called so."""
    lens_known: bool = False
    """Whether the lens is given or told by the footage, and not assumed: an estimator's own does not count then."""
    distortion: Distortion | None = None
    """What was removed from the frames, at working size: depth on disk still has it."""


@dataclass(frozen=True)
class EstimatorFacts:
    """What there is to know about an estimator before it is loaded."""

    name: str
    summary: str
    """One line for people."""
    licence: str
    """Of code and weights: an SPDX identifier, and what else is to be said."""
    commercial: bool
    """Whether it allows commercial work."""
    units: Literal["metric", "relative", "as given"]
    """Of the depth."""
    per_frame: bool
    """Looks at one frame at a time, so that its depth is made steady here (see `stabilise`)."""
    intrinsics: bool
    """Tells the lens."""
    poses: bool
    """Tells the camera's path."""
    device: Literal["CPU", "CPU or GPU", "GPU"]
    """What it is meant to run on; "CPU or GPU" is slow, but usable on a CPU."""
    parity: Literal["own", "library", "tested", "untested"]
    """Own method; the library's own code; compared with the official code's numbers, or not yet."""
    packages: tuple[str, ...] = ()
    """Modules that it imports beyond the base installation."""
    checkout: str = ""
    """What to say where it needs a folder that the user names, and there is none; empty: it needs none."""


class DepthEstimator(Protocol):
    """Finds the z-depth of every frame of a clip."""

    @property
    def name(self) -> str:
        """The name recorded in `scene.json`."""
        ...

    @property
    def revision(self) -> int:
        """Another number whenever the same clip would get other depth: depth kept of older ones is not used."""
        ...

    def check(self, frames: int, size: tuple[int, int], on_progress: OnProgress, cancelled: Cancelled) -> None:
        """Refuse what can be refused before the clip itself is read.

        Args:
            frames: number of frames that will be taken.
            size: width and height of the working size, pixels.
            on_progress: told about the work done.
            cancelled: asked between units of work.

        Raises:
            Ex4dError: the input cannot be used, or the task was cancelled.
        """
        ...

    def estimate(
        self,
        frames: ColorFrames,
        intrinsics: list[Intrinsics],
        source_c2w: NDArray[np.float64] | None,
        on_progress: OnProgress,
        cancelled: Cancelled,
    ) -> DepthResult:
        """Find the depth of every frame.

        Args:
            frames: T frames (H, W, 3) uint8 sRGB at working size.
            intrinsics: T lenses at that size.
            source_c2w: (T, 4, 4) float64 camera-to-world if the camera was solved, OpenCV axes.
            on_progress: told about the frames done.
            cancelled: asked between frames.

        Raises:
            Ex4dError: the input cannot be used, or the task was cancelled.
        """
        ...
