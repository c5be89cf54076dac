"""Stand-ins for what the engine is installed from: a few wheels of a few bytes, and a uv that is a script."""

from __future__ import annotations

import hashlib
import json
import zipfile
from pathlib import Path

import pytest
from conftest import module

_UV = '''#!/usr/bin/env python3
"""As uv: `venv` and `pip install` from a folder of wheels. `mode.txt` beside the wheels says how it misbehaves."""
import hashlib, pathlib, re, subprocess, sys, time, urllib.parse, zipfile
arguments = sys.argv[1:]
if arguments[0] == "venv":
    sys.exit(subprocess.call([sys.executable, "-m", "venv", "--without-pip", arguments[-1]]))
value = lambda name: arguments[arguments.index(name) + 1]
env = pathlib.Path(value("--python")).parent.parent
(site,) = env.glob("lib/python*/site-packages")
if "-r" not in arguments:
    wheels = {arguments[-1]: None}
else:
    given = value("--find-links").split(",")[0]
    folder = pathlib.Path(urllib.parse.unquote(given[7:]) if given.startswith("file://") else given)
    mode = (folder / "mode.txt").read_text() if (folder / "mode.txt").exists() else ""
    cache = pathlib.Path(__import__("os").environ["UV_CACHE_DIR"])
    cache.mkdir(exist_ok=True)
    with (cache / "runs.txt").open("a") as runs:
        runs.write("run\\n")
    if mode == "hang":
        time.sleep(600)
    if mode:
        print(mode, file=sys.stderr)
        sys.exit(2)
    wheels = {}
    for name, version, wanted in re.findall(r"(\\w+)==(\\S+).*?sha256:(\\w+)", open(value("-r")).read(), re.S):
        wheels[str(folder / f"{name}-{version}-py3-none-any.whl")] = name, wanted
for wheel, known in wheels.items():
    if known and not pathlib.Path(wheel).is_file():
        print(f"error: No solution found\\n  cause: Because {known[0]} was not found in the provided package locations")
        sys.exit(1)
    if known and hashlib.sha256(pathlib.Path(wheel).read_bytes()).hexdigest() != known[1]:
        print(f"error: Failed to download `{known[0]}`\\n  cause: Hash mismatch for `{known[0]}`")
        sys.exit(1)
    zipfile.ZipFile(wheel).extractall(site)
if "-r" not in arguments:
    script = env / "bin/ex4d"
    call = 'exec "$(dirname "$0")/python" -I -c "from ex4d_core.cli import main; main()"'
    script.write_text(f"#!/bin/sh\\n{call}\\n")
    script.chmod(0o755)
'''
PACKAGES = {"numba": "numba", "opencv": "cv2", "av": "av", "openexr": "OpenEXR"}
"""Distribution -> module."""


def wheel(folder: Path, name: str, version: str, files: dict[str, str], entry_points: str = "") -> Path:
    """A wheel with these modules, as pip takes it."""
    info = f"{name}-{version}.dist-info"
    files = {
        **files,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        **({f"{info}/entry_points.txt": entry_points} if entry_points else {}),
    }
    files[f"{info}/RECORD"] = "".join(f"{path},,\n" for path in [*files, f"{info}/RECORD"])
    target = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(target, "w") as archive:
        for path, text in files.items():
            archive.writestr(zipfile.ZipInfo(path), text)
    return target


def hash_of(path: Path) -> str:
    """SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


class Stand:
    """A wheel folder, and the extension's data files that fit it."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, *, with_uv: bool) -> None:
        self.wheels, self.data = folder / "wheels", folder / "bundle"
        self.wheels.mkdir()
        self.data.mkdir()
        lines = []
        for name, imported in PACKAGES.items():
            made = wheel(self.wheels, name, "1.0", {f"{imported}.py": "x = 1\n"})
            lines.append(f"{name}==1.0 \\\n    --hash=sha256:{hash_of(made)}\n")
        (self.data / "requirements-cpu.txt").write_text("".join(lines))
        self.bundle("print('0.1.0')")
        uv = {"url": "https://pypi.invalid/uv-0-py3-none-any.whl", "sha256": "0" * 64}
        if with_uv:
            made = wheel(self.wheels, "uv", "0", {"uv-0.data/scripts/uv": _UV})
            uv = {"url": f"https://pypi.invalid/{made.name}", "sha256": hash_of(made)}
        kind = {"platforms": [], "extras": [], "torch": None, "download_gb": 0.1, "disk_gb": 0.01}
        monkeypatch.setattr(module("engine.jobs"), "kinds", lambda: {"cpu": kind})
        monkeypatch.setattr(module("engine.jobs"), "uv", lambda: uv)
        monkeypatch.setattr(module("engine.jobs"), "HERE", self.data)
        monkeypatch.setattr(module("engine.place"), "HERE", self.data)
        module("engine.place").bundled_wheel.cache_clear()

    def bundle(self, main: str) -> None:
        """The `ex4d` wheel of the extension; `main` is what the command does."""
        cli = f"def main():\n    {main}\n"
        files = {"ex4d_core/__init__.py": "", "ex4d_core/cli.py": cli}
        files |= {"ex4d_server/__init__.py": "", "ex4d_server/sidecar.py": ""}
        wheel(self.data, "ex4d", "0.1.0", files, "[console_scripts]\nex4d = ex4d_core.cli:main\n")
        module("engine.place").bundled_wheel.cache_clear()

    def misbehave(self, said: str) -> None:
        """Let uv write this and fail; `hang`: write nothing and stay; empty: work."""
        (self.wheels / "mode.txt").write_text(said)


def marker_of(folder: Path) -> dict[str, object]:
    """The marker of an engine's folder."""
    return json.loads((folder / "ex4d-engine.json").read_text())
