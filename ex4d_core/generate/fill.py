"""Filling holes with what is likely there: nearby background first, then what the footage shows at that height.

Nothing here knows the truth, so it errs on the calm side: a hole is continued from the background at its edge,
never from the foreground, and fades with distance into the mean colour that the footage has in that direction
(above the horizon, at it, below). Smooth fills are wrong by less, and do not flicker.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from ex4d_core.camera import Camera
from ex4d_core.progress import Cancelled, never_cancelled, stop_if

Floats = NDArray[np.float32]

# All measured on rendered ground truth by scripts/bench_draft.py.
_ELEVATION_BLUR_DEGREES = 6.0
_ELEVATIONS = 181
_ROW_BLUR = 0.05
"""Standard deviation of the smoothing of row means, as a share of the height."""
_PRIOR_PIXELS = 1.0
"""How much of a row, as a share of the width, must be known to count as much as the prior."""
_STRETCH = 3
"""Holes are continued further along rows than across them: scenes are layered by height."""
_EDGE_SHARE = 0.5
_EDGE_REACH = 0.04
"""Distance over which the continuation of a hole's edge gives way to the prior, as a share of the width."""
_FOREGROUND_WINDOW = 0.8
_LEAST_GAP = 0.05
_FOREGROUND_RATIO = (1.1, 1.4)


@dataclass(frozen=True)
class ElevationPrior:
    """Mean colour of the footage's background by the elevation of the viewing ray."""

    color: Floats
    """(181, 3) float32, sRGB 0..255, for elevations -90 to 90 degrees above the horizon."""
    world_from_first: NDArray[np.float64]
    """(3, 3) rotation of the source camera of frame 0: its own down is taken for the world's."""

    def image(self, camera: Camera) -> Floats:
        """What the prior expects to see from a camera: (h, w, 3) float32, sRGB 0..255."""
        place = (_elevation(camera, self.world_from_first) + 90.0).astype(np.float32)
        return np.asarray(cv2.remap(self.color[None], place, np.zeros_like(place), cv2.INTER_LINEAR), np.float32)


def elevation_prior(
    frames: list[tuple[NDArray[np.uint8], Floats, Camera]], cancelled: Cancelled = never_cancelled
) -> ElevationPrior:
    """Average the footage's background by elevation.

    Args:
        frames: source frames: colour (H, W, 3) uint8, z-depth (H, W) float32, and camera, posed in the world; the
            first defines the horizon.
        cancelled: asked before each frame.

    Raises:
        CancelledError: `cancelled` said so.
    """
    first = frames[0][2].c2w[:3, :3]
    total, count = np.zeros((_ELEVATIONS, 3)), np.zeros(_ELEVATIONS)
    for image, depth, camera in frames:
        stop_if(cancelled)
        weight = np.maximum(_background_weight(np.ones(depth.shape, np.bool_), depth), 1e-3).ravel()
        row = np.clip(np.rint(_elevation(camera, first) + 90), 0, _ELEVATIONS - 1).astype(np.int64).ravel()
        count += np.bincount(row, weight, _ELEVATIONS)
        for channel in range(3):
            total[:, channel] += np.bincount(row, weight * image[..., channel].ravel(), _ELEVATIONS)
    total, count = blur_rows(total, _ELEVATION_BLUR_DEGREES), blur_rows(count[:, None], _ELEVATION_BLUR_DEGREES)[:, 0]
    known = np.flatnonzero(count > 1e-6 * count.max())
    every = np.arange(_ELEVATIONS)
    color = np.stack([np.interp(every, known, total[known, c] / count[known]) for c in range(3)], axis=1)
    return ElevationPrior(color.astype(np.float32), first)


def fill(color: NDArray[np.uint8], known: NDArray[np.bool_], depth: Floats | None, prior: Floats) -> NDArray[np.uint8]:
    """Fill the pixels of one frame that nothing is known about.

    Args:
        color: (h, w, 3) uint8 sRGB.
        known: (h, w) bool, pixels to keep.
        depth: (h, w) float32, z-depth where known; None: no foreground is told from background.
        prior: (h, w, 3) float32, sRGB 0..255: what to expect where nothing near is known.

    Returns:
        (h, w, 3) uint8, `color` where known.
    """
    if known.all():
        return color
    height, width = known.shape
    # A mesh's rim mixes two surfaces: the outermost known pixels do not lead into the hole.
    inner = cv2.erode(known.astype(np.float32), np.ones((3, 3), np.uint8), borderValue=1.0)
    weight = np.asarray(inner, np.float32)
    if depth is not None:
        weight = np.minimum(weight, np.maximum(_background_weight(known, depth), 1e-8 * weight))
    # What follows has no detail: half the size is enough.
    half = ((width + 1) // 2, (height + 1) // 2)
    amount = _resize(weight, half, cv2.INTER_AREA)
    weighted = _resize(np.asarray(color * weight[..., None], np.float32), half, cv2.INTER_AREA)
    image = np.asarray(weighted / np.maximum(amount, 1e-12)[..., None], np.float32)
    rows = _row_prior(image, amount, _resize(prior, half, cv2.INTER_AREA))
    near = _continue_edges(image, amount)
    # Without any known pixel the distance is as good as infinite.
    hole = cv2.resize((~known).astype(np.uint8), half, interpolation=cv2.INTER_NEAREST)
    distance = cv2.distanceTransform(hole, cv2.DIST_L2, 5)
    share = (_EDGE_SHARE * np.exp(-np.minimum(distance, np.float32(1e6)) / (_EDGE_REACH * half[0])))[..., None]
    filled = _resize(np.asarray(share * near + (1 - share) * rows, np.float32), (width, height), cv2.INTER_LINEAR)
    return np.where(known[..., None], color, np.clip(np.rint(filled), 0, 255).astype(np.uint8))


def _elevation(camera: Camera, world_from_first: NDArray[np.float64]) -> NDArray[np.float64]:
    """(h, w) degrees over the first source camera's horizon, of the ray through each pixel centre."""
    lens = camera.intrinsics
    x = (np.arange(lens.width) + 0.5 - lens.cx) / lens.fx
    y = (np.arange(lens.height) + 0.5 - lens.cy) / lens.fy
    first_from_camera = world_from_first.T @ camera.c2w[:3, :3]
    ray = np.stack(np.broadcast_arrays(x[None, :], y[:, None], 1.0), axis=-1) @ first_from_camera.T
    return np.degrees(np.arctan2(-ray[..., 1], np.hypot(ray[..., 0], ray[..., 2])))


def blur_rows(values: NDArray[np.float64], sigma: float) -> NDArray[np.float64]:
    """Gaussian blur of (N, C) along N, nothing outside."""
    reach = int(np.ceil(4 * sigma))
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    kernel /= kernel.sum()
    padded = np.pad(values, ((reach, reach), (0, 0)))
    blurred = [np.convolve(padded[:, c], kernel, "valid") for c in range(values.shape[1])]
    return np.asarray(np.stack(blurred, axis=1), np.float64)


def _row_prior(image: Floats, weight: Floats, prior: Floats) -> Floats:
    """The prior, shifted by how much each row's known background differs from it."""
    height, width = weight.shape
    difference = ((image - prior) * weight[..., None]).sum(axis=1, dtype=np.float64)
    amount = weight.sum(axis=1, dtype=np.float64)
    sigma = _ROW_BLUR * height
    shift = blur_rows(difference, sigma) / (blur_rows(amount[:, None], sigma) + _PRIOR_PIXELS * width)
    return prior + shift[:, None].astype(np.float32)


def _background_weight(known: NDArray[np.bool_], depth: Floats) -> Floats:
    """1 for background, 0 for pixels that stand clearly before what else their row shows nearby.

    A pixel is foreground if its disparity is over 1.1 to 1.4 times that of the farthest surface known within
    two fifths of the width to either side. Far gaps narrower than a twentieth of the width, closed first, do not
    count: a glimpse of sky does not make a house the foreground.
    """
    known = known & np.isfinite(depth)
    width = known.shape[1]
    disparity = np.where(known, 1.0 / np.where(known, depth, 1.0), -1.0).astype(np.float32)
    gap = np.ones((1, int(_LEAST_GAP * width) | 1), np.uint8)
    solid = cv2.morphologyEx(disparity, cv2.MORPH_CLOSE, gap)
    window = np.ones((1, int(_FOREGROUND_WINDOW * width) | 1), np.uint8)
    reached = np.where(solid > 0, solid, 1e6).astype(np.float32)
    farthest = cv2.erode(reached, window, borderType=cv2.BORDER_CONSTANT, borderValue=1e6)
    ratio = np.where(known, disparity / np.maximum(farthest, 1e-9), 1.0)
    low, high = _FOREGROUND_RATIO
    return (np.clip((high - ratio) / (high - low), 0.0, 1.0) * known).astype(np.float32)


def _continue_edges(image: Floats, weight: Floats) -> Floats:
    """Weighted pull-push (Gortler et al. 1996, The Lumigraph, section 3.4) on an image squeezed along rows."""
    height, width = weight.shape
    columns = -(-width // _STRETCH)
    padding = columns * _STRETCH - width
    color = np.pad(image * weight[..., None], ((0, 0), (0, padding), (0, 0)))
    color = color.reshape(height, columns, _STRETCH, 3).sum(axis=2)
    amount = np.pad(weight, ((0, 0), (0, padding))).reshape(height, columns, _STRETCH).sum(axis=2)
    average = np.asarray(color / np.maximum(amount, 1e-9)[..., None], np.float32)
    squeezed = _pull_push(average, np.asarray(np.minimum(amount, 1.0), np.float32))
    return _resize(squeezed, (columns * _STRETCH, height), cv2.INTER_LINEAR)[:, :width]


def _resize(image: Floats, size: tuple[int, int], interpolation: int) -> Floats:
    """`cv2.resize` that keeps the number of axes; size is (w, h)."""
    resized = cv2.resize(image, size, interpolation=interpolation)
    return np.asarray(resized, np.float32).reshape(size[1], size[0], *image.shape[2:])


def _pull_push(color: Floats, weight: Floats) -> Floats:
    """(h, w, 3) colour with holes where weight (h, w) is 0 -> without."""
    if max(weight.shape) == 1:
        return color
    height, width = weight.shape
    odd = ((0, height % 2), (0, width % 2))
    half = ((width + 1) // 2, (height + 1) // 2)
    pulled = _resize(np.pad(color * weight[..., None], (*odd, (0, 0))), half, cv2.INTER_AREA)
    amount = _resize(np.pad(weight, odd), half, cv2.INTER_AREA)
    average = np.asarray(pulled / np.maximum(amount, 1e-12)[..., None], np.float32)
    coarse = _pull_push(average, np.asarray(np.minimum(4.0 * amount, 1.0), np.float32))
    pushed = _resize(coarse, (width, height), cv2.INTER_LINEAR)
    return np.asarray(color * weight[..., None] + pushed * (1.0 - weight[..., None]), np.float32)
