"""From nothing to a re-shot video: installs the light core and re-shoots the bundled clip.

    python scripts/demo.py
    python scripts/demo.py --blender [PATH]

Needs Python 3.11 to 3.14 and, the first time, the network. Writes demo/output.mp4 and demo/contact.png. With
`--blender` it goes the whole way in Blender (that at PATH, else one on the path, else Blender as a Python module), with
the extension and a sidecar, and writes demo/demo.blend and demo/blender.png.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from environment import ROOT, any_blender, fail, prepare, say, with_a_fitting_python

OUT = ROOT / "demo"


def main() -> None:
    """Install, re-shoot, say where the result lies."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--blender", nargs="?", const="", metavar="PATH", help="the whole way in Blender")
    options = parser.parse_args()
    with_a_fitting_python()
    if options.blender is None:
        reshoot()
    else:
        in_blender(options.blender)


def reshoot() -> None:
    """By the library alone."""
    python = prepare()
    command = [str(python), "-m", "ex4d_core.cli", "reshoot", "sample", "--preset", "orbit", "--yaw", "60"]
    command += ["--radius", "3.4"]  # where the robot walks; the middle of the picture lies behind it
    command += ["--engine", "draft", "-o", str(OUT), "--json"]
    say("Re-shooting the bundled clip along a 60-degree orbit ...")
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        try:
            fail(json.loads(done.stdout)["error"]["message"])
        except (ValueError, KeyError):
            fail("the re-shoot stopped; its message stands above.")
    say(f"Look at {OUT / 'contact.png'}: source, colour, mask and output at five times.")
    print(f"output: {json.loads(done.stdout)['output']}")


def in_blender(path: str) -> None:
    """By the extension in Blender, and a sidecar that it starts."""
    blender = _blender(path)
    python = prepare()
    OUT.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="ex4d-demo-") as folder:
        built = [sys.executable, str(ROOT / "scripts/build_extension.py"), "--output", folder]
        if subprocess.run(built, stdout=subprocess.DEVNULL).returncode:
            fail("the extension could not be built; its message stands above.")
        task = {
            "zip": str(next(Path(folder).glob("*.zip"))),
            "executable": str(python.with_name("ex4d.exe" if os.name == "nt" else "ex4d")),
            "data": str(Path(folder) / "data"),
            "out": str(OUT),
            **_sample(),
        }
        (Path(folder) / "task.json").write_text(json.dumps(task))
        command = [*blender, str(ROOT / "scripts/demo_blender.py"), "--", str(Path(folder) / "task.json")]
        environment = os.environ | {"BLENDER_USER_RESOURCES": folder, "EX4D_STATE_DIR": str(Path(folder) / "state")}
        done = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL)
    if done.returncode or not (OUT / "blender.png").is_file():
        fail("Blender stopped on the way; its message stands above.")
    say(f"Look at {OUT / 'blender.png'}, and open {OUT / 'demo.blend'}.")
    print(f"picture: {OUT / 'blender.png'}")


def _blender(path: str) -> list[str]:
    """How to run a script in Blender: the one at `path`, else on the path, else as a Python module."""
    found = shutil.which(path or "blender")
    if found:
        return [found, "--background", "--factory-startup", "--python-exit-code", "1", "--python"]
    if path:
        fail(f"there is no Blender at {path}: give the path of its program, or leave it out.")
    say("There is no Blender on the path: it is taken as a Python module.")
    python, reason = any_blender()
    if python is None:
        fail(f"there is no Blender here ({reason}): install it, or give its path after --blender.")
    return [str(python)]


def _sample() -> dict[str, object]:
    """The bundled clip, and what the import must be told of its depth and lens."""
    folder = ROOT / "ex4d_core/sample"
    facts = json.loads((folder / "sample.json").read_text("utf-8"))
    low, high = facts["depth_range"]
    options = {
        "depth": "FILES",
        "depth_path": str(folder / facts["depth"]),
        "depth_kind": facts["depth_kind"],
        "use_depth_range": True,
        "depth_low": low,
        "depth_high": high,
        "lens": "PIXELS",
        "focal_px": facts["focal_px"],
    }
    return {"clip": str(folder / facts["clip"]), "options": options}


if __name__ == "__main__":
    sys.exit(main())
