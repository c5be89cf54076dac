"""Method `quads`: a quad in space for each pixel, with solid occluders behind silhouettes (docs/quads.md)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from numpy.typing import NDArray

from ex4d_core import raster
from ex4d_core.camera import Camera, Intrinsics
from ex4d_core.errors import InputError
from ex4d_core.frame import NEAR_SHARE, RenderedFrame
from ex4d_core.mesh import checked_depth, pixel_centres
from ex4d_core.quads.cuts import find_cuts
from ex4d_core.quads.links import find_links
from ex4d_core.quads.mixture import separate
from ex4d_core.quads.ramps import steepen
from ex4d_core.quads.shading import shade
from ex4d_core.quads.solid import Solid, build_solid
from ex4d_core.raster import rasterize
from ex4d_core.shading import resolution_of_faces

__all__ = ["Quads", "build_quads", "render_quads", "warm_up"]

_SAME_POSE = 1e-5
"""Largest difference of pose entries (the position in nearest depths) that rounding explains, as in `reference`."""


@dataclass(frozen=True, eq=False)
class Quads:
    """One frame of footage, ready to be seen from any camera."""

    solid: Solid
    color: NDArray[np.uint8]
    """(H, W, 3) uint8 sRGB, the frame; edge pixels have the colour of their own surface only."""
    links: NDArray[np.int32]
    """(H, W) int32, see `find_links`."""
    near: float
    """What is nearer to a camera than this is cut away, scene units."""
    source: RenderedFrame
    """What the source camera itself sees: the frame as it is."""
    intrinsics: Intrinsics


def build_quads(color: NDArray[np.uint8], depth: NDArray[np.float32], intrinsics: Intrinsics) -> Quads:
    """Turn one frame into quads.

    Args:
        color: (H, W, 3) uint8 sRGB.
        depth: see `build_mesh`.
        intrinsics: see `build_mesh`.

    Raises:
        InputError: see `build_mesh`; the colour is of another size.
    """
    depth, _ = checked_depth(depth, intrinsics)
    if color.shape != (*depth.shape, 3):
        raise InputError(
            f"The colour has shape {color.shape} and the depth is of {depth.shape[1]}x{depth.shape[0]} pixels: "
            "give the frame that the depth belongs to."
        )
    disparity = steepen(np.float32(1) / depth)
    cuts = find_cuts(disparity)
    clean, shift = separate(color, cuts)
    solid = build_solid(disparity, cuts, shift, intrinsics)
    return Quads(solid, clean, find_links(cuts), NEAR_SHARE * float(depth.min()), _as_filmed(color, depth), intrinsics)


def render_quads(
    quads: Quads, camera: Camera, *, resolution: bool = False, backend: str = "auto", threads: int | None = None
) -> RenderedFrame:
    """Render quads from one camera.

    The source camera itself gets the frame as it was filmed; any other one what `shade` makes of it.

    Args:
        quads: of `build_quads`.
        camera: who looks, posed in the space of the source camera.
        resolution: also measure how finely the source sampled each pixel.
        backend: see `rasterize`.
        threads: see `rasterize`; the result does not depend on it.
    """
    nearest = quads.near / NEAR_SHARE
    off = camera.c2w - np.eye(4)
    off[:3, 3] /= nearest
    if camera.intrinsics == quads.intrinsics and np.abs(off).max() < _SAME_POSE:
        return quads.source if resolution else replace(quads.source, resolution=None)
    solid, samples = quads.solid, _sampling(camera)
    seen = rasterize(
        solid.vertices,
        solid.faces,
        samples,
        grid=solid.grid,
        apart=solid.apart,
        near=quads.near,
        barycentrics=False,
        backend=backend,
        threads=threads,
    )
    source_from_sample = quads.intrinsics.matrix() @ camera.c2w[:3]
    source_from_sample[:, :3] @= np.linalg.inv(samples.intrinsics.matrix())
    shaded = shade(seen, solid, quads.color, quads.links, source_from_sample)
    measured = None
    if resolution:
        projection = camera.intrinsics.matrix() @ camera.w2c()[:3]
        measured = resolution_of_faces(
            shaded.face, solid.faces, solid.all_uv(), solid.vertices, projection, shaded.source_xy, shaded.mask
        )
    return RenderedFrame(shaded.color, shaded.mask, shaded.depth, shaded.source_xy, measured)


@cache
def warm_up() -> None:
    """Load the compiled kernels of quads and of the rasterizer, or compile and cache them on disk."""
    raster.warm_up()
    lens = Intrinsics(8.0, 8.0, 4.0, 4.0, 8, 8)
    world_from_camera = np.eye(4)
    world_from_camera[0, 3] = 0.1  # not the source's pose: from there nothing is rendered
    frame = build_quads(np.zeros((8, 8, 3), np.uint8), np.ones((8, 8), np.float32), lens)
    render_quads(frame, Camera(world_from_camera, lens), backend="numba", threads=1)


def _as_filmed(color: NDArray[np.uint8], depth: NDArray[np.float32]) -> RenderedFrame:
    height, width = depth.shape
    return RenderedFrame(
        color=color,
        mask=np.ones((height, width), np.bool_),
        depth=depth,
        source_xy=pixel_centres(height, width).reshape(height, width, 2),
        resolution=np.ones((height, width, 2), np.float32),
    )


def _sampling(camera: Camera) -> Camera:
    """The camera whose pixel centres are the samples: every half pixel from corner to corner of the picture."""
    lens = camera.intrinsics
    half_pixels = Intrinsics(
        2 * lens.fx, 2 * lens.fy, 2 * lens.cx + 0.5, 2 * lens.cy + 0.5, 2 * lens.width + 1, 2 * lens.height + 1
    )
    return Camera(camera.c2w, half_pixels)
