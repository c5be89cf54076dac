"""What is said of the depth estimators before any is loaded: facts, what is missing, the list, the doctor."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner
from own_pythons import mark_ready

from ex4d_core.cli import ex4d
from ex4d_core.depth import registry
from ex4d_core.depth.model_environment import environment_folder
from ex4d_core.depth.registry import (
    DEFAULTS,
    default_estimator,
    download_bytes,
    estimator_facts,
    estimator_names,
    make_estimator,
    missing,
    register_estimator,
)
from ex4d_core.errors import InputError, MissingDependencyError
from ex4d_core.model_check import remove
from ex4d_core.model_store import repository
from ex4d_core.models import CATALOGUE, Model, bytes_left, known_model, needed, state

NAMES = (
    *("file", "embedded", "depth-anything-v2-small"),
    *("depth-anything-3", "depth-anything-3-metric", "depth-anything-3-mono"),
    *("video-depth-anything-small", "depthcrafter", "depth-pro"),
)
NON_COMMERCIAL = {"depthcrafter", "depth-pro"}


@pytest.fixture(autouse=True)
def no_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("EX4D_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("EX4D_ENVIRONMENTS", str(tmp_path / "environments"))


def said(*arguments: str) -> str:
    result = CliRunner().invoke(ex4d, arguments)
    assert result.exit_code == 0, result.output
    return result.output


def put(model: Model, tmp_path: Path) -> None:
    """Files in the place of a download's."""
    folder = repository(tmp_path / "hub", model.hub_id) / "snapshots" / model.revision
    folder.mkdir(parents=True)
    for name in model.patterns:
        (folder / name).write_bytes(b"1234")


def test_every_estimator_is_what_its_facts_say() -> None:
    assert estimator_names() == NAMES
    for name in NAMES:
        facts = estimator_facts(name)
        assert facts.name == name
        assert facts.commercial == (name not in NON_COMMERCIAL)
        models = needed(name)
        assert all(model.commercial for model in models) == facts.commercial
        assert bool(models) == (name not in ("file", "embedded", "video-depth-anything-small"))
        assert download_bytes(name) == sum(model.bytes for model in models)
        module, kind = registry._CLASSES[name]
        file = Path(registry.__file__).parent / f"{module.replace('.', '/')}.py"
        assert f"\nclass {kind}" in file.read_text("utf-8")  # imported, some of them take a minute
    engines = {engine for model in CATALOGUE for engine in model.engines}
    assert engines - {"ex4d", "vace-1.3b", "vace-14b"} <= set(NAMES)


def test_what_is_missing_names_the_command_and_the_size() -> None:
    assert [name for name in NAMES if not missing(name)] == ["file", "embedded"]
    assert default_estimator() == "embedded"
    for name, ending in (
        ("depth-anything-v2-small", "run `ex4d models download depth-anything-v2-small` (99.2 MB)."),
        (
            "depth-anything-3",
            "run `ex4d models download depth-anything-3` (0.5 GB, and 1.3 GB for a Python of its own).",
        ),
        ("depthcrafter", "run `ex4d models download depthcrafter --accept` (4.5 GB)."),
        ("video-depth-anything-small", "and name the folder with --depth-model-dir."),
    ):
        (sentence,) = missing(name)
        assert sentence.endswith(ending)
        assert name in sentence
        with pytest.raises(MissingDependencyError) as caught:
            make_estimator(name)
        assert str(caught.value) == sentence
        assert missing(name, Path("anywhere")) == (), "a folder of the user's is as good"
    with pytest.raises(InputError, match="no depth estimator 'crystal-ball': choose one of file, embedded, "):
        make_estimator("crystal-ball")


def test_packages_that_are_missing_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_ENTRIES", dict(registry._ENTRIES))
    facts = replace(estimator_facts("embedded"), name="heavy", packages=("numpy", "no_such_package"))
    register_estimator(facts, registry._ENTRIES["embedded"].make)
    (sentence,) = missing("heavy")
    assert sentence == (
        "The depth estimator heavy needs no_such_package, which are not installed: run pip install .[gpu] in EX-4D's "
        "folder."
    )


def test_weights_without_their_python_are_incomplete(tmp_path: Path) -> None:
    base, small = known_model("depth-anything-3-base"), known_model("depth-anything-3-small")
    assert bytes_left(base) > 1_000_000_000 + base.bytes
    put(base, tmp_path)
    put(small, tmp_path)
    assert state(base) == "incomplete"
    assert missing("depth-anything-3")
    environment_folder("depth-anything-3").joinpath("bin").mkdir(parents=True)
    for python in ("bin/python", "Scripts/python.exe"):
        (environment_folder("depth-anything-3") / python).parent.mkdir(exist_ok=True)
        (environment_folder("depth-anything-3") / python).touch()
    mark_ready("depth-anything-3")
    assert state(base) == "ready"
    assert bytes_left(base) == 0
    assert missing("depth-anything-3") == ()
    remove(small)
    assert environment_folder("depth-anything-3").is_dir(), "the other one needs it"
    assert remove(base) > 0
    assert not environment_folder("depth-anything-3").exists()


def test_the_list_says_all_for_people_and_for_machines() -> None:
    text, document = said("depth", "list"), json.loads(said("depth", "list", "--json"))
    rows = {row["name"]: row for row in document["estimators"]}
    assert tuple(rows) == NAMES
    assert document["default"] == "embedded"
    for name, row in rows.items():
        assert f"{'ready' if row['ready'] else 'missing':7}  {name} " in text
        assert row["licence"] in text
        assert row["summary"] in text
    assert text.count("NON-COMMERCIAL") == len(NON_COMMERCIAL)
    assert text.count("; the default here") == 1
    assert "-> run `ex4d models download depth-pro --accept` (3.8 GB)." in text
    assert "yields metric depth, the lens; the library's own code" in text
    assert "yields relative depth, the lens, the camera's path" in text
    assert "tested: agrees with the official code" in text
    assert rows["depth-pro"]["parity"] == "library"
    assert max(len(line) for line in text.splitlines() if "->" not in line) < 180


def test_the_doctor_says_which_are_ready() -> None:
    checks = {check["name"]: check for check in json.loads(said("doctor", "--json"))["checks"]}
    found = checks["depth estimators"]
    assert found["detail"].startswith("file, embedded (default) ready; not yet: depth-anything-v2-small, ")
    assert f"`ex4d models download {DEFAULTS[0]}` (99.2 MB)" in found["remedy"]


def test_models_know_the_estimators() -> None:
    listed = json.loads(said("models", "list", "--json"))["models"]
    assert {"depth-anything-v2-small", "depth-pro", "depthcrafter-unet"} <= {model["name"] for model in listed}
    refused = CliRunner().invoke(ex4d, ["models", "download", "depthcrafter"])
    assert isinstance(refused.exception, InputError)
    assert "add --accept" in str(refused.exception)


def test_facts_come_without_the_estimators() -> None:
    code = (
        "from ex4d_core.depth.registry import *\n"
        "[(estimator_facts(name), missing(name)) for name in estimator_names()], default_estimator()\n"
        "import sys; assert not {'torch', 'transformers', 'cv2', 'numba', 'huggingface_hub'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
