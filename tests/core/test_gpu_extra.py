"""What `pip install .[gpu]` would do to an environment that has torch already: asked of pip, nothing is installed."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
EXTRA = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]["gpu"]


def pip_would_install(*arguments: str) -> dict[str, str]:
    """Names and versions, by pip's own resolver."""
    command = [sys.executable, "-m", "pip", "install", "--dry-run", "--quiet", "--report", "-", *arguments, *EXTRA]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"pip cannot resolve the extra gpu here: {done.stderr.strip().splitlines()[-1:]}")
    found = (one["metadata"] for one in json.loads(done.stdout)["install"])
    return {one["name"].lower().replace("_", "-"): one["version"] for one in found}


def test_the_extra_leaves_torch_as_it_is_and_brings_no_torchvision() -> None:
    before = version("torch")
    would = pip_would_install()
    assert "torchvision" not in would
    assert would.get("torch", before) == before


@pytest.mark.slow
def test_nothing_that_the_extra_needs_asks_for_torchvision() -> None:
    """All that it needs, resolved as for an empty environment that has this torch."""
    would = pip_would_install("--ignore-installed", f"torch=={version('torch')}")
    assert {"torch", "diffusers", "transformers", "peft", "accelerate", "safetensors", "gguf"} <= set(would)
    assert would["torch"] == version("torch")
    assert not {"torchvision", "torchaudio", "xformers"} & set(would)


def test_no_lock_of_the_engine_has_torchvision() -> None:
    locks = list((ROOT / "ex4d_blender/engine").glob("requirements-*.txt"))
    assert len(locks) == 5
    for lock in locks:
        names = {line.split("==")[0] for line in lock.read_text("utf-8").splitlines() if "==" in line}
        assert "numpy" in names
        assert "torchvision" not in names
        assert ("diffusers" in names) == ("gguf" in names) == ("huggingface-hub" in names) == (lock.stem[13:] != "cpu")


def test_each_lock_of_the_engine_has_all_that_the_library_needs() -> None:
    """A dependency that is new asks for `scripts/lock_engine.py`; without it an engine from Blender would not start."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    needed = {re.split(r"[>=<\[ ]", wanted)[0].lower() for wanted in project["dependencies"]}
    assert {"numpy", "scipy"} <= needed
    for lock in (ROOT / "ex4d_blender/engine").glob("requirements-*.txt"):
        names = {line.split("==")[0].lower() for line in lock.read_text("utf-8").splitlines() if "==" in line}
        assert needed <= names, f"{lock.name} lacks {needed - names}"
