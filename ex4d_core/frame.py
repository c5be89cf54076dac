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

STRETCHED = 0.5
"""A pixel with fewer source pixels than this in a direction is stretched more than twice."""
RESOLUTION_PERCENTILES = (1, 5, 10, 25, 50, 75, 90, 99)
"""Closer together at the low end, where it shows."""
LARGEST_HALF = np.float32(65504.0)


@dataclass(frozen=True)
class RenderedFrame:
    """One frame as a target camera sees it."""

    color: NDArray[np.uint8]
    """(h, w, 3) uint8 sRGB; black where the mask is False."""
    mask: NDArray[np.bool_]
    """(h, w) bool, True = seen by the source camera, at this source time or, where `seen_elsewhere`, at another."""
    depth: NDArray[np.float32]
    """(h, w) float32, z-depth of what is there in the target camera, scene units; inf = nothing there."""
    source_xy: NDArray[np.float32]
    """(h, w, 2) float32, position in the source frame, pixels, centres at +0.5; 0 where nothing of it is there."""
    resolution: NDArray[np.float32] | None
    """(h, w, 2) float32, source pixels per target pixel: the smaller and the larger singular value of the derivative
    of the source position by the target pixel, so [..., 0] in the direction that is stretched most, [..., 1] across
    it. Below 1 the picture is softer than its pixels, above it the source has more than is shown. 0 where the mask is
    False; where `seen_elsewhere`, pixels of the background's picture. None if not asked for."""
    source_frame: int = 0
    """Which frame of the clip is shown."""
    behind_surface: bool = False
    """Whether the camera stands behind something that the source camera saw."""
    elsewhere: NDArray[np.bool_] | None = None
    """See `seen_elsewhere`; None: nowhere."""

    @property
    def unseen(self) -> float:
        """Share of pixels never seen, 0..1."""
        return 1.0 - np.count_nonzero(self.mask) / self.mask.size

    @property
    def seen_elsewhere(self) -> NDArray[np.bool_]:
        """(h, w) bool, True = seen at another time only: the persistent background."""
        return np.zeros(self.mask.shape, np.bool_) if self.elsewhere is None else self.elsewhere

    @property
    def seen_at_another_time(self) -> float:
        """Share of those pixels, 0..1."""
        return 0.0 if self.elsewhere is None else np.count_nonzero(self.elsewhere) / self.elsewhere.size

    @property
    def stretched(self) -> float | None:
        """Share of the seen pixels that are stretched more than twice, 0..1; None: not measured."""
        seen = self._seen_resolution()
        return None if seen is None else float((seen < STRETCHED).mean()) if seen.size else 0.0

    @property
    def resolution_percentiles(self) -> dict[int, float] | None:
        """Source pixels per pixel that so many percent of the seen pixels stay below, in the direction stretched most,
        for `RESOLUTION_PERCENTILES`; empty where nothing is seen. None: not measured."""
        seen = self._seen_resolution()
        if seen is None:
            return None
        values = np.percentile(seen, RESOLUTION_PERCENTILES) if seen.size else ()
        return dict(zip(RESOLUTION_PERCENTILES, map(float, values), strict=False))

    def risk(self) -> NDArray[np.uint8]:
        """The risk pass as a picture (docs/geometry.md).

        Returns:
            (h, w, 3) uint8. Red, coverage: 255 where never seen, else 0. Green, resolution: 0 where the source
            has a pixel or more for each pixel here, rising linearly to 255 where it has none, in the direction
            stretched most. Blue, performance: 255 where seen only at another time, else 0.
        """
        image = np.zeros((*self.mask.shape, 3), np.uint8)
        image[..., 0] = np.where(self.mask, 0, 255)
        if self.resolution is not None:
            lost = 1.0 - np.clip(self.resolution[..., 0], 0.0, 1.0)
            image[..., 1] = np.where(self.mask, np.rint(255 * lost), 0)
        if self.elsewhere is not None:
            image[..., 2] = np.where(self.elsewhere, 255, 0)
        return image

    def risk_channels(self) -> dict[str, NDArray[np.float16]]:
        """The risk pass as channels of an EXR (docs/geometry.md), (h, w) float16 each.

        `coverage.Y` is 1 where never seen, `performance.Y` where seen only at another time, else 0; where the
        resolution was measured, `resolution_least.Y` and `resolution_most.Y` are its two values. Layers of one
        channel, because Blender takes a layer of two for one.
        """
        channels = {"coverage.Y": ~self.mask, "performance.Y": self.seen_elsewhere}
        if self.resolution is not None:
            bounded = np.minimum(self.resolution, LARGEST_HALF)
            channels |= {"resolution_least.Y": bounded[..., 0], "resolution_most.Y": bounded[..., 1]}
        return {name: values.astype(np.float16) for name, values in channels.items()}

    def _seen_resolution(self) -> NDArray[np.float32] | None:
        """(N,) float32: the smaller value of each seen pixel."""
        return None if self.resolution is None else self.resolution[..., 0][self.mask]


@dataclass(frozen=True, eq=False)
class Solid:
    """A mesh made ready for the rasterizer, its bridges cut short."""

    mesh: DWMesh
    vertices: NDArray[np.float32]
    """(N, 3) float32, space of the mesh. Faces with a vertex that is not a number are not drawn."""
    faces: NDArray[np.int32]
    """(F, 3) int32, the first those of the grid."""
    numbers: NDArray[np.int32] | None
    """Of the faces after the grid's in the mesh, see `occluder`; None: as there."""
    near: float
    """What is nearer to a camera than this is cut away, scene units."""

    @classmethod
    def of(cls, mesh: DWMesh, bridge_reach: float = BRIDGE_REACH) -> Solid:
        """Arguments as `render_frame`."""
        whole = mesh.vertex_hidden is not None
        if not whole and math.isfinite(bridge_reach):
            vertices, faces, numbers = limit_bridges(mesh, bridge_reach)
        else:
            # The two faces behind a `reference` stand before whatever is deeper than its border.
            vertices, faces, numbers = mesh.vertices, mesh.faces[: mesh.grid_faces], None
        depths = mesh.vertices[: mesh.grid[0] * mesh.grid[1], 2]
        return cls(mesh, vertices, faces, numbers, NEAR_SHARE * float(np.fmin.reduce(depths)))

    def seen_from(self, camera: Camera, backend: str, threads: int | None) -> Raster:
        """What a camera, posed in the space of the mesh, sees, by the mesh's own face numbers."""
        raster = rasterize(
            self.vertices,
            self.faces,
            camera,
            grid=self.mesh.grid,
            near=self.near,
            backend=backend,
            threads=threads,
        )
        if self.numbers is not None:
            raster = replace(raster, face_id=original_numbers(raster.face_id, self.numbers, self.mesh.grid_faces))
        return raster


def render_frame(
    color: NDArray[np.uint8],
    mesh: DWMesh,
    camera: Camera,
    *,
    bridge_reach: float = BRIDGE_REACH,
    resolution: bool = False,
    backend: str = "auto",
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
    return render_solid(
        color, Solid.of(mesh, bridge_reach), camera, resolution=resolution, backend=backend, threads=threads
    )


def render_solid(
    color: NDArray[np.uint8],
    solid: Solid,
    camera: Camera,
    *,
    resolution: bool = False,
    backend: str = "auto",
    threads: int | None = None,
) -> RenderedFrame:
    """`render_frame` of a mesh that is made ready once and seen by many cameras."""
    mesh, raster = solid.mesh, solid.seen_from(camera, backend, threads)
    projection = _projection(camera)
    positions, mask = source_positions(raster, mesh, projection, camera)
    measured = source_resolution(raster, mesh, projection, camera, positions, mask) if resolution else None
    return RenderedFrame(
        color=sample_color(color, positions, mask),
        mask=mask,
        depth=raster.depth,
        source_xy=positions,
        resolution=measured,
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
    raster = Solid.of(mesh).seen_from(camera, "auto", threads)
    source_positions(raster, mesh, _projection(camera), camera)  # settles the depth of seen pixels on bridges
    depth = raster.depth
    if mesh.vertex_hidden is not None or np.isfinite(depth).all():
        return depth
    whole = Solid.of(mesh, math.inf).seen_from(camera, "auto", threads).depth
    return np.where(np.isfinite(depth), depth, whole)


def _projection(camera: Camera) -> NDArray[np.float64]:
    return camera.intrinsics.matrix() @ camera.w2c()[:3]
