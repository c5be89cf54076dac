"""Projects on disk for the tests of where files lie."""

import shutil
from pathlib import Path

import bpy
import numpy as np
from conftest import module


def place(folder: Path):
    """Import Scene; the footage."""
    assert bpy.ops.ex4d.import_scene(directory=str(folder)) == {"FINISHED"}
    return footage()


def footage():
    """The footage of the open file."""
    return module("placed").required(bpy.context)


def seen(frame: int) -> np.ndarray:
    """(N, 3) the vertices of the mesh in world space as a frame shows them: what the files hold has been read."""
    bpy.context.scene.frame_set(frame)
    mesh = footage().mesh.evaluated_get(bpy.context.evaluated_depsgraph_get())
    flat = np.empty(len(mesh.data.vertices) * 3, np.float32)
    mesh.data.vertices.foreach_get("co", flat)
    return flat.reshape(-1, 3) @ np.array(mesh.matrix_world)[:3, :3].T + np.array(mesh.matrix_world)[:3, 3]


def save(path: Path, **options: object) -> None:
    """Save As."""
    path.parent.mkdir(parents=True, exist_ok=True)
    assert bpy.ops.wm.save_as_mainfile(filepath=str(path), **options) == {"FINISHED"}


def reopen(path: Path) -> None:
    """Open a file."""
    assert bpy.ops.wm.open_mainfile(filepath=str(path)) == {"FINISHED"}


def paths_in_file() -> list[str]:
    """All paths that a file of the project holds."""
    empty = footage().empty
    return [empty["ex4d_folder"], *(image.filepath for image in bpy.data.images if image.get("ex4d_footage"))]


def saved_project(small_scene: Path, tmp_path: Path) -> Path:
    """A saved project: `shot/shot.blend` with the footage in `shot/small.ex4d`."""
    folder = tmp_path / "shot"
    shutil.copytree(small_scene, folder / "small.ex4d")
    save(folder / "shot.blend")
    place(folder / "small.ex4d")
    save(folder / "shot.blend")
    return folder


def bring(project: Path, target: Path, link: bool) -> None:
    """Link or append the footage's collection of a project into a new file in another folder."""
    bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
    save(target)
    with bpy.data.libraries.load(str(project / "shot.blend"), link=link, relative=True) as (there, here):
        here.collections = [name for name in there.collections if name.startswith("small")]
    (collection,) = [c for c in bpy.data.collections if c.name.startswith("small")]
    bpy.context.scene.collection.children.link(collection)
