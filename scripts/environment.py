"""Makes the virtual environments that the other scripts run in. Standard library only."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
OLDEST, NEWEST = (3, 11), (3, 14)

TORCH = "torch==2.13.0"
"""The build that the tests run with; an environment that has another one keeps it, without the extra train."""
TORCHVISION = "torchvision==0.28.0"
"""The one that belongs to it, which the extra train needs."""
TORCH_FOR_CPUS = "https://download.pytorch.org/whl/cpu"
"""Where Linux finds it without 3 GB of CUDA; for Windows and macOS, PyPI's own is such a build."""
OF_TORCHVISION = ("torch-fidelity", "cd-fvd")
"""Packages of the extra train that cannot be imported without it."""
BESIDE = "torchvision-beside"
"""Folder of `.venv` where torchvision and these lie if it is not built for the torch there (`_settle_torchvision`)."""

BLENDERS = {"4.5.15": (3, 11), "5.2.3": (3, 13), "4.2.23": (3, 11), "5.0.1": (3, 11)}
"""Blender as a Python module (`bpy`) -> the only Python it runs under; the plain test run takes the first that fits."""


_TELLTALES = {"core": "scenedetect", "gpu": "diffusers", "dev": "embreex"}
"""Extra -> a module that comes with it: a Python that finds it is taken to have the rest of the extra too."""

_PREPARED = "EX4D_PREPARED"
"""Environment variable: the extras that `in_environment` has installed into `.venv` for the script it starts there."""


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
        if found := _python(minor):
            raise SystemExit(subprocess.call([*found, *sys.argv]))
    fail(
        f"this is Python {sys.version_info[0]}.{sys.version_info[1]}, and EX-4D needs 3.11 to 3.14: install one "
        "from python.org (or your system's packages) and run the same command with it."
    )


def _answers(python: list[str], code: str = "") -> bool:
    done = subprocess.run([*python, "-c", code], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return done.returncode == 0


def _python(minor: int) -> list[str] | None:
    """How to start Python 3.`minor` on this machine; None where it has none."""
    if sys.version_info[:2] == (3, minor):
        return [sys.executable]
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    installed = sorted(pyenv.glob(f"3.{minor}.*/bin/python"), key=lambda python: python.stat().st_mtime)
    for candidate in ([f"python3.{minor}"], ["py", f"-3.{minor}"], *([str(python)] for python in installed)):
        if shutil.which(candidate[0]) and _answers(candidate):
            return candidate
    return None


def venv_python(venv: Path = VENV) -> Path:
    """The interpreter inside a virtual environment."""
    return venv / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def in_environment(*extras: str) -> None:
    """Have the calling script go on where EX-4D and the named extras are installed: here, or once more in `.venv`.

    A script calls it before it imports what is installed. The EX-4D that it then imports is the one it lies in.
    """
    sys.path[:0] = [str(ROOT), str(ROOT / "server")]
    needed = {"core", *extras}
    # Once is enough: a package that goes without on this system must not have it prepared for ever.
    prepared = Path(sys.prefix).resolve() == VENV.resolve() and needed <= set(os.environ.get(_PREPARED, "").split())
    if prepared or all(find_spec(_TELLTALES[extra]) for extra in needed):
        return
    with_a_fitting_python()
    environment = {**os.environ, _PREPARED: " ".join(sorted(needed))}
    raise SystemExit(subprocess.call([str(prepare(extras)), *sys.argv], env=environment))


def in_blender() -> None:
    """Have the calling script go on where `bpy` is: here, or once more in an environment with Blender as a module."""
    if not find_spec("bpy"):
        python, reason = any_blender()
        if python is None:
            fail(reason)
        raise SystemExit(subprocess.call([str(python), *sys.argv]))


def any_blender() -> tuple[Path | None, str]:
    """The first Blender that can be had as a module here, as `prepare_blender` gives it; else the first reason."""
    reasons: list[str] = []
    for version in BLENDERS:
        python, reason = prepare_blender(version)
        if python is not None:
            return python, ""
        reasons.append(reason)
    return None, reasons[0]


def prepare_blender(version: str) -> tuple[Path | None, str]:
    """Make `.venv-bpy-VERSION` with Blender as a module and pytest; instant when it is there already.

    Returns:
        The interpreter to run things with; or None, and the reason in one sentence.
    """
    venv, minor = ROOT / f".venv-bpy-{version}", BLENDERS[version][1]
    python, stamp = venv_python(venv), venv / "bpy-installed.txt"
    if stamp.is_file() and _answers([str(python)]):
        return python, ""
    base = _python(minor)
    if base is None:
        return None, f"Blender {version} needs Python 3.{minor}, which this machine has not: install it to test with it"
    say(f"Installing Blender {version} as a Python module (about 350 MB to download the first time) ...")
    begun = time.monotonic()
    made = subprocess.run([*base, "-m", "venv", "--clear", str(venv)], capture_output=True, text=True)
    pip = [
        str(python),
        "-m",
        "pip",
        "install",
        "--disable-pip-version-check",
        "--quiet",
        f"bpy=={version}",
        "pytest>=8",
        "pytest-timeout>=2.3",
    ]
    if made.returncode or subprocess.run(pip, stdout=sys.stderr).returncode:
        return None, f"pip could not install bpy {version} (its message stands above)"
    if not _answers([str(python)], "import bpy"):
        needed = "libx11-6 libxxf86vm1 libxfixes3 libxi6 libxkbcommon0 libgl1 libegl1 libsm6 libice6"
        return None, f"bpy {version} does not start here: it needs Blender's system libraries (Debian: {needed})"
    stamp.write_text(version)
    say(f"Installed in {time.monotonic() - begun:.0f} s.")
    return python, ""


def prepare(extras: tuple[str, ...] = ()) -> Path:
    """Make `.venv` with EX-4D and the named extras installed; instant when it is there already.

    With the extra gpu, torch is built for CPUs unless there is an NVIDIA GPU: all but the tests marked gpu run on it.

    Returns:
        The interpreter to run things with.
    """
    wanted = {*extras, "core"}
    stamp = VENV / "ex4d-installed.txt"
    digest = hashlib.sha256((ROOT / "pyproject.toml").read_bytes() + TORCH.encode()).hexdigest()
    known = stamp.read_text().split() if stamp.is_file() else []
    have = set(known[1:]) if known[:1] == [digest] else set()
    if wanted <= have and _answers([str(venv_python())]):
        return venv_python()

    begun = time.monotonic()
    if not (venv_python().is_file() and _answers([str(venv_python())], "import pip")):
        say(f"Making {VENV} ...")
        made = subprocess.run([sys.executable, "-m", "venv", "--clear", str(VENV)], capture_output=True, text=True)
        if made.returncode:
            fail(
                "Python could not make a virtual environment (on Debian and Ubuntu: install python3-venv, then "
                f"run this again): {(made.stdout + made.stderr).strip().splitlines()[-1:]}"
            )
    extras_wanted = sorted((wanted | have) - {"core"})
    target = f"{ROOT}[{','.join(extras_wanted)}]" if extras_wanted else str(ROOT)
    size = "500 MB" if "gpu" in extras_wanted else "200 MB"
    say(f"Installing EX-4D {' + '.join(['core', *extras_wanted])} (about {size} to download the first time) ...")
    torches = {"gpu": TORCH, "train": TORCHVISION}
    if not _install_torch(*(torches[e] for e in extras_wanted if e in torches)) or not _pip("-e", target):
        fail("pip could not install EX-4D; its message stands above: mend that (often the network), run this again.")
    _clear_copies()
    if "train" in extras_wanted:
        _settle_torchvision()
    stamp.write_text("\n".join([digest, "core", *extras_wanted]))
    say(f"Installed in {time.monotonic() - begun:.0f} s.")
    return venv_python()


def _clear_copies() -> None:
    """Remove what is left of packages that `pip install .` once copied into `.venv`: pip does not know of the compiled
    kernels there, and their folder would hide the packages here.
    """
    for packages in (*VENV.glob("lib/python*/site-packages"), VENV / "Lib/site-packages"):
        for name in ("ex4d_core", "ex4d_server"):
            if not (packages / name / "__init__.py").is_file():
                shutil.rmtree(packages / name, ignore_errors=True)


def _install_torch(*packages: str) -> bool:
    """Have torch in `.venv`, before anything asks for it and gets a build for GPUs; whether it is there.

    What it depends on comes with the rest.
    """
    for_cpus = ("--index-url", TORCH_FOR_CPUS, "--retries", "1", "--timeout", "15")
    for package in packages:
        if _answers(
            [str(venv_python())], f"from importlib.metadata import version; version('{package.split('=')[0]}')"
        ):
            continue
        small = sys.platform == "linux" and not shutil.which("nvidia-smi")
        if not (small and _pip("--no-deps", package, *for_cpus, quietly=True)) and not _pip("--no-deps", package):
            return False
    return True


def _settle_torchvision() -> None:
    """Keep a torchvision out of the way that is built for another torch: with it, transformers cannot be imported.

    PyPI has those for CUDA alone, and where PyTorch's own index cannot be reached, torch may still be one for CPUs. It
    goes into a folder of its own, with the packages that need it, for tests that load it in a process of their own.
    """
    if _answers([str(venv_python())], "import torchvision"):
        return
    python = str(venv_python())
    pip = [python, "-m", "pip", "uninstall", "--quiet", "--yes", "torchvision", *OF_TORCHVISION]
    if subprocess.run(pip, stdout=sys.stderr).returncode:
        fail("pip could not remove the torchvision that does not go with torch: delete .venv, then run this again.")
    _pip("--no-deps", "--upgrade", "--target", str(VENV / BESIDE), TORCHVISION, *OF_TORCHVISION)
    say("torchvision is not to be had for the torch in .venv: what measures with it is tested beside it.")


def _pip(*arguments: str, quietly: bool = False) -> bool:
    """Install into `.venv`; whether it worked. Modules are compiled when they are first used: few of them are."""
    pip = [str(venv_python()), "-m", "pip", "install", "--disable-pip-version-check", "--quiet", "--no-compile"]
    told = subprocess.DEVNULL if quietly else None
    return subprocess.run([*pip, *arguments], stdout=told or sys.stderr, stderr=told).returncode == 0
