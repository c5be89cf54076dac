"""Runs a script inside a real Blender window, on a machine without a screen.

    python scripts/blender_window.py trixie|sid SCRIPT [ARGUMENTS]      (as root, on Debian or Ubuntu)

Blender comes from a Debian release (trixie has 4.3, sid 5.2) in a debootstrap chroot, made on first use in
`.blender-windows/` (EX4D_WINDOWS moves it), and shows its window on a virtual screen. The script sees the checkout and
/tmp under their own paths, the screen as the XWD file that the variable EX4D_SCREEN names (Blender's own screenshots
are black here), and ends Blender with an exit code of its own. Standard library only.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from environment import ROOT, say

RELEASES = {"trixie": "4.3", "sid": "5.2"}
PACKAGES = "blender libgl1 libgl1-mesa-dri libegl1 python3-cattr python3-requests python3-numpy fonts-dejavu-core"
SCREEN = (1600, 1300)


def why_not() -> str:
    """Why no window can be had on this machine, in one sentence; empty where one can."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "Blender windows need Linux and root (for the chroot): run it as root on Debian or Ubuntu"
    lacking = [tool for tool in ("debootstrap", "Xvfb", "unshare") if shutil.which(tool) is None]
    if lacking:
        return f"{', '.join(lacking)} missing: apt-get install debootstrap xvfb util-linux"
    return ""


def prepare_window(release: str) -> Path:
    """The chroot with Blender of a Debian release; made in about two minutes the first time.

    Raises:
        subprocess.CalledProcessError: debootstrap or apt-get failed; their messages are on stderr.
    """
    root = Path(os.environ.get("EX4D_WINDOWS", ROOT / ".blender-windows")) / release
    if (root / "usr/bin/blender").exists():
        return root
    say(f"Making a chroot of Debian {release} with Blender in {root} (about 500 MB to download) ...")
    partial = root.with_name(f"{release}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.parent.mkdir(parents=True, exist_ok=True)
    install = f"DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends {PACKAGES}"
    for command in (
        ["debootstrap", "--variant=minbase", release, str(partial)],
        ["chroot", str(partial), "sh", "-c", install],
    ):
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    os.replace(partial, root)
    return root


def run_in_window(
    release: str, script: Path, arguments: list[str], environment: dict[str, str] | None = None, seconds: float = 600
) -> subprocess.CompletedProcess[str]:
    """Run `script` in a Blender window until it ends Blender.

    Args:
        release: one of `RELEASES`.
        script: a Python file below the checkout or /tmp.
        arguments: what the script finds in `sys.argv` after `--`.
        environment: more variables for Blender.
        seconds: after which Blender is ended, with exit code 124.

    Returns:
        Exit code, and stdout and stderr together as `stdout`.
    """
    root = prepare_window(release)
    width, height = SCREEN
    read, write = os.pipe()  # Xvfb chooses a free display and says which
    picture = tempfile.mkdtemp(prefix="ex4d-screen-")
    command = [
        "Xvfb",
        "-displayfd",
        str(write),
        "-screen",
        "0",
        f"{width}x{height}x24",
        "-nolisten",
        "tcp",
        "-nocursor",
    ]
    command += ["-fbdir", picture]
    screen = subprocess.Popen(command, pass_fds=(write,), stderr=subprocess.DEVNULL)
    try:
        os.close(write)
        display = os.read(read, 16).decode().strip()
        variables = {
            "DISPLAY": f":{display}",
            "LIBGL_ALWAYS_SOFTWARE": "1",
            "HOME": "/root",
            "PATH": "/usr/bin:/bin",
            "LANG": "C.UTF-8",
            "EX4D_SCREEN": f"{picture}/Xvfb_screen0",
            **(environment or {}),
        }
        blender = [
            *("env", "-i", *(f"{name}={value}" for name, value in variables.items())),
            *("blender", "--factory-startup", "--no-window-focus", "--enable-event-simulate"),
            *("--window-geometry", "0", "0", str(width), str(height)),
            *("--python-exit-code", "3", "--python", str(script), "--", *arguments),
        ]
        mounts = [f"mount -t proc proc {root}/proc", f"mount --rbind /dev {root}/dev"]
        for folder in dict.fromkeys([Path("/tmp"), ROOT]):
            inside = f"{root}{folder}"
            mounts += [f"mkdir -p {shlex.quote(inside)}", f"mount --bind {folder} {shlex.quote(inside)}"]
        inner = " && ".join([*mounts, f"exec timeout -k 5 {seconds:.0f} chroot {root} {shlex.join(blender)}"])
        # a mount namespace of its own: whatever happens, nothing stays mounted
        return subprocess.run(
            ["unshare", "--mount", "sh", "-c", inner], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
    finally:
        screen.terminate()
        screen.wait()
        os.close(read)
        shutil.rmtree(picture, ignore_errors=True)


def main() -> int:
    """Run the script, show what it printed, and pass its exit code on."""
    if len(sys.argv) < 3 or sys.argv[1] not in RELEASES:
        say(__doc__ or "")
        return 2
    if reason := why_not():
        say(f"error: {reason}.")
        return 1
    begun = time.monotonic()
    done = run_in_window(sys.argv[1], Path(sys.argv[2]).resolve(), sys.argv[3:])
    print(done.stdout, end="")
    say(f"exit code {done.returncode} after {time.monotonic() - begun:.0f} s")
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
