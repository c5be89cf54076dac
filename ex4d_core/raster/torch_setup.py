"""The `torch` backend's first half: project the vertices, clip what crosses the camera plane, on any device.

The same positions, in the same order of operations, as `numba_setup`: each step is a tensor operation of its own, so
that no device may fuse a product and a sum, and all of them round alike.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ex4d_core.raster.numba_setup import GUARD, OUTSIDE, SUBPIXELS

_OFFSET = 1 << 30

_CORNERS = 8
"""The most that a triangle has when five planes have cut it; it is drawn as a fan of triangles."""

PIECES = _CORNERS - 2

_INSIDE, _BESIDE, _BEHIND, _NOT_A_NUMBER = 0, 1, 2, 4
"""Where a vertex is: to be drawn, outside in front of the camera, behind it, or nowhere: so a mesh leaves out faces of
its grid."""

CHUNK = 1 << 19
"""Vertices, faces, lines, pixels that are worked on at once: a few dozen numbers of 8 bytes for each."""


@dataclass(frozen=True)
class Prepared:
    """A mesh before a camera: corners in the picture, and triangles between them."""

    faces: Tensor
    """(3, F) int32, indices of corners; those of the N vertices come first."""
    x: Tensor
    """(N + 8 M,) int32, 1/4096 pixels; `OUTSIDE`: nearer than `near`, beyond the guard band, or not finite."""
    y: Tensor
    """(N + 8 M,) int32, 1/4096 pixels."""
    inverse_w: Tensor
    """(N + 8 M,) float64, one over the z-depth."""
    vertices: int
    """N."""
    clipped: Tensor
    """(M,) int64, the faces that are partly outside, ascending: of each a convex polygon of up to 8 corners is left."""
    counts: Tensor
    """(M,) int64, how many corners those have; 0: nothing is left."""
    weights: Tensor
    """(M, 8, 3) float64, of the face's three vertices at these corners."""

    def whole(self, which: Tensor) -> Tensor:
        """Faces (P,) -> their corners (3, P) int64."""
        return self.faces[:, which].long()

    def pieces(self, polygon: Tensor, n: Tensor) -> Tensor:
        """The nth triangle of a polygon, both (P,) -> its corners (3, P) int64."""
        first = self.vertices + polygon * _CORNERS
        return torch.stack([first, first + n + 1, first + n + 2])

    def piece_weights(self, polygon: Tensor, n: Tensor) -> Tensor:
        """Likewise -> (P, 3 corners, 3 vertices)."""
        fan = torch.stack([torch.zeros_like(n), n + 1, n + 2], dim=1)
        return self.weights[polygon[:, None], fan]


def prepare(
    vertices: Tensor,
    faces: Tensor,
    projection: list[list[float]],
    size: tuple[int, int],
    near: float,
) -> Prepared:
    """Project and clip.

    Args:
        vertices: (N, 3) float32.
        faces: (F, 3) int32.
        projection: 3 x 4, takes (x, y, z, 1) to (u w, v w, w), pixels.
        size: (w, h) of the picture.
        near: see `ex4d_core.raster.rasterize`.

    Raises:
        ValueError: a face names a vertex that does not exist.
    """
    if len(faces) and not bool(((faces >= 0) & (faces < len(vertices))).all()):
        raise ValueError(f"a face names a vertex outside 0..{len(vertices) - 1}")
    faces = faces.T.contiguous()
    starts = range(0, max(len(vertices), 1), CHUNK)
    parts = [_project(vertices[start : start + CHUNK], projection, near) for start in starts]
    x, y, inverse_w, state = (torch.cat(column) for column in zip(*parts, strict=True))
    crossing: list[Tensor] = [torch.zeros(0, dtype=torch.int64, device=faces.device)]
    for start in range(0, faces.shape[1], CHUNK):
        i, j, k = state[faces[:, start : start + CHUNK].long()]
        states = i | j | k
        all_behind = (i & j & k) == _BEHIND
        crossing.append(((states > _INSIDE) & (states < _NOT_A_NUMBER) & ~all_behind).nonzero()[:, 0] + start)
    which = torch.cat(crossing)
    which, polygons, counts = _clip(vertices[faces[:, which].T.long()], which, projection, size, near)
    u, v, w = polygons[..., :3].flatten(0, 1).unbind(-1)
    real = (torch.arange(_CORNERS, device=faces.device) < counts[:, None]).flatten()
    more = 1.0 / w
    return Prepared(
        faces=faces,
        x=torch.cat([x, _snap(u * more, real)]),
        y=torch.cat([y, _snap(v * more, real)]),
        inverse_w=torch.cat([inverse_w, more]),
        vertices=len(vertices),
        clipped=which,
        counts=counts,
        weights=polygons[..., 3:],
    )


def _project(vertices: Tensor, projection: list[list[float]], near: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Snapped x, `OUTSIDE` where there is none, and y; 1/w; and where the vertex is (`_INSIDE` and so on), uint8."""
    u, v, w = _homogeneous(vertices, projection)
    inverse = 1.0 / w
    u, v = u * inverse, v * inverse
    inside = (w >= near) & (u.abs() <= GUARD) & (v.abs() <= GUARD)
    elsewhere = torch.where(w > 0, _BESIDE, torch.where(w.isnan(), _NOT_A_NUMBER, _BEHIND))
    state = torch.where(inside, _INSIDE, elsewhere).to(torch.uint8)
    return torch.where(inside, _snap(u, inside), OUTSIDE), _snap(v, inside), inverse, state


def _homogeneous(vertices: Tensor, projection: list[list[float]]) -> tuple[Tensor, Tensor, Tensor]:
    """(..., 3) float32 positions -> u w, v w, w, each (...) float64, pixels; `projection` is 3 x 4."""
    x, y, z = vertices.to(torch.float64).unbind(-1)
    u, v, w = (row[0] * x + row[1] * y + row[2] * z + row[3] for row in projection)
    return u, v, w


def _snap(position: Tensor, inside: Tensor) -> Tensor:
    """To the nearest 1/4096 pixel, int32; 0 where it is not inside."""
    shifted = torch.where(inside, position, 0.0) * SUBPIXELS + (_OFFSET + 0.5)
    return (shifted.to(torch.int64) - _OFFSET).to(torch.int32)  # a positive number is truncated


def _clip(
    corners: Tensor, which: Tensor, projection: list[list[float]], size: tuple[int, int], near: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Cut faces by the near plane and the guard band (Sutherland and Hodgman, 1974), all faces at once.

    A cut is computed from the inner to the outer end of the edge, so that the faces on both sides of an edge get
    the same corner, bit for bit: no cracks.

    Args:
        corners: (M, 3, 3) float32, positions of the faces' vertices.
        which: (M,) int64, their numbers.
        projection: as in `prepare`, likewise the rest.
        size: (w, h).
        near: scene units.

    Returns:
        The numbers of those that may be in the picture; their polygons (M, 8, 6) float64, u w, v w, w and the
        weights of the three vertices; how many corners each has.
    """
    width, height = size
    points = torch.stack(_homogeneous(corners, projection), dim=-1)  # (M, 3, 3)
    u, v, w = points.unbind(-1)
    beyond = torch.stack([w < near, u < 0, v < 0, u > width * w, v > height * w])  # (5, M, 3)
    kept = torch.isfinite(points).all(-1).all(-1) & ~beyond.all(-1).any(0)
    which, points = which[kept], points[kept]
    weights = torch.eye(3, dtype=torch.float64, device=points.device).expand(len(which), 3, 3)
    polygons = points.new_zeros(len(which), _CORNERS, 6)
    polygons[:, :3] = torch.cat([points, weights], dim=-1)
    counts = torch.full((len(which),), 3, dtype=torch.int64, device=points.device)
    for axis, sign in ((2, 0.0), (0, 1.0), (0, -1.0), (1, 1.0), (1, -1.0)):
        w = polygons[..., 2]
        polygons, counts = _cut(polygons, counts, GUARD * w + sign * polygons[..., axis] if sign else w - near)
    return which, polygons, counts


def _cut(polygon: Tensor, counts: Tensor, distance: Tensor) -> tuple[Tensor, Tensor]:
    """Keep of each polygon what has a distance of at least 0, (M, 8) of the corners to the plane."""
    slots = polygon.shape[1]
    index = torch.arange(slots, device=polygon.device)
    following = torch.where(index + 1 < counts[:, None], index + 1, 0)  # (M, 8)
    there = distance.gather(1, following)
    after = polygon.gather(1, following[..., None].expand_as(polygon))
    real = index < counts[:, None]
    stays = real & (distance >= 0)
    crosses = real & ((distance >= 0) != (there >= 0))
    outwards = (distance >= 0)[..., None]
    inner, outer = torch.where(outwards, polygon, after), torch.where(outwards, after, polygon)
    d, e = torch.where(distance >= 0, distance, there), torch.where(distance >= 0, there, distance)
    cut = inner + (d / (d - e))[..., None] * (outer - inner)
    # Each corner gives up to two: itself, and the cut on the edge to the next.
    emitted = torch.stack([stays, crosses], dim=2).flatten(1)  # (M, 16)
    places = torch.where(emitted, emitted.cumsum(1) - 1, slots).clamp(max=slots)  # the last slot is thrown away
    result = polygon.new_zeros(len(polygon), slots + 1, polygon.shape[2])
    found = torch.stack([polygon, cut], dim=2).flatten(1, 2)  # (M, 16, 6)
    result.scatter_(1, places[..., None].expand_as(found), torch.where(emitted[..., None], found, 0.0))
    return result[:, :slots], emitted.sum(1).clamp(max=slots)
