"""Checks and tests: ruff, pyright, then every test not marked slow.

    python scripts/test.py [--all] [PYTEST ARGUMENTS]

--all runs the long soaks too. Makes `.venv` with what it needs.
"""

import subprocess
import sys

from environment import ROOT, prepare, say, with_a_fitting_python


def main() -> int:
    """Run all checks; the exit code is 0 only if each passed."""
    with_a_fitting_python()
    arguments = sys.argv[1:]
    soaks = "--all" in arguments
    arguments = [a for a in arguments if a != "--all"]
    python = str(prepare(("dev",)))
    selected = [] if soaks else ["-m", "not slow"]
    failed: list[str] = []
    for name, command in (
        ("ruff check", ["ruff", "check", "."]),
        ("ruff format", ["ruff", "format", "--check", "."]),
        ("pyright", ["pyright"]),
        ("pytest", ["pytest", "--durations=10", *selected, *arguments]),
    ):
        say(f"== {name}")
        if subprocess.run([python, "-m", *command], cwd=ROOT).returncode:
            failed.append(name)
    if failed:
        say(f"failed: {', '.join(failed)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
