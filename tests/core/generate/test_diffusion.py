"""The engine over tiny models: plans, comes down the ladder when memory runs out, keeps its model between shots."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from torch.utils._python_dispatch import TorchDispatchMode

from ex4d_core.engines import EngineSetup
from ex4d_core.errors import Ex4dError, InputError, MissingDependencyError, SpaceError
from ex4d_core.generate.diffusion import DiffusionEngine, needs
from ex4d_core.generate.engine import Shot, make_engine
from ex4d_core.generate.ex4d import EX4D, Ex4dModel
from ex4d_core.generate.ladder import Plan
from ex4d_core.generate.profiles import Profile
from ex4d_core.generate.sizes import ComponentSizes
from ex4d_core.generate.video_model import Limits
from ex4d_core.model_files import ModelFiles
from ex4d_core.progress import never_cancelled, silent

STEPS = 2
SHORT = replace(EX4D.limits, frames=5)
ATTENTION = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu.default


@dataclass
class Loads:
    """EX-4D's loader in windows of 5 frames, which remembers the plans it loaded."""

    limits: Limits = SHORT
    plans: list[Plan] = field(default_factory=list[Plan])
    engine: str = EX4D.engine

    def sizes(self, files: ModelFiles) -> ComponentSizes:
        return EX4D.sizes(files)

    def load(self, files: ModelFiles, plan: Plan, profile: Profile, prompt: str) -> Ex4dModel:
        self.plans.append(plan)
        return EX4D.load(files, plan, profile, prompt)


class RunsOut(TorchDispatchMode):
    """The allocator's error at one call of an operator, as it comes on a GPU."""

    def __init__(self, operator: Any, call: int, error: type[Exception]) -> None:
        super().__init__()
        self._operator, self._left, self._error = operator, call, error
        self.raised = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is self._operator:
            self._left -= 1
            if self._left == 0:
                self.raised += 1
                raise self._error("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return func(*args, **(kwargs or {}))


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.getbasetemp() / "cache-of-diffusion"
        patch.setenv("EX4D_CACHE_DIR", str(folder))
        yield folder


def shot(frames: int = 5, quality: str = "") -> Shot:
    color = np.random.default_rng(0).integers(0, 256, (frames, 32, 32, 3), dtype=np.uint8)
    mask = np.ones(color.shape[:3], bool)
    mask[1:, :, 20:] = False
    return Shot(np.where(mask[..., None], color, np.uint8(0)), mask, Fraction(24), quality=quality)


def setup(folder: Path, memory: str = "") -> EngineSetup:
    return EngineSetup(model_dir=folder, memory=memory, steps=STEPS)


def frames_of(engine: DiffusionEngine, wanted: Shot | None = None) -> NDArray[np.uint8]:
    return np.stack([f.color for f in engine.generate(wanted or shot(), silent, never_cancelled)])


@pytest.fixture(scope="module")
def on_resident(tiny_ex4d: Path) -> NDArray[np.uint8]:
    return frames_of(DiffusionEngine(Loads(), setup(tiny_ex4d, "resident")))


def test_out_of_memory_goes_on_a_rung_lower(
    tiny_ex4d: Path, on_resident: NDArray[np.uint8], caplog: pytest.LogCaptureFixture
) -> None:
    """In the middle of denoising; the frames are those of a run that began on that rung."""
    loads = Loads()
    engine = DiffusionEngine(loads, setup(tiny_ex4d))
    with caplog.at_level(logging.WARNING), RunsOut(ATTENTION, 9, torch.OutOfMemoryError) as broken:
        found = frames_of(engine)
    assert broken.raised == 1
    assert [plan.rung for plan in loads.plans] == ["resident", "fp8"]
    assert "The memory ran out on the rung resident" in caplog.text
    assert "trying again on fp8" in caplog.text
    assert engine.settings["memory"] == "fp8"
    assert engine.settings["rungs"] == ["fp8"]
    assert np.array_equal(found, frames_of(DiffusionEngine(Loads(), setup(tiny_ex4d, "fp8"))))
    assert not np.array_equal(found, on_resident)


@pytest.mark.slow
def test_windows_made_before_stay(tiny_ex4d: Path) -> None:
    """Only the window that failed is made again; what follows stays on the lower rung."""
    wanted, loads = shot(frames=6), Loads()
    with _Calls() as calls:
        whole = frames_of(DiffusionEngine(Loads(), setup(tiny_ex4d, "resident")), wanted)
    engine = DiffusionEngine(loads, setup(tiny_ex4d))
    with RunsOut(ATTENTION, calls.count * 3 // 4, torch.OutOfMemoryError) as broken:
        found = frames_of(engine, wanted)
    assert broken.raised == 1
    assert [plan.rung for plan in loads.plans] == ["resident", "fp8"]
    assert engine.settings["windows"] == 2
    assert engine.settings["rungs"] == ["resident", "fp8"]
    same = [np.array_equal(*pair) for pair in zip(found, whole, strict=True)]
    assert same == [True, True, True, True, False, False]  # the fifth is where the windows meet
    frames_of(engine, wanted)
    assert len(loads.plans) == 2


class _Calls(TorchDispatchMode):
    count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += func is ATTENTION
        return func(*args, **(kwargs or {}))


def test_below_the_last_rung_there_is_one_clear_error(tiny_ex4d: Path) -> None:
    engine = DiffusionEngine(Loads(), setup(tiny_ex4d, "disk-offload"))
    with RunsOut(ATTENTION, 1, torch.OutOfMemoryError) as broken, pytest.raises(Ex4dError) as said:
        frames_of(engine)
    assert broken.raised == 1
    assert str(said.value).startswith("The memory ran out while ex4d made 32x32x5 on the rung disk-offload")
    assert "vace-1.3b" in said.value.remedy
    assert "CUDA" not in str(said.value)


def test_running_out_while_loading_counts_too(tiny_ex4d: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loads = Loads()
    load = Loads.load

    def too_large(self: Loads, files: ModelFiles, plan: Plan, profile: Profile, prompt: str) -> Ex4dModel:
        model = load(self, files, plan, profile, prompt)
        if plan.rung == "resident":
            torch.empty(2**60, dtype=torch.uint8)  # the CPU's own allocator says so
        return model

    monkeypatch.setattr(Loads, "load", too_large)
    assert frames_of(DiffusionEngine(loads, setup(tiny_ex4d))).shape == (5, 32, 32, 3)
    assert [plan.rung for plan in loads.plans] == ["resident", "fp8"]


def test_a_full_disk_is_said(tiny_ex4d: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_args: Any, **_kwargs: Any) -> None:
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr("safetensors.torch.save_file", full)  # as diffusers calls it
    with pytest.raises(SpaceError, match="is full, where ex4d .* on the rung disk-offload: free some space") as said:
        frames_of(DiffusionEngine(Loads(), setup(tiny_ex4d, "disk-offload")))
    assert str(own_cache) in str(said.value)


def test_other_errors_are_not_tried_again(tiny_ex4d: Path) -> None:
    loads = Loads()
    with RunsOut(ATTENTION, 3, ValueError), pytest.raises(ValueError, match="out of memory"):
        frames_of(DiffusionEngine(loads, setup(tiny_ex4d)))
    assert len(loads.plans) == 1


def test_the_model_is_kept_between_shots(tiny_ex4d: Path, on_resident: NDArray[np.uint8]) -> None:
    loads = Loads()
    engine = DiffusionEngine(loads, setup(tiny_ex4d))
    assert np.array_equal(frames_of(engine), on_resident)
    assert np.array_equal(frames_of(engine), on_resident)
    assert len(loads.plans) == 1
    assert json.loads(json.dumps(engine.settings)) == engine.settings
    assert engine.settings["memory"] == "resident"
    assert engine.settings["profile"]["steps"] == STEPS
    assert {"attention", "dtype", "device", "tiled_vae", "compiled", "seconds", "vae_share"} <= engine.settings.keys()
    assert {"transformer", "vae", "adapter"} <= engine.settings["models"].keys()


def test_an_attention_for_gpus_is_refused_before_anything_is_loaded(tiny_ex4d: Path) -> None:
    loads = Loads()
    with pytest.raises(InputError, match="needs an NVIDIA GPU"):
        frames_of(DiffusionEngine(loads, replace(setup(tiny_ex4d), attention="sage")))
    assert not loads.plans


def test_absent_models_are_named_with_command_and_size() -> None:
    with pytest.raises(MissingDependencyError, match=r"`ex4d models download \S+` \(\d+\.\d GB\)"):
        make_engine("ex4d")


@pytest.mark.parametrize("engine", ["ex4d", "vace-1.3b", "vace-14b"])
def test_needs_are_told_without_models(engine: str) -> None:
    asked = EngineSetup(memory="resident")
    told = needs(engine, 1920, 1080, 200, asked)
    assert told.ram_bytes > 10e9
    assert told.ram_bytes > needs(engine, 512, 512, 17, asked).ram_bytes


def test_needs_are_those_of_the_files_that_are_given(tiny_ex4d: Path) -> None:
    assert needs("ex4d", 64, 64, 9, EngineSetup(model_dir=tiny_ex4d)).ram_bytes < 5e9
