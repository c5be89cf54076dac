"""EX-4D's geometry stage read a second time, in NumPy, slow and plain: the judge of method `reference`.

Read from `recon.py`, `utils/depth_utils.py`, `utils/nv_utils.py` and `utils/render_utils.py` of
github.com/tau-yihouxiang/EX-4D at b456a41, in our own words; numbers in brackets are lines of recon.py unless a file is
named. Nothing here comes from `ex4d_core`.

`as_released` renders what that code renders, its defects included, but for `dr.antialias` [100], which needs a GPU and
touches only pixels beside outlines. `mended` leaves out the four defects that the product does not inherit
(docs/reference.md).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FOCAL = 500.0  # [192]
RING = 100.0  # [223-226]
NEAR, FAR = 1e-3, 1e3  # [242]
MIN_ANGLE = 2.5  # [29]
KEPT_ABOVE = 125.0  # [268], alpha runs to 255 [34]
MARGIN = 0.15  # [244]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Reading:
    """How to read the code."""

    vertex_offset: float
    """Where in its pixel a vertex stands: 0 as released (render_utils.py 30-44), though samples lie at 0.5."""
    fringe: bool
    """Whether the zeros of a flagged vertex darken the colour of kept pixels beside it [70]."""
    far: float
    """What is deeper is cut away; 1e3 as released [242], though depth runs to 1e4 (depth_utils.py 91)."""
    caps: bool
    """Whether the triangles between the four corners [163-164] are drawn, before what lies deeper than the ring."""


as_released = Reading(vertex_offset=0.0, fringe=True, far=FAR, caps=True)
mended = Reading(vertex_offset=0.5, fringe=False, far=np.inf, caps=False)


def depth_of(drawn: NDArray[np.float32]) -> NDArray[np.float32]:
    """(T, H, W) of what DepthCrafter drew, larger is nearer -> z-depth (depth_utils.py 83-91)."""
    share = (drawn - drawn.min()) / (drawn.max() - drawn.min())
    scaled = np.maximum(np.float32(3900) * share, np.float32(1e-5))
    return np.clip(np.float32(10000) / scaled, np.float32(1e-4), np.float32(1e4))


def ringed(depth: NDArray[np.float32]) -> NDArray[np.float32]:
    """(T, H, W) with the outermost pixels far away [223-226]."""
    out = depth.copy()
    out[:, [0, -1], :] = RING
    out[:, :, [0, -1]] = RING
    return out


def orbit_radius(depth: NDArray[np.float32]) -> float:
    """Of the ringed first frame [244]."""
    return float(ringed(depth[:1]).min()) + MARGIN


def saved_poses(path: str, radius: float, frames: int = 49) -> NDArray[np.float32]:
    """(T, 4, 4) as `--save_camera` writes them: rows 0 to 2 negated [102-104], because rendering did that in place.

    World to camera; the eye on an arc beside the source camera [130-147], looking at (0, 0, radius) with +y for up
    [108-124].
    """
    end = 2 * np.pi if path == "180" else np.radians(float(path))  # 49 frames: `rounds` is 1 [127]
    angle = np.linspace(0, end, frames)
    eye = np.zeros((frames, 3))
    eye[:, 0] = radius * np.sin(angle)
    rise = np.cos(angle) if path == "180" else np.abs(np.cos(angle))
    eye[:, 1] = 0.2 * radius * (rise - 1)
    if path != "180":
        eye[:, 2] = radius * (1 - rise)
    poses = np.zeros((frames, 4, 4), np.float32)
    for pose, at in zip(poses, eye, strict=True):
        forward = np.array([0, 0, radius]) - at
        forward /= np.linalg.norm(forward)
        right = np.cross(forward, [0, 1, 0])
        right /= np.linalg.norm(right)
        up = np.cross(right, forward)
        axes = np.stack([right, up / np.linalg.norm(up), forward])
        pose[:3, :3], pose[:3, 3], pose[3, 3] = -axes, axes @ at, 1
    return poses


def vertices_of(depth: NDArray[np.float32], reading: Reading) -> Floats:
    """(H*W, 3) of one ringed frame (render_utils.py 30-45, recon.py 252)."""
    height, width = depth.shape
    row, column = np.mgrid[:height, :width].astype(np.float64) + reading.vertex_offset
    rays = np.stack([(column - width / 2) / FOCAL, (row - height / 2) / FOCAL, np.ones_like(row)], axis=-1)
    return (rays * depth[..., None]).reshape(-1, 3)


def faces_of(height: int, width: int) -> NDArray[np.int_]:
    """Two triangles a block of 2x2, then the two caps [152-168]."""
    upper, lower = [], []
    for y in range(height - 1):
        for x in range(width - 1):
            here = y * width + x
            right, below, across = here + 1, here + width, here + width + 1
            upper.append((below, here, right))
            lower.append((below, right, across))
    last = height * width - 1
    return np.array([*upper, *lower, (width - 1, 0, last), (last, 0, (height - 1) * width)])


def flagged(vertices: Floats, faces: NDArray[np.int_]) -> NDArray[np.bool_]:
    """(V,) every vertex of a triangle with an angle under the limit [37-56, 69-70]."""
    corner = vertices[faces]
    angles = []
    for k in range(3):
        a, b = corner[:, (k + 1) % 3] - corner[:, k], corner[:, (k + 2) % 3] - corner[:, k]
        cosine = (a * b).sum(1) / np.maximum(np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1), 1e-12)
        angles.append(np.degrees(np.arccos(np.clip(cosine, -1, 1))))
    out = np.zeros(len(vertices), bool)
    out[faces[np.min(angles, axis=0) < MIN_ANGLE]] = True
    return out


def clip_space(pose: NDArray[np.float32], height: int, width: int) -> Floats:
    """(4, 4): the projection (nv_utils.py 15-21) of a pose as saved."""
    x, y = width / 2 / FOCAL * NEAR, height / 2 / FOCAL * NEAR
    span = FAR - NEAR
    projection = np.array(
        [
            [NEAR / x, 0, 0, 0],
            [0, -NEAR / y, 0, 0],
            [0, 0, -(FAR + NEAR) / span, -2 * FAR * NEAR / span],
            [0, 0, -1, 0],
        ]
    )
    return projection @ pose.astype(np.float64)


def rasterize(
    clip: Floats, faces: NDArray[np.int_], height: int, width: int, far: float
) -> tuple[NDArray[np.int_], Floats]:
    """The nearest triangle through each pixel centre, by trying each triangle on the pixels around it.

    Args:
        clip: (V, 4) homogeneous.
        faces: (F, 3).
        height: of the picture, whose row 0 is y = -1 of clip space, as nvdiffrast has it; likewise `width`.
        width: see `height`.
        far: see `Reading`.

    Returns:
        (H, W) triangle, -1 for none, and (H, W, 3) weights of its corners, perspective-correct.
    """
    best, found = np.full((height, width), np.inf), np.full((height, width), -1)
    weights = np.zeros((height, width, 3))
    # Corners as u w, v w, w (pixels times w): weights over w are linear in the picture, (x, y, 1) = sum(s_i corner_i).
    w = clip[:, 3]
    corners = np.stack([(clip[:, 0] + w) * width / 2, (clip[:, 1] + w) * height / 2, w], axis=1)[faces]
    usable = (corners[..., 2] > 0).any(1) & (np.abs(np.linalg.det(corners)) > 1e-18)
    before = (corners[..., 2] > 0).all(1)
    with np.errstate(divide="ignore", invalid="ignore"):
        at = np.where(before[:, None, None], corners[..., :2] / corners[..., 2:], [0.0, 0.0])
    first = np.clip(np.ceil(at.min(1) - 0.5), 0, [width, height]).astype(int)
    end = np.clip(np.floor(at.max(1) - 0.5) + 1, 0, [width, height]).astype(int)
    first[~before], end[~before] = 0, (width, height)  # behind the camera in part: anywhere
    usable &= (first < end).all(1)
    y, x = np.mgrid[:height, :width] + 0.5
    centres = np.stack([x, y, np.ones_like(x)], axis=-1)
    for number in np.flatnonzero(usable):
        area = np.s_[first[number, 1] : end[number, 1], first[number, 0] : end[number, 0]]
        share = centres[area] @ np.linalg.inv(corners[number])
        inverse = share.sum(-1)  # 1 / w
        inside = (share >= -1e-12).all(-1) & (inverse > 0)
        depth = np.where(inside, 1 / np.where(inverse > 0, inverse, 1), np.inf)
        inside &= (depth >= NEAR) & (depth <= far) & (depth < best[area])
        best[area][inside] = depth[inside]
        found[area][inside] = number
        weights[area][inside] = (share * depth[..., None])[inside]
    return found, weights


def render(
    color: NDArray[np.uint8], depth: NDArray[np.float32], pose: NDArray[np.float32], index: int, reading: Reading
) -> tuple[Floats, NDArray[np.bool_], Floats]:
    """One frame of the path [249-272].

    Args:
        color: (H, W, 3), the source frame.
        depth: (H, W), ringed.
        pose: as saved.
        index: of the frame.
        reading: how.

    Returns:
        (H, W, 3) colour, not yet cut to 8 bits, (H, W) mask, and (H, W) alpha 0 to 255 before the threshold.
    """
    height, width = depth.shape
    vertices, faces = vertices_of(depth, reading), faces_of(height, width)
    rgba = np.concatenate([color.reshape(-1, 3).astype(float), np.full((height * width, 1), 255.0)], axis=1)
    rgba[flagged(vertices, faces)] = 0
    drawn = faces if reading.caps else faces[:-2]
    clip = np.concatenate([vertices, np.ones((len(vertices), 1))], axis=1) @ clip_space(pose, height, width).T
    found, weights = rasterize(clip, drawn, height, width, reading.far)
    picture = (rgba[drawn[found]] * weights[..., None]).sum(2)
    picture[found < 0] = 0
    alpha = picture[..., 3]
    if index == 0:  # [263-265]
        return color.astype(float), np.ones((height, width), bool), alpha
    mask = alpha > KEPT_ABOVE
    shown = picture[..., :3] if reading.fringe else picture[..., :3] * 255 / np.maximum(alpha, 1)[..., None]
    return np.where(mask[..., None], shown, 0), mask, alpha
