"""The zip as Blender sees it: valid, clean to disable, free of the file when disabled."""

import subprocess
import sys
from pathlib import Path

import bpy
from conftest import EXTENSION, ROOT


def test_blender_calls_the_zip_valid(tmp_path: Path) -> None:
    subprocess.run([sys.executable, ROOT / "scripts/build_extension.py", "--output", tmp_path], check=True)
    (archive,) = tmp_path.glob("*.zip")
    tool = Path(bpy.utils.system_resource("SCRIPTS"), "addons_core/bl_pkg/cli/blender_ext.py")
    done = subprocess.run([sys.executable, tool, "validate", str(archive)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Success" in done.stdout


def names() -> set[str]:
    """All that an extension may register: classes, operators, properties of scenes and objects, handlers."""
    found = {f"bpy.types.{name}" for name in dir(bpy.types) if "ex4d" in name.lower()}
    found |= {f"bpy.ops.ex4d.{name}" for name in dir(bpy.ops.ex4d)}
    for owner in (bpy.types.Scene, bpy.types.Object, bpy.types.WindowManager, bpy.types.Camera):
        found |= {f"{owner.__name__}.{name}" for name in dir(owner) if name.startswith("ex4d")}
    for name in dir(bpy.app.handlers):
        handlers = getattr(bpy.app.handlers, name)
        if isinstance(handlers, list):
            found |= {f"{name}: {h.__module__}.{h.__name__}" for h in handlers if h.__module__.startswith(EXTENSION)}
    return found


def test_disabling_leaves_nothing_and_enabling_brings_it_back() -> None:
    enabled = names()
    for _ in range(2):
        bpy.ops.preferences.addon_disable(module=EXTENSION)
        try:
            left = {name for name in names() if not name.startswith("bpy.ops")}
            assert not left
        finally:
            bpy.ops.preferences.addon_enable(module=EXTENSION)
        assert names() == enabled
