"""A file made in 4.2 or 4.5 opens in every later Blender with its footage as it was. Long: one process per Blender."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import EXTENSION, ROOT

VERSIONS = ("4.2.23", "4.5.15", "5.0.1", "5.2.3")
PAIRS = [(made, opened) for made in VERSIONS[:2] for opened in VERSIONS if opened > made]

_INSTALL = f"""
import os, sys
import bpy
bpy.ops.wm.read_factory_settings(use_empty=True)
bpy.ops.extensions.package_install_files(repo="user_default", filepath=os.environ["EX4D_ZIP"], enable_on_install=True)
import importlib
module = lambda name: importlib.import_module("{EXTENSION}." + name)
"""

_LOOK = """
import numpy as np
def look(target):
    found = {}
    scene = bpy.context.scene
    for frame in (1001, 1004, 1010):
        scene.frame_set(frame)
        depsgraph = bpy.context.evaluated_depsgraph_get()
        for name in ("small Mesh", "moving Mesh"):
            mesh = bpy.data.objects[name].evaluated_get(depsgraph)
            flat = np.empty(len(mesh.data.vertices) * 3, np.float32)
            mesh.data.vertices.foreach_get("co", flat)
            found[f"{name} {frame}"] = flat.reshape(-1, 3) @ np.array(mesh.matrix_world)[:3, :3].T
        for name in ("small Camera", "moving Camera"):
            found[f"{name} {frame}"] = np.array(bpy.data.objects[name].evaluated_get(depsgraph).matrix_world)
    np.savez(target, **found)
"""

_MAKE = """
scene = bpy.context.scene
scene.frame_start = 1001
small, moving, blend, target = sys.argv[1:]
bpy.ops.wm.save_as_mainfile(filepath=blend)
bpy.ops.ex4d.import_scene(directory=small)
bpy.context.scene.camera["Source Time"] = 0.0
for frame, value in ((1001, 0.0), (1010, 5.0)):
    scene.camera["Source Time"] = value
    scene.camera.keyframe_insert('["Source Time"]', frame=frame)
bpy.ops.ex4d.set_scale(point_a=(0, 0, 0), point_b=(1, 0, 0), distance=3)
bpy.ops.ex4d.import_scene(directory=moving)
solve = bpy.data.objects.new("Solve", bpy.data.cameras.new("Solve"))
scene.collection.objects.link(solve)
for frame, place in ((1001, (0, 0, 0)), (1008, (1, 2, 3))):
    solve.location = place
    solve.keyframe_insert("location", frame=frame)
bpy.ops.ex4d.follow_camera(camera="Solve", fit=False)
bpy.ops.wm.save_mainfile()
look(target)
"""

_OPEN = """
small, moving, blend, target = sys.argv[1:]
bpy.ops.wm.open_mainfile(filepath=blend)
for placed in module("placed").all_placed(bpy.context.scene):
    assert placed.facts().frames == 8, placed.folder
bpy.ops.ex4d.match_scene()
assert bpy.context.scene.frame_start == 1001
look(target)
"""


def python_of(version: str) -> Path | None:
    """The interpreter with Blender of a version: made by scripts/test.py, or kept by this machine."""
    minor = version.rpartition(".")[0]
    places = (ROOT / f".venv-bpy-{version}", Path("/opt/bpy") / version, Path("/opt/bpy") / minor)
    return next((python for place in places if (python := place / "bin/python").exists()), None)


def blender(version: str, code: str, resources: Path, archive: Path, *arguments: Path) -> None:
    """Run code in a wheel of some version, the extension installed."""
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME")}
    environment |= {"BLENDER_USER_RESOURCES": str(resources), "EX4D_ZIP": str(archive)}
    command = [python_of(version), "-c", _INSTALL + _LOOK + code, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The extension's zip."""
    output = tmp_path_factory.mktemp("dist")
    subprocess.run([sys.executable, ROOT / "scripts/build_extension.py", "--output", output], check=True)
    return next(output.glob("*.zip"))


@pytest.mark.slow
@pytest.mark.parametrize("made", VERSIONS[:2])
def test_a_file_opens_in_every_later_blender(made: str, archive: Path, small_scene: Path, tmp_path: Path) -> None:
    missing = [version for version in VERSIONS if python_of(version) is None]
    if missing:
        pytest.skip(f"no bpy wheel of {', '.join(missing)}: run scripts/test.py --all, or set EX4D_BPY_WHEELS")
    for name in ("small", "moving"):
        shutil.copytree(small_scene, tmp_path / f"{name}.ex4d")
    arguments = tmp_path / "small.ex4d", tmp_path / "moving.ex4d", tmp_path / "shot.blend"
    blender(made, _MAKE, tmp_path / "made", archive, *arguments, tmp_path / "made.npz")
    expected = np.load(tmp_path / "made.npz")
    for opened in (later for first, later in PAIRS if first == made):
        target = tmp_path / f"{opened}.npz"
        blender(opened, _OPEN, tmp_path / f"opened{opened}", archive, *arguments, target)
        seen = np.load(target)
        for name in expected.files:
            np.testing.assert_allclose(seen[name], expected[name], atol=1e-4, err_msg=f"{name}, {made} in {opened}")
        assert not np.allclose(seen["small Mesh 1001"], seen["small Mesh 1010"]), "the retiming is still there"
        assert not np.allclose(seen["moving Camera 1001"], seen["moving Camera 1004"]), "the camera still moves"
