"""The numbers of scene.json, as Blender reads them."""

import json
import os
import shutil
from fractions import Fraction
from pathlib import Path

import pytest
from conftest import module


def test_facts_of_a_scene(small_scene: Path) -> None:
    facts = module("scene_folder").read_scene(small_scene)
    assert (facts.width, facts.height, facts.frames, facts.fps) == (64, 48, 8, Fraction(24))
    assert facts.intrinsics.shape == (8, 4)
    assert facts.intrinsics[7].tolist() == [60.0, 60.0, 32.0, 24.0]
    assert facts.source_c2w is None
    assert facts.file(facts.color, 3).is_file()
    assert facts.file(facts.depth, 3).is_file()
    assert facts.name == "small"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"schema": "ex4d.scene/9"}, "ex4d.scene/9"),
        ({"frames": 0}, "frames is 0"),
        ({"frames": 9}, None),
        ({"intrinsics": [[1, 2, 3, 4]]}, "cameras"),
        ({"intrinsics": [0, 1, 2, 3]}, "focal"),
        ({"files": {"color": "../%06d.png"}}, "outside"),
        ({"files": {"color": "/tmp/%06d.png"}}, "outside"),
        ({"width": "wide"}, "width is 'wide'"),
        ({"width": True}, "width is True"),
        ({"width": 10**9}, "width is 1000000000"),
        ({"frames": 10**8}, "frames is"),
        ({"fps": [0, 1]}, "fps is"),
        ({"fps": [-24, 1]}, "fps is"),
        ({"fps": [24, 0]}, "fps is"),
        ({"fps": [23.976, 1]}, "fps is"),
        ({"fps": [10**12, 1]}, "frame rate is"),
        ({"fps": [1, 10**9]}, "frame rate is"),
        ({"source": {"width": 1e300, "height": 7}}, "width is 1e"),
        ({"source": {"width": -5, "height": 7}}, "width is -5"),
        ({"source": {"width": 10**7, "height": 10**7}}, "width is 10000000"),
        ({"source": {"name": "a.mov", "width": None, "height": None}}, None),
        ({"intrinsics": [1e300, 60, 32, 24]}, "focal length"),
        ({"intrinsics": [1e-30, 1e-30, 32, 24]}, "focal length"),
        ({"intrinsics": [60, 60, 1e9, 24]}, "centre"),
        ({"source_c2w": [[[2, 0, 0, 0], [0, 2, 0, 0], [0, 0, 2, 0], [0, 0, 0, 1]]] * 8}, "scaled"),
        ({"source_c2w": [[[-1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]] * 8}, "mirrored"),
        ({"source_c2w": [[[1, 0, 0, 0]] * 4] * 8}, "sheared"),
        ({"source_c2w": [[[1e20] * 4] * 4] * 8}, "position"),
        ({"source_c2w": [[[1, 0, 0, 5], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]] * 8}, None),
        ({"files": {"depth": "color/%06d.png"}}, "not .exr"),
        ({"depth": {"encoding": "half-disparity", "units": "metric", "far": 1e300}}, "far depth is 1e"),
        ({"content_hash": None}, "content_hash is None"),
    ],
)
def test_damaged_scenes(small_scene: Path, tmp_path: Path, change: dict, said: str | None) -> None:
    folder = tmp_path / "damaged.ex4d"
    folder.mkdir()
    document = json.loads((small_scene / "scene.json").read_text()) | change
    (folder / "scene.json").write_text(json.dumps(document))
    read = module("scene_folder").read_scene
    if said is None:
        assert read(folder).frames == document["frames"]
    else:
        with pytest.raises(module("errors").UserError, match=said):
            read(folder)


def test_a_folder_that_is_no_scene(tmp_path: Path) -> None:
    with pytest.raises(module("errors").UserError, match="no EX-4D scene"):
        module("scene_folder").read_scene(tmp_path)


def test_the_channel_that_depth_is_said_to_be_in_is_looked_for(small_scene: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(small_scene, tmp_path / "copy.ex4d")
    document = json.loads((folder / "scene.json").read_text())
    assert document["depth"].get("channel", "Y") == "Y"
    module("scene_folder").read_scene(folder).require_files()
    document["depth"]["channel"] = "Q"
    (folder / "scene.json").write_text(json.dumps(document))
    facts = module("scene_folder").read_scene(folder)
    with pytest.raises(module("errors").UserError, match="no channel 'Q'"):
        facts.require_files()


@pytest.mark.skipif(os.sep != "/", reason="names have no backslash there")
def test_a_backslash_in_the_name_is_what_is_wrong(small_scene: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(small_scene, tmp_path / "back\\slash.ex4d")
    with pytest.raises(module("errors").UserError, match="backslash in its name.*rename it"):
        module("scene_folder").read_scene(folder)


def test_a_changed_file_is_read_again(small_scene: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(small_scene, tmp_path / "copy.ex4d")
    module("scene_folder").read_scene(folder)
    document = json.loads((folder / "scene.json").read_text()) | {"width": 32}
    (folder / "scene.json").write_text(json.dumps(document))
    assert module("scene_folder").read_scene(folder).width == 32
