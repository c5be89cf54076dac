"""What the preflight says of an engine: models of a quality, folders without models, machines that are too small."""

from __future__ import annotations

from pathlib import Path

import pytest
from ex4d_server.preflight import engine_shortages

from ex4d_core.engines import EngineSetup, Needs, missing
from ex4d_core.generate import diffusion
from ex4d_core.generate.estimates import Machine

SIZE = (832, 480, 49)
LORA = "wan2.1-i2v-4step-lora"


@pytest.fixture(autouse=True)
def no_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("EX4D_STATE_DIR", str(tmp_path / "state"))


def machine(monkeypatch: pytest.MonkeyPatch, vram: int, ram: int, disk: int) -> None:
    monkeypatch.setattr(diffusion, "this_machine", lambda: Machine("cuda", "bfloat16", vram, ram, disk))
    monkeypatch.setattr("ex4d_server.preflight._free", lambda engine: Needs(vram, ram, disk))


def test_the_models_of_a_quality_are_missed() -> None:
    assert any(LORA in said for said in missing("ex4d", None, "fast"))
    assert not any(LORA in said for said in missing("ex4d", None, "final"))
    assert any(LORA in each.message for each in engine_shortages("ex4d", *SIZE, quality="fast"))


def test_a_folder_without_models_is_told(tmp_path: Path) -> None:
    said = [each.message for each in engine_shortages("ex4d", *SIZE, EngineSetup(model_dir=tmp_path))]
    assert any(str(tmp_path) in message and "There is no transformer" in message for message in said)


def test_where_no_plan_fits_the_planner_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    machine(monkeypatch, 10**9, 4 * 10**9, 10**12)
    (said,) = (each for each in engine_shortages("ex4d", *SIZE) if each.what != "engine")
    assert "832x480x49 needs at least" in said.message
    assert said.what == "vram"
    assert {"the draft engine", "a smaller size or fewer frames"} <= set(said.choices)


@pytest.mark.parametrize(("rung", "what"), [("resident", "vram"), ("disk-offload", "disk")])
def test_a_rung_that_does_not_fit_may_be_left_out(rung: str, what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    machine(monkeypatch, 24 * 10**9, 10**12, 10**9)
    (said,) = (e for e in engine_shortages("ex4d", *SIZE, EngineSetup(memory=rung)) if e.what != "engine")
    assert said.what == what
    assert {"leave out the rung of `memory`", "the draft engine"} <= set(said.choices)
