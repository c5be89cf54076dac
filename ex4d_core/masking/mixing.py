"""Which mask a clip gets: both kinds mixed, their rims weathered, the first frame whole."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ex4d_core.camera import Intrinsics
from ex4d_core.erosion import dilated, eroded
from ex4d_core.errors import InputError
from ex4d_core.masking.rendering import Wander, rendering_masks, wander
from ex4d_core.masking.tracking import LucasKanade, PointTracker, tracking_masks
from ex4d_core.presets import Move
from ex4d_core.progress import Cancelled, never_cancelled

Kind = Literal["rendering", "tracking", "both"]
Weather = Literal["eroded", "dilated", "plain"]
KINDS: tuple[Kind, ...] = ("rendering", "tracking", "both")
WEATHERS: tuple[Weather, ...] = ("eroded", "dilated", "plain")


@dataclass(frozen=True)
class Mixture:
    """How often what is drawn; each group as shares of their sum."""

    rendering: float = 0.6
    tracking: float = 0.15
    both: float = 0.25
    """A pixel is seen where both kinds say so."""
    eroded: float = 0.7
    """Rims as at inference, see `ex4d_core.erosion.eroded`."""
    dilated: float = 0.1
    plain: float = 0.2
    wander: Wander = field(default_factory=Wander)
    """Of the paths of rendering masks."""

    def __post_init__(self) -> None:
        for group in ((self.rendering, self.tracking, self.both), (self.eroded, self.dilated, self.plain)):
            if not all(np.isfinite(share) and share >= 0 for share in group) or sum(group) <= 0:
                raise InputError(f"The mixture {group} is none: give shares of 0 or more that are not all 0.")


@dataclass(frozen=True, eq=False)
class SimulatedMasks:
    """Masks of a clip, and how they came about."""

    masks: NDArray[np.bool_]
    """(T, H, W) bool, True = seen; frame 0 is whole, as it is where footage is re-shot from its own first view."""
    kind: Kind
    weather: Weather
    move: Move | None
    """The path of rendering masks; None: there is none in it."""


def simulated_masks(
    frames: NDArray[np.uint8],
    depths: NDArray[np.float32],
    intrinsics: Intrinsics,
    radius: float,
    seed: int,
    mixture: Mixture | None = None,
    tracker: PointTracker | None = None,
    cancelled: Cancelled = never_cancelled,
) -> SimulatedMasks:
    """Draw masks for a clip.

    Args:
        frames: (T, H, W, 3) uint8 sRGB.
        depths: (T, H, W) float32, z-depth, scene units.
        intrinsics: of the clip.
        radius: distance of its subject, scene units.
        seed: the same seed gives the same masks.
        mixture: how often what is drawn.
        tracker: follows the points of tracking masks; default `LucasKanade`.
        cancelled: asked before each frame.

    Raises:
        CameraError: see `rendering_masks`.
        InputError: see `build_quads`.
        CancelledError: `cancelled` said so.
    """
    how, draw = mixture or Mixture(), np.random.default_rng(seed)
    kind: Kind = KINDS[_drawn(draw, (how.rendering, how.tracking, how.both))]
    weather: Weather = WEATHERS[_drawn(draw, (how.eroded, how.dilated, how.plain))]
    path_seed, patch_seed, rim_seed = draw.integers(2**31, size=3).tolist()
    masks, move = np.ones(frames.shape[:3], np.bool_), None
    if kind != "tracking":
        move = wander(path_seed, how.wander)
        clip = zip(frames, depths, strict=True)
        masks &= rendering_masks(clip, intrinsics, move, len(frames), radius, cancelled)
    if kind != "rendering":
        masks &= tracking_masks(frames, tracker or LucasKanade(), patch_seed, cancelled=cancelled)
    if weather != "plain":
        masks = (eroded if weather == "eroded" else dilated)(masks, rim_seed)
    masks[0] = True
    return SimulatedMasks(masks, kind, weather, move)


def _drawn(draw: np.random.Generator, shares: tuple[float, ...]) -> int:
    """A number below that of the shares, as often as its share of the sum says."""
    bounds = np.cumsum(shares) / sum(shares)
    return int(np.searchsorted(bounds, draw.random(), side="right"))
