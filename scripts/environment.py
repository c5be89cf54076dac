"""Makes the virtual environment that the other scripts run in. Standard library only."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
OLDEST, NEWEST = (3, 11), (3, 14)


def say(text: str) -> None:
    """Tell people on stderr, so that stdout stays for results."""
    print(text, file=sys.stderr, flush=True)


def fail(text: str) -> None:
    """Stop with one sentence."""
    say(f"error: {text}")
    raise SystemExit(1)


def with_a_fitting_python() -> None:
    """Run the calling script again under a supported Python, if this one is not."""
    if OLDEST <= sys.version_info[:2] <= NEWEST:
        return
    for minor in range(NEWEST[1], OLDEST[1] - 1, -1):
        for candidate in ([f"python3.{minor}"], ["py", f"-3.{minor}"]):
            if shutil.which(candidate[0]) and _answers(candidate):
                raise SystemExit(subprocess.call([*candidate, *sys.argv]))
    fail(
        f"this is Python {sys.version_info[0]}.{sys.version_info[1]}, and EX-4D needs 3.11 to 3.14: install one "
        "from python.org (or your system's packages) and run the same command with it."
    )


def _answers(python: list[str]) -> bool:
    done = subprocess.run([*python, "-c", ""], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return done.returncode == 0


def venv_python() -> Path:
    """The interpreter inside `.venv`."""
    return VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def prepare(extras: tuple[str, ...] = ()) -> Path:
    """Make `.venv` with EX-4D and the named extras installed; instant when it is there already.

    Returns:
        The interpreter to run things with.
    """
    wanted = {*extras, "core"}
    stamp = VENV / "ex4d-installed.txt"
    digest = hashlib.sha256((ROOT / "pyproject.toml").read_bytes()).hexdigest()
    known = stamp.read_text().split() if stamp.is_file() else []
    have = set(known[1:]) if known[:1] == [digest] else set()
    if wanted <= have and _answers([str(venv_python())]):
        return venv_python()

    begun = time.monotonic()
    if not (venv_python().is_file() and _answers([str(venv_python()), "-m", "pip", "--version"][:1])):
        say(f"Making {VENV} ...")
        made = subprocess.run([sys.executable, "-m", "venv", "--clear", str(VENV)], capture_output=True, text=True)
        if made.returncode:
            fail(
                "Python could not make a virtual environment (on Debian and Ubuntu: install python3-venv, then "
                f"run this again): {(made.stdout + made.stderr).strip().splitlines()[-1:]}"
            )
    extras_wanted = sorted((wanted | have) - {"core"})
    target = f"{ROOT}[{','.join(extras_wanted)}]" if extras_wanted else str(ROOT)
    say(f"Installing EX-4D {' + '.join(['core', *extras_wanted])} (about 200 MB to download the first time) ...")
    pip = [str(venv_python()), "-m", "pip", "install", "--disable-pip-version-check", "--quiet", "-e", target]
    if subprocess.run(pip, stdout=sys.stderr).returncode:
        fail("pip could not install EX-4D; its message stands above: mend that (often the network), run this again.")
    stamp.write_text("\n".join([digest, "core", *extras_wanted]))
    say(f"Installed in {time.monotonic() - begun:.0f} s.")
    return venv_python()
