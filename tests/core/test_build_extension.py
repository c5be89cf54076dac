"""The extension's zip: whole, reproducible, and what the index says it is."""

import ast
import base64
import hashlib
import importlib.metadata
import importlib.util
import json
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parent.parent.parent


def build(script: Path, output: Path) -> Path:
    """Run the script as a user does, with a Python that sees no site-packages."""
    command = [sys.executable, "-E", "-s", "-S", str(script), "--output", str(output)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (archive,) = output.glob("*.zip")
    assert str(archive) in done.stdout
    return archive


def checkout(folder: Path) -> Path:
    """A copy of what the zip is built from, with other dates; its build script."""
    for name in ("ex4d_blender", "ex4d_core", "server/ex4d_server", "scripts"):
        shutil.copytree(ROOT / name, folder / name, copy_function=shutil.copyfile)
    for name in ("blender_manifest.toml", "LICENSE", "README.md", "pyproject.toml"):
        shutil.copyfile(ROOT / name, folder / name)
    return folder / "scripts/build_extension.py"


def test_the_same_sources_give_the_same_bytes(tmp_path: Path) -> None:
    here = build(ROOT / "scripts/build_extension.py", tmp_path / "here")
    script = checkout(tmp_path / "copy")
    source = tmp_path / "copy/ex4d_blender/errors.py"
    source.write_bytes(source.read_bytes().replace(b"\n", b"\r\n"))  # as git checks out on Windows
    there = build(script, tmp_path / "there")
    assert here.read_bytes() == there.read_bytes()
    source.write_bytes(source.read_bytes() + b"# changed\n")
    assert build(script, tmp_path / "changed").read_bytes() != here.read_bytes()


def test_the_zip_holds_the_extension_the_client_and_the_licence(tmp_path: Path) -> None:
    archive = build(ROOT / "scripts/build_extension.py", tmp_path)
    with zipfile.ZipFile(archive) as opened:
        names = set(opened.namelist())
        manifest = tomllib.loads(opened.read("blender_manifest.toml").decode())
        assert opened.read("LICENSE") == (ROOT / "LICENSE").read_bytes()
    sources = {p.relative_to(ROOT / "ex4d_blender").as_posix() for p in (ROOT / "ex4d_blender").rglob("*.py")}
    client = {f"client/{p.name}" for p in (ROOT / "server/ex4d_server/client").glob("*.py")}
    assert sources | client | {"blender_manifest.toml", "LICENSE"} <= names
    assert not [name for name in names if "__pycache__" in name or name.endswith((".pyc", ".blend1"))]
    assert archive.name == f"ex4d_blender-{manifest['version']}.zip"
    assert archive.stat().st_size < 5 * 2**20  # half of it is the bundled clip, in the wheel


def test_the_wheel_is_what_pip_would_build(tmp_path: Path) -> None:
    """The same files and metadata as setuptools gives, so that pip and uv install it as any other."""
    with zipfile.ZipFile(build(ROOT / "scripts/build_extension.py", tmp_path)) as opened:
        (name,) = (name for name in opened.namelist() if name.endswith(".whl"))
        wheel = opened.extract(name, tmp_path)
    assert name == f"engine/ex4d-{importlib.metadata.version('ex4d')}-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as opened:
        names = set(opened.namelist())
        (info,) = {n.split("/")[0] for n in names if ".dist-info/" in n}
        for line in opened.read(f"{info}/RECORD").decode().splitlines():
            path, digest, _ = line.rsplit(",", 2)
            if digest:
                found = base64.urlsafe_b64encode(hashlib.sha256(opened.read(path)).digest()).rstrip(b"=").decode()
                assert digest == f"sha256={found}", path
    packages = {"ex4d_core": ROOT / "ex4d_core", "ex4d_server": ROOT / "server/ex4d_server"}
    sources = {f"{n}/{p.relative_to(f).as_posix()}" for n, f in packages.items() for p in f.rglob("*.py")}
    assert sources <= names
    assert {"ex4d_core/sample/clip.mp4", "ex4d_core/py.typed", "ex4d_server/py.typed"} <= names
    (built,) = importlib.metadata.distributions(name="ex4d", path=[wheel])
    reference = importlib.metadata.distribution("ex4d")
    assert {(e.group, e.name, e.value) for e in built.entry_points} == {
        (e.group, e.name, e.value) for e in reference.entry_points
    }
    same = ("Name", "Version", "Summary", "License-Expression")
    assert [built.metadata[key] for key in same] == [reference.metadata[key] for key in same]
    python = "Requires-Python"
    assert set(built.metadata[python].split(",")) == set(reference.metadata[python].split(","))
    assert {str(Requirement(r)) for r in built.requires or ()} == {
        str(Requirement(r)) for r in reference.requires or ()
    }


def test_the_index_describes_the_zip(tmp_path: Path) -> None:
    archive = build(ROOT / "scripts/build_extension.py", tmp_path)
    (entry,) = json.loads((tmp_path / "index.json").read_text())["data"]
    assert entry["archive_url"] == f"./{archive.name}"
    assert entry["archive_size"] == archive.stat().st_size
    assert entry["archive_hash"] == "sha256:" + hashlib.sha256(archive.read_bytes()).hexdigest()
    assert (entry["id"], entry["blender_version_min"]) == ("ex4d", "4.2.0")
    for reason in entry["permissions"].values():  # the limits of Blender's validator
        assert len(reason) <= 64
        assert reason[-1].isalnum()


def test_one_version_everywhere() -> None:
    manifest = tomllib.loads((ROOT / "blender_manifest.toml").read_text())
    assert manifest["version"] == tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]


def test_an_output_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    command = [sys.executable, str(ROOT / "scripts/build_extension.py"), "--output", str(tmp_path / "file")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert "choose another --output" in done.stderr


def test_the_extension_uses_what_blender_ships() -> None:
    """No import but of the standard library, Blender's own modules, numpy, and the extension itself."""

    allowed = sys.stdlib_module_names | {
        "bpy",
        "bpy_extras",
        "bl_math",
        "blf",
        "gpu",
        "gpu_extras",
        "mathutils",
        "numpy",
    }
    for path in (ROOT / "ex4d_blender").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.level == 0:
                names = [node.module or ""]
            for name in names:
                assert name.split(".")[0] in allowed, f"{path.relative_to(ROOT)} imports {name}"
    assert importlib.util.find_spec("bpy") is None, "this environment is the library's"
