"""The DW-Mesh: topology, positions and flags of both methods."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from ex4d_core.camera import Intrinsics
from ex4d_core.errors import InputError
from ex4d_core.mesh import DWMesh, bridge_faces, build_mesh, dwmesh_faces, occlusion_bits, reference_faces

Depth = NDArray[np.float32]


def lens(height: int, width: int, focal: float = 500.0) -> Intrinsics:
    return Intrinsics.from_focal_px(focal, width, height)


def room(height: int, width: int, focal: float, scale: float = 1.0) -> tuple[Depth, NDArray[np.int_]]:
    """A floor seen at a grazing angle, a slanted wall that it meets, and a ball floating before both.

    The field of view follows from `focal`, the picture of the ball from the geometry.

    Returns:
        (H, W) float32 z-depth, (H, W) 1 where the ball is, else 0.
    """
    x = (np.arange(width) + 0.5 - width / 2) / focal
    y = ((np.arange(height) + 0.5 - height / 2) / focal)[:, None]
    wall = 8.0 / (1 - 0.8 * x) + 0 * y  # z = 8 + 0.8 x z
    with np.errstate(divide="ignore"):
        floor = np.where(y > 0, 0.35 / y, np.inf) + 0 * x
    depth = np.minimum(wall, floor)
    # |t (x, y, 1) - centre| = radius
    centre, radius = np.array([0.3, -0.25, 4.0]), 0.4
    a = x**2 + y**2 + 1
    b = x * centre[0] + y * centre[1] + centre[2]
    root = b**2 - a * (centre @ centre - radius**2)
    ball = root > 0
    # A flat disk instead of the ball's surface: its silhouette is a clean edge, not a grazing one.
    depth = np.where(ball, centre[2] + 0.5 * x, depth)
    return (depth * scale).astype(np.float32), ball.astype(int)


def faces_across(labels: NDArray[np.int_]) -> NDArray[np.bool_]:
    """Grid faces whose corners do not all have one label, in the mesh's order."""
    a, b, c, d = labels[:-1, :-1], labels[:-1, 1:], labels[1:, :-1], labels[1:, 1:]
    upper = (a != b) | (a != c)
    lower = (d != b) | (d != c)
    return np.concatenate([upper.ravel(), lower.ravel()])


def directed_edges(faces: NDArray[np.int32]) -> NDArray[np.int32]:
    return np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])


def assert_closed(mesh: DWMesh) -> None:
    """Every edge has exactly two faces that run along it in opposite directions; one sphere."""
    edges = Counter(map(tuple, directed_edges(mesh.faces).tolist()))
    assert set(edges.values()) == {1}
    assert all((b, a) in edges for a, b in edges)
    assert len(set(mesh.faces.ravel().tolist())) == len(mesh.vertices)
    assert len(mesh.vertices) - len(edges) // 2 + len(mesh.faces) == 2
    # Around each vertex the faces form one fan: an edge-manifold could still pinch at a vertex.
    spokes: dict[int, dict[int, int]] = {}
    for face in mesh.faces.tolist():
        for k in range(3):
            spokes.setdefault(face[k], {})[face[(k + 1) % 3]] = face[(k + 2) % 3]
    for ring in spokes.values():
        start = next(iter(ring))
        node, steps = ring[start], 1
        while node != start:
            node, steps = ring[node], steps + 1
        assert steps == len(ring)


@pytest.mark.parametrize("size", [(2, 2), (2, 3), (3, 2), (2, 9), (7, 2), (5, 8), (24, 17)])
def test_dwmesh_is_watertight(size: tuple[int, int]) -> None:
    height, width = size
    depth = np.random.default_rng(0).uniform(1, 9, size).astype(np.float32)
    mesh = build_mesh(depth, lens(height, width))
    assert len(mesh.faces) == 2 * (height - 1) * (width - 1) + 2 * (width + height) - 4
    assert_closed(mesh)


@settings(max_examples=20, deadline=None)
@given(st.integers(2, 14), st.integers(2, 14))
def test_dwmesh_is_watertight_at_any_size(height: int, width: int) -> None:
    mesh = build_mesh(np.ones((height, width), np.float32), lens(height, width))
    assert_closed(mesh)


def test_dwmesh_topology_depends_only_on_the_size() -> None:
    rng = np.random.default_rng(1)
    first = build_mesh(rng.uniform(1, 2, (12, 9)).astype(np.float32), lens(12, 9))
    second = build_mesh(rng.uniform(5, 90, (12, 9)).astype(np.float32), lens(12, 9, 80))
    assert first.faces is second.faces
    assert not first.faces.flags.writeable
    with pytest.raises(ValueError, match="read-only"):
        first.faces[0, 0] = 1


def test_dwmesh_encloses_what_lies_behind_the_surface() -> None:
    """Seen from outside, the winding is the reference's: normals point into the solid, its volume is negative."""
    mesh = build_mesh(np.full((10, 14), 3, np.float32), lens(10, 14, 12))
    a, b, c = (mesh.vertices[mesh.faces[:, k]].astype(np.float64) for k in range(3))
    volume = np.einsum("ij,ij->i", a, np.cross(b, c)).sum() / 6
    # A pyramid: base = the frame at depth 3, apex at depth 6.
    assert volume == pytest.approx(-(14 / 12 * 3) * (10 / 12 * 3) * (6 - 3) / 3, rel=1e-5)


def test_dwmesh_border_lies_on_the_frame_edge() -> None:
    depth = np.random.default_rng(2).uniform(1, 9, (6, 9)).astype(np.float32)
    intrinsics = Intrinsics(11.0, 13.0, 4.0, 3.5, 9, 6)
    mesh = build_mesh(depth, intrinsics)
    seen = mesh.vertices[:-1, :2] / mesh.vertices[:-1, 2:] * [11.0, 13.0] + [4.0, 3.5]
    seen = seen.reshape(6, 9, 2)
    np.testing.assert_allclose(seen[2, 3], [3.5, 2.5], atol=1e-5)
    np.testing.assert_allclose(seen[0, 0], [0, 0], atol=1e-5)
    np.testing.assert_allclose(seen[5, 8], [9, 6], atol=1e-5)
    np.testing.assert_allclose(seen[0, 4], [4.5, 0], atol=1e-5)
    np.testing.assert_allclose(mesh.uv[:-1].reshape(6, 9, 2), seen, atol=1e-5)
    np.testing.assert_allclose(mesh.vertices[:-1, 2].reshape(6, 9), depth)
    assert mesh.vertices[-1, 2] > depth.max()


@pytest.mark.parametrize("scale", [1.0, 1e-4, 250.0])
@pytest.mark.parametrize("zoom", [1, 2, 3])
@pytest.mark.parametrize("focal", [70.0, 110.0, 190.0])
def test_flags_are_the_edges_of_the_foreground_at_any_scale_resolution_and_focal_length(
    scale: float, zoom: int, focal: float
) -> None:
    height, width = 64 * zoom, 80 * zoom
    depth, ball = room(height, width, focal * zoom, scale)
    mesh = build_mesh(depth, lens(height, width, focal * zoom))
    expected = faces_across(ball)
    assert 20 * zoom < expected.sum() < expected.size / 4
    np.testing.assert_array_equal(mesh.bridge[: mesh.grid_faces], expected)
    assert mesh.bridge[mesh.grid_faces :].all()


def test_a_plane_is_whole_at_any_grazing_angle() -> None:
    x = (np.arange(96) + 0.5) / 100  # starts at the vanishing line: the steepest there is
    for slope in (0.01, 1.0, 50.0):
        plane = np.broadcast_to((slope / x).astype(np.float32), (64, 96))
        assert not bridge_faces(np.ascontiguousarray(plane)).any()
        assert not bridge_faces(np.ascontiguousarray(plane.T)).any()


def test_a_small_step_is_whole_and_a_larger_one_torn() -> None:
    depth = np.full((6, 8), 10, np.float32)
    depth[:, 4:] = 10.25
    flags = bridge_faces(depth)[:35].reshape(5, 7)
    assert flags[:, 3].all()
    assert flags.sum() == 5
    depth[:, 4:] = 10.15
    assert not bridge_faces(depth).any()


@pytest.mark.parametrize("width", [1, 2, 3, 4])
def test_an_edge_smeared_over_several_pixels_is_torn_throughout(width: int) -> None:
    ramp = np.interp(np.arange(40), [20, 20 + width], [1.0, 0.4])  # disparity
    depth = np.ascontiguousarray(np.broadcast_to((1 / ramp).astype(np.float32), (8, 40)))
    torn = np.flatnonzero(bridge_faces(depth)[: 7 * 39].reshape(7, 39)[3])
    np.testing.assert_array_equal(torn, np.arange(20, 20 + width))


def test_noise_of_one_percent_makes_no_holes() -> None:
    noise = np.random.default_rng(5).uniform(-0.005, 0.005, (50, 60))
    assert not bridge_faces((3 + 3 * noise).astype(np.float32)).any()


def test_half_precision_storage_makes_no_bridges() -> None:
    depth, ball = room(96, 120, 130)
    stored = (1 / (1 / depth).astype(np.float16).astype(np.float32)).astype(np.float32)
    np.testing.assert_array_equal(bridge_faces(stored), faces_across(ball))


def test_reference_faces_are_those_of_recon_py() -> None:
    # 3 rows, 4 columns, written out from the description: [below, here, right], [below, right, diagonal], 2 caps.
    expected = [
        [4, 0, 1], [5, 1, 2], [6, 2, 3], [8, 4, 5], [9, 5, 6], [10, 6, 7],
        [4, 1, 5], [5, 2, 6], [6, 3, 7], [8, 5, 9], [9, 6, 10], [10, 7, 11],
        [3, 0, 11], [11, 0, 8],
    ]  # fmt: skip
    np.testing.assert_array_equal(reference_faces(3, 4), expected)
    mesh = build_mesh(np.ones((3, 4), np.float32), lens(3, 4), "reference")
    np.testing.assert_array_equal(mesh.faces, expected)
    np.testing.assert_array_equal(dwmesh_faces(3, 4)[:12], expected[:12])


def test_reference_is_closed_in_space_only() -> None:
    """Its caps span the border with T-junctions: corners meet, the edges along the border have one face."""
    edges = Counter(map(tuple, np.sort(directed_edges(reference_faces(5, 7)), axis=1).tolist()))
    border = 2 * (5 + 7) - 4
    assert sum(n == 1 for n in edges.values()) == border + 4
    assert set(edges.values()) == {1, 2}


def test_reference_positions() -> None:
    depth = np.array([[1, 2, 3, 4], [5, 6, 1e4, 8], [9, 10, 11, 12]], np.float32)
    mesh = build_mesh(depth, lens(3, 4), "reference")
    z = mesh.vertices[:, 2].reshape(3, 4)
    np.testing.assert_array_equal(z, [[100, 100, 100, 100], [100, 6, 1e4, 100], [100, 100, 100, 100]])
    # pixel (row 1, column 1): centre (1.5, 1.5), principal point (2, 1.5), focal 500
    np.testing.assert_allclose(mesh.vertices[5], [(1.5 - 2) / 500 * 6, 0, 6], rtol=1e-6, atol=1e-9)
    assert depth[1, 2] == np.float32(1e4)  # the caller's array is left alone


def test_reference_flags_faces_under_two_and_a_half_degrees() -> None:
    rng = np.random.default_rng(3)
    depth = (4 + rng.normal(0, 0.08, (40, 50))).astype(np.float32)
    depth[10:20, 15:30] = 2.6
    mesh = build_mesh(depth, lens(40, 50), "reference")
    p = mesh.vertices[mesh.faces].astype(np.float64)  # (F, 3, 3)
    smallest = np.full(len(p), 180.0)
    for k in range(3):
        u, v = p[:, (k + 1) % 3] - p[:, k], p[:, (k + 2) % 3] - p[:, k]
        cosine = (u * v).sum(1) / np.linalg.norm(u, axis=1) / np.linalg.norm(v, axis=1)
        smallest = np.minimum(smallest, np.degrees(np.arccos(np.clip(cosine, -1, 1))))
    clear = np.abs(smallest - 2.5) > 1e-6
    np.testing.assert_array_equal(mesh.bridge[clear], (smallest < 2.5)[clear])
    assert 0.1 < mesh.bridge.mean() < 0.9
    hidden = np.zeros(len(mesh.vertices), bool)
    hidden[mesh.faces[mesh.bridge].ravel()] = True
    np.testing.assert_array_equal(mesh.vertex_hidden, hidden)


def test_occlusion_bits_name_the_triangles_of_a_block() -> None:
    depth = np.full((4, 5), 2, np.float32)
    depth[1, 2] = 1  # one near pixel: the upper-left triangles of three blocks touch it, the lower-right ones too
    bits = occlusion_bits(build_mesh(depth, lens(4, 5)))
    expected = np.zeros((4, 5), np.uint8)
    expected[0, 1] = 2  # its corner is only in the lower-right triangle
    expected[0, 2] = expected[1, 1] = 3  # it is on the diagonal
    expected[1, 2] = 1
    np.testing.assert_array_equal(bits, expected)
    assert bits.dtype == np.uint8


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, 0.0, -2.0])
@pytest.mark.parametrize("method", ["reference", "dwmesh"])
def test_depth_that_is_no_distance_is_refused_with_the_count(bad: float, method: str) -> None:
    depth = np.ones((5, 6), np.float32)
    depth[2, 1:4] = bad
    with pytest.raises(InputError, match="3 of 30 depth pixels"):
        build_mesh(depth, lens(5, 6), method)


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(InputError, match="'quad'.*reference, dwmesh"):
        build_mesh(np.ones((4, 4), np.float32), lens(4, 4), "quad")
    with pytest.raises(InputError, match="at least 2x2"):
        build_mesh(np.ones((1, 4), np.float32), lens(1, 4))
    with pytest.raises(InputError, match="4x3 pixels and the camera 4x4"):
        build_mesh(np.ones((3, 4), np.float32), lens(4, 4))
