# SPDX-License-Identifier: GPL-3.0-or-later
"""Looks for a Python on this machine that the engine runs under, where there is no uv to do so."""

import shutil
import subprocess
import sys

OLDEST, NEWEST = 11, 14
ALLOWED = f">=3.{OLDEST},<3.{NEWEST + 1}"
_ASK = f"import sys, venv, ensurepip; sys.exit(not (3, {OLDEST}) <= sys.version_info[:2] <= (3, {NEWEST}))"


def system_python() -> list[str] | None:
    """How to start it; None where there is none that can make environments."""
    minors = range(NEWEST, OLDEST - 1, -1)
    candidates = [[f"python3.{minor}"] for minor in minors] + [["python3"], ["python"]]
    if sys.platform == "win32":
        candidates = [["py", f"-3.{minor}"] for minor in minors] + candidates
    return next((command for command in candidates if shutil.which(command[0]) and _fits(command)), None)


def _fits(command: list[str]) -> bool:
    try:
        done = subprocess.run(
            [*command, "-I", "-c", _ASK],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=30,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0
