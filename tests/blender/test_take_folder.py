"""Reading a take's folder, made by the library and with the extension's take.json."""

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import module
from take_cases import copy, make_scene, make_take, number, tell
from test_mesh_fidelity import pixels

TIMES = [2.0, 3.0, 4.0, 5.0]


@pytest.fixture(scope="module")
def take(library_python: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("takes")
    return make_take(library_python, make_scene(library_python, folder), folder / "shot" / "take_007", TIMES, 1001)


def read(folder: Path) -> Any:
    return module("takes.folder").read_take(folder)


def test_a_folder_of_the_library(take: Path) -> None:
    facts = read(take)
    assert (facts.folder, facts.width, facts.height, facts.frames, facts.fps) == (take, 64, 36, 4, Fraction(24))
    assert (facts.frame_start, facts.last_frame, facts.number, facts.name) == (1001, 1004, 7, "take_007")
    assert (facts.overscan, facts.handles, facts.settings, facts.has_exr, facts.shot) == (0.0, (0, 0), {}, False, "")
    assert facts.source_time.tolist() == TIMES
    assert facts.intrinsics.shape == (4, 4)
    assert np.array_equal(facts.c2w, np.broadcast_to(np.eye(4), (4, 4, 4)))
    assert len(facts.scene_hash) == 64
    facts.require_files()
    assert [number(pixels(facts.png(i))) for i in range(4)] == [2, 3, 4, 5]  # the fixture's numbers can be read
    with pytest.raises(ValueError, match="read-only"):
        facts.c2w[0, 0, 0] = 2  # it is kept in memory


def test_what_the_extension_adds(take: Path, tmp_path: Path) -> None:
    folder = copy(take, tmp_path / "elsewhere")
    assert read(folder).number == 1
    tell(folder, "abc", 3, overscan=0.1, handles=[1, 2], seed=5)
    facts = read(folder)
    assert (facts.shot, facts.shot_name, facts.number, facts.name) == ("abc", "Shot 010", 3, "take_003")
    assert (facts.overscan, facts.handles, facts.settings["seed"]) == (0.1, (1, 2), 5)
    assert facts.frame_size == (58, 33)
    (folder / "exr").mkdir()
    assert read(folder).has_exr


@pytest.mark.parametrize("size", [(64, 36), (833, 479), (1920, 1080), (2048, 858)])
@pytest.mark.parametrize("overscan", [0.0, 0.05, 0.1, 0.25, 0.5])
def test_the_frame_within_the_overscan(take: Path, tmp_path: Path, size: tuple[int, int], overscan: float) -> None:
    folder = tell(copy(take, tmp_path / "take"), overscan=overscan)
    document = json.loads((folder / "trajectory.json").read_text())
    document["width"], document["height"] = (round(side * (1 + overscan)) for side in size)
    (folder / "trajectory.json").write_text(json.dumps(document))
    assert read(folder).frame_size == size


def test_pictures_that_are_missing_or_cut_short(take: Path, tmp_path: Path) -> None:
    errors = module("errors")
    folder = copy(take, tmp_path / "take")
    (folder / "output/000002.png").write_bytes(b"")
    with pytest.raises(errors.UserError, match=r"000002\.png is damaged"):
        read(folder).require_files()
    (folder / "output/000002.png").unlink()
    with pytest.raises(errors.UserError, match=r"000002\.png is missing"):
        read(folder).require_files()
    folder = copy(take, tmp_path / "other")
    (folder / "exr").mkdir()
    with pytest.raises(errors.UserError, match=r"000000\.exr is missing"):
        read(folder).require_files()


@pytest.mark.parametrize(
    ("file", "change", "says"),
    [
        ("trajectory.json", {"frames": []}, "it has 0 frames"),
        ("trajectory.json", {"width": "64"}, "its width is '64'"),
        ("trajectory.json", {"fps": [24, 0]}, "is damaged"),
        ("trajectory.json", {"frame_start": None}, "is damaged"),
        ("trajectory.json", {"frame_start": 2**40}, "Blender's frames end at 1048574"),
        ("trajectory.json", {"frame_start": 1_048_574}, "it begins at frame 1048574"),
        ("trajectory.json", {"frame_start": -2_000_000}, "it begins at frame -2000000"),
        ("trajectory.json", {"width": 10**9}, "its width is 1000000000"),
        ("trajectory.json", {"schema": "ex4d.trajectory/9"}, "update it"),
        ("trajectory.json", None, "no finished shot"),
        ("take.json", {"settings": {"handles": [2, 2]}}, "handles of 2 and 2"),
        ("take.json", {"settings": {"handles": 3}}, "is damaged"),
        ("take.json", {"settings": {"overscan": -0.5}}, "its overscan is -0.5"),
        ("take.json", {"settings": {"overscan": 1e300}}, "its overscan is 1e.300"),
        ("take.json", {"settings": {"size": [10**12, 5]}}, "its size is .1000000000000, 5."),
        ("take.json", {"number": 0}, "its number is 0"),
        ("take.json", {"number": 2**40}, "its number is 1099511627776"),
        ("take.json", {"schema": "other"}, "update it"),
    ],
)
def test_damaged_folders(take: Path, tmp_path: Path, file: str, change: dict[str, Any] | None, says: str) -> None:
    folder = tell(copy(take, tmp_path / "take"))
    read(folder)
    if change is None:
        (folder / file).unlink()
    else:
        (folder / file).write_text(json.dumps(json.loads((folder / file).read_text()) | change))
    with pytest.raises(module("errors").UserError, match=says):
        read(folder)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"schema": "ex4d.trajectory/1"}'])
def test_files_that_are_no_documents(take: Path, tmp_path: Path, text: str) -> None:
    folder = copy(take, tmp_path / "take")
    (folder / "trajectory.json").write_text(text)
    with pytest.raises(module("errors").UserError, match="generate the shot again"):
        read(folder)
