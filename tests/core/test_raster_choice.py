"""Which rasterizer is used, what happens when it cannot be, and what `ex4d doctor` says about it."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from raster_cases import Mesh, assert_identical, orbit, relief

from ex4d_core import raster
from ex4d_core.commands import doctor
from ex4d_core.devices import Gpu
from ex4d_core.errors import InputError, MissingDependencyError
from ex4d_core.raster import choice, choose, nvdiffrast_backend, rasterize, torch_backend
from ex4d_core.raster.choice import VARIABLE, Choice

CARD = Gpu(0, "NVIDIA Card", "GPU-0", 24 << 30, 20 << 30, "580.65.06")


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing is asked for, nothing is remembered."""
    monkeypatch.delenv(VARIABLE, raising=False)
    automatic = choice._automatic
    automatic.cache_clear()
    raster._warn_once.cache_clear()
    yield
    automatic.cache_clear()


def test_without_a_gpu_it_is_numba_and_torch_stays_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "gpus", lambda: ())
    monkeypatch.setitem(sys.modules, "torch", None)  # importing it would fail
    assert choose() == Choice("numba", "no NVIDIA GPU")


def test_a_driver_that_does_not_answer_is_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    def gpus() -> tuple[Gpu, ...]:
        raise MissingDependencyError("The NVIDIA driver does not answer: restart the machine.")

    monkeypatch.setattr(choice, "gpus", gpus)
    assert choose().backend == "numba"


@pytest.mark.skipif(torch.cuda.is_available(), reason="this torch has CUDA")
def test_a_torch_without_cuda_is_of_no_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "gpus", lambda: (CARD,))
    assert choose() == Choice("numba", f"torch {torch.__version__} has no use of the GPU")


@pytest.mark.skipif(torch.cuda.is_available(), reason="this torch has CUDA")
def test_a_gpu_that_torch_cannot_compute_on_is_of_no_use(monkeypatch: pytest.MonkeyPatch) -> None:
    """As an old card with a new torch: it is listed, and the first operation fails. (Here: any operation on it.)"""
    monkeypatch.setattr(choice, "gpus", lambda: (CARD,))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: CARD.name)
    found = choose()
    assert found.backend == "numba"
    assert found.reason.startswith("torch cannot use the GPU (")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA")
def test_a_gpu_is_used() -> None:
    assert choose().backend == "torch"


def test_the_user_has_the_last_word(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in choice.BACKENDS:
        monkeypatch.setenv(VARIABLE, name)
        assert choose() == Choice(name, f"{VARIABLE} says so", asked=True)
    monkeypatch.setenv(VARIABLE, "cuda")
    with pytest.raises(InputError, match=r"EX4D_RASTER is 'cuda', .*: set it to one of numba, torch, triton"):
        choose()


def full(*_: object, **__: object) -> None:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")


def test_a_full_gpu_gives_way_to_the_cpu(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """A diffusion model may hold all of it; the frame is the same, so nobody has to be asked."""
    mesh, camera = relief(0, 20, 24), orbit(20)
    expected = rasterize(mesh.vertices, mesh.faces, camera, backend="numba")
    monkeypatch.setattr(choice, "_automatic", lambda: Choice("torch", "CUDA on it"))
    monkeypatch.setattr(torch_backend, "draw", full)
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            assert_identical(rasterize(mesh.vertices, mesh.faces, camera), expected)
    assert len(caplog.records) == 1
    assert "no memory left" in caplog.text
    assert "on the CPU" in caplog.text


def test_a_full_gpu_is_an_error_where_it_was_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    mesh = relief(0, 20, 24)
    monkeypatch.setattr(torch_backend, "draw", full)
    monkeypatch.setenv(VARIABLE, "torch")
    with pytest.raises(MissingDependencyError, match=r"no memory left .*: close .* EX4D_RASTER=numba"):
        rasterize(mesh.vertices, mesh.faces, orbit(0))


@pytest.mark.parametrize("name", ["torch", "triton", "nvdiffrast"])
def test_without_torch_there_is_a_sentence(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in [module for module in sys.modules if module.startswith("ex4d_core.raster.")]:
        if module.rpartition(".")[2].startswith(("torch_", "triton_", "nvdiffrast_")):
            monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "torch", None)  # importing it fails
    monkeypatch.setenv(VARIABLE, name)
    mesh = relief(0, 8, 9)
    with pytest.raises(MissingDependencyError, match=f"{name} needs torch, .*: pip install torch .*EX4D_RASTER=numba"):
        rasterize(mesh.vertices, mesh.faces, orbit(0))
    with pytest.raises(MissingDependencyError, match="needs torch"):
        raster.warm_up()
    assert doctor._rasterizer().remedy.startswith("pip install torch")


def test_doctor_says_which_and_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "gpus", lambda: ())
    assert doctor._rasterizer().detail.endswith(": no NVIDIA GPU")
    monkeypatch.setenv(VARIABLE, "torch")
    check = doctor._rasterizer()
    assert (check.state, check.detail) == ("ok", f"torch {torch.__version__}: {VARIABLE} says so")
    monkeypatch.setenv(VARIABLE, "cuda")
    check = doctor._rasterizer()
    assert check.state == "broken"
    assert check.remedy.startswith("set it to one of")


@pytest.mark.skipif(nvdiffrast_backend.find_spec("nvdiffrast") is not None, reason="nvdiffrast is installed")
def test_nvdiffrast_says_what_it_is_and_what_to_use_instead(monkeypatch: pytest.MonkeyPatch) -> None:
    mesh = relief(0, 8, 9)
    with pytest.raises(MissingDependencyError) as problem:
        rasterize(mesh.vertices, mesh.faces, orbit(0), backend="nvdiffrast")
    for part in ("NVIDIA Source Code License", "not for commercial work", "--no-build-isolation .[nvdiffrast]"):
        assert part in str(problem.value)
    assert problem.value.remedy.endswith(f"set {VARIABLE}=torch, which is as exact and free of such terms.")
    monkeypatch.setenv(VARIABLE, "nvdiffrast")
    assert doctor._rasterizer().state == "broken"


@pytest.mark.skipif(torch.cuda.is_available(), reason="CUDA is there")
def test_nvdiffrast_without_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nvdiffrast_backend, "find_spec", lambda _: object())
    with pytest.raises(MissingDependencyError, match="needs an NVIDIA GPU, .*: set EX4D_RASTER=numba"):
        rasterize(np.zeros((3, 3), np.float32), np.array([[0, 1, 2]], np.int32), orbit(0), backend="nvdiffrast")


def homogeneous(mesh: Mesh, degrees: float) -> torch.Tensor:
    camera = orbit(degrees)
    matrix = camera.intrinsics.matrix() @ camera.w2c()[:3]
    return torch.from_numpy(mesh.vertices.astype(np.float64) @ matrix[:, :3].T + matrix[:, 3])


def test_nvdiffrast_gets_the_picture_between_minus_one_and_one() -> None:
    corners = torch.tensor([[0, 0, 1.0], [48, 0, 1], [0, 40, 1], [24 * 5, 20 * 5, 5], [0, 0, torch.nan]])
    x, y, z, w = nvdiffrast_backend.clip_space(corners.double(), (48, 40), 1e-3).T
    assert torch.equal(w, torch.tensor([1.0, 1, 1, 5, 0]))
    assert torch.equal((x / w)[:4], torch.tensor([-1.0, 1, -1, 0]))
    assert torch.equal((y / w)[:4], torch.tensor([-1.0, -1, 1, 0]))  # row 0, our top, is its bottom
    assert torch.equal((z / w)[:4], torch.tensor([-1.0, -1, -1, 0.6]))  # nothing is nearer than 1, nor cut away
    before = nvdiffrast_backend.clip_space(torch.tensor([[0, 0, -1.0], [0, 0, 0.25]]).double(), (48, 40), 0.5)
    assert (before[:, 2] < -before[:, 3]).all()  # both are nearer than `near`: beyond its near plane


def test_what_nvdiffrast_would_answer_is_read_as_it_is_meant() -> None:
    """Its answer, written down from the oracle's: nvdiffrast itself needs a GPU, see the test below."""
    mesh = relief(3, 30, 36)
    oracle = rasterize(mesh.vertices, mesh.faces, orbit(40), backend="numpy")
    seen = oracle.face_id >= 0
    found = np.concatenate([oracle.barycentrics[..., :2], np.zeros((*seen.shape, 2))], axis=2)
    found[..., 3] = np.where(seen, oracle.face_id + 1, 0)
    ours = nvdiffrast_backend.read(
        torch.from_numpy(found.astype(np.float32)), homogeneous(mesh, 40), torch.from_numpy(mesh.faces)
    )
    assert np.array_equal(ours.face_id, oracle.face_id)
    assert np.array_equal(ours.front, oracle.front)
    assert np.allclose(ours.barycentrics, oracle.barycentrics, atol=1e-6)
    assert np.allclose(ours.depth, oracle.depth, rtol=1e-4)


@pytest.mark.gpu
@pytest.mark.skipif(nvdiffrast_backend.find_spec("nvdiffrast") is None, reason="nvdiffrast is not installed")
def test_nvdiffrast_itself() -> None:
    mesh, camera = relief(3, 200, 180), orbit(40)
    ours = rasterize(mesh.vertices, mesh.faces, camera, (257, 193), backend="nvdiffrast")
    oracle = rasterize(mesh.vertices, mesh.faces, camera, (257, 193), backend="numba")
    same = ours.face_id == oracle.face_id
    assert same.mean() > 0.98
    assert np.allclose(ours.depth[same], oracle.depth[same], rtol=1e-2)
    assert (ours.front == oracle.front)[same].all()
