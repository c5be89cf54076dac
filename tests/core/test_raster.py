"""The rasterizers of CPU and GPU against the NumPy oracle, the fill rule, clipping, determinism."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from raster_cases import (
    FLAT_CAMERA,
    INSIDE,
    SIZE,
    SNAP,
    assert_identical,
    assert_same_view,
    flat,
    lens,
    orbit,
    relief,
    soup,
    with_quads_apart,
)

from ex4d_core.camera import Camera, Intrinsics, look_at
from ex4d_core.raster import NEAR, interpolate, rasterize
from ex4d_core.raster.choice import VARIABLE


@pytest.fixture(scope="module", autouse=True)
def on_the_cpu() -> Iterator[None]:
    """Where a test names no backend it means numba, on a machine with a GPU too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(VARIABLE, "numba")
        yield


@pytest.mark.parametrize("backend", ["numba", "torch"])
@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(("spread", "count"), [(0.5, 30), (3.0, 60)])
def test_soup_equals_the_oracle(seed: int, spread: float, count: int, backend: str) -> None:
    mesh, camera = soup(seed, count, spread), Camera(np.eye(4), lens())
    ours = rasterize(mesh.vertices, mesh.faces, camera, SIZE, backend=backend)
    oracle = rasterize(mesh.vertices, mesh.faces, camera, SIZE, backend="numpy")
    assert (oracle.face_id >= 0).mean() > 0.1
    assert_same_view(ours, oracle, mesh, camera)


@pytest.mark.parametrize(
    "camera",
    [
        orbit(7, pitch=3),
        orbit(60),
        orbit(-90, pitch=20),
        orbit(170),
        orbit(30, 0.5),
        *INSIDE,
    ],
    ids=["7", "60", "-90", "170", "near", "inside", "inside, wide"],
)
def test_grid_equals_the_oracle_and_the_generic_path(camera: Camera) -> None:
    mesh = relief(3, 30, 36)
    ours = rasterize(mesh.vertices, mesh.faces, camera, SIZE, grid=mesh.grid)
    oracle = rasterize(mesh.vertices, mesh.faces, camera, SIZE, backend="numpy")
    assert (oracle.face_id >= 0).mean() > 0.1
    assert_same_view(ours, oracle, mesh, camera)
    generic = rasterize(mesh.vertices, mesh.faces, camera, SIZE)
    assert_identical(ours, generic)


@pytest.mark.parametrize("width", [2, 9, 36, 130])
@pytest.mark.parametrize("camera", [orbit(7, pitch=3), orbit(60), orbit(30, 0.5), *INSIDE])
def test_quads_of_a_grid_that_stand_apart(camera: Camera, width: int) -> None:
    mesh, apart = with_quads_apart(relief(3, 12, width, closed=False), width, pairs=300 // width + 2)
    ours = rasterize(mesh.vertices, mesh.faces, camera, SIZE, grid=mesh.grid, apart=apart, threads=1)
    oracle = rasterize(mesh.vertices, mesh.faces, camera, SIZE, backend="numpy")
    cell = ours.face_id[ours.face_id >= 0] % (len(mesh.faces) // 2)
    assert (cell >= apart * (width - 1)).any()
    assert_same_view(ours, oracle, mesh, camera)
    assert_identical(ours, rasterize(mesh.vertices, mesh.faces, camera, SIZE))
    assert_identical(ours, rasterize(mesh.vertices, mesh.faces, camera, SIZE, grid=mesh.grid, apart=apart, threads=3))


@pytest.mark.parametrize("camera", [orbit(50, pitch=10), *INSIDE])
def test_barycentrics_can_be_left_out(camera: Camera) -> None:
    mesh = relief(1, 30, 36)
    whole = rasterize(mesh.vertices, mesh.faces, camera, SIZE, grid=mesh.grid)
    ours = rasterize(mesh.vertices, mesh.faces, camera, SIZE, grid=mesh.grid, barycentrics=False)
    assert ours.barycentrics.shape == (0, 0, 3)
    assert_identical(replace(ours, barycentrics=whole.barycentrics), whole)
    with pytest.raises(ValueError, match="no barycentrics"):
        interpolate(ours, mesh.faces, mesh.vertices)


def test_those_cameras_do_cross_the_mesh() -> None:
    """Guards the tests above: without faces through the camera plane they would not test clipping."""
    mesh = relief(3, 30, 36)
    for camera in INSIDE:
        w2c = camera.w2c()
        z = (mesh.vertices @ w2c[2, :3] + w2c[2, 3])[mesh.faces]
        assert ((z.min(axis=1) < NEAR) & (z.max(axis=1) > NEAR)).sum() > 20


@pytest.mark.parametrize("threads", [2, 3, 5])
def test_threads_change_nothing(threads: int) -> None:
    mesh = relief(1, 120, 90)
    for camera in (orbit(0), orbit(50, pitch=10), *INSIDE):
        one = rasterize(mesh.vertices, mesh.faces, camera, (131, 117), grid=mesh.grid, threads=1)
        many = rasterize(mesh.vertices, mesh.faces, camera, (131, 117), grid=mesh.grid, threads=threads)
        assert_identical(one, many)
        assert_identical(one, rasterize(mesh.vertices, mesh.faces, camera, (131, 117), threads=threads))
        uv = np.ascontiguousarray(mesh.vertices[:, :2])
        assert np.array_equal(
            interpolate(one, mesh.faces, uv, grid=mesh.grid, threads=1),
            interpolate(one, mesh.faces, uv, grid=mesh.grid, threads=threads),
        )


@pytest.mark.parametrize("first", [(0, 1, 2), (1, 0, 2), (2, 0, 1)])
@pytest.mark.parametrize("second", [(0, 1, 2), (0, 2, 1), (2, 0, 1)])
def test_any_order_of_corners(first: tuple[int, ...], second: tuple[int, ...]) -> None:
    mesh = relief(2, 20, 24)
    faces = mesh.faces.copy()
    quads = 19 * 23
    faces[:quads] = faces[:quads, first]
    faces[quads : 2 * quads] = faces[quads : 2 * quads, second]
    camera = orbit(20, pitch=-5)
    assert_identical(
        rasterize(mesh.vertices, faces, camera, SIZE, grid=mesh.grid),
        rasterize(mesh.vertices, faces, camera, SIZE),
    )


def test_source_view_of_a_grid_shows_each_vertex_at_its_pixel() -> None:
    """Identity: vertices stand on pixel centres, so depth and uv come back, and ties leave no hole."""
    mesh = relief(5, 40, 48, closed=False)
    camera = Camera(np.eye(4), Intrinsics.unknown_lens(48, 40))
    raster = rasterize(mesh.vertices, mesh.faces, camera, grid=mesh.grid)
    assert (raster.face_id >= 0).all()
    depth = mesh.vertices[:, 2].reshape(40, 48)
    assert np.allclose(raster.depth[1:-1, 1:-1], depth[1:-1, 1:-1], rtol=2e-3)
    y, x = np.mgrid[:40, :48] + 0.5
    uv = np.stack([x, y], -1).reshape(-1, 2).astype(np.float32)
    seen = interpolate(raster, mesh.faces, uv, grid=mesh.grid)
    assert np.abs(seen[1:-1, 1:-1] - uv.reshape(40, 48, 2)[1:-1, 1:-1]).max() < 2e-3


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), step=st.sampled_from([1.0, 0.5, 0.25, 1 / 64]), flip=st.booleans())
def test_every_pixel_exactly_once(seed: int, step: float, flip: bool) -> None:
    """A jittered tessellation on a lattice that hits pixel centres and edges often: each face alone is drawn, and
    the hits are counted."""
    rng = np.random.default_rng(seed)
    n = 5
    y, x = np.mgrid[: n + 1, : n + 1] * (32 / n)
    inner = np.s_[1:-1, 1:-1]
    x[inner] += rng.uniform(-1.1, 1.1, (n - 1, n - 1))
    y[inner] += rng.uniform(-1.1, 1.1, (n - 1, n - 1))
    points = np.round(np.stack([x, y], -1).reshape(-1, 2) / step) * step
    index = np.arange((n + 1) ** 2).reshape(n + 1, n + 1)
    a, b, c, d = (q.ravel() for q in (index[:-1, :-1], index[1:, :-1], index[:-1, 1:], index[1:, 1:]))
    faces = np.concatenate([np.stack([a, b, c], 1), np.stack([c, b, d], 1)]).astype(np.int32)
    if flip:
        faces[::2] = faces[::2, ::-1]
    hits = np.zeros((32, 32), int)
    for face in faces:
        raster = rasterize(flat(points), face[None], FLAT_CAMERA, threads=1)
        hits += raster.face_id == 0
    inner_hull = np.s_[1:-1, 1:-1]
    assert (hits[inner_hull] == 1).all()


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), step=st.sampled_from([0.5, 0.25, 0.1]), spacing=st.sampled_from([1.5, 2.0, 6.0]))
def test_grid_kernel_keeps_the_rule(seed: int, step: float, spacing: float) -> None:
    """A crumpled, folded grid in one plane, whose corners and edges often meet pixel centres: ties everywhere.

    The grid's own kernel must decide each as the generic one, of which the test above counts the hits.
    """
    rng = np.random.default_rng(seed)
    n = 17
    y, x = np.mgrid[:n, :n] * spacing
    x, y = (q + rng.uniform(-0.6, 0.6, (n, n)) * spacing for q in (x, y))
    x = np.abs(x - n * spacing / 3)  # folded over: two faces at one depth
    points = np.round(np.stack([x, y], -1).reshape(-1, 2) / step) * step
    index = np.arange(n * n).reshape(n, n)
    a, b, c, d = (q.ravel() for q in (index[:-1, :-1], index[1:, :-1], index[:-1, 1:], index[1:, 1:]))
    faces = np.concatenate([np.stack([a, b, c], 1), np.stack([c, b, d], 1)]).astype(np.int32)
    ours = rasterize(flat(points), faces, FLAT_CAMERA, grid=(n, n))
    assert_identical(ours, rasterize(flat(points), faces, FLAT_CAMERA))
    assert (ours.face_id >= 0).mean() > 0.3


@pytest.mark.parametrize("turn", range(3))
@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("backend", ["numba", "torch", "numpy"])
def test_top_left_rule(turn: int, mirrored: bool, backend: str) -> None:
    """A square whose edges run through pixel centres keeps its left and top ones, however its faces are given."""
    points = np.array([[4.5, 3.5], [9.5, 3.5], [9.5, 7.5], [4.5, 7.5]])
    expected = np.zeros((32, 32), bool)
    expected[3:7, 4:9] = True
    hits = np.zeros((32, 32), int)
    for face in ([0, 3, 1], [1, 3, 2]):
        corners = np.roll(face[::-1] if mirrored else face, turn)
        raster = rasterize(flat(points), corners[None].astype(np.int32), FLAT_CAMERA, backend=backend)
        hits += raster.face_id == 0
    assert np.array_equal(hits, expected)


@pytest.mark.parametrize("backend", ["numba", "torch"])
@settings(max_examples=40, deadline=None)
@given(degrees=st.floats(-180, 180), pitch=st.floats(-80, 80), zoom=st.floats(10, 400))
def test_closed_surface_has_no_cracks(degrees: float, pitch: float, zoom: float, backend: str) -> None:
    """From inside a closed sphere every pixel of every camera hits it, clipped or not."""
    u, v = np.meshgrid(np.linspace(0, 2 * np.pi, 24, endpoint=False), np.linspace(0, np.pi, 13)[1:-1])
    ring = np.stack([np.sin(v) * np.cos(u), np.cos(v), np.sin(v) * np.sin(u)], -1).reshape(-1, 3)
    points = np.concatenate([ring, [[0, 1, 0], [0, -1, 0]]])
    faces = []
    for i in range(11):
        for j in range(24):
            a, b = i * 24 + j, i * 24 + (j + 1) % 24
            if i < 10:
                faces += [[a, b, a + 24], [b, b + 24, a + 24]]
            if i == 0:
                faces.append([a, b, 264])
            if i == 10:
                faces.append([a, b, 265])
    eye = np.array([0.3, -0.2, 0.4])
    a, p = np.radians(degrees), np.radians(pitch)
    target = eye + np.array([np.sin(a) * np.cos(p), np.sin(p), np.cos(a) * np.cos(p)])
    camera = Camera(look_at(eye, target), lens(focal=zoom))
    raster = rasterize(points.astype(np.float32), np.array(faces, np.int32), camera, backend=backend)
    assert (raster.face_id >= 0).all()


@pytest.mark.parametrize("backend", ["numba", "torch"])
def test_near_plane_cuts_exactly(backend: str) -> None:
    """A floor that runs under the camera: it begins at the row where its depth is `near`."""
    floor = np.array([[-50, 1, -50], [50, 1, -50], [50, 1, 50], [-50, 1, 50]], np.float32)
    faces = np.array([[0, 1, 2], [0, 2, 3]], np.int32)
    camera = Camera(np.eye(4), Intrinsics.from_focal_px(20, 40, 64))
    for near in (0.001, 1.0, 2.0):
        raster = rasterize(floor, faces, camera, near=near, backend=backend)
        y = np.arange(64) + 0.5
        below = y > 32
        z = np.where(below, 20 / np.where(below, y - 32, 1), np.inf)
        expected = below & (z >= near) & (z <= 50)
        assert np.array_equal((raster.face_id >= 0), np.broadcast_to(expected[:, None], (64, 40)))
        slack = SNAP / (y[expected] - 32)  # a corner moved by a snap tilts the floor
        assert (np.abs(raster.depth[expected] / z[expected][:, None] - 1) <= slack[:, None]).all()
        world = interpolate(raster, faces, floor)
        assert np.allclose(world[expected][..., 2], raster.depth[expected], rtol=1e-4)


@pytest.mark.parametrize("backend", ["numba", "torch"])
def test_far_out_corners_are_clipped_to_the_guard_band(backend: str) -> None:
    """Corners a million pixels away, in front of the camera and beside it."""
    wall = np.array([[-1e5, -3e5, 5], [2e5, -1e5, 5], [1e3, 4e5, 5]], np.float32)
    faces = np.array([[0, 1, 2]], np.int32)
    camera = Camera(np.eye(4), lens())
    ours = rasterize(wall, faces, camera, backend=backend)
    oracle = rasterize(wall, faces, camera, backend="numpy")
    assert (oracle.face_id == 0).all()
    assert np.array_equal(ours.face_id, oracle.face_id)
    assert np.allclose(ours.depth, 5, rtol=1e-5)
    assert np.allclose(ours.barycentrics, oracle.barycentrics, atol=1e-4)


@pytest.mark.parametrize("backend", ["numba", "torch"])
def test_lowest_index_wins_a_tie_in_any_order(backend: str) -> None:
    mesh, camera = soup(9, 20, 0.5), Camera(np.eye(4), lens())
    twice = np.concatenate([mesh.faces, mesh.faces, mesh.faces])
    raster = rasterize(mesh.vertices, twice, camera, backend=backend)
    assert raster.face_id.max() < len(mesh.faces)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_order_of_faces_matters_only_for_ties(seed: int) -> None:
    mesh, camera = soup(seed, 40, 2.0), Camera(np.eye(4), lens())
    order = np.random.default_rng(seed).permutation(len(mesh.faces))
    one = rasterize(mesh.vertices, mesh.faces, camera)
    other = rasterize(mesh.vertices, np.ascontiguousarray(mesh.faces[order]), camera)
    assert np.array_equal(one.depth, other.depth)
    renamed = np.where(other.face_id >= 0, order[other.face_id], -1)
    differs = renamed != one.face_id
    assert (one.face_id[differs] < renamed[differs]).all()  # a tie: the lower of the two, here and there


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    move=st.tuples(*[st.floats(-20, 20)] * 3),
    degrees=st.floats(-180, 180),
)
def test_moving_scene_and_camera_together_changes_nothing(
    seed: int, move: tuple[float, float, float], degrees: float
) -> None:
    mesh = soup(seed, 30, 1.0)
    a = np.radians(degrees)
    pose = np.eye(4)
    pose[:3, :3] = [[np.cos(a), 0, np.sin(a)], [0, 1, 0], [-np.sin(a), 0, np.cos(a)]]
    pose[:3, 3] = move
    moved = (mesh.vertices @ pose[:3, :3].T + pose[:3, 3]).astype(np.float32)
    here = rasterize(mesh.vertices, mesh.faces, Camera(np.eye(4), lens()))
    there = rasterize(moved, mesh.faces, Camera(pose, lens()))
    same = (here.face_id == there.face_id) & (here.face_id >= 0)
    assert (here.face_id == there.face_id).mean() > 0.98
    gap = np.abs(here.depth[same] - there.depth[same]) / here.depth[same]
    assert np.quantile(gap, 0.95) < 1e-3 if same.any() else True


@pytest.mark.parametrize("backend", ["numba", "torch"])
def test_bad_geometry_is_left_out(backend: str) -> None:
    """Vertices that are not finite and faces without area draw nothing; their neighbours are whole."""
    mesh = relief(4, 20, 24, closed=False)
    camera = orbit(5)
    bad = mesh.vertices.copy()
    spoilt = [30, 100, 333]
    bad[spoilt] = [[np.nan, 0, 5], [np.inf, 1, 4], [0, 0, -np.inf]]
    hurt = np.isin(mesh.faces, spoilt).any(axis=1)
    rest = np.where(hurt[:, None], 0, mesh.faces).astype(np.int32)  # 0, 0, 0 has no area
    ours = rasterize(bad, mesh.faces, camera, SIZE, grid=mesh.grid, backend=backend)
    assert not np.isin(ours.face_id[ours.face_id >= 0], np.flatnonzero(hurt)).any()
    assert_identical(ours, rasterize(mesh.vertices, rest, camera, SIZE, backend=backend))
    with np.errstate(invalid="ignore", over="ignore"):
        oracle = rasterize(bad, mesh.faces, camera, SIZE, backend="numpy")
    assert (ours.face_id != oracle.face_id).mean() < 0.01


@pytest.mark.parametrize("grid", [(1, 1), (1, 5), (4, 1), (2, 2), (2, 3), (65, 2), (3, 66), (2, 130)])
def test_thin_grids(grid: tuple[int, int]) -> None:
    height, width = grid
    y, x = np.mgrid[:height, :width]
    points = np.stack([x / max(width - 1, 1) - 0.5, y / max(height - 1, 1) - 0.5, 2 + 0.1 * x % 0.7], -1)
    index = np.arange(height * width).reshape(grid)
    a, b, c, d = (q.ravel() for q in (index[:-1, :-1], index[1:, :-1], index[:-1, 1:], index[1:, 1:]))
    faces = np.concatenate([np.stack([a, b, c], 1), np.stack([c, b, d], 1)]).astype(np.int32)
    vertices = points.reshape(-1, 3).astype(np.float32)
    camera = Camera(np.eye(4), lens(focal=80))
    ours = rasterize(vertices, faces, camera, grid=grid)
    assert_identical(ours, rasterize(vertices, faces, camera))
    assert (ours.face_id >= 0).any() == (len(faces) > 0)


@pytest.mark.parametrize("size", [(1, 1), (3, 200), (257, 5), (96, 80)])
def test_result_of_another_size_than_the_grid(size: tuple[int, int]) -> None:
    mesh, camera = relief(6, 30, 36), orbit(15)
    ours = rasterize(mesh.vertices, mesh.faces, camera, size, grid=mesh.grid)
    assert ours.face_id.shape == (size[1], size[0])
    oracle = rasterize(mesh.vertices, mesh.faces, camera, size, backend="numpy")
    assert_same_view(ours, oracle, mesh, camera)


def test_attributes_are_perspective_correct() -> None:
    """Blending the vertices gives the point that the pixel's ray meets."""
    mesh, camera = relief(7, 30, 36), orbit(40, pitch=10)
    raster = rasterize(mesh.vertices, mesh.faces, camera, SIZE, grid=mesh.grid)
    points = interpolate(raster, mesh.faces, mesh.vertices, grid=mesh.grid)
    w2c, k = camera.w2c(), camera.intrinsics
    seen = (raster.face_id >= 0) & (raster.depth < 50)
    local = points[seen] @ w2c[:3, :3].T + w2c[:3, 3]
    y, x = np.nonzero(seen)
    assert np.abs(local[:, 0] / local[:, 2] * k.fx + k.cx - x - 0.5).max() < 2 * SNAP
    assert np.abs(local[:, 1] / local[:, 2] * k.fy + k.cy - y - 0.5).max() < 2 * SNAP
    assert np.allclose(local[:, 2], raster.depth[seen], rtol=1e-4)
    oracle = interpolate(raster, mesh.faces, mesh.vertices, backend="numpy")
    assert np.allclose(points, oracle, atol=1e-4)
    assert np.allclose(interpolate(raster, mesh.faces, mesh.vertices), oracle, atol=1e-4)


def test_callers_mistakes_are_named() -> None:
    mesh, camera = relief(0, 8, 9), orbit(0)
    for backend in ("numba", "torch"):
        with pytest.raises(ValueError, match="vertex outside"):
            rasterize(mesh.vertices, np.array([[0, 1, 9999]], np.int32), camera, backend=backend)
        with pytest.raises(ValueError, match="vertex outside"):
            rasterize(mesh.vertices, np.array([[0, 1, -1]], np.int32), camera, backend=backend)
    with pytest.raises(ValueError, match="not a 9x8 grid"):
        rasterize(mesh.vertices, mesh.faces, camera, grid=(9, 8))
    with pytest.raises(ValueError, match="too few"):
        rasterize(mesh.vertices, mesh.faces, camera, grid=(90, 8))
    with pytest.raises(ValueError, match="known are numba, torch"):
        rasterize(mesh.vertices, mesh.faces, camera, backend="gpu")
    with pytest.raises(ValueError, match="need"):
        rasterize(mesh.vertices[:, :2], mesh.faces, camera)
    with pytest.raises(ValueError, match="each side"):
        rasterize(mesh.vertices, mesh.faces, camera, (0, 4))
    with pytest.raises(ValueError, match="positive"):
        rasterize(mesh.vertices, mesh.faces, camera, near=0)
    with pytest.raises(ValueError, match="at least 1"):
        rasterize(mesh.vertices, mesh.faces, camera, grid=mesh.grid, apart=0)


@pytest.mark.parametrize("backend", ["numba", "torch"])
def test_no_faces_no_picture(backend: str) -> None:
    raster = rasterize(np.zeros((0, 3), np.float32), np.zeros((0, 3), np.int32), orbit(0), backend=backend)
    assert (raster.face_id == -1).all()
    assert np.isinf(raster.depth).all()


@pytest.mark.parametrize(("width", "height"), [(700, 30), (30, 700), (8000, 6), (8300, 6), (6, 8300)])
@pytest.mark.parametrize("step", [0.5, 1 / 64])
def test_slivers_are_exact(width: int, height: int, step: float) -> None:
    """Long thin faces, many of them over pixel centres: each pixel as integers say.

    Beyond 2^13 pixels the kernel decides pixel by pixel; below it computes where the edges cross the rows.
    """
    rng = np.random.default_rng(width + height)
    camera = Camera(np.eye(4), Intrinsics(64, 64, 0, 0, width, height))
    x, y = np.meshgrid(np.arange(width) * 4096 + 2048, np.arange(height) * 4096 + 2048)
    hits = 0
    for _ in range(12):
        long = rng.uniform(0, [width, height], (2, 2))
        long[1] = long[1] if width + height < 2000 else [width, height] - long[0]
        points = np.round(np.concatenate([long, long[:1] + rng.uniform(-1.5, 1.5, (1, 2))]) / step) * step
        raster = rasterize(flat(points), np.array([[0, 1, 2]], np.int32), camera, threads=2)
        corners = np.round(points * 4096).astype(np.int64)
        twice_area = np.linalg.det(np.diff(points, axis=0))
        expected = np.full((height, width), abs(twice_area) > 1e-9)
        for k in range(3):
            (ax, ay), (bx, by) = corners[k], corners[(k + 1) % 3]
            sign = 1 if twice_area > 0 else -1
            a, b = -sign * (by - ay), sign * (bx - ax)
            e = a * (x - ax) + b * (y - ay)
            expected &= (e > 0) | ((e == 0) & (a > 0 or (a == 0 and b > 0)))
        assert np.array_equal(raster.face_id == 0, expected)
        hits += int(expected.sum())
    assert hits > 100
