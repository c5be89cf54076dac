# SPDX-License-Identifier: GPL-3.0-or-later
"""Installs the engine, step by step. What was downloaded stays in the folder's cache, so a second run goes on there."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from . import programs
from .failing import Failed, failure
from .fetching import uv_program
from .marker import Marker, program, write
from .pythons import ALLOWED, system_python
from .removing import delete
from .telling import progress, tell

CHECK = "import ex4d_core.cli, ex4d_server.sidecar, numba, cv2, av, OpenEXR"
"""Imports what a broken installation lacks."""


def install(job: dict[str, Any], lock: int) -> None:
    """Make an engine's folder, or make it anew. Raises: Failed, Cancelled, OSError."""
    folder = Path(job["folder"])
    marker = Marker(**job["marker"])
    write(folder, marker)
    (folder / "install.log").write_text("", "utf-8")
    if job["fresh"]:
        delete(folder / "cache")
    delete(folder / "env")  # made anew each time: half a package looks like a whole one
    Installation(job, folder, lock).run()
    write(folder, replace(marker, complete=True))
    tell("done", executable=str(program(folder, "ex4d")))


class Installation:
    """One installation, by uv or by pip.

    Args:
        job: as the extension's `jobs.py` makes it.
        folder: the engine's, ours.
        lock: see `programs.run`.
    """

    def __init__(self, job: dict[str, Any], folder: Path, lock: int) -> None:
        self._job, self._folder, self._lock = job, folder, lock
        self._uv: Path | None = None

    def run(self) -> None:
        """All steps. Raises: Failed, Cancelled."""
        job = self._job
        progress("uv", 0.0)
        if job["uv"]:
            self._uv = uv_program(self._folder, job["uv"]["url"], job["uv"]["sha256"], job["wheels"])
        progress("python", 0.05)
        self._make_environment()
        progress("packages", 0.1)
        locked = ["--require-hashes", "--no-deps", "--only-binary", ":all:", "-r", job["requirements"]]
        self._install("packages", [*locked, *self._where()])
        if job["torch"]:  # PyTorch's own index names no hashes that were known when this was built
            self._install("torch", [job["torch"]["requirement"], *self._where(job["torch"]["index"])])
        progress("engine", 0.95)
        self._install("engine", ["--no-deps", "--no-index", job["wheel"]])
        progress("check", 0.97)
        self._step("check", [program(self._folder, "python"), "-I", "-c", CHECK + (", torch" if job["gpu"] else "")])
        self._step("check", [program(self._folder, "ex4d"), "--version"])

    def _make_environment(self) -> None:
        target = self._folder / "env"
        if self._uv:
            offline = ["--offline", "--no-python-downloads"] if self._job["wheels"] else []
            self._step("python", [self._uv, "venv", "--no-project", "--python", ALLOWED, *offline, target])
            return
        python = system_python()
        if python is None:
            raise Failed("no-python")
        self._step("python", [*python, "-m", "venv", target])

    def _where(self, index: str = "") -> list[str]:
        """Where packages come from."""
        if wheels := self._job["wheels"]:  # uv takes a comma for the end of a folder, not so in an address
            return ["--no-index", "--find-links", Path(wheels).absolute().as_uri() if "," in wheels else wheels]
        return ["--index-url", index] if index else []

    def _install(self, stage: str, arguments: list[str]) -> None:
        python = program(self._folder, "python")
        if self._uv:
            command = [self._uv, "pip", "install", "--python", python]
            command += ["--offline"] if self._job["wheels"] else []
        else:
            command = [python, "-I", "-m", "pip", "install", "--no-warn-script-location"]
        self._step(stage, [*command, *arguments], looks=stage in ("packages", "torch"))

    def _step(self, stage: str, command: list[Any], *, looks: bool = False) -> None:
        code, lines = programs.run(command, self._folder, self._lock, look=self._look(stage) if looks else None)
        if code:
            raise failure(lines, stage)

    def _look(self, stage: str) -> Any:
        def look() -> int:
            size = programs.size_of(self._folder / "cache", self._folder / "env")
            progress(stage, 0.1 + 0.85 * min(size / self._job["expected_bytes"], 1.0), size)
            return size

        return look
