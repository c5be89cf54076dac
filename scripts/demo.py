"""From nothing to a re-shot video: installs the light core and re-shoots the bundled clip.

    python scripts/demo.py

Needs Python 3.11 to 3.14 and, the first time, the network. Writes demo/output.mp4 and demo/contact.png.
"""

import json
import subprocess
import sys

from environment import ROOT, fail, prepare, say, with_a_fitting_python


def main() -> None:
    """Install, re-shoot, say where the result lies."""
    with_a_fitting_python()
    python = prepare()
    out = ROOT / "demo"
    command = [str(python), "-m", "ex4d_core.cli", "reshoot", "sample", "--preset", "orbit", "--yaw", "60"]
    command += ["--radius", "3.4"]  # where the robot walks; the middle of the picture lies behind it
    command += ["--engine", "draft", "-o", str(out), "--json"]
    say("Re-shooting the bundled clip along a 60-degree orbit ...")
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        try:
            fail(json.loads(done.stdout)["error"]["message"])
        except (ValueError, KeyError):
            fail("the re-shoot stopped; its message stands above.")
    say(f"Look at {out / 'contact.png'}: source, colour, mask and output at five times.")
    print(f"output: {json.loads(done.stdout)['output']}")


if __name__ == "__main__":
    sys.exit(main())
