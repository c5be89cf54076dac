"""`shot.json`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ex4d_core.errors import InputError
from ex4d_core.shot import (
    ShotDocument,
    ShotFrame,
    ShotRequest,
    ShotResult,
    library_versions,
    read_shot,
    relative_path,
    write_shot,
)


def document() -> ShotDocument:
    return ShotDocument(request=ShotRequest(), result=ShotResult(), frames=(ShotFrame(unseen=0.25),))


def test_round_trip_keeps_what_this_version_does_not_know(tmp_path: Path) -> None:
    write_shot(tmp_path, document())
    file = tmp_path / "shot.json"
    raw = json.loads(file.read_text())
    assert raw["schema"] == "ex4d.shot/1"
    raw["request"]["lead_in"] = 8
    raw["result"]["model"] = {"revision": "abc"}
    raw["frames"][0]["invented"] = 0.1
    file.write_text(json.dumps(raw))
    shot = read_shot(tmp_path)
    changed = shot.model_copy(update={"request": shot.request.model_copy(update={"engine": "draft", "seed": 7})})
    write_shot(tmp_path, changed)
    again = json.loads(file.read_text())
    raw["request"] |= {"engine": "draft", "seed": 7}
    assert again == raw


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"schema": "ex4d.shot/9"}, "schema"),
        ({"frames": [{"unseen": 1.5}]}, "frames.0.unseen"),
        ({"frames": [{"unseen": float("nan")}]}, "frames.0.unseen"),
        ({"scene": {"path": "/etc", "content_hash": "0"}}, "scene.path"),
        ({"scene": {"path": "C:\\x", "content_hash": "0"}}, "scene.path"),
        ({"request": None}, "request"),
        ({"request": {"seed": -1}}, "request.seed"),
        ({"request": {"seed": 2**70}}, "request.seed"),
    ],
)
def test_a_document_that_is_wrong_is_named_where(tmp_path: Path, change: dict[str, object], where: str) -> None:
    write_shot(tmp_path, document())
    file = tmp_path / "shot.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(InputError, match=rf"shot\.json is not a shot: {where}"):
        read_shot(tmp_path)


def test_no_shot_and_no_json(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not a shot folder"):
        read_shot(tmp_path)
    (tmp_path / "shot.json").write_bytes(b"\xff\x00 {")
    with pytest.raises(InputError, match="is not a shot"):
        read_shot(tmp_path)


def test_paths_are_relative_with_forward_slashes(tmp_path: Path) -> None:
    assert relative_path(tmp_path / "a.ex4d", tmp_path / "b" / "c") == "../../a.ex4d"


def test_versions_of_what_is_not_installed_are_left_out() -> None:
    assert set(library_versions("numpy", "no-such-distribution")) == {"numpy"}
