"""Depth kept between imports: the same depth is never estimated twice, and other depth is never taken for it."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from ingest_cases import all_bytes, clip_file, depth_npy, depths

from ex4d_core.depth import DepthRequest, DepthResult, registry
from ex4d_core.depth.registry import estimator_facts, make_estimator, register_estimator
from ex4d_core.errors import CancelledError
from ex4d_core.ingest import import_scene
from ex4d_core.scene import Scene

FRAMES = 6


class Counting:
    """The embedded estimator, counted."""

    name = "counting"

    def __init__(self, request: DepthRequest, calls: list[int], revision: int = 1) -> None:
        self._inner, self._calls, self.revision = make_estimator("embedded", request), calls, revision

    def check(self, *arguments: Any) -> None:
        self._inner.check(*arguments)

    def estimate(self, frames: Any, *arguments: Any) -> DepthResult:
        self._calls.append(len(frames))
        return self._inner.estimate(frames, *arguments)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Register the estimators "counting" and "newer", which differ in their revision; gives their calls."""
    monkeypatch.setattr(registry, "_ENTRIES", dict(registry._ENTRIES))
    calls: list[int] = []
    facts = replace(estimator_facts("embedded"), name="counting")
    register_estimator(facts, lambda request: Counting(request, calls))
    register_estimator(replace(facts, name="newer"), lambda request: Counting(request, calls, revision=2))
    return calls


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """A textured picture that moves to the right."""
    rng = np.random.default_rng(0)
    wide = cv2.resize(rng.integers(0, 256, (12, 40, 3), np.uint8), (160, 48), interpolation=cv2.INTER_CUBIC)
    return clip_file(tmp_path, np.stack([wide[:, 2 * t : 2 * t + 80] for t in range(FRAMES)]))


def take(clip: Path, out: Path, **options: Any) -> tuple[Scene, list[str]]:
    """Import with a cache beside `out`; gives the stages too."""
    stages: list[str] = []

    def note(done: int, total: int, stage: str) -> None:
        if stage not in stages:
            stages.append(stage)

    scene = import_scene(
        clip, out, **{"estimator": "counting", "depth_cache": out.parent / "cache", "on_progress": note, **options}
    )
    return scene, stages


def depth_files(scene: Scene) -> dict[str, str]:
    return {n: h for n, h in all_bytes(scene.path).items() if n.startswith(("depth", "occlusion", "proxy"))}


def test_a_second_import_takes_the_depth_from_the_cache(clip: Path, tmp_path: Path, calls: list[int]) -> None:
    plain = import_scene(clip, tmp_path / "plain.ex4d", estimator="counting")
    first, made = take(clip, tmp_path / "a.ex4d")
    assert calls == [FRAMES, FRAMES]
    assert "depth from cache" not in made
    second, taken = take(clip, tmp_path / "b.ex4d", plate=True)
    assert calls == [FRAMES, FRAMES], "estimated again"
    assert "depth from cache" in taken
    assert "writing depth" not in taken
    assert first.content_hash == plain.content_hash
    assert depth_files(first) == depth_files(second) == depth_files(plain)
    assert second.document.depth == plain.document.depth
    assert not list((tmp_path / "cache").glob("*.partial*"))
    if hasattr(os, "link"):
        assert (second.path / "depth/000000.exr").stat().st_nlink == 3, "two scenes and the cache share it"
    Scene.open(second.path, verify=True, confined=True)


@pytest.mark.parametrize(
    "other",
    [
        {"start": 1},
        {"frames": 3},
        {"size": (40, 24)},
        {"focal_px": 200.0},
        {"estimator": "newer"},
        {"source_camera": "solved"},
    ],
    ids=lambda other: next(iter(other)),
)
def test_another_request_is_estimated_anew(clip: Path, tmp_path: Path, calls: list[int], other: dict[str, Any]) -> None:
    first, _ = take(clip, tmp_path / "a.ex4d")
    if "source_camera" in other:
        from ex4d_core.presets import Move, preset

        other = {"source_camera": preset(first, Move("truck", amount=0.1))}
    _, stages = take(clip, tmp_path / "b.ex4d", **other)
    assert len(calls) == 2
    assert "depth from cache" not in stages
    _, stages = take(clip, tmp_path / "c.ex4d", **other)
    assert len(calls) == 2
    assert "depth from cache" in stages


def test_depth_from_files_counts_with_its_contents_and_options(clip: Path, tmp_path: Path) -> None:
    values = np.repeat(np.repeat(depths(), 2, axis=1), 2, axis=2)[:, :48, :80]
    given = depth_npy(tmp_path, values)
    file: dict[str, Any] = {"estimator": None, "depth": given}
    _, stages = take(clip, tmp_path / "a.ex4d", **file)
    assert "depth from cache" not in stages
    _, stages = take(clip, tmp_path / "b.ex4d", **file, plate=True)
    assert "depth from cache" in stages
    scene, stages = take(clip, tmp_path / "c.ex4d", **file, depth_kind="metric")
    assert "depth from cache" not in stages
    assert scene.units == "metric"
    values[3, 20, 20] = 3.25
    depth_npy(tmp_path, values)
    scene, stages = take(clip, tmp_path / "d.ex4d", **file)
    assert "depth from cache" not in stages
    assert scene.depth(3)[20, 20] == pytest.approx(3.25, rel=2**-11)


@pytest.mark.parametrize("damage", ["cut", "flipped", "missing", "no document", "no json"])
def test_a_damaged_entry_is_made_again(clip: Path, tmp_path: Path, calls: list[int], damage: str) -> None:
    first, _ = take(clip, tmp_path / "a.ex4d")
    before = depth_files(first)
    (entry,) = (tmp_path / "cache").iterdir()
    victim = entry / ("depth.json" if damage.startswith("no") else "000003.exr")
    data = bytearray(victim.read_bytes())
    victim.unlink()  # the scene's own file stays as it is
    if damage == "cut":
        victim.write_bytes(data[:-10])
    elif damage == "flipped":
        data[-5] ^= 1
        victim.write_bytes(data)
    elif damage == "no json":
        victim.write_bytes(b"{")
    scene, stages = take(clip, tmp_path / "b.ex4d")
    assert "writing depth" in stages
    assert len(calls) == 2
    assert depth_files(scene) == depth_files(first) == before
    _, stages = take(clip, tmp_path / "c.ex4d")
    assert "depth from cache" in stages
    assert len(calls) == 2


def test_a_scene_made_over_a_linked_one_leaves_the_cache_alone(clip: Path, tmp_path: Path, calls: list[int]) -> None:
    """A cancelled import holds links into the cache; what the rerun writes must not go through them."""
    take(clip, tmp_path / "a.ex4d")
    kept = all_bytes(tmp_path / "cache")
    state = {"stop": False}

    def stop(done: int, total: int, stage: str) -> None:
        state["stop"] = stage == "depth from cache" and done == 3

    with pytest.raises(CancelledError):
        take(clip, tmp_path / "b.ex4d", on_progress=stop, cancelled=lambda: state["stop"])
    partial = tmp_path / "b.ex4d.partial"
    assert (partial / "depth/000002.exr").stat().st_nlink > 1
    import_scene(clip, tmp_path / "b.ex4d", estimator="counting")
    assert all_bytes(tmp_path / "cache") == kept
    assert len(calls) == 2


def test_a_cache_that_cannot_be_written_fails_nothing(
    clip: Path, tmp_path: Path, calls: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "cache").write_text("a file, not a folder")
    scene, _ = take(clip, tmp_path / "a.ex4d")
    assert scene.frames == FRAMES
    assert "could not be kept" in caplog.text


def test_an_interrupted_import_is_kept_when_it_is_finished(clip: Path, tmp_path: Path, calls: list[int]) -> None:
    state = {"stop": False}

    def stop(done: int, total: int, stage: str) -> None:
        state["stop"] = stage == "writing depth" and done == 4

    with pytest.raises(CancelledError):
        take(clip, tmp_path / "a.ex4d", on_progress=stop, cancelled=lambda: state["stop"])
    assert not (tmp_path / "cache").exists()
    scene, _ = take(clip, tmp_path / "a.ex4d")
    (entry,) = (tmp_path / "cache").iterdir()
    assert len(json.loads((entry / "depth.json").read_text())["files"]) == 2 * FRAMES
    _, stages = take(clip, tmp_path / "b.ex4d")
    assert "depth from cache" in stages
    assert scene.content_hash == Scene.open(tmp_path / "b.ex4d").content_hash
