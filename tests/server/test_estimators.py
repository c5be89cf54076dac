"""Depth estimators over HTTP: what each is and lacks, refused before any work, run with weights from a folder."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from conftest import Running, Start
from raw_http import ask, run_job

from ex4d_core.depth.registry import estimator_names
from ex4d_core.models import known_model, needed
from ex4d_core.scene import Scene

NAME = "depth-anything-v2-small"


def import_request(clip: Path, **changes: Any) -> dict[str, Any]:
    return {"kind": "import", "footage": {"path": str(clip)}, **changes}


@pytest.fixture
def bare(start: Start, tmp_path: Path) -> Running:
    """A sidecar on a machine without any weights."""
    return start(environment={"HF_HUB_CACHE": str(tmp_path / "hub"), "OMP_NUM_THREADS": "1"})


def test_what_is_not_ready_is_said_before_any_work(bare: Running, tiny_clip: Path) -> None:
    capabilities = ask(bare.server, "GET", "/v1/capabilities").json()
    found = {one["name"]: one for one in capabilities["depth_estimators"]}
    assert tuple(found) == estimator_names()
    assert [name for name, one in found.items() if one["is_default"]] == ["embedded"]
    assert found["embedded"]["ready"]
    one = found[NAME]
    assert (one["licence"], one["commercial"], one["units"], one["device"]) == (
        *("Apache-2.0", True, "relative"),
        "CPU or GPU",
    )
    assert not found["depth-pro"]["commercial"]
    assert found["video-depth-anything-small"]["folder"]
    assert one["download_bytes"] == known_model(NAME).bytes
    (sentence,) = one["missing"]
    assert sentence.endswith(f"run `ex4d models download {NAME}` (99.2 MB).")
    assert {model for e in found.values() for model in e["models"]} <= {m["name"] for m in capabilities["models"]}

    asked = import_request(tiny_clip, estimator=NAME)
    preflight = ask(bare.server, "POST", "/v1/preflight", asked).json()
    assert not preflight["fits"]
    (shortage,) = preflight["shortages"]
    assert (shortage["what"], shortage["message"]) == ("estimator", sentence)
    assert shortage["choices"] == ["the depth estimator embedded"]
    job = run_job(bare.server, asked)
    assert (job["state"], job["problem"]["code"]) == ("failed", "missing-dependency")
    assert job["problem"]["detail"] == sentence
    assert not list(bare.data.rglob("color")), "no frame was read"

    assert ask(bare.server, "POST", "/v1/preflight", import_request(tiny_clip)).json()["fits"]
    for path, method in (("/v1/preflight", "POST"), ("/v1/jobs/unknown", "PUT")):
        answer = ask(bare.server, method, path, import_request(tiny_clip, estimator="crystal-ball"))
        problem = answer.problem(422, "bad-input")
        assert "no depth estimator 'crystal-ball': choose one of file, embedded, " in problem["detail"]
    refused = ask(bare.server, "PUT", "/v1/jobs/apple", {"kind": "models", "model": needed("depth-pro")[0].name})
    assert "Depth Pro" in refused.problem(422, "licence")["detail"]


@pytest.mark.slow
def test_a_folder_with_weights_is_as_good(bare: Running, tiny_clip: Path, tmp_path: Path) -> None:
    folder = tmp_path / "weights"
    tiny_depth_models().depth_anything_v2_small(folder)
    asked = import_request(tiny_clip, estimator=NAME, depth_model_dir={"path": str(folder)})
    assert ask(bare.server, "POST", "/v1/preflight", asked).json()["fits"]
    job = run_job(bare.server, asked)
    assert job["state"] == "succeeded", (job["message"], job["problem"])
    assert Scene.open(Path(job["result"]["path"])).estimator == NAME


def tiny_depth_models() -> ModuleType:
    script = Path(__file__).resolve().parents[2] / "scripts" / "make_tiny_depth_models.py"
    spec = importlib.util.spec_from_file_location("make_tiny_depth_models", script)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module
