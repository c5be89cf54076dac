"""The examples of docs/blender/scripting.md, run as they stand there."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import bpy
import pytest
from conftest import ROOT, library, module

EXAMPLES = re.findall(r"```python\n(.*?)```", (ROOT / "docs/blender/scripting.md").read_text("utf-8"), re.DOTALL)
TITLES = ("import_scene", "use_active_camera", "import_footage", "generate")


def example(name: str) -> str:
    """The example that shows an operator."""
    (code,) = (code for code in EXAMPLES if f"bpy.ops.ex4d.{name}(" in code and (name != TITLES[0] or "ORBIT" in code))
    return code


@pytest.fixture
def work_folder(tmp_path: Path, small_scene: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to run an example in."""
    shutil.copytree(small_scene, tmp_path / "clip.ex4d")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PWD", str(tmp_path))  # what Blender takes for the current folder
    return tmp_path


def run(code: str) -> None:
    """As `blender --python` does."""
    exec(compile(code, "example.py", "exec"), {"__name__": "__main__"})


def check(trajectory: Path, python: str) -> dict:
    """The core accepts it; the document."""
    code = "import sys, json; from ex4d_core.camera import load_trajectory; from fractions import Fraction; "
    library(python, code + "load_trajectory(__import__('pathlib').Path(sys.argv[1]), 1, 1, Fraction(24))", trajectory)
    return json.loads(trajectory.read_text())


def test_every_example_is_run() -> None:
    assert len(EXAMPLES) == len(TITLES)


def test_an_orbit_from_a_scene_folder(work_folder: Path, library_python: str) -> None:
    run(example("import_scene"))
    document = check(work_folder / "orbit.json", library_python)
    assert len(document["frames"]) == 8
    assert document["frames"][0]["c2w"][0][3] == pytest.approx(0, abs=1e-5)
    assert document["frames"][-1]["c2w"][0][3] > 0.5  # the camera went to the right
    assert (work_folder / "orbit.blend").is_file()


def test_a_camera_of_ones_own(work_folder: Path, library_python: str) -> None:
    run(example("use_active_camera"))
    document = check(work_folder / "handheld.json", library_python)
    assert document["frame_start"] == 1001
    assert [frame["source_time"] for frame in document["frames"]] == [3.0] * 8
    scale = bpy.data.objects["clip"].scale[0]
    assert document["frames"][-1]["c2w"][0][3] * scale == pytest.approx(0.5, abs=1e-4)


def test_a_generated_shot(work_folder: Path, shared_sidecar: Any) -> None:
    run(example("generate"))
    bpy.ops.wm.open_mainfile(filepath=str(work_folder / "shot.blend"))
    (take,) = bpy.context.scene.ex4d_shots[0].takes
    assert Path(bpy.path.abspath(take.folder)) == work_folder / "clip.shots" / "Shot 010" / "take_001"
    facts = module("takes.folder").read_take(work_folder / "clip.shots" / "Shot 010" / "take_001")
    assert (facts.frames, facts.has_exr) == (8, True)
    facts.require_files()
