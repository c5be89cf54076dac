"""scripts/environment.py: a script goes on where the packages are."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
SCRIPT = """from environment import in_environment
in_environment("gpu")
import os, sys
print(os.environ.get("IN_VENV", "here"), *sys.argv[1:])
"""


@pytest.fixture
def script(tmp_path: Path) -> Path:
    """A script in a checkout whose `.venv` is made: a Python that tells that it is it."""
    (tmp_path / "pyproject.toml").write_text("[project]\n")
    (tmp_path / "scripts").mkdir()
    shutil.copy(SCRIPTS / "environment.py", tmp_path / "scripts")
    inside = tmp_path / ".venv/bin/python"
    inside.parent.mkdir(parents=True)
    inside.write_text(f'#!/bin/sh\nIN_VENV=venv exec "{sys.executable}" "$@"\n')
    inside.chmod(0o755)
    import environment

    digest = hashlib.sha256((tmp_path / "pyproject.toml").read_bytes() + environment.TORCH.encode()).hexdigest()
    (tmp_path / ".venv/ex4d-installed.txt").write_text(f"{digest}\ncore\ngpu")
    script = tmp_path / "scripts/measure.py"
    script.write_text(SCRIPT)
    return script


def run(*command: object) -> str:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(
        [str(part) for part in command], env=environment, check=True, capture_output=True, text=True
    ).stdout


@pytest.mark.skipif(os.name == "nt", reason="its Python of the virtual environment is a shell script")
def test_a_python_without_the_packages_runs_the_script_again_in_the_environment(script: Path) -> None:
    assert run(sys.executable, "-S", script, "--size", "64") == "venv --size 64\n"  # -S: without site-packages


def test_a_python_that_has_the_packages_goes_on(script: Path) -> None:
    pytest.importorskip("diffusers")
    assert run(sys.executable, script, "--size", "64") == "here --size 64\n"


def test_an_environment_that_lacks_an_extra_gets_it_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A script that runs under `.venv` itself, which was made without what the script needs."""
    import environment

    started: list[tuple[list[str], str]] = []

    def start(command: list[str], env: dict[str, str]) -> int:
        started.append((command, env["EX4D_PREPARED"]))
        return 3

    monkeypatch.setattr(environment, "VENV", tmp_path)
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    monkeypatch.setattr(sys, "argv", ["measure.py", "--size", "64"])
    monkeypatch.setattr(environment, "find_spec", lambda name: None if name == "embreex" else object())
    monkeypatch.setattr(environment, "prepare", lambda extras: tmp_path / "-".join(extras))
    monkeypatch.setattr(environment.subprocess, "call", start)
    environment.in_environment()
    with pytest.raises(SystemExit) as stopped:
        environment.in_environment("dev")
    assert stopped.value.code == 3
    assert started == [([str(tmp_path / "dev"), "measure.py", "--size", "64"], "core dev")]
    monkeypatch.setenv("EX4D_PREPARED", "core dev")
    environment.in_environment("dev")
    monkeypatch.setattr(sys, "prefix", "elsewhere")  # another Python, started by a script in `.venv`
    with pytest.raises(SystemExit):
        environment.in_environment("dev")


def test_leftovers_of_a_copied_package_go_and_a_package_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import environment

    monkeypatch.setattr(environment, "VENV", tmp_path)
    packages = tmp_path / "lib/python3.11/site-packages"
    for file in ("ex4d_core/quads/__pycache__/solid.nbi", "ex4d_server/__init__.py", "numpy/__pycache__/x.pyc"):
        (packages / file).parent.mkdir(parents=True)
        (packages / file).touch()
    environment._clear_copies()
    assert sorted(path.name for path in packages.iterdir()) == ["ex4d_server", "numpy"]


def test_the_extra_train_pins_the_pair_that_tests_run_with() -> None:
    import environment

    project = tomllib.loads((SCRIPTS.parent / "pyproject.toml").read_text("utf-8"))["project"]
    assert {environment.TORCH, environment.TORCHVISION} <= set(project["optional-dependencies"]["train"])


@pytest.mark.skipif(os.name == "nt", reason="its Python of the virtual environment is a shell script")
@pytest.mark.parametrize("fits", [True, False])
def test_a_torchvision_of_another_torch_is_put_beside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fits: bool
) -> None:
    import environment

    monkeypatch.setattr(environment, "VENV", tmp_path)
    monkeypatch.setattr(environment, "venv_python", lambda: tmp_path / "bin/python")
    python = tmp_path / "bin/python"
    python.parent.mkdir()
    python.write_text(f'#!/bin/sh\necho "$@" >> "{tmp_path}/calls"\n[ "$1" != -c ] || exit {0 if fits else 1}\n')
    python.chmod(0o755)
    environment._settle_torchvision()
    tried, *pip = (tmp_path / "calls").read_text().splitlines()
    assert tried == "-c import torchvision"
    if fits:
        assert not pip
    else:
        uninstall, install = pip
        assert uninstall.endswith("uninstall --quiet --yes torchvision torch-fidelity cd-fvd")
        assert "--no-deps" in install
        assert f"--target {tmp_path}/torchvision-beside {environment.TORCHVISION} torch-fidelity cd-fvd" in install
