"""Checks and tests: ruff, pyright, then every test not marked slow, and the extension's inside Blender.

    python scripts/test.py [--all] [PYTEST ARGUMENTS]

--all runs the long soaks too, and the extension's tests in each Blender instead of one. Makes `.venv`, and
`.venv-bpy-VERSION` with Blender as a Python module, with what they need.

Two suites run beside each other until none is left; the tests marked `timed` afterwards, one by one, for they measure
time.
"""

import os
import subprocess
import sys
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from environment import BLENDERS, ROOT, prepare, prepare_blender, say, with_a_fitting_python


@dataclass(frozen=True)
class Suite:
    """Tests that run in one interpreter."""

    name: str
    python: Path
    folders: tuple[str, ...]
    environment: dict[str, str]

    def command(self, selected: str, arguments: list[str]) -> list[str]:
        """pytest with those tests that the marker expression selects."""
        marked = ["-m", selected] if selected else []
        folders = [] if arguments else self.folders
        # Short tracebacks: the long ones show arguments, and Blender dies of showing an object that is gone.
        return [str(self.python), "-m", "pytest", "--durations=10", "--tb=short", *marked, *folders, *arguments]


def main() -> int:
    """Run all checks; the exit code is 0 only if each passed."""
    arguments = sys.argv[1:]
    if {"-h", "--help"} & set(arguments):
        print(__doc__)
        return 0
    with_a_fitting_python()
    everything = "--all" in arguments
    arguments = [a for a in arguments if a != "--all"]
    python = prepare(("dev", "gpu", "train"))
    failed = [name for name, command in CHECKS if not _passes(name, [str(python), "-m", *command], dict(os.environ))]
    blenders, failed_blenders = _blenders(python, everything)
    failed += failed_blenders
    library = Suite("pytest", python, (), dict(os.environ))
    plain = "" if everything else "not slow"
    if arguments:  # of one's own choice, which may name marks
        for suite in (library, *blenders):
            failed += [] if _passes(suite.name, suite.command(plain, arguments), suite.environment) else [suite.name]
    else:
        parts = [Suite(f"pytest {' '.join(part)}", python, part, library.environment) for part in PARTS]
        failed += _beside_each_other([parts[0], *blenders, *parts[1:]], _both(plain, "not timed"))
        for suite in (library, *blenders):
            name = f"{suite.name}, timed"
            passed = _passes(name, suite.command(_both(plain, "timed"), []), suite.environment)
            failed += [] if passed else [name]
    if failed:
        say(f"failed: {', '.join(failed)}")
    return 1 if failed else 0


CHECKS = (
    ("ruff check", ["ruff", "check", "."]),
    ("ruff format", ["ruff", "format", "--check", "."]),
    ("pyright", ["pyright"]),
)
_LONG = ("tests/core/training", "tests/core/generate")
PARTS = (("tests/core", *(f"--ignore={folder}" for folder in _LONG)), ("tests", "--ignore=tests/core"), _LONG)
"""The library's tests in parts that run in processes of their own. The first compiles what the others need."""
_NO_TESTS = 5
"""pytest's exit code where the arguments select none."""


def _both(*marks: str) -> str:
    return " and ".join(mark for mark in marks if mark)


def _passes(name: str, command: list[str], environment: dict[str, str]) -> bool:
    say(f"== {name}")
    return subprocess.run(command, cwd=ROOT, env=environment).returncode in (0, _NO_TESTS)


def _beside_each_other(suites: list[Suite], selected: str) -> list[str]:
    """Run suites two at a time, the second one quietly; the names of those that failed."""
    waiting = deque(suites)
    failed: list[str] = []

    def run(one: Callable[[Suite, str], bool]) -> None:
        while waiting:
            suite = waiting.popleft()
            failed.extend([] if one(suite, selected) else [suite.name])

    with ThreadPoolExecutor(1) as beside:
        quietly = beside.submit(run, _passes_quietly)
        run(lambda suite, marks: _passes(suite.name, suite.command(marks, []), suite.environment))
        quietly.result()  # raises what went wrong there: a suite that could not be started has not passed
    return failed


def _passes_quietly(suite: Suite, selected: str) -> bool:
    """As `_passes`, with what it prints in one piece at the end."""
    command = suite.command(selected, [])
    done = subprocess.run(command, cwd=ROOT, env=suite.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    say(f"== {suite.name}\n{done.stdout.decode(errors='replace')}")
    return done.returncode in (0, _NO_TESTS)


def _blenders(library_python: Path, everything: bool) -> tuple[list[Suite], list[str]]:
    """The extension's tests in the first Blender that runs here, or in each; and the names of those that do not."""
    suites: list[Suite] = []
    failed: list[str] = []
    for version in BLENDERS:
        python, why_not = prepare_blender(version)
        name = f"pytest in Blender {version}"
        if python is None:
            say(f"== {name}: skipped: {why_not}.")
            if everything:
                failed.append(name)
            continue
        environment = {**os.environ, "EX4D_PYTHON": str(library_python)}
        suites.append(Suite(name, python, ("tests/blender",), environment))
        if not everything:
            break
    return suites, failed


if __name__ == "__main__":
    sys.exit(main())
