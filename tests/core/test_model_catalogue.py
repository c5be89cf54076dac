"""The catalogue of weights, and what is told of them without the network and without heavy imports."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from ex4d_core.errors import InputError, MissingDependencyError
from ex4d_core.model_store import FileFacts, Record, hub_cache, places, read_record, write_record
from ex4d_core.models import (
    CATALOGUE,
    Model,
    absences,
    folders,
    known_model,
    location,
    needed,
    require,
    revision_of,
    state,
)

BASE, FULL, Q4, LORA = (
    known_model(name)
    for name in ("wan2.1-i2v-14b-480p", "wan2.1-i2v-14b-480p-transformer", "wan2.1-i2v-14b-480p-q4", "ex4d-lora")
)


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache and a state folder of the test's own."""
    for name in ("HF_HOME", "EX4D_MODELS", "HUGGINGFACE_HUB_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("EX4D_STATE_DIR", str(tmp_path / "state"))


def put(model: Model, cache: Path, revision: str = "") -> Path:
    """A model with one small file for each of its patterns, as its download records it."""
    revision = revision or model.revision or "a" * 40
    folder = cache / f"models--{model.hub_id.replace('/', '--')}" / "snapshots" / revision
    paths = [pattern.replace("*", ".bin") for pattern in model.patterns]
    for path in paths:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(b"weights")
    write_record(model.name, Record(revision, str(cache), {path: FileFacts(7, "00") for path in paths}))
    return folder


def test_the_catalogue_says_of_each_what_it_is() -> None:
    assert len({model.name for model in CATALOGUE}) == len(CATALOGUE)
    for model in CATALOGUE:
        assert re.fullmatch(r"[\w.-]+/[\w.-]+", model.hub_id)
        assert re.fullmatch(r"([0-9a-f]{40})?", model.revision)
        assert model.bytes > 10_000_000
        assert model.licence
        assert model.commercial == (model.licence in ("Apache-2.0", "MIT"))
        assert model.patterns
        assert model.engines
        assert all(re.fullmatch(r"[0-9a-f]{64}", sha256) and model.holds(path) for path, sha256 in model.sha256.items())
    unpinned = [model.name for model in CATALOGUE if not model.revision]
    assert unpinned == ["ex4d-lora", "depth-pro"], "docs/generators/models.md and docs/depth/estimators.md name them"


def test_no_file_belongs_to_two_models() -> None:
    """Else removing one would damage the other."""
    for model in CATALOGUE:
        for other in CATALOGUE:
            if other is not model and other.hub_id == model.hub_id:
                assert not any(other.holds(pattern.replace("*", "x")) for pattern in model.patterns)
    assert BASE.holds("transformer/config.json"), "GGUF files have none"
    assert not FULL.holds("transformer/config.json")


def test_an_engine_needs_one_of_those_that_take_each_others_place(tmp_path: Path) -> None:
    assert needed("ex4d") == (BASE, FULL, LORA)
    assert folders("ex4d") == []
    with pytest.raises(MissingDependencyError) as refused:
        require("ex4d")
    assert str(refused.value) == (
        "3 models of the engine ex4d are not on this machine: run `ex4d models download ex4d --accept` (90.5 GB)."
    )
    sentence = "The model wan2.1-vace-14b is not on this machine: run `ex4d models download wan2.1-vace-14b` (75.1 GB)."
    assert absences("vace-14b") == (sentence,)
    with pytest.raises(MissingDependencyError, match=re.escape(sentence)):
        require("vace-14b")
    cache = tmp_path / "hub"
    base, quantized, lora = put(BASE, cache), put(Q4, cache), put(LORA, cache)
    assert needed("ex4d") == (BASE, Q4, LORA)
    assert absences("ex4d") == ()
    assert require("ex4d") == folders("ex4d") == [base, quantized, lora]
    assert put(FULL, cache) == base
    assert folders("ex4d") == [base, quantized, lora], "each folder once"
    assert absences("draft") == ()


def test_a_file_that_is_short_or_gone_makes_a_model_incomplete(tmp_path: Path) -> None:
    assert state(BASE) == "absent"
    folder = put(BASE, tmp_path / "hub")
    assert state(BASE) == "ready"
    assert location(BASE) == folder
    (folder / "model_index.json").write_bytes(b"weight")
    assert state(BASE) == "incomplete"
    (folder / "model_index.json").unlink()
    (folder / "model_index.json").symlink_to("../../blobs/gone")
    assert state(BASE) == "incomplete"
    assert location(BASE) is None


def test_folders_are_looked_through_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given, before, shared = tmp_path / "given", tmp_path / "before", tmp_path / "hub"
    assert places(LORA.name) == [shared]
    lora = put(LORA, before)
    assert places(LORA.name) == [before, shared], "where the last download went"
    monkeypatch.setenv("EX4D_MODELS", str(given))
    assert places(LORA.name) == [given, before, shared]
    assert location(LORA) == lora
    assert state(LORA, given) == "absent"
    assert places(LORA.name, given) == [given]


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"HF_HUB_CACHE": "~/c"}, "HOME/c"),
        ({"HF_HOME": "$HOME/h"}, "HOME/h/hub"),
        ({"XDG_CACHE_HOME": "/x"}, "/x/huggingface/hub"),
        ({}, "HOME/.cache/huggingface/hub"),
    ],
)
def test_the_cache_is_that_of_huggingface_hub(
    variables: dict[str, str], expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HF_HUB_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"HOME": str(tmp_path), "USERPROFILE": str(tmp_path), **variables}.items():
        monkeypatch.setenv(name, value)
    assert str(hub_cache()) == expected.replace("HOME", str(tmp_path))
    code = "from huggingface_hub import constants; print(constants.HF_HUB_CACHE)"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.strip() == str(hub_cache())


def test_the_first_download_of_an_unpinned_model_pins_it(tmp_path: Path) -> None:
    assert revision_of(LORA) == ""
    others = tmp_path / "hub/models--yihouxiang--EX-4D"
    (others / "snapshots" / ("b" * 40)).mkdir(parents=True)
    (others / "snapshots" / ("b" * 40) / "ex4d.ckpt").write_bytes(b"weights")
    assert state(LORA) == "absent", "nobody knows which of a cache's snapshots it is"
    (others / "refs").mkdir()
    (others / "refs/main").write_text("b" * 40)
    assert state(LORA) == "ready"
    put(LORA, tmp_path / "hub", "c" * 40)
    assert revision_of(LORA) == "c" * 40
    assert location(LORA) == others / "snapshots" / ("c" * 40)
    assert revision_of(BASE) == BASE.revision


def test_a_damaged_record_is_as_good_as_none(tmp_path: Path) -> None:
    put(LORA, tmp_path / "hub")
    file = tmp_path / "state/models/ex4d-lora.json"
    assert json.loads(file.read_text())["revision"] == "a" * 40
    for text in ("", "[]", '{"revision": "x"}', '{"revision": "x", "folder": "y", "files": {"a": {"size": 1}}}'):
        file.write_text(text)
        assert read_record(LORA.name) is None


def test_unknown_names_are_refused() -> None:
    with pytest.raises(
        InputError,
        match=r"no model 'wan': choose one of wan2.1-i2v-14b-480p, .*taew2.1, depth-anything-v2-small, .*\.$",
    ):
        known_model("wan")


def test_all_that_comes_without_heavy_imports() -> None:
    code = (
        "from ex4d_core.engines import missing\n"
        "from ex4d_core.models import CATALOGUE, state\n"
        "[state(model) for model in CATALOGUE], missing('ex4d')\n"
        "import sys; assert not {'torch', 'huggingface_hub', 'httpx2', 'numpy', 'diffusers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
