"""Fixtures of the extension's tests: the built zip, installed into a Blender without settings.

They run under the bpy wheels (`scripts/test.py` makes the environments). The library and the sidecar live in another
environment, whose interpreter `EX4D_PYTHON` names: nothing is shared but files and HTTP.
"""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

_RESOURCES = tempfile.TemporaryDirectory(prefix="ex4d-blender-", ignore_cleanup_errors=True)
os.environ["BLENDER_USER_RESOURCES"] = _RESOURCES.name  # before bpy is imported: it is read then
os.environ["EX4D_STATE_DIR"] = str(Path(_RESOURCES.name) / "sidecar-state")

import bpy  # noqa: E402
import pytest  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent.parent
EXTENSION = "bl_ext.user_default.ex4d"


@pytest.fixture(scope="session", autouse=True)
def extension(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    """The extension, built and installed as a user's Blender installs it."""
    output = tmp_path_factory.mktemp("dist")
    subprocess.run([sys.executable, ROOT / "scripts/build_extension.py", "--output", output], check=True)
    bpy.ops.wm.read_factory_settings(use_empty=True)
    (archive,) = output.glob("*.zip")
    bpy.ops.extensions.package_install_files(repo="user_default", filepath=str(archive), enable_on_install=True)
    assert EXTENSION in bpy.context.preferences.addons, "the zip does not install or register; see above"
    return sys.modules[EXTENSION]


@pytest.fixture(autouse=True)
def empty_file(extension: ModuleType) -> None:
    """Each test begins with an empty, unsaved file; preferences and the extension stay."""
    bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)


def module(name: str) -> ModuleType:
    """A module of the installed extension: `module("shots.sampling")`."""
    return importlib.import_module(f"{EXTENSION}.{name}")


@pytest.fixture(scope="session")
def library_python() -> str:
    """The interpreter that has `ex4d_core` and the sidecar; skips where there is none."""
    python = os.environ.get("EX4D_PYTHON", str(ROOT / ".venv/bin/python"))
    if not Path(python).exists():
        pytest.skip(f"no library environment at {python}: run scripts/test.py, or set EX4D_PYTHON")
    return python


def ex4d(python: str, *arguments: Any) -> str:
    """Run the `ex4d` command in the library's environment; its stdout."""
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME")}
    command = [python, "-m", "ex4d_core.cli", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return done.stdout


def library(python: str, code: str, *arguments: Any) -> str:
    """Run a few lines with `ex4d_core`, in the library's environment (`sys.argv[1:]` are the arguments); its stdout."""
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME")}
    command = [python, "-c", code, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="session")
def sample_scene(library_python: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundled clip imported with its own depth: a scene folder. Leave it as it is; copy it to change it."""
    folder = tmp_path_factory.mktemp("sample") / "sample.ex4d"
    ex4d(library_python, "import", "sample", "--plate", "-o", folder)
    return folder


_SMALL_SCENE = """
import sys
from fractions import Fraction
from pathlib import Path
import numpy as np
from ex4d_core.camera import Intrinsics
from ex4d_core.scene import write_scene
frames, height, width = 8, 48, 64
colors = np.random.default_rng(0).integers(0, 256, (frames, height, width, 3), np.uint8)
depths = np.broadcast_to(np.linspace(8, 4, height, dtype=np.float32)[:, None], (frames, height, width)).copy()
for t in range(frames):
    depths[t, 16:32, 10 + t : 20 + t] = 2.0
lens = Intrinsics(fx=60.0, fy=60.0, cx=32.0, cy=24.0, width=width, height=height)
write_scene(Path(sys.argv[1]), colors, depths, fps=Fraction(24), intrinsics=lens)
"""


@pytest.fixture(scope="session")
def small_scene(library_python: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A scene of 8 frames of 64x48 noise: a sloping floor at 8 to 4, a box at 2 that moves. Leave it as it is."""
    folder = tmp_path_factory.mktemp("small") / "small.ex4d"
    library(library_python, _SMALL_SCENE, folder)
    return folder


@pytest.fixture
def undo_steps() -> None:
    """Undo works in background mode once it has a first step."""
    bpy.context.preferences.edit.use_global_undo = True
    bpy.ops.ed.undo_push(message="Start")


def _with_preferences(python: str, folder: Path, state: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    from sidecar_steps import let_go

    monkeypatch.setenv("EX4D_STATE_DIR", str(state))
    found = bpy.context.preferences.addons[EXTENSION].preferences
    found.executable, found.data_folder, found.outputs = python, str(folder / "data"), str(folder / "outputs")
    let_go()
    yield found
    let_go()
    found = bpy.context.preferences.addons[EXTENSION].preferences  # another one, if the test has disabled the extension
    for name in ("executable", "data_folder", "address", "token", "use_address", "outputs"):
        found.property_unset(name)


@pytest.fixture
def own_sidecar(library_python: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The extension's preferences, with which *Start* starts a sidecar of the test's own, killed at its end."""
    from sidecar_steps import kill_sidecars

    yield from _with_preferences(library_python, tmp_path, tmp_path / "state", monkeypatch)
    kill_sidecars(tmp_path / "state")


@pytest.fixture(scope="session")
def _sidecar(library_python: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The state folder of a sidecar that many tests share."""
    folder = tmp_path_factory.mktemp("sidecar")
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME")}
    command = [library_python, "-m", "ex4d_core.cli", "serve", "--json", "--data", folder / "data"]
    environment["EX4D_STATE_DIR"] = str(folder / "state")
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as process:
        assert process.stdout
        assert b"address" in process.stdout.readline()
        yield folder / "state"
        process.terminate()


@pytest.fixture
def shared_sidecar(
    _sidecar: Path, library_python: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Any]:
    """The extension's preferences, with which *Start* finds a sidecar that other tests use too: leave it running."""
    yield from _with_preferences(library_python, tmp_path, _sidecar, monkeypatch)
