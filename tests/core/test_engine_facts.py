"""What the sidecar is told about engines and estimators before any work starts."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from ex4d_core import engines, sample
from ex4d_core.depth.registry import estimator_facts, estimator_names
from ex4d_core.engines import (
    EngineSetup,
    check_request,
    engine_facts,
    engine_models,
    engine_names,
    engine_needs,
    missing,
    require,
)
from ex4d_core.errors import InputError, MissingDependencyError
from ex4d_core.generate import make_engine
from ex4d_core.ingest import import_scene
from ex4d_core.presets import Move, preset
from ex4d_core.rendering import render_shot


def test_every_engine_and_estimator_says_what_it_is() -> None:
    for name in engine_names():
        facts = engine_facts(name)
        assert facts.name == name
        assert facts.summary
        assert facts.licence
        assert facts.cancel_seconds > 0
        assert "" not in facts.qualities
    assert engine_facts("draft").cancel_seconds <= 1.0
    assert [estimator_facts(name).name for name in estimator_names()] == list(estimator_names())
    assert all(estimator_facts(name).licence for name in estimator_names())
    summaries = [estimator_facts(name).summary for name in estimator_names()]
    for line in (*summaries, *(engine_facts(n).summary for n in engine_names())):
        assert line
        assert "\n" not in line
    for ask in (engine_facts, missing, lambda name: engine_needs(name, 8, 8, 1)):
        with pytest.raises(InputError, match="no engine 'magic'"):
            ask("magic")


def test_an_engine_is_asked_only_for_what_it_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    check_request("draft", "", False)
    with pytest.raises(InputError, match=r"draft has no quality 'fine': leave it out\.$"):
        check_request("draft", "fine", False)
    with pytest.raises(InputError, match=r"draft cannot be asked to keep the source: leave that out\.$"):
        check_request("draft", "", True)
    with pytest.raises(InputError, match="no engine 'magic'"):
        check_request("magic", "", False)
    draft = engines._ENGINES["draft"]
    able = replace(draft.facts, name="able", qualities=("fast", "fine"), keeps_source=True)
    monkeypatch.setitem(engines._ENGINES, "able", replace(draft, facts=able))
    check_request("able", "fine", True)
    with pytest.raises(InputError, match="no quality 'best': choose one of fast, fine"):
        check_request("able", "best", False)


def test_facts_come_without_the_engine() -> None:
    code = (
        "from ex4d_core.engines import engine_facts, engine_needs, missing\n"
        "engine_facts('draft'), engine_needs('draft', 832, 480, 49), missing('draft')\n"
        "import sys; assert not {'ex4d_core.generate', 'numba', 'torch', 'cv2', 'av', 'numpy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_what_is_missing_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("EX4D_STATE_DIR", str(tmp_path / "state"))
    assert missing("draft") == ()
    assert engine_models("draft") == ()
    (model,) = engine_models("vace-1.3b")
    (sentence,) = missing("vace-1.3b")
    assert f"`ex4d models download {model}` (" in sentence
    assert missing("vace-1.3b", EngineSetup(model_dir=tmp_path)) == (), "the user's own files are as good"
    with pytest.raises(MissingDependencyError, match=model):
        make_engine("vace-1.3b")
    small = engines._ENGINES["vace-1.3b"]
    heavy = replace(small.facts, packages=("numpy", "no_such_package"))
    monkeypatch.setitem(engines._ENGINES, "vace-1.3b", replace(small, facts=heavy))
    package, _ = missing("vace-1.3b")
    assert "no_such_package" in package
    assert "numpy" not in package


def test_what_cannot_be_combined_is_said_before_any_work(tmp_path: Path) -> None:
    check_request("ex4d", "cached", True, EngineSetup(tmp_path, "block-offload", "native", "first-block", 30))
    for engine, quality, setup, sentence in (
        ("draft", "", EngineSetup(steps=4), r"draft has no use for steps: leave that out\.$"),
        ("ex4d", "", EngineSetup(model_dir=tmp_path / "no"), "no folder .*no with models: check the name"),
        ("ex4d", "", EngineSetup(memory="magic"), "'magic' to use the memory: choose one of resident, "),
        ("ex4d", "final", EngineSetup(cache="taylorseer"), "uses no cache"),
        ("ex4d", "fast", EngineSetup(steps=25), "few steps"),
        ("ex4d", "", EngineSetup(attention="magic"), "no attention 'magic': choose one of native, "),
        ("ex4d", "cached", EngineSetup(cache="taylorseer", memory="fp8"), "too much in video memory for --memory fp8"),
    ):
        with pytest.raises(InputError, match=sentence):
            check_request(engine, quality, False, setup)


@pytest.mark.parametrize(
    ("setup", "sentence"),
    [
        (EngineSetup(attention="sage"), "attention sage is not usable here: install sageattention"),
        (EngineSetup(attention="sage-hub"), "attention sage-hub is not usable here: install the package kernels"),
        (EngineSetup(), "no transformer for vace-1.3b in "),
    ],
)
def test_what_is_not_there_is_said_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, setup: EngineSetup, sentence: str
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("EX4D_STATE_DIR", str(tmp_path / "state"))
    with pytest.raises(MissingDependencyError, match=sentence):
        require("vace-1.3b", replace(setup, model_dir=tmp_path))


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from /proc")
@pytest.mark.parametrize("size", [(480, 270), (832, 480), pytest.param((1920, 1080), marks=pytest.mark.slow)])
def test_the_draft_engine_takes_the_memory_that_it_says(tmp_path: Path, size: tuple[int, int]) -> None:
    frames = 8
    scene = import_scene(sample.clip_path(), tmp_path / "s.ex4d", size=size, frames=frames, **sample.import_options())
    path = preset(scene, Move("orbit", yaw=25), radius=sample.facts().orbit_radius)
    shot = render_shot(scene, path, tmp_path / "shot")
    code = (
        "import sys; from pathlib import Path; from ex4d_core.generate import generate_shot\n"
        "generate_shot(Path(sys.argv[1]), 'draft')\n"
        "print(next(line for line in open('/proc/self/status') if line.startswith('VmHWM')).split()[1])"
    )
    done = subprocess.run([sys.executable, "-c", code, str(shot)], capture_output=True, text=True, check=True)
    peak = int(done.stdout) * 1024
    needs = engine_needs("draft", *size, frames)
    assert needs.vram_bytes == 0
    assert abs(needs.ram_bytes / peak - 1) < 0.3, f"{needs.ram_bytes / 1e6:.0f} MB said, {peak / 1e6:.0f} MB taken"


def test_what_a_quality_needs_is_told_before_any_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ex4d_core.models.state", lambda model, folder=None: "absent" if model.optional else "ready")
    require("ex4d")
    with pytest.raises(MissingDependencyError, match="run `ex4d models download wan2.1-i2v-4step-lora`"):
        require("ex4d", None, "fast")
