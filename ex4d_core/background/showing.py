"""The persistent background behind rendered frames: what was seen at another time, where the frame saw nothing."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numba
import numpy as np
from numpy.typing import NDArray

from ex4d_core.background.motion import color_gain, positions_in
from ex4d_core.camera import Camera, Intrinsics
from ex4d_core.frame import RenderedFrame, Solid, render_solid
from ex4d_core.mesh import build_mesh
from ex4d_core.scene import BackgroundPicture, Scene

Floats = NDArray[np.float32]

_CONTRADICTION = 0.03
"""A frame that sees farther than a point of the background by more than this share sees through it."""
_SAME = 0.05
"""Depths that differ by less than this share are of one surface."""
_GRID = 8
"""Pixels between those that say how bright a frame is beside the background."""


@dataclass(frozen=True, eq=False)
class SourceFrame:
    """The frame of the footage before the background."""

    number: int
    color: NDArray[np.uint8]
    """(H, W, 3) uint8 sRGB."""
    depth: Floats
    """(H, W) float32, z-depth, scene units."""
    camera: Camera
    """Its camera, posed in the world."""


class Backdrop:
    """The layers of a scene, read and meshed once, when first wanted; threads may share it."""

    def __init__(self, scene: Scene, method: str) -> None:
        # A layer has holes, and its edges lie behind something: its quads would gain nothing.
        self._scene, self._method = scene, "dwmesh" if method == "quads" else method
        self._layers: list[tuple[BackgroundPicture, Solid]] | None = None
        self._lock = threading.Lock()

    @classmethod
    def of(cls, scene: Scene, method: str, wanted: bool = True) -> Backdrop | None:
        """The backdrop of a scene; None if it has none, or it is not wanted.

        Raises:
            InputError: files of it are missing.
        """
        if not wanted or not scene.background_layers:
            return None
        scene.check_background()
        return cls(scene, method)

    def behind(self, frame: RenderedFrame, source: SourceFrame, camera: Camera) -> RenderedFrame:
        """Put the layers of its take behind a frame.

        They show where the frame shows nothing it saw, before what else is there (bridges, which hide what is behind
        them), and where the source frame does not see through them. What is there may be a guess of the very surface
        that another time saw, as the flaps of `quads` are: that does not hide it.

        Args:
            frame: as rendered by itself.
            source: the frame of the footage that it shows.
            camera: the target camera, posed in the world.

        Raises:
            InputError: a file of a layer is damaged.
        """
        if frame.mask.all():
            return frame
        color, mask, depth = frame.color.copy(), frame.mask.copy(), frame.depth.copy()
        resolution = None if frame.resolution is None else frame.resolution.copy()
        shown = np.zeros(mask.shape, np.bool_)
        to_source = source.camera.w2c() @ camera.c2w
        for picture, seen in self._seen_from(camera, source.number, resolution is not None):
            new = np.zeros(mask.shape, np.bool_)
            _choose(
                seen.mask,
                seen.depth,
                source.depth,
                to_source,
                np.array(camera.intrinsics.as_tuple()),
                np.array(source.camera.intrinsics.as_tuple()),
                frame.mask,
                depth,
                new,
            )
            if not new.any():
                continue
            gain = _gain(picture, source)
            color[new] = np.clip(seen.color[new] * gain + np.float32(0.5), 0, 255).astype(np.uint8)
            if resolution is not None and seen.resolution is not None:
                resolution[new] = seen.resolution[new]
            shown |= new
        if not shown.any():
            return frame
        return replace(frame, color=color, mask=mask | shown, depth=depth, resolution=resolution, elsewhere=shown)

    def depth(self, frame: int, camera: Camera) -> Floats:
        """(h, w) float32: z-depth of the layers behind a frame, from a camera posed in the world; inf = none.

        Raises:
            InputError: a file of a layer is damaged.
        """
        lens = camera.intrinsics
        nearest = np.full((lens.height, lens.width), np.inf, np.float32)
        for _, seen in self._seen_from(camera, frame, False):
            nearest = np.where(seen.mask, np.minimum(nearest, seen.depth), nearest)
        return nearest

    def _seen_from(
        self, camera: Camera, frame: int, resolution: bool
    ) -> Iterator[tuple[BackgroundPicture, RenderedFrame]]:
        """The layers behind a frame, each with what a camera sees of it."""
        for picture, solid in self._loaded():
            if picture.first <= frame <= picture.last:
                posed = Camera(picture.camera.w2c() @ camera.c2w, camera.intrinsics)
                yield picture, render_solid(picture.color, solid, posed, resolution=resolution, threads=1)

    def _loaded(self) -> list[tuple[BackgroundPicture, Solid]]:
        with self._lock:
            if self._layers is None:
                pictures = [self._scene.background_layer(n) for n in range(self._scene.background_layers)]
                self._layers = [(p, solid_with_holes(p.depth, p.camera.intrinsics, self._method)) for p in pictures]
            return self._layers


def solid_with_holes(depth: Floats, lens: Intrinsics, method: str) -> Solid:
    """A mesh without the faces that touch a hole.

    Args:
        depth: (H, W) float32 z-depth, infinite in holes.
        lens: of the camera at that size.
        method: see `build_mesh`.
    """
    hole = ~np.isfinite(depth)
    if hole.any() and not hole.all():
        # The mesh asks the neighbours of a pixel where the surface is torn: holes continue what is next to them.
        _, labels = cv2.distanceTransformWithLabels(
            hole.astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
        )
        nearest = np.asarray(labels, np.intp)
        values = np.empty(int(nearest.max()) + 1, np.float32)
        values[nearest[~hole]] = depth[~hole]
        depth = values[nearest]
    elif hole.all():
        depth = np.ones_like(depth)
    mesh = build_mesh(depth, lens, method)
    vertices = mesh.vertices.copy()
    vertices[: hole.size][hole.ravel()] = np.nan  # faces with such corners are not drawn
    solid = Solid.of(replace(mesh, vertices=vertices))
    return replace(solid, near=Solid.of(mesh).near) if hole.all() else solid


def _gain(picture: BackgroundPicture, source: SourceFrame) -> Floats:
    """(3,) float32: by what the background's colour is multiplied to be as bright as a frame that sees it too."""
    position, expected = positions_in(source.depth, source.camera, picture.camera, step=_GRID)
    height, width = picture.depth.shape
    column, row = np.rint(position[..., 0]), np.rint(position[..., 1])
    inside = (expected > 0) & (column >= 0) & (row >= 0) & (column < width) & (row < height)
    at = row[inside].astype(np.intp), column[inside].astype(np.intp)
    same = np.abs(expected[inside] / picture.depth[at] - 1) < _SAME
    have = picture.color[at][same].astype(np.float32)
    want = source.color[::_GRID, ::_GRID][inside][same].astype(np.float32)
    return color_gain(have, want)


@numba.njit(cache=True, nogil=True)
def _choose(
    seen: Any, layer: Any, surface: Any, pose: Any, target: Any, source: Any, taken: Any, depth: Any, new: Any
) -> None:  # pragma: no cover - compiled
    """Where a layer shows, in `new`, and its depth there, in `depth`.

    Args:
        seen: (h, w) bool, where the layer was seen at all.
        layer: (h, w) float32, its z-depth in the target camera.
        surface: (H, W) float32, z-depth that the source camera saw.
        pose: (4, 4) float64, target camera to source camera.
        target: fx, fy, cx, cy of the target camera.
        source: fx, fy, cx, cy of the source camera.
        taken: (h, w) bool, what the frame saw itself.
        depth: (h, w) float32, z-depth of what is there already; changed in place.
        new: (h, w) bool, set.
    """
    rows, columns = surface.shape
    for y in range(depth.shape[0]):
        for x in range(depth.shape[1]):
            if taken[y, x] or not seen[y, x] or not layer[y, x] < depth[y, x] * (1 + _SAME):
                continue
            z = np.float64(layer[y, x])
            px = (x + 0.5 - target[2]) / target[0] * z
            py = (y + 0.5 - target[3]) / target[1] * z
            ahead = pose[2, 0] * px + pose[2, 1] * py + pose[2, 2] * z + pose[2, 3]
            if ahead > 0:
                across = pose[0, 0] * px + pose[0, 1] * py + pose[0, 2] * z + pose[0, 3]
                down = pose[1, 0] * px + pose[1, 1] * py + pose[1, 2] * z + pose[1, 3]
                u = across / ahead * source[0] + source[2]
                v = down / ahead * source[1] + source[3]
                # A point outside of the picture is contradicted by nothing.
                if 0 <= u < columns and 0 <= v < rows and ahead * (1 + _CONTRADICTION) <= surface[int(v), int(u)]:
                    continue
            depth[y, x] = layer[y, x]
            new[y, x] = True
