"""Locks what *Install Engine* installs: `requirements-KIND.txt` and `uv.json` in ex4d_blender/engine/.

    python scripts/lock_engine.py [--uv PATH]

Asks PyPI through `uv` for the newest versions that pyproject.toml allows, and writes them with the SHA-256 that PyPI
names for each wheel that fits; `kinds.json` says what the kinds are. Run it after a change of the dependencies.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
ENGINE = ROOT / "ex4d_blender/engine"
PLATFORMS = {
    "linux-x86_64": r"any|manylinux.*_x86_64",
    "windows-x86_64": r"any|win_amd64",
    "macos-arm64": r"any|macosx_\d+_\d+_(arm64|universal2)",
}
MINORS = range(11, 15)  # the Pythons that pyproject.toml allows
OF_TORCH = r"torch|triton|nvidia-(?!ml-py)|cuda-"
"""What another build of torch brings itself, or does not need."""


def main() -> int:
    """Write all files; 1 where uv fails."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--uv", default=shutil.which("uv"), help="the uv program (default: the one on the path)")
    uv = parser.parse_args().uv
    if uv is None:
        print("error: there is no uv here: `pip install uv`, or name it with --uv.", file=sys.stderr)
        return 1
    kinds = json.loads((ENGINE / "kinds.json").read_text("utf-8"))
    with tempfile.TemporaryDirectory() as folder:
        project = Path(folder)
        (project / "pyproject.toml").write_text(_project(uv), "utf-8")
        _run(uv, project, "lock", "--no-build")
        wheels = _wheels(tomllib.loads((project / "uv.lock").read_text("utf-8")))
        for name, kind in kinds.items():
            extras = [word for extra in kind["extras"] for word in ("--extra", extra)]
            said = _run(uv, project, "export", "--no-hashes", "--no-header", "--no-annotate", *extras)
            text = locked(said.splitlines(), wheels, kind["platforms"], without=OF_TORCH if kind["torch"] else None)
            (ENGINE / f"requirements-{name}.txt").write_text(text, "utf-8", newline="\n")
    ours = {name: next(w for w in wheels["uv"] if fits(w, [name])) for name in PLATFORMS}
    uv_file = {"version": next(iter(ours.values()))["version"], "wheels": {}}
    for name, wheel in ours.items():
        uv_file["wheels"][name] = {"url": wheel["url"], "sha256": wheel["hash"].removeprefix("sha256:")}
    (ENGINE / "uv.json").write_text(json.dumps(uv_file, indent=2) + "\n", "utf-8", newline="\n")
    return 0


def locked(lines: list[str], wheels: dict[str, list[dict[str, str]]], platforms: list[str], without: str | None) -> str:
    """Requirements with the hashes of the wheels that fit one of the platforms.

    Args:
        lines: `name==version ; marker`, as uv exports them.
        wheels: of each package.
        platforms: keys of `PLATFORMS`.
        without: names to leave out, as a pattern at their beginning.
    """
    found: list[str] = []
    for line in lines:
        name, version = re.match(r"([\w.-]+)==([^\s;]+)", line).groups()  # type: ignore[union-attr]
        if without and re.match(without, name):
            continue
        fitting = [w["hash"] for w in wheels[name] if w["version"] == version and fits(w, platforms)]
        if fitting:  # else it is for other platforms, as its marker says
            found.append(" \\\n    --hash=".join([line, *sorted(set(fitting))]))
    return "\n".join(["# Written by scripts/lock_engine.py: do not edit.", *found]) + "\n"


def fits(wheel: dict[str, str], platforms: list[str]) -> bool:
    """Whether a wheel runs on one of the platforms under a Python that we support."""
    python, abi, system = wheel["url"].rsplit("/", 1)[1].removesuffix(".whl").rsplit("-", 3)[1:]
    tags = python.split(".")
    own = any(f"cp3{minor}" in tags and abi in (f"cp3{minor}", "none", "abi3") for minor in MINORS)
    stable = abi == "abi3" and any(re.fullmatch(r"cp3\d+", tag) and int(tag[3:]) <= MINORS[-1] for tag in tags)
    if not (own or stable or "py3" in tags):
        return False
    return any(re.fullmatch(PLATFORMS[name], part) for name in platforms for part in system.split("."))


def _project(uv: str) -> str:
    """A project that depends on what EX-4D depends on, and on this uv."""
    ours = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    version = subprocess.run([uv, "--version"], capture_output=True, text=True, check=True).stdout.split()[1]
    return "\n".join(
        [
            "[project]",
            'name = "locked"',
            'version = "0"',
            f"requires-python = {json.dumps(ours['requires-python'])}",
            f"dependencies = {json.dumps(ours['dependencies'])}",
            "[project.optional-dependencies]",
            f"gpu = {json.dumps(ours['optional-dependencies']['gpu'])}",
            f"installer = {json.dumps([f'uv=={version}'])}",
            "[tool.uv]",
            "package = false",
        ]
    )


def _wheels(lock: dict[str, Any]) -> dict[str, list[dict[str, str]]]:
    found: dict[str, list[dict[str, str]]] = {}
    for package in lock["package"]:
        for wheel in package.get("wheels", ()):
            found.setdefault(package["name"], []).append({**wheel, "version": package["version"]})
    return found


def _run(uv: str, project: Path, *arguments: str) -> str:
    command = [uv, "--no-config", *arguments, "--quiet", "--directory", str(project)]
    command += ["--default-index", "https://pypi.org/simple"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"error: uv could not lock the engine: {done.stderr.strip()}")
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
