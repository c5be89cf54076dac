"""Method `quads`: what is one surface, what hides what, and whose colours a pixel gets."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray

from ex4d_core.camera import Camera, Intrinsics
from ex4d_core.errors import InputError
from ex4d_core.frame import RenderedFrame
from ex4d_core.quads import build_quads, render_quads
from ex4d_core.quads import solid as solid_module
from ex4d_core.quads.cuts import BELOW, RIGHT, find_cuts
from ex4d_core.quads.hidden import find_strips
from ex4d_core.quads.links import find_links
from ex4d_core.quads.mixture import CLEANED, TRUST, separate
from ex4d_core.quads.ramps import steepen
from ex4d_core.quads.solid import FLAP, OCCLUDER, RIM, THICKEST, Solid, build_solid
from ex4d_core.raster import Raster, rasterize

RNG = np.random.default_rng(9)
RED, BLUE = (200, 20, 20), (20, 20, 200)


def lens_of(width: int, height: int, focal: float = 1.0) -> Intrinsics:
    """A lens whose focal length is `focal` times the width."""
    return Intrinsics(focal * width, focal * width, width / 2, height / 2, width, height)


def camera_at(lens: Intrinsics, x: float = 0.0, y: float = 0.0, z: float = 0.0, turn: float = 0.0) -> Camera:
    """A camera moved in the source camera's space, then turned about the vertical, radians."""
    c2w = np.eye(4)
    c2w[:3, :3] = [[np.cos(turn), 0, np.sin(turn)], [0, 1, 0], [-np.sin(turn), 0, np.cos(turn)]]
    c2w[:3, 3] = x, y, z
    return Camera(c2w, lens)


def box_scene(width: int = 48, height: int = 40) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """A red square 2 away in front of a blue wall 4 away."""
    depth = np.full((height, width), 4, np.float32)
    color = np.empty((height, width, 3), np.uint8)
    color[:] = BLUE
    depth[10:30, 14:34], color[10:30, 14:34] = 2, RED
    return color, depth


def solid_of(depth: NDArray[np.float32], lens: Intrinsics) -> Solid:
    disparity = np.float32(1) / depth
    return build_solid(disparity, find_cuts(disparity), np.zeros((*depth.shape, 2), np.float32), lens)


def look(solid: Solid, camera: Camera) -> Raster:
    return rasterize(solid.vertices, solid.faces, camera, grid=solid.grid, apart=solid.apart, threads=1)


def corners_of(solid: Solid, n: int) -> NDArray[np.float32]:
    """The corners of loose quad n, (4, 3): upper left, upper right, lower left, lower right."""
    return solid.vertices[solid.loose_corners()[n]]


@pytest.mark.parametrize("focal", [0.5, 1.0, 5.0])
@pytest.mark.parametrize("side", [24, 96, 300])
@pytest.mark.parametrize("tilt", [0.0, 45.0, 80.0, 88.0])
def test_a_plane_is_one_surface(focal: float, side: int, tilt: float) -> None:
    x = (np.arange(side) + 0.5 - side / 2) / (focal * side)
    # Ray (x, y, 1) meets the plane through (0, 0, 5) that is tilted about the vertical at z = 5 / (1 - x tan).
    slope = min(np.tan(np.radians(tilt)), 0.9 / x.max())
    disparity = np.tile((1 - slope * x) / 5, (side, 1)).astype(np.float32)
    assert not find_cuts(disparity).any()
    assert not find_cuts(np.ascontiguousarray(disparity.T)).any()


def test_a_grazing_floor_and_a_crease_are_whole() -> None:
    rows = np.arange(64, dtype=np.float32)
    floor = np.tile(
        (0.001 + 0.01 * rows)[:, None], (1, 32)
    )  # from ten away at the horizon to one; steps of up to 1000 %
    assert (floor[1:] / floor[:-1]).max() > 5
    assert not find_cuts(floor).any()
    crease = np.tile((0.2 + 0.01 * np.abs(rows - 30))[:, None], (1, 32))
    assert not find_cuts(crease.astype(np.float32)).any()


def test_a_step_is_cut_where_it_is_and_nowhere_else() -> None:
    disparity = np.full((12, 14), 0.25, np.float32)
    disparity[4:8, 5:11] = 0.5
    cuts = find_cuts(disparity)
    expected = np.zeros_like(cuts)
    expected[4:8, [4, 10]] |= RIGHT
    expected[[3, 7], 5:11] |= BELOW
    np.testing.assert_array_equal(cuts, expected)


@pytest.mark.parametrize("thick", [1, 2, 3])
def test_a_thin_bar_is_cut_on_both_sides(thick: int) -> None:
    disparity = np.full((8, 20), 0.2, np.float32)
    disparity[:, 10 + thick :] = 0.1  # another background behind its other side
    disparity[:, 10 : 10 + thick] = 0.5
    cuts = find_cuts(disparity)
    assert (np.flatnonzero(cuts[3] & RIGHT) == [9, 9 + thick]).all()
    assert (find_cuts(np.ascontiguousarray(disparity.T)) == np.where(cuts.T, BELOW, 0)).all()


def test_links_are_the_neighbours_that_can_be_reached() -> None:
    cuts = np.zeros((9, 11), np.uint8)
    cuts[:-1] |= np.where(RNG.random((8, 11)) < 0.15, BELOW, 0).astype(np.uint8)
    cuts[:, :-1] |= np.where(RNG.random((9, 10)) < 0.15, RIGHT, 0).astype(np.uint8)
    height, width = cuts.shape

    def free(path: list[tuple[int, int]]) -> bool:
        return not any(cuts[min(a, b)] & (RIGHT if a[0] == b[0] else BELOW) for a, b in pairwise(path))

    def line(a: int, b: int) -> list[int]:
        return list(range(a, b + 1)) if a <= b else list(range(a, b - 1, -1))

    for (y, x), bits in np.ndenumerate(find_links(cuts)):
        for n in range(25):
            v, u = np.clip(y + n // 5 - 2, 0, height - 1), np.clip(x + n % 5 - 2, 0, width - 1)
            down_first = [(r, x) for r in line(y, v)] + [(v, c) for c in line(x, u)[1:]]
            across_first = [(y, c) for c in line(x, u)] + [(r, u) for r in line(y, v)[1:]]
            assert (bits >> n) & 1 == (free(down_first) or free(across_first)), (y, x, n)


def test_an_edge_pixel_loses_the_other_colour_and_the_edge_moves_by_its_share() -> None:
    disparity = np.full((9, 12), 0.5, np.float32)
    disparity[:, 6:] = 0.2
    color = np.where(disparity[..., None] > 0.3, RED, BLUE).astype(np.uint8)
    mixed = 0.7 * np.array(RED) + 0.3 * np.array(BLUE)
    color[:, 5] = np.round(mixed)
    clean, shift = separate(color, find_cuts(disparity))
    expected = mixed + CLEANED * 0.3 * (np.array(RED) - BLUE)
    assert np.abs(clean[:, 5] - expected).max() <= 1
    np.testing.assert_array_equal(np.delete(clean, 5, 1), np.delete(color, 5, 1))
    np.testing.assert_allclose(shift[:, 5, 0], -0.3 * TRUST, atol=0.01)  # the red surface ends 0.3 of a pixel earlier
    assert not np.delete(shift, 5, 1).any()
    assert not shift[..., 1].any()


def test_corners_are_shared_on_a_surface_and_apart_across_a_cut() -> None:
    _, depth = box_scene()
    height, width = depth.shape
    lens = lens_of(width, height)
    solid = solid_of(depth, lens)
    lattice = solid.vertices.reshape(*solid.grid, 3)[: height + 1]
    torn = np.isnan(lattice[..., 2])
    expected = np.zeros((height + 1, width + 1), bool)
    expected[10:31, [14, 34]] = expected[[10, 30], 14:35] = True
    np.testing.assert_array_equal(torn, expected)
    # Inside, a corner is where the ray through it meets the surface.
    np.testing.assert_allclose(lattice[20, 20], [(20 - 24) / 48 * 2, 0, 2], atol=1e-6)
    # Each pixel at the edge has a quad of its own; those of both sides stand at their own depths.
    for n in np.flatnonzero(solid.pixel != OCCLUDER):
        y, x = divmod(solid.pixel[n], width)
        np.testing.assert_allclose(corners_of(solid, n)[:, 2], depth[y, x], rtol=1e-6)
        np.testing.assert_array_equal(solid.uv[n], [(x, y), (x + 1, y), (x, y + 1), (x + 1, y + 1)])
    np.testing.assert_array_equal(
        np.sort(solid.pixel[solid.pixel != OCCLUDER]),
        np.flatnonzero(torn[:-1, :-1] | torn[:-1, 1:] | torn[1:, :-1] | torn[1:, 1:]),
    )
    every, found = solid.all_uv().reshape(*solid.grid, 2), np.isfinite(solid.vertices[:, 2]).reshape(solid.grid)
    loose = every[2 * height + 4 :][found[2 * height + 4 :]]
    np.testing.assert_array_equal(np.sort(loose, axis=0), np.sort(solid.uv.reshape(-1, 2), axis=0))


def test_what_is_between_the_quads_of_the_grid_is_nothing() -> None:
    """Only two finite triangles with area a quad: the lattice's, the shells', the loose ones'."""
    _, depth = box_scene()
    height, width = depth.shape
    solid = solid_of(depth, lens_of(width, height))
    finite = np.isfinite(solid.vertices[solid.faces].sum((1, 2))) & (solid.faces[:, 0] != solid.faces[:, 1])
    cell = np.flatnonzero(finite) % (len(solid.faces) // 2)
    row = cell // (solid.grid[1] - 1)
    assert finite[: height * width].sum() > 0
    assert (row < 2 * height + 4).sum() + 2 * len(solid.pixel) == len(row)
    assert not np.isin(row, [height, height + 1, 2 * height + 2, 2 * height + 3]).any()


@pytest.mark.parametrize("turn", [-0.6, 0.0, 0.5])
@pytest.mark.parametrize("size", [(40, 30), (97, 64)])
def test_a_smooth_surface_has_no_holes(turn: float, size: tuple[int, int]) -> None:
    width, height = size
    y, x = np.mgrid[:height, :width] / width
    waves = sum(np.sin(RNG.uniform(-9, 9) * x + RNG.uniform(-9, 9) * y + RNG.uniform(0, 6)) for _ in range(4))
    depth = (4 + 0.1 * np.asarray(waves)).astype(np.float32)
    solid = solid_of(depth, lens_of(width, height))
    assert (solid.pixel == OCCLUDER).all()  # nothing but flaps: no cuts
    target = lens_of(3 * width, 3 * height, 2.2)
    raster = look(solid, camera_at(target, x=-3.6 * np.sin(turn), z=3.6 * (1 - np.cos(turn)), turn=turn))
    half = len(solid.faces) // 2
    assert (raster.face_id >= 0).all()
    assert (raster.face_id % half < height * width).all()
    assert not raster.front.any()
    assert np.abs(raster.barycentrics.sum(-1) - 1).max() < 1e-5


@pytest.mark.parametrize(("x", "z", "turn"), [(0.4, 0.2, -0.3), (-1.1, -0.4, 0.6), (2.0, 1.0, -1.2)])
def test_a_pixel_shows_the_place_that_the_weights_of_its_face_say(x: float, z: float, turn: float) -> None:
    """Where it is in the frame is told by its depth alone; corners and weights say the same."""
    color, depth = box_scene()
    depth += np.linspace(0, 0.5, depth.shape[1], dtype=np.float32)
    height, width = depth.shape
    lens = lens_of(width, height)
    disparity = steepen(np.float32(1) / depth)
    cuts = find_cuts(disparity)
    solid = build_solid(disparity, cuts, separate(color, cuts)[1], lens)
    camera = camera_at(lens, x=x, z=z, turn=turn)
    frame, raster = render_quads(build_quads(color, depth, lens), camera), look(solid, camera)
    seen = frame.mask & (raster.face_id >= 0) & ~raster.front  # of others a sample beside the centre is shown
    corners = solid.faces[raster.face_id[seen]]
    weights = raster.barycentrics[seen] * solid.vertices[corners][..., 2]
    expected = (solid.all_uv()[corners] * weights[..., None]).sum(1) / weights.sum(1, keepdims=True)
    assert seen.mean() > 0.2
    assert np.isin(corners, solid.loose_corners()).any()
    np.testing.assert_allclose(frame.source_xy[seen], expected, atol=0.02)  # positions are snapped to 1/4096 pixel
    row, column = np.divmod(raster.face_id[seen] % (len(solid.faces) // 2), solid.grid[1] - 1)
    on_lattice = row < height
    np.testing.assert_allclose(frame.source_xy[seen][on_lattice, 0] // 1, column[on_lattice], atol=1)


def test_a_shell_hides_what_stands_behind_a_silhouette_and_nothing_in_the_source_view() -> None:
    color, depth = box_scene()
    height, width = depth.shape
    lens = lens_of(width, height)
    solid, quads = solid_of(depth, lens), build_quads(color, depth, lens)
    from_source = render_quads(quads, camera_at(lens_of(2 * width, 2 * height)))
    assert from_source.mask.all()
    camera = camera_at(lens, x=2.4, turn=-0.85)
    raster = look(solid, camera)
    row, column = np.divmod(raster.face_id % (len(solid.faces) // 2), solid.grid[1] - 1)
    pair = (row - solid.apart) // 2
    quad = pair * (solid.grid[1] // 2) + column // 2
    loose = (pair >= 0) & (quad < len(solid.pixel) - 2 * (height + width))  # no flap
    behind = loose & (solid.pixel[np.where(loose, quad, 0)] == OCCLUDER)
    shells = (raster.face_id >= 0) & (behind | ((row >= height + 2) & (pair < 0)))
    assert shells.sum() > 10
    frame = render_quads(quads, camera)
    assert not frame.mask[shells].any()
    # It is no further behind the square than the thickest that shells get: seen in the source camera's space.
    y, x = np.nonzero(shells)
    z = raster.depth[shells]
    points = np.stack([(x + 0.5 - lens.cx) / lens.fx * z, (y + 0.5 - lens.cy) / lens.fy * z, z], axis=1)
    back = (points @ camera.c2w[:3, :3].T + camera.c2w[:3, 3])[:, 2]
    assert back.min() >= 2
    assert back.max() <= 2 * (1 + THICKEST) + 1e-4


def bar_scene(right: float = 4.0) -> NDArray[np.float32]:
    """Depth of a bar 2 away in front of a wall 4 away, which right of the bar is `right` away."""
    depth = np.full((40, 48), 4, np.float32)
    depth[:, 28:] = right
    depth[10:30, 20:28] = 2
    return depth


def moved_edges(by: float) -> tuple[Solid, dict[int, int]]:
    """Bar and wall with the edges at the bar's right moved, pixels to the right, and whose the loose quads are."""
    disparity = np.float32(1) / bar_scene()
    shift = np.zeros((*disparity.shape, 2), np.float32)
    shift[10:30, 27, 0] = by
    solid = build_solid(disparity, find_cuts(disparity), shift, lens_of(48, 40))
    return solid, {int(pixel): n for n, pixel in enumerate(solid.pixel) if pixel != OCCLUDER}


@pytest.mark.parametrize(("by", "behind"), [(-0.3, 27.7), (0.3, 28)])
def test_a_surface_ends_where_the_colours_say_and_what_is_behind_it_begins_half_way_at_the_latest(
    by: float, behind: float
) -> None:
    solid, quads = moved_edges(by)
    np.testing.assert_allclose(solid.uv[quads[20 * 48 + 27], :, 0], [27, 28 + by, 27, 28 + by], atol=1e-6)
    np.testing.assert_allclose(solid.uv[quads[20 * 48 + 28], :, 0], [behind, 29, behind, 29], atol=1e-6)


def test_a_strip_ends_where_the_edge_was_moved_to() -> None:
    solid, _ = moved_edges(-0.3)
    n = len(solid.pixel) - 20 + 10  # of the rows 10 to 29 the middle one
    np.testing.assert_allclose(solid.uv[n], [(20, 20), (27.7, 20), (20, 21), (27.7, 21)], atol=1e-6)
    corners = corners_of(solid, n)
    np.testing.assert_allclose(corners[:, 0] / corners[:, 2] * 48 + 24, [20, 27.7, 20, 27.7], atol=1e-4)


@pytest.mark.parametrize("side", [-1, 1])
@pytest.mark.parametrize("along", [0, 1])
def test_a_round_rim_reaches_further_back_and_a_flat_one_goes_straight_on(side: int, along: int) -> None:
    away = 10 - np.arange(0.5, 10)  # of the pixels' centres from the silhouette

    def at_silhouette(bend: NDArray[np.float64]) -> float:
        """Disparity where a surface ends half a pixel after its last pixel's centre; a wall follows."""
        line = np.concatenate([0.5 + bend, np.full(10, 0.2)])[::side]
        disparity = np.repeat(line[None], 20, axis=0).astype(np.float32)
        depth = np.ascontiguousarray(np.float32(1) / (disparity.T if along else disparity))
        solid = solid_of(depth, lens_of(20, 20))
        pixel = 9 if side > 0 else 10
        n = int(np.flatnonzero(solid.pixel == (pixel * 20 + 10 if along else 10 * 20 + pixel))[0])
        corner = {(0, 1): 1, (0, -1): 0, (1, 1): 2, (1, -1): 0}[along, side]
        return float(1 / corners_of(solid, n)[corner, 2])

    last, before = 0.02 * np.sqrt(0.5), 0.02 * np.sqrt(1.5)
    straight = last - 0.5 * (before - last)  # a whole rim would get to 0
    assert at_silhouette(0.02 * np.sqrt(away)) == pytest.approx(0.5 + (1 - RIM) * straight, abs=1e-5)
    assert at_silhouette(0.003 * away) == pytest.approx(0.5, abs=1e-5)  # straight on


def strips_of(depth: NDArray[np.float32]) -> tuple[list[list[int]], NDArray[np.float32]]:
    disparity = np.float32(1) / depth
    strips, slopes = find_strips(disparity, find_cuts(disparity))
    return strips.tolist(), slopes


def test_a_wall_goes_on_behind_what_stands_before_it() -> None:
    expected = [[row, 19, 28] for row in range(10, 30)]  # along columns the bar is too long to go on behind it
    strips, slopes = strips_of(bar_scene())
    assert strips == [[0, *strip] for strip in expected]
    assert np.isnan(slopes).all()
    turned, _ = strips_of(bar_scene().T.copy())
    assert turned == [[1, *strip] for strip in expected]


@pytest.mark.parametrize("other", [3.0, 6.0])
def test_other_surfaces_on_both_sides_of_an_object_are_not_joined(other: float) -> None:
    strips, slopes = strips_of(bar_scene(other))
    assert not [strip for strip, slope in zip(strips, slopes, strict=True) if strip[0] == 0 and np.isnan(slope)]


def stem_scene(run: int, hidden: int) -> NDArray[np.float32]:
    """Depth of a stem 4 away in row 20, seen `run` pixels far to column 24, where what is 2 away hides it for `hidden`
    pixels; nearer and nearer to the right, and 40 away all around."""
    depth = np.full((40, 48), 40, np.float32)
    depth[20, 24 - run : 24] = 1 / (0.25 + 0.001 * np.arange(-run, 0))
    depth[:, 24 : 24 + hidden] = 2
    return depth


def stem_strips(depth: NDArray[np.float32]) -> list[tuple[int, int, float]]:
    """Of the strips of row 20 that end hidden: the last pixel before it, the first after it, and the slope."""
    strips, slopes = strips_of(depth)
    ends_hidden = [(strip, slope) for strip, slope in zip(strips, slopes, strict=True) if not np.isnan(slope)]
    return [(strip[2], strip[3], slope) for strip, slope in ends_hidden if strip[:2] == [0, 20]]


def test_a_stem_goes_on_behind_what_hides_it_half_as_far_as_it_was_seen() -> None:
    depth = stem_scene(8, 8)
    assert stem_strips(depth) == [(23, 28, pytest.approx(0.001, rel=1e-3))]
    assert stem_strips(np.ascontiguousarray(depth[:, ::-1])) == [(24, 19, pytest.approx(0.001, rel=1e-3))]


@pytest.mark.parametrize(
    ("run", "hidden", "why"), [(8, 3, "it would be seen again"), (2, 8, "too short"), (24, 22, "a ground")]
)
def test_what_is_not_known_to_go_on_does_not(run: int, hidden: int, why: str) -> None:
    assert not stem_strips(stem_scene(run, hidden)), why


def test_a_strip_that_ends_hidden_lies_on_its_surface() -> None:
    depth, lens = stem_scene(8, 8), lens_of(48, 40)
    solid, (strips, _) = solid_of(depth, lens), strips_of(depth)
    n = len(solid.pixel) - len(strips) + strips.index([0, 20, 23, 28])
    corners = corners_of(solid, n)
    x = corners[:, 0] / corners[:, 2] * lens.fx + lens.cx
    y = corners[:, 1] / corners[:, 2] * lens.fy + lens.cy
    np.testing.assert_allclose(x, [24, 28, 24, 28], atol=1e-4)
    np.testing.assert_allclose(y, [20, 20, 21, 21], atol=1e-4)
    np.testing.assert_allclose(1 / corners[:, 2], 0.25 + 0.001 * (x - 24.5), rtol=1e-3)
    assert solid.pixel[n] == OCCLUDER


def test_a_strip_hides_what_is_behind_it_and_is_never_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    depth = bar_scene()
    depth[:, 36:] = 40  # far behind the wall, and in view through where the bar hid it
    color = np.full((*depth.shape, 3), 100, np.uint8)
    color[:, 36:] = 250
    lens, camera = lens_of(48, 40), camera_at(lens_of(48, 40), x=-1.0, z=1.0, turn=0.33)

    def seen_through_the_wall() -> int:
        """Pixels that show what is far away through the part of the wall that the bar hid."""
        frame = render_quads(build_quads(color, depth, lens), camera, threads=1)
        y, x = np.nonzero(frame.mask & (frame.color > 200).all(axis=-1))
        rays = np.stack([(x + 0.5 - lens.cx) / lens.fx, (y + 0.5 - lens.cy) / lens.fy, np.ones(len(x))], axis=1)
        rays = rays @ camera.c2w[:3, :3].T
        at = camera.c2w[:3, 3] + rays * ((4 - camera.c2w[2, 3]) / rays[:, 2])[:, None]
        u, v = at[:, 0] / 4 * lens.fx + lens.cx, at[:, 1] / 4 * lens.fy + lens.cy
        return int(((u > 21) & (u < 27) & (v > 11) & (v < 29)).sum())

    assert seen_through_the_wall() == 0
    nothing = np.empty((0, 4), np.int32), np.empty(0, np.float32)
    monkeypatch.setattr(solid_module, "find_strips", lambda *_: nothing)
    assert seen_through_the_wall() > 5


def test_flaps_reach_as_far_out_of_the_frame_as_their_surface_runs_into_it() -> None:
    depth = np.full((40, 48), 4, np.float32)
    depth[10:30, :6] = 2
    solid = solid_of(depth, lens_of(48, 40))
    first = len(solid.pixel) - 2 * (40 + 48)
    left, right = solid.uv[first : first + 40], solid.uv[first + 40 : first + 80]
    np.testing.assert_allclose(left[10:30, 1, 0], -6)
    np.testing.assert_allclose(right[:, 1, 0], 48 + int(FLAP * 48))


def test_the_source_camera_gets_the_frame_as_filmed() -> None:
    depth = RNG.uniform(1, 9, (20, 24)).astype(np.float32)
    color = RNG.integers(0, 256, (20, 24, 3), dtype=np.uint8)
    lens = lens_of(24, 20)
    frame = render_quads(build_quads(color, depth, lens), Camera(np.eye(4), lens))
    np.testing.assert_array_equal(frame.color, color)
    np.testing.assert_array_equal(frame.depth, depth)
    assert frame.mask.all()


def test_colours_stay_on_their_side_of_an_edge() -> None:
    color, depth = box_scene()
    height, width = depth.shape
    frame = render_quads(build_quads(color, depth, lens_of(width, height)), camera_at(lens_of(96, 80), x=0.05))
    apart = np.minimum(*(np.abs(frame.color.astype(int) - c).max(-1) for c in (RED, BLUE)))
    edge = apart > 2  # a pixel of the target that is cut by the edge, at most one a row and side
    assert frame.mask.mean() > 0.9
    assert (edge & frame.mask).sum() < 2 * (2 * 20 + 2 * 20) * 2
    centre = np.abs(frame.color[30:50, 40:56].astype(int) - RED).max()
    assert centre <= 1


def test_a_ramp_is_sampled_where_it_is() -> None:
    """Cubic kernels reproduce what is linear, so the colour tells the position."""
    ramp = np.broadcast_to(np.arange(40, 200, 4, dtype=np.uint8)[None, :, None], (30, 40, 3))
    depth = np.full((30, 40), 3, np.float32)
    quads = build_quads(np.ascontiguousarray(ramp), depth, lens_of(40, 30))
    frame = render_quads(quads, camera_at(lens_of(40, 30), x=0.1, y=0.03), resolution=True)
    inner = frame.mask & (np.abs(frame.source_xy[..., 0] - 20) < 17)
    assert inner.mean() > 0.7
    told = 40 + 4 * (frame.source_xy[..., 0] - 0.5)
    assert np.abs(frame.color[..., 1] - told)[inner].max() <= 0.51
    shift = frame.source_xy[..., 0] - (np.arange(40) + 0.5)
    np.testing.assert_allclose(shift[inner], 0.1 / 3 * 40, atol=1e-3)
    assert frame.resolution is not None
    np.testing.assert_allclose(frame.resolution[inner], 1, atol=1e-3)


def same(one: RenderedFrame, other: RenderedFrame) -> None:
    for name in ("color", "mask", "depth", "source_xy"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)


def rough_scene(width: int, height: int) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    color = RNG.integers(0, 256, (height, width, 3), dtype=np.uint8)
    depth = np.repeat(np.repeat(RNG.uniform(2, 6, (height // 4 + 1, width // 5 + 1)), 4, 0), 5, 1)
    return color, np.ascontiguousarray(depth[:height, :width], np.float32)


def test_the_number_of_threads_changes_nothing() -> None:
    color, depth = rough_scene(90, 70)
    quads = build_quads(color, depth, lens_of(90, 70))
    camera = camera_at(lens_of(120, 100), x=0.4, z=1.0, turn=-0.2)
    one = render_quads(quads, camera, threads=1)
    assert 0.2 < one.mask.mean() < 0.98
    for threads in (2, 3, 8):
        same(render_quads(quads, camera, threads=threads), one)


def test_the_judge_sees_the_same_picture() -> None:
    color, depth = rough_scene(14, 11)
    quads = build_quads(color, depth, lens_of(14, 11))
    for camera in (camera_at(lens_of(16, 12), x=0.3, turn=-0.1), camera_at(lens_of(12, 12), z=1.5)):
        ours, judge = (render_quads(quads, camera, backend=name, threads=1) for name in ("numba", "numpy"))
        np.testing.assert_array_equal(ours.mask, judge.mask)
        assert ours.mask.mean() > 0.2
        assert (np.abs(ours.color.astype(int) - judge.color).max(-1) > 1).mean() < 0.01
        np.testing.assert_allclose(ours.depth, judge.depth, rtol=1e-3)


@pytest.mark.parametrize("size", [(2, 2), (3, 2), (2, 5), (4, 3)])
def test_tiny_frames(size: tuple[int, int]) -> None:
    color, depth = rough_scene(*size)
    quads = build_quads(color, depth, lens_of(*size))
    near, far = (
        render_quads(quads, camera_at(replace(lens_of(*size), fx=f * size[0])), threads=1) for f in (4.0, 1.01)
    )
    assert near.mask.any()
    assert far.mask.any()


def test_a_colour_of_another_size_is_refused() -> None:
    color, depth = box_scene()
    with pytest.raises(InputError, match="give the frame that the depth belongs to"):
        build_quads(color[1:], depth, lens_of(48, 40))
