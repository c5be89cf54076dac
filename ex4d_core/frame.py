"""One frame from another camera: colour, mask, depth and how finely the source sampled it."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ex4d_core.camera import Camera
from ex4d_core.errors import InputError
from ex4d_core.mesh import DWMesh
from ex4d_core.occluder import BRIDGE_REACH, limit_bridges, original_numbers
from ex4d_core.raster import Raster, rasterize
from ex4d_core.shading import sample_color, source_positions, source_resolution

# What is nearer to the camera than this share of the nearest source depth is cut away. The reference has 0.001
# where its nearest depth is 2.56; a share works for scenes of any scale.
NEAR_SHARE = 4e-4


@dataclass(frozen=True)
class RenderedFrame:
    """One frame as a target camera sees it."""

    color: NDArray[np.uint8]
    """(h, w, 3) uint8 sRGB, from the source frame; black where the mask is False."""
    mask: NDArray[np.bool_]
    """(h, w) bool, True = seen by the source camera at this source time."""
    depth: NDArray[np.float32]
    """(h, w) float32, z-depth of the mesh in the target camera, scene units; inf = nothing there."""
    source_xy: NDArray[np.float32]
    """(h, w, 2) float32, position in the source frame, pixels, centres at +0.5; 0 where nothing is there."""
    resolution: NDArray[np.float32] | None
    """(h, w) float32, source pixels per target pixel in the direction stretched most; None if not asked for."""
    source_frame: int = 0
    """Which frame of the clip is shown."""
    behind_surface: bool = False
    """Whether the camera stands behind something that the source camera saw."""

    @property
    def unseen(self) -> float:
        """Share of pixels never seen, 0..1."""
        return 1.0 - float(self.mask.mean())

    def risk(self) -> NDArray[np.uint8]:
        """The risk pass (docs/geometry.md).

        Returns:
            (h, w, 3) uint8. Red, coverage: 255 where never seen, else 0. Green, resolution: 0 where the source
            has a pixel or more for each pixel here, rising linearly to 255 where it has none. Blue, performance:
            255 where seen only at another time, which this renderer never does: 0.
        """
        image = np.zeros((*self.mask.shape, 3), np.uint8)
        image[..., 0] = np.where(self.mask, 0, 255)
        if self.resolution is not None:
            lost = 1.0 - np.clip(self.resolution, 0.0, 1.0)
            image[..., 1] = np.where(self.mask, np.rint(255 * lost), 0)
        return image


def render_frame(
    color: NDArray[np.uint8],
    mesh: DWMesh,
    camera: Camera,
    *,
    bridge_reach: float = BRIDGE_REACH,
    resolution: bool = False,
    backend: str = "numba",
    threads: int | None = None,
) -> RenderedFrame:
    """Render one mesh from one camera.

    The fan that closes a `dwmesh` takes no part: a cone from the frame's edge to one far point runs through the
    scene and would hide most of it from every camera, the source's included.

    Args:
        color: (H, W, 3) uint8 sRGB, the source frame.
        mesh: its mesh.
        camera: who looks, posed in the space of the mesh: for a world camera `inv(source_c2w) @ c2w`.
        bridge_reach: how far bridges of a `dwmesh` hide what is behind them, as a share of the foreground's
            depth (see `ex4d_core.occluder`); `math.inf`: all of it.
        resolution: also measure how finely the source sampled each pixel.
        backend: rasterizer, see `ex4d_core.raster.BACKENDS`.
        threads: threads of the rasterizer; results do not depend on it.

    Raises:
        InputError: the colour is not of the mesh's size.
    """
    if color.shape != (*mesh.grid, 3):
        raise InputError(
            f"The colour has shape {color.shape} and the mesh is of {mesh.grid[1]}x{mesh.grid[0]} pixels: "
            "give the frame that the depth belongs to."
        )
    raster = _rasterize(mesh, camera, bridge_reach, backend, threads)
    projection = _projection(camera)
    positions, mask = source_positions(raster, mesh, projection, camera)
    return RenderedFrame(
        color=sample_color(color, positions, mask),
        mask=mask,
        depth=raster.depth,
        source_xy=positions,
        resolution=source_resolution(raster, mesh, projection, mask) if resolution else None,
    )


def render_depth(mesh: DWMesh, camera: Camera, *, threads: int | None = None) -> NDArray[np.float32]:
    """The depth of one mesh from one camera, for what was never seen too.

    That of `render_frame`; where bridges, limited in reach, leave nothing, that of the whole bridge.

    Args:
        mesh: see `render_frame`, likewise the rest.
        camera: see there.
        threads: see there.

    Returns:
        (h, w) float32, z-depth, scene units; inf = no mesh.
    """
    raster = _rasterize(mesh, camera, BRIDGE_REACH, "numba", threads)
    source_positions(raster, mesh, _projection(camera), camera)  # settles the depth of seen pixels on bridges
    depth = raster.depth
    if mesh.vertex_hidden is not None or np.isfinite(depth).all():
        return depth
    whole = _rasterize(mesh, camera, math.inf, "numba", threads).depth
    return np.where(np.isfinite(depth), depth, whole)


def _projection(camera: Camera) -> NDArray[np.float64]:
    return camera.intrinsics.matrix() @ camera.w2c()[:3]


def _rasterize(mesh: DWMesh, camera: Camera, bridge_reach: float, backend: str, threads: int | None) -> Raster:
    """What `camera` sees, by the mesh's own face numbers."""
    whole = mesh.vertex_hidden is not None
    limited = not whole and math.isfinite(bridge_reach)
    if limited:
        vertices, faces, numbers = limit_bridges(mesh, bridge_reach)
    else:
        vertices, faces, numbers = mesh.vertices, mesh.faces if whole else mesh.faces[: mesh.grid_faces], None
    raster = rasterize(
        vertices,
        faces,
        camera,
        grid=mesh.grid,
        near=NEAR_SHARE * float(mesh.vertices[: mesh.grid[0] * mesh.grid[1], 2].min()),
        backend=backend,
        threads=threads,
    )
    if numbers is not None:
        raster = replace(raster, face_id=original_numbers(raster.face_id, numbers, mesh.grid_faces))
    return raster
