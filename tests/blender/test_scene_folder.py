"""The numbers of scene.json, as Blender reads them."""

import json
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
    ],
)
def test_damaged_scenes(small_scene: Path, tmp_path: Path, change: dict, said: str | None) -> None:
    folder = tmp_path / "damaged.ex4d"
    folder.mkdir()
    document = json.loads((small_scene / "scene.json").read_text()) | change
    (folder / "scene.json").write_text(json.dumps(document))
    read = module("scene_folder").read_scene
    if said is None:
        assert read(folder).frames == 9
    else:
        with pytest.raises(module("errors").UserError, match=said):
            read(folder)


def test_a_folder_that_is_no_scene(tmp_path: Path) -> None:
    with pytest.raises(module("errors").UserError, match="no EX-4D scene"):
        module("scene_folder").read_scene(tmp_path)


def test_a_changed_file_is_read_again(small_scene: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(small_scene, tmp_path / "copy.ex4d")
    module("scene_folder").read_scene(folder)
    document = json.loads((folder / "scene.json").read_text()) | {"width": 32}
    (folder / "scene.json").write_text(json.dumps(document))
    assert module("scene_folder").read_scene(folder).width == 32
