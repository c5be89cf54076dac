"""What viewports show of the mesh: depth from the proxy, and nothing where there are bridges."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import bpy
import numpy as np
import pytest
from conftest import library, module

_MAKE_PROXIES = """
import sys
from pathlib import Path
from ex4d_core.depth.exr import write_exr
from ex4d_core.depth_proxy import depth_proxy
from ex4d_core.scene import Scene
from ex4d_core.stored_depth import read_stored_depth
scene, step = Scene.open(Path(sys.argv[1])), int(sys.argv[2])
for frame in range(scene.frames):
    stored = read_stored_depth(scene.path, scene.document.depth, scene.document.files, frame)
    write_exr(scene.path / f"proxy/{frame:06d}.exr", depth_proxy(stored.depth, stored.occlusion, step))
"""


_OTHER_BITS = """
import sys
from pathlib import Path
from ex4d_core.images import read_image, write_png
for file in Path(sys.argv[1]).glob("occlusion/*.png"):
    write_png(file, read_image(file)[..., 0] | 0b11111100)
"""


def _copy(scene: Path, folder: Path, step: int, python: str) -> Path:
    """The scene with a proxy of that step; 0: as older folders are, without one. Bits of no bridge are all set."""
    shutil.copytree(scene, folder)
    library(python, _OTHER_BITS, folder)
    document = json.loads((folder / "scene.json").read_text())
    if step:
        library(python, _MAKE_PROXIES, folder, step)
        document["proxy_step"] = step
    else:
        shutil.rmtree(folder / "proxy")
        del document["files"]["proxy"], document["proxy_step"]
    (folder / "scene.json").write_text(json.dumps(document))
    return folder


def _place(folder: Path) -> tuple[Any, Any]:
    footage = module("mesh.placing").place(bpy.context, folder, 1)
    return footage, footage.mesh.modifiers[0]


def _shown(footage: Any, frame: int) -> tuple[np.ndarray, np.ndarray]:
    """Vertices (N, 3), and the name of each block's material, rows and columns from the upper left."""
    bpy.context.scene.frame_set(1 + frame)
    data = footage.mesh.evaluated_get(bpy.context.evaluated_depsgraph_get()).data
    points = np.empty(len(data.vertices) * 3, np.float32)
    data.vertices.foreach_get("co", points)
    points = points.reshape(-1, 3)
    names = {}
    for face in data.polygons:
        assert len(face.vertices) == 4
        corners = points[list(face.vertices)]
        u, v = (corners[:, :2] / corners[:, 2:]).min(axis=0)
        names[round(float(v), 4), round(float(u), 4)] = data.materials[face.material_index].name
    rows = len({v for v, _ in names})
    return points, np.array([names[key] for key in sorted(names)]).reshape(rows, -1)


def _bits(folder: Path, frame: int) -> np.ndarray:
    """(H - 1, W - 1) bool: the block has bridges in it."""
    return module("coverage.png").read_png(folder / f"occlusion/{frame:06d}.png")[:-1, :-1, 0] & 3 > 0


@pytest.mark.parametrize("step", [0, 1])
def test_blocks_with_bridges_show_nothing(small_scene: Path, library_python: str, tmp_path: Path, step: int) -> None:
    footage, _ = _place(_copy(small_scene, tmp_path / "a.ex4d", step, library_python))
    for frame in (0, 5):
        _, names = _shown(footage, frame)
        torn = _bits(small_scene, frame)
        assert 20 < torn.sum() < torn.size / 4
        np.testing.assert_array_equal(names == "a Unseen", torn)
        assert set(names[~torn]) == {"a Seen"}
    unseen = bpy.data.materials["a Unseen"]
    assert unseen.diffuse_color[3] == 0.0, "Solid would show it"
    assert not [node for node in unseen.node_tree.nodes if node.type == "TEX_IMAGE"]


def test_a_thinned_proxy_holds_every_bridge(small_scene: Path, library_python: str, tmp_path: Path) -> None:
    plain, modifier = _place(_copy(small_scene, tmp_path / "plain.ex4d", 0, library_python))
    module("versions.modifier_inputs").write(modifier, "Viewport Level", 3)
    expected, _ = _shown(plain, 5)
    footage, modifier = _place(_copy(small_scene, tmp_path / "thin.ex4d", 3, library_python))
    inputs = module("versions.modifier_inputs")
    assert inputs.read(modifier, "Viewport Level") == 3, "the level chosen is the proxy's"
    points, names = _shown(footage, 5)
    np.testing.assert_allclose(points, expected, rtol=1e-6)
    torn = _bits(small_scene, 5)
    starts = [np.arange(0, size, 3) for size in torn.shape]
    blocks = np.logical_or.reduceat(np.logical_or.reduceat(torn, starts[0], axis=0), starts[1], axis=1)
    np.testing.assert_array_equal(names == "thin Unseen", blocks)
    # At a level that the proxy does not have, the depth itself is read.
    inputs.write(modifier, "Viewport Level", 1)
    inputs.write(plain.mesh.modifiers[0], "Viewport Level", 1)
    np.testing.assert_allclose(_shown(footage, 5)[0], _shown(plain, 5)[0], rtol=1e-6)


def test_viewports_need_no_depth_where_there_is_a_proxy(small_scene: Path, tmp_path: Path) -> None:
    folder = tmp_path / "a.ex4d"
    shutil.copytree(small_scene, folder)
    footage, modifier = _place(folder)
    before, _ = _shown(footage, 6)
    for path in (folder / "depth").iterdir():
        path.write_bytes(b"")
    for image in bpy.data.images:
        image.reload()
    np.testing.assert_array_equal(_shown(footage, 6)[0], before)
    module("versions.modifier_inputs").write(modifier, "Hide Occluded", False)
    bpy.context.scene.frame_set(3)
    data = footage.mesh.evaluated_get(bpy.context.evaluated_depsgraph_get()).data
    assert {material.name for material in data.materials if material} >= {"a Plate"}
    assert {len(face.vertices) for face in data.polygons} == {3}, "whole, it is the core's mesh of triangles"
