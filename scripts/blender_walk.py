"""The walk of an artist through a real Blender window (`tests/gui/walk.py`), with a sidecar and the bundled clip.

For `tests/gui/test_windows.py`, which checks what was measured, and `manual.py`, which shows the pictures. Needs what
`blender_window.py` needs, and an environment with the library.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from blender_window import run_in_window
from environment import ROOT

from ex4d_core import sample

SECONDS = 1200
"""After which it is ended; a quarter of it is enough where nothing else runs."""


@contextmanager
def a_sidecar(folder: Path) -> Iterator[tuple[int, Path]]:
    """A sidecar with its data in a folder: its process id, and the state folder where Blender finds it."""
    state = folder / "state"
    process = subprocess.Popen(
        [sys.executable, "-m", "ex4d_core.cli", "serve", "--data", str(folder / "data"), "--json"],
        stdout=subprocess.PIPE,
        env={**os.environ, "EX4D_STATE_DIR": str(state)},
    )
    assert process.stdout is not None
    try:
        assert process.stdout.readline()
        yield process.pid, state
    finally:
        process.terminate()
        process.wait(30)
        process.stdout.close()


def walk(release: str, out: Path, frozen_seconds: float) -> subprocess.CompletedProcess[str]:
    """Go through all steps.

    Args:
        release: one of `blender_window.RELEASES`.
        out: folder for the pictures and `walk.json`; made, and emptied of an earlier walk.
        frozen_seconds: how long the sidecar is stopped at the end, while Blender's ticks are timed.

    Returns:
        Exit code, and stdout and stderr together as `stdout`.
    """
    shutil.rmtree(out, ignore_errors=True)
    (out / "project").mkdir(parents=True)
    low, high = sample.facts().depth_range
    with tempfile.TemporaryDirectory(prefix="ex4d-walk-") as name:
        folder = Path(name)
        subprocess.run([sys.executable, ROOT / "scripts/build_extension.py", "--output", folder], check=True)
        with a_sidecar(folder) as (pid, state):
            task = {
                "zip": str(next(folder.glob("*.zip"))),
                "clip": str(sample.clip_path()),
                "depth": str(sample.depth_path()),
                "depth_options": {
                    "depth_kind": "disparity",
                    "use_depth_range": True,
                    "depth_low": low,
                    "depth_high": high,
                    "lens": "PIXELS",
                    "focal_px": sample.facts().focal_px,
                },
                "sidecar_pid": pid,
                "frozen_seconds": frozen_seconds,
                "out": str(out),
            }
            (folder / "task.json").write_text(json.dumps(task))
            script, environment = ROOT / "tests/gui/walk.py", {"EX4D_STATE_DIR": str(state)}
            return run_in_window(release, script, [str(folder / "task.json")], environment, SECONDS)
