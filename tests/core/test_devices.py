"""GPUs as the driver tells. Where there is none, its C library is played by a Python object behind pynvml's ctypes."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import pynvml
import pytest

from ex4d_core.commands import doctor
from ex4d_core.devices import Gpu, gpus
from ex4d_core.errors import MissingDependencyError

GB = 2**30


def has_driver() -> bool:
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return False
    pynvml.nvmlShutdown()
    return True


class Library:
    """libnvidia-ml.so.1 with two cards, answering through the pointers it is given; `fails` maps a name to an error."""

    def __init__(self, fails: dict[str, int], cards: int = 2) -> None:
        self.fails, self.cards, self.calls = fails, cards, []

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if not name.startswith("nvml"):
            raise AttributeError(name)

        def call(*arguments: Any) -> int:
            self.calls.append(name)
            return self.fails.get(name) or self.answer(name, arguments)

        return call

    def answer(self, name: str, arguments: tuple[Any, ...]) -> int:
        if name == "nvmlSystemGetDriverVersion":
            arguments[0].value = b"580.65.06"
        elif name == "nvmlDeviceGetCount_v2":
            arguments[0]._obj.value = self.cards
        elif name == "nvmlDeviceGetHandleByIndex_v2":
            ctypes.memmove(arguments[1], ctypes.byref(ctypes.c_void_p(arguments[0].value + 1)), 8)
        elif name in ("nvmlDeviceGetName", "nvmlDeviceGetUUID"):
            number = ctypes.cast(arguments[0], ctypes.c_void_p).value - 1
            arguments[1].value = b"NVIDIA Card %d" % number if name == "nvmlDeviceGetName" else b"GPU-%d" % number
        elif name == "nvmlDeviceGetMemoryInfo":
            arguments[1]._obj.total, arguments[1]._obj.free = 24 * GB, 20 * GB
        elif name not in ("nvmlInitWithFlags", "nvmlShutdown"):
            raise AssertionError(f"not expected: {name}")
        return 0


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Library]:
    if has_driver():
        pytest.skip("this machine has a driver of its own")

    def play(**fails: int) -> Library:
        library = Library(fails)
        monkeypatch.setattr(pynvml, "nvmlLib", library)
        monkeypatch.setattr(pynvml, "_nvmlGetFunctionPointer_cache", {})
        return library

    return play


@pytest.mark.skipif(has_driver(), reason="this machine has a driver")
def test_without_a_driver_there_is_no_gpu() -> None:
    assert gpus() == ()
    assert doctor._gpu().state == "missing"


@pytest.mark.gpu
@pytest.mark.skipif(not has_driver(), reason="this machine has no driver")
def test_a_real_gpu() -> None:
    first = gpus()[0]
    assert first.uuid.startswith("GPU-")
    assert 0 <= first.free_bytes <= first.total_bytes
    assert first.driver[0].isdigit()
    assert doctor._gpu().state == "ok"


def test_cards_are_listed(install: Callable[..., Library]) -> None:
    library = install()
    assert gpus() == tuple(Gpu(i, f"NVIDIA Card {i}", f"GPU-{i}", 24 * GB, 20 * GB, "580.65.06") for i in range(2))
    assert library.calls.count("nvmlInitWithFlags") == library.calls.count("nvmlShutdown") == 1
    assert doctor._gpu().detail == (
        "NVIDIA Card 0, 24 GB, 20 GB free; NVIDIA Card 1, 24 GB, 20 GB free; driver 580.65.06"
    )
    library.cards = 0
    assert gpus() == ()


def test_a_chip_without_memory_of_its_own(install: Callable[..., Library]) -> None:
    install(nvmlDeviceGetMemoryInfo=pynvml.NVML_ERROR_NOT_SUPPORTED)
    assert [(g.total_bytes, g.free_bytes) for g in gpus()] == [(0, 0)] * 2


def test_a_driver_that_is_not_loaded_is_none(install: Callable[..., Library]) -> None:
    install(nvmlInitWithFlags=pynvml.NVML_ERROR_DRIVER_NOT_LOADED)
    assert gpus() == ()


@pytest.mark.parametrize(
    ("call", "code", "words"),
    [
        ("nvmlInitWithFlags", pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH, "mismatch"),
        ("nvmlDeviceGetHandleByIndex_v2", pynvml.NVML_ERROR_GPU_IS_LOST, "GPU is lost"),
        ("nvmlDeviceGetMemoryInfo", pynvml.NVML_ERROR_UNKNOWN, "Unknown Error"),
    ],
)
def test_a_broken_driver_is_one_sentence(install: Callable[..., Library], call: str, code: int, words: str) -> None:
    install(**{call: code})
    with pytest.raises(MissingDependencyError) as caught:
        gpus()
    assert words in str(caught.value)
    assert str(caught.value).count(".") == 1
    assert caught.value.remedy == "restart the machine, or install the driver again."
    check = doctor._gpu()
    assert (check.state, check.remedy) == ("broken", caught.value.remedy)
    assert words in check.detail
