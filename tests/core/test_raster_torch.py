"""The GPU's rasterizer, on whatever device torch has here: the same picture as the compiled one's."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from raster_cases import INSIDE, Mesh, assert_identical, assert_same_view, lens, orbit, relief, soup
from torch.overrides import TorchFunctionMode

from ex4d_core.camera import Camera
from ex4d_core.raster import Raster, rasterize, torch_backend, torch_draw, torch_setup


def assert_equal_to_numba(mesh: Mesh, camera: Camera, size: tuple[int, int]) -> None:
    """Which face, and which side of it, exactly; the rest as far as float32 goes."""
    ours = rasterize(mesh.vertices, mesh.faces, camera, size, backend="torch")
    theirs = rasterize(mesh.vertices, mesh.faces, camera, size, grid=mesh.grid, backend="numba")
    assert np.array_equal(ours.face_id, theirs.face_id)
    assert np.array_equal(ours.front, theirs.front)
    assert np.allclose(ours.depth, theirs.depth, rtol=1e-6)
    assert np.allclose(ours.barycentrics, theirs.barycentrics, atol=1e-6)


@pytest.mark.parametrize(
    "camera",
    [orbit(0), orbit(7, pitch=3), orbit(60), orbit(-90, pitch=20), orbit(170), orbit(30, 0.5), *INSIDE],
    ids=["0", "7", "60", "-90", "170", "near", "inside", "inside, wide"],
)
def test_a_mesh_with_cliffs_equals_numba(camera: Camera) -> None:
    """Bridges and the closing fan are long slivers; half of the cameras stand amid the mesh."""
    assert_equal_to_numba(relief(3, 120, 90), camera, (131, 117))


def test_long_faces_equal_numba() -> None:
    """Of all shapes, larger than the picture, and through the camera."""
    for seed in range(8):
        assert_equal_to_numba(soup(seed, 300, 4.0), Camera(np.eye(4), lens()), (320, 200))


@pytest.mark.parametrize("camera", INSIDE, ids=["inside", "inside, wide"])
def test_clipped_faces_equal_the_oracle(camera: Camera) -> None:
    mesh = relief(3, 30, 36)
    ours = rasterize(mesh.vertices, mesh.faces, camera, backend="torch")
    assert_same_view(ours, rasterize(mesh.vertices, mesh.faces, camera, backend="numpy"), mesh, camera)


def test_the_size_of_chunks_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """What bounds the memory: faces, lines and pixels in many small parts, some of them larger than a part."""
    mesh = relief(1, 60, 50)
    whole = [rasterize(mesh.vertices, mesh.faces, c, (71, 67), backend="torch") for c in (orbit(50), *INSIDE)]
    for chunk in (61, 1000):
        for module in (torch_backend, torch_draw, torch_setup):
            monkeypatch.setattr(module, "CHUNK", chunk)
        for camera, before in zip((orbit(50), *INSIDE), whole, strict=True):
            assert_identical(rasterize(mesh.vertices, mesh.faces, camera, (71, 67), backend="torch"), before)


def test_parts_are_as_large_as_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch_draw, "CHUNK", 100)
    counts = torch.from_numpy(np.random.default_rng(0).integers(0, 30, 1000))
    parts = list(torch_draw.expand(counts))
    assert max(len(owner) for owner, _ in parts) <= 100 + 29
    owner, nth = (torch.cat(column) for column in zip(*parts, strict=True))
    assert torch.equal(owner.bincount(minlength=1000), counts)
    assert torch.equal(nth, torch.cat([torch.arange(int(n)) for n in counts]))


def test_numbers_of_faces_beyond_32_bits_of_label(monkeypatch: pytest.MonkeyPatch) -> None:
    mesh = soup(0, 20)
    monkeypatch.setattr(torch_backend, "_MOST_FACES", 19)
    with pytest.raises(ValueError, match="20 faces: at most 19"):
        rasterize(mesh.vertices, mesh.faces, orbit(0), backend="torch")


@pytest.mark.slow
def test_memory_is_bounded() -> None:
    """A mesh of four million faces takes little more than its own arrays and the picture."""
    code = """
import resource, numpy as np
from ex4d_core.camera import Camera, Intrinsics
from ex4d_core.raster import rasterize
import ex4d_core.raster.torch_backend
n = 1449
y, x = np.mgrid[:n, :n]
points = np.stack([x / n - 0.5, y / n - 0.5, 1.5 + 0.1 * np.sin(x / 9)], -1).reshape(-1, 3).astype(np.float32)
i = np.arange(n * n, dtype=np.int32).reshape(n, n)
a, b, c, d = i[:-1, :-1].ravel(), i[1:, :-1].ravel(), i[:-1, 1:].ravel(), i[1:, 1:].ravel()
faces = np.concatenate([np.stack([a, b, c], 1), np.stack([c, b, d], 1)])
camera = Camera(np.eye(4), Intrinsics.from_focal_px(1000, 1024, 1024))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
raster = rasterize(points, faces, camera, backend="torch")
assert (raster.face_id >= 0).mean() > 0.2
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    pytest.importorskip("resource", reason="peak memory is read with the resource module of Unix")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 700 * 1024, "KiB"


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA")
def test_a_gpu_equals_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    def drawn(where: str) -> list[Raster]:
        monkeypatch.setattr(torch_backend, "device", lambda: torch.device(where))
        return [rasterize(mesh.vertices, mesh.faces, c, (257, 193), backend="torch") for c in (orbit(40), *INSIDE)]

    mesh = relief(5, 200, 180)
    for gpu, cpu in zip(drawn("cuda"), drawn("cpu"), strict=True):
        assert_identical(gpu, cpu)


class OnItsDevice(TorchFunctionMode):
    """Refuses to make a tensor anywhere but where it was told: on the CPU nobody notices, on a GPU it fails."""

    MAKERS = (torch.arange, torch.empty, torch.eye, torch.full, torch.ones, torch.tensor, torch.zeros)

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func in self.MAKERS:
            assert "device" in kwargs, f"torch.{func.__name__}{args} names no device"
        return func(*args, **kwargs)


def test_all_tensors_are_made_on_the_device() -> None:
    """A GPU's kernels do not take the CPU's tensors; this catches that where there is no GPU."""
    with OnItsDevice():
        with pytest.raises(AssertionError, match="names no device"):
            torch.arange(3)
        mesh = relief(3, 30, 36)
        for camera in (orbit(40), *INSIDE):
            assert (rasterize(mesh.vertices, mesh.faces, camera, backend="torch").face_id >= 0).any()
