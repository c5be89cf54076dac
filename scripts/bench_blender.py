"""Times `frame_set` with the DW-Mesh of a scene folder in Blender: first visit of each frame, and later ones.

    python scripts/bench_blender.py SCENE.ex4d [--level N]

Runs in a Python with the bpy wheel, its own or one that it makes; the extension is built and installed into an empty
Blender.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from environment import ROOT, in_blender


def main() -> None:
    """Print one line of figures per pass over the clip."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("scene", type=Path)
    parser.add_argument("--level", type=int, help="level of detail; by itself if not given")
    parser.add_argument("--frames", type=int, help="how many frames to visit; more than there are: files of their own")
    options = parser.parse_args()
    in_blender()
    with tempfile.TemporaryDirectory() as resources:
        os.environ["BLENDER_USER_RESOURCES"] = resources  # before bpy is imported
        subprocess.run([sys.executable, ROOT / "scripts/build_extension.py", "--output", resources], check=True)
        frames = json.loads((options.scene / "scene.json").read_text("utf-8"))["frames"]
        if options.frames and options.frames > frames:
            options.scene = _longer(options.scene, Path(resources) / "long.ex4d", options.frames)
        _measure(options, next(Path(resources).glob("*.zip")))


def _longer(scene: Path, longer: Path, frames: int) -> Path:
    """The scene again and again, up to so many frames. Every frame is a file of its own, read by itself."""
    document = json.loads((scene / "scene.json").read_text("utf-8"))
    for pattern in filter(None, document["files"].values()):
        (longer / pattern).parent.mkdir(parents=True)
        for frame in range(frames):
            shutil.copyfile(scene / (pattern % (frame % document["frames"])), longer / (pattern % frame))
    (longer / "scene.json").write_text(json.dumps(document | {"frames": frames}), "utf-8")
    return longer


def _measure(options: argparse.Namespace, archive: Path) -> None:
    import bpy

    bpy.ops.wm.read_factory_settings(use_empty=True)
    bpy.ops.extensions.package_install_files(repo="user_default", filepath=str(archive), enable_on_install=True)
    from bl_ext.user_default.ex4d import placed
    from bl_ext.user_default.ex4d.versions import modifier_inputs

    bpy.ops.ex4d.import_scene(directory=str(options.scene.absolute()), frame_start=1)
    scene = bpy.context.scene
    (footage,) = placed.all_placed(scene)
    modifier = footage.mesh.modifiers[0]
    if options.level:
        modifier_inputs.write(modifier, "Viewport Level", options.level)
    bpy.context.view_layer.update()
    facts = footage.facts()
    frames = options.frames or facts.frames
    print(f"Blender {bpy.app.version_string}, {facts.width}x{facts.height}x{facts.frames}, level ", end="")
    print(modifier_inputs.read(modifier, "Viewport Level"))
    for name in ("first", "second", "third"):
        wall, cpu = [], []
        for frame in range(1, 1 + frames):
            start, busy = time.perf_counter(), time.process_time()
            scene.frame_set(frame)
            wall.append(1000 * (time.perf_counter() - start))
            cpu.append(1000 * (time.process_time() - busy))
        best_tenth = sorted(wall)[len(wall) // 10]
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(
            f"{name} visit: median {statistics.median(wall):.1f} ms, best tenth {best_tenth:.1f}, "
            f"most {max(wall):.1f}; processor {statistics.median(cpu):.1f} ms; peak memory {peak:.0f} MB",
            flush=True,
        )


if __name__ == "__main__":
    main()
