"""Slow, and the only test that downloads: the engine from the built zip and real wheels, then a draft job in it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bpy
import pytest
from conftest import EXTENSION, module
from sidecar_steps import kill_sidecars, let_go

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheels(library_python: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel folder as the manual says to make one: what the requirements lock, and uv."""
    folder, engine = tmp_path_factory.mktemp("wheels, and more"), module("engine.kinds").HERE
    pip = [library_python, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:", "-d", str(folder)]
    version = json.loads((engine / "uv.json").read_text())["version"]
    for what in (["--require-hashes", "-r", str(engine / "requirements-cpu.txt")], [f"uv=={version}"]):
        done = subprocess.run([*pip, *what], capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"no wheels can be had here: {done.stderr.strip().splitlines()[-1:]}")
    return folder


@pytest.fixture
def chosen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Preferences of an artist who has nothing yet, and no network."""
    monkeypatch.setenv("EX4D_STATE_DIR", str(tmp_path / "state"))
    for name in ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    found = bpy.context.preferences.addons[EXTENSION].preferences
    found.data_folder, found.outputs = str(tmp_path / "data"), str(tmp_path / "outputs")
    let_go()
    yield found
    let_go()
    kill_sidecars(tmp_path / "state")
    for name in ("executable", "engine_folder", "engine_wheels", "data_folder", "outputs"):
        found.property_unset(name)


def test_from_the_zip_to_a_draft(wheels: Path, tmp_path: Path, chosen: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTHONPATH", raising=False)
    folder = tmp_path / "Große Dateien" / "engine"
    folder.mkdir(parents=True)
    assert bpy.ops.ex4d.install_engine(directory=str(folder), wheels=str(wheels)) == {"FINISHED"}
    assert module("engine.place").place().state == "ready"
    log = (folder / "install.log").read_text()
    assert "Installed 1 package" in log
    assert Path(chosen.executable).is_relative_to(folder)

    sample = next(folder.glob("env/lib/python*/site-packages/ex4d_core/sample/clip.mp4"))
    clip = tmp_path / "clip.mp4"
    shutil.copyfile(sample, clip)
    bpy.ops.ex4d.import_footage(filepath=str(clip), max_side=64)
    bpy.context.scene.frame_end = 8
    bpy.ops.ex4d.new_shot(preset="ORBIT", angle=0.2)
    assert bpy.ops.ex4d.generate(engine="draft") == {"FINISHED"}
    (server,) = module("client").discover(tmp_path / "state")
    assert runs_from(server.pid, folder)
    outputs = sorted((tmp_path / "outputs").rglob("take_*/output/*.png"))
    assert len(outputs) >= 8  # and the shot's handles

    assert bpy.ops.ex4d.repair_engine() == {"FINISHED"}  # ends the sidecar that runs from it
    assert not module("sidecar.process").living()
    bpy.ops.ex4d.start_sidecar()
    assert module("sidecar").connection().state == "ready"
    assert bpy.ops.ex4d.remove_engine() == {"FINISHED"}
    assert not module("sidecar.process").living()
    assert not folder.exists()


def runs_from(pid: int, folder: Path) -> bool:
    """Whether a process was started by the engine's own program (of its environment's Python)."""
    return str(folder).encode() in Path(f"/proc/{pid}/cmdline").read_bytes()


def test_with_pip_where_the_wheel_folder_has_no_uv(wheels: Path, tmp_path: Path, chosen: Any) -> None:
    without = tmp_path / "without"
    shutil.copytree(wheels, without, ignore=shutil.ignore_patterns("uv-*"))
    folder = tmp_path / "engine"
    assert bpy.ops.ex4d.install_engine(directory=str(folder), wheels=str(without)) == {"FINISHED"}
    assert not (folder / "uv/uv").exists()
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run([chosen.executable, "--version"], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
