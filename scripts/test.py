"""Checks and tests: ruff, pyright, then every test not marked slow, then the extension's inside Blender.

    python scripts/test.py [--all] [PYTEST ARGUMENTS]

--all runs the long soaks too, and the extension's tests in each Blender instead of one. Makes `.venv`, and
`.venv-bpy-VERSION` with Blender as a Python module, with what they need.
"""

import os
import subprocess
import sys

from environment import BLENDERS, ROOT, prepare, prepare_blender, say, with_a_fitting_python


def main() -> int:
    """Run all checks; the exit code is 0 only if each passed."""
    with_a_fitting_python()
    arguments = sys.argv[1:]
    everything = "--all" in arguments
    arguments = [a for a in arguments if a != "--all"]
    python = str(prepare(("dev",)))
    pytest = ["pytest", "--durations=10", *([] if everything else ["-m", "not slow"]), *arguments]
    failed: list[str] = []
    for name, command in (
        ("ruff check", ["ruff", "check", "."]),
        ("ruff format", ["ruff", "format", "--check", "."]),
        ("pyright", ["pyright"]),
        ("pytest", pytest),
    ):
        say(f"== {name}")
        if subprocess.run([python, "-m", *command], cwd=ROOT).returncode:
            failed.append(name)
    failed += in_blender(python, [*pytest, *([] if arguments else ["tests/blender"])], everything)
    if failed:
        say(f"failed: {', '.join(failed)}")
    return 1 if failed else 0


def in_blender(library_python: str, pytest: list[str], everything: bool) -> list[str]:
    """The extension's tests: in the first Blender that runs here, or in each; the names of those that failed."""
    failed: list[str] = []
    for version in BLENDERS:
        python, why_not = prepare_blender(version)
        if python is None:
            say(f"== pytest in Blender {version}: skipped: {why_not}.")
            if everything:
                failed.append(f"Blender {version}")
            continue
        say(f"== pytest in Blender {version}")
        environment = {**os.environ, "EX4D_PYTHON": library_python}
        code = subprocess.run([str(python), "-m", *pytest], cwd=ROOT, env=environment).returncode
        if code not in (0, 5):  # 5: the arguments select no test of the extension
            failed.append(f"Blender {version}")
        if not everything:
            break
    return failed


if __name__ == "__main__":
    sys.exit(main())
