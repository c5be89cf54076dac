"""One frame from another camera: positions, colours, masks."""

from __future__ import annotations

import math

import numpy as np
import pytest
from render_cases import FOCAL, HEIGHT, LENS, WIDTH, card, card_truth, moved, noise, shade_slowly, tilted

from ex4d_core.camera import Camera, Intrinsics
from ex4d_core.errors import InputError
from ex4d_core.frame import render_frame
from ex4d_core.mesh import build_mesh
from ex4d_core.occluder import limit_bridges


@pytest.mark.parametrize("reach", [0.05, math.inf])
@pytest.mark.parametrize("size", [(48, 64), (33, 21), (2, 2)])
def test_the_source_camera_sees_the_source_frame(size: tuple[int, int], reach: float) -> None:
    height, width = size
    lens = Intrinsics(40.0, 37.0, width / 2 + 1.25, height / 2 - 0.75, width, height)
    rng = np.random.default_rng(0)
    depth = rng.choice(np.array([1.5, 2, 9], np.float32), (height, width)) + rng.random((height, width), np.float32)
    color = noise(1, height, width)
    mesh = build_mesh(depth.astype(np.float32), lens)
    frame = render_frame(color, mesh, Camera(np.eye(4), lens), bridge_reach=reach)
    assert frame.mask.all()
    assert frame.unseen == 0
    np.testing.assert_array_equal(frame.color[1:-1, 1:-1], color[1:-1, 1:-1])
    # The border's pixels lie inside faces of this chaos, not on a vertex: positions are good to 1/4096 pixel.
    np.testing.assert_allclose(frame.color, color, atol=1)
    np.testing.assert_allclose(frame.depth[1:-1, 1:-1], depth[1:-1, 1:-1], rtol=1e-5)


def test_the_source_camera_sees_a_scene_exactly() -> None:
    frame = render_frame(noise(), build_mesh(card(), LENS), moved())
    assert frame.mask.all()
    np.testing.assert_array_equal(frame.color, noise())
    np.testing.assert_allclose(frame.depth, card(), rtol=1e-5)


def test_the_reference_sees_its_source_frame_but_for_the_border_and_the_flagged() -> None:
    color, mesh = noise(), build_mesh(card(), LENS, "reference")
    frame = render_frame(color, mesh, moved())
    assert mesh.vertex_hidden is not None
    np.testing.assert_array_equal(frame.mask[1:-1, 1:-1], ~mesh.vertex_hidden.reshape(HEIGHT, WIDTH)[1:-1, 1:-1])
    assert not frame.mask[0, 1:-1].any()
    assert not frame.mask[1:-1, -1].any()
    np.testing.assert_array_equal(frame.color[frame.mask], color[frame.mask])


def test_a_sideways_step_shifts_a_plane_by_exact_pixels() -> None:
    depth, color = np.full((HEIGHT, WIDTH), 3, np.float32), noise()
    mesh = build_mesh(depth, LENS)
    whole = render_frame(color, mesh, moved(x=5 * 3 / FOCAL))  # five pixels at depth 3
    np.testing.assert_array_equal(whole.color[:, :-5], color[:, 5:])
    assert whole.mask[:, :-5].all()
    assert not whole.mask[:, -5:].any()
    assert whole.unseen == pytest.approx(5 / WIDTH)
    half = render_frame(color, mesh, moved(x=0.5 * 3 / FOCAL))
    mean = (color[:, :-1].astype(float) + color[:, 1:]) / 2
    assert np.abs(half.color[:, 1:-2] - mean[:, 1:-1]).max() <= 0.6
    np.testing.assert_allclose(half.source_xy[:, 3, 0], 4, atol=1e-3)


def test_a_slanted_plane_is_interpolated_in_perspective() -> None:
    x = (np.arange(WIDTH) + 0.5 - WIDTH / 2) / FOCAL
    depth = np.broadcast_to((3 / (1 - 0.7 * x)).astype(np.float32), (HEIGHT, WIDTH))  # z = 3 + 0.7 x z
    mesh = build_mesh(np.ascontiguousarray(depth), LENS)
    camera = tilted(-35)
    frame = render_frame(noise(), mesh, camera)
    assert frame.mask.mean() > 0.3
    # The exact point of the plane 3 = z - 0.7 X under each pixel, projected into the source.
    v, u = np.nonzero(frame.mask)
    rays = np.stack([(u + 0.5 - WIDTH / 2) / FOCAL, (v + 0.5 - HEIGHT / 2) / FOCAL, np.ones(len(u))], axis=1)
    rays = rays @ camera.c2w[:3, :3].T
    eye = camera.c2w[:3, 3]
    t = (3 - eye[2] + 0.7 * eye[0]) / (rays[:, 2] - 0.7 * rays[:, 0])
    point = eye + t[:, None] * rays
    exact = point[:, :2] / point[:, 2:] * FOCAL + [WIDTH / 2, HEIGHT / 2]
    inner = ((exact > 2) & (exact < [WIDTH - 2, HEIGHT - 2])).all(axis=1)
    assert np.abs(frame.source_xy[v, u] - exact)[inner].max() < 0.01
    np.testing.assert_allclose(frame.depth[v, u][inner], t[inner], rtol=1e-3)


@pytest.mark.parametrize("method", ["reference", "dwmesh"])
@pytest.mark.parametrize("angle", [-40, 25])
def test_the_compiled_renderer_agrees_with_the_definitions(method: str, angle: float) -> None:
    rows, columns = slice(8, 40, 2), slice(8, 56, 2)
    depth = (card() + np.random.default_rng(4).normal(0, 0.002, (HEIGHT, WIDTH)))[rows, columns].astype(np.float32)
    lens = Intrinsics.from_focal_px(30, depth.shape[1], depth.shape[0])
    camera = Camera(tilted(angle).c2w, lens)
    color, mesh = noise(3, *depth.shape), build_mesh(depth, lens, method)
    frame = render_frame(color, mesh, camera, bridge_reach=math.inf)
    image, mask = shade_slowly(color, mesh, camera)
    assert 0.2 < mask.mean() < 0.95
    assert (frame.mask != mask).sum() <= 2  # ties of a footprint or an alpha
    same = frame.mask & mask
    assert np.abs(frame.color[same] - image[same]).max() < 1.1
    assert not frame.color[~frame.mask].any()


def test_what_the_card_hid_is_unseen() -> None:
    # A step of 0.4 shifts the card (depth 2) by 12 pixels, the wall (depth 4) by 6: 6 columns open on its right.
    color = noise()
    frame = render_frame(color, build_mesh(card(), LENS), moved(x=0.4))
    row = frame.mask[24]
    np.testing.assert_array_equal(np.flatnonzero(~row[: WIDTH - 6]), np.arange(28, 34))
    np.testing.assert_array_equal(frame.color[24, 12:28], color[24, 24:40])
    np.testing.assert_array_equal(frame.color[24, 34:58], color[24, 40:])
    assert not frame.color[24, 28:34].any()
    assert frame.mask[:, :50][0].all()


@pytest.mark.parametrize("angle", [-60, -20, 10, 35])
def test_the_mask_of_a_card_is_that_of_ray_casting(angle: float) -> None:
    camera = tilted(angle)
    frame = render_frame(noise(), build_mesh(card(), LENS), camera)
    truth = card_truth(camera)
    assert 0.3 < truth.mean() < 1
    # The outline of 300 pixels may be off by one, and the card is a twentieth of its distance thick.
    assert (frame.mask != truth).mean() < 0.04
    assert (frame.mask & ~truth).mean() < 0.01


def test_a_bridge_hides_only_as_far_as_it_reaches() -> None:
    """From the side the card's bridges cover wall that the source saw; the wall there is 4 behind them."""
    mesh, color = build_mesh(card(), LENS), noise()
    endless, limited = (render_frame(color, mesh, tilted(60), bridge_reach=r) for r in (math.inf, 0.05))
    new = limited.mask & ~endless.mask
    assert new.sum() > 100
    assert (limited.depth[new] > endless.depth[new]).all()
    # What is lost lies beside edges: half a source pixel of wall, where no bridge leads to it any more.
    assert (endless.mask & ~limited.mask).sum() < new.sum() / 4


def test_limited_bridges_keep_surfaces_and_their_nearest_corner() -> None:
    mesh = build_mesh(card(), LENS)
    vertices, faces, numbers = limit_bridges(mesh, 0.1)
    np.testing.assert_array_equal(faces[: mesh.grid_faces], mesh.faces[: mesh.grid_faces])
    drawn = np.isfinite(vertices[faces[: mesh.grid_faces]]).all(axis=(1, 2))
    # Every face of the grid is drawn once, in its place or among those added.
    every = np.concatenate([np.flatnonzero(drawn), numbers])
    np.testing.assert_array_equal(np.sort(every), np.arange(mesh.grid_faces))
    assert len(numbers) < mesh.grid_faces / 4
    own = np.concatenate([vertices[faces[: mesh.grid_faces]][drawn], vertices[faces[mesh.grid_faces :]]])
    old = mesh.vertices[mesh.faces[every]]
    torn = mesh.bridge[every]
    np.testing.assert_array_equal(own[~torn], old[~torn])
    assert own[torn][..., 2].max() == pytest.approx(2.2, rel=1e-5)
    assert old[torn][..., 2].max() == 4
    # corners stay on their rays
    np.testing.assert_allclose(own[..., :2] / own[..., 2:], old[..., :2] / old[..., 2:], atol=1e-5)


def test_back_faces_are_not_seen() -> None:
    mesh = build_mesh(card(), LENS)
    behind = Camera(np.diag([-1.0, 1.0, -1.0, 1.0]), LENS)  # turned about y ...
    behind.c2w[2, 3] = 8.0  # ... and beyond the wall
    frame = render_frame(noise(), mesh, behind)
    assert np.isfinite(frame.depth).mean() > 0.5
    assert not frame.mask.any()
    assert not frame.color.any()


@pytest.mark.parametrize("scale", [1e-3, 1e3])
def test_the_scale_of_the_scene_does_not_matter(scale: float) -> None:
    color = noise()
    plain = render_frame(color, build_mesh(card(), LENS), moved(x=0.3))
    scaled = render_frame(color, build_mesh(card() * np.float32(scale), LENS), moved(x=0.3 * scale))
    assert (plain.mask != scaled.mask).sum() <= 2
    both = plain.mask & scaled.mask
    assert np.abs(plain.color[both].astype(int) - scaled.color[both]).max() <= 1


def test_results_do_not_depend_on_threads() -> None:
    mesh, color = build_mesh(card(), LENS), noise()
    one, many = (render_frame(color, mesh, tilted(30), threads=n) for n in (1, 3))
    np.testing.assert_array_equal(one.color, many.color)
    np.testing.assert_array_equal(one.mask, many.mask)
    np.testing.assert_array_equal(one.depth, many.depth)


def test_colour_of_another_size_is_refused() -> None:
    with pytest.raises(InputError, match="64x48"):
        render_frame(noise(0, 10, 10), build_mesh(card(), LENS), moved())
