"""What the Generate panel says: what an engine knows, whether the shot fits, thumbnails, and the takes to come."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import bpy
import numpy as np
import pytest
from conftest import module
from sidecar_steps import as_with_windows, started, tick_for, tick_until
from test_generating import long_shot, make_shot, takes, until_stage, wished
from test_panels import drawn

ENGINES = [
    {"name": "draft", "summary": "Quick", "available": True, "missing": [], "qualities": [], "prompt": False,
     "seed": True, "keep_source": False},
    {"name": "ex4d", "summary": "Final", "available": False, "missing": ["It has no GPU: choose the draft engine."],
     "qualities": ["fast", "best"], "prompt": True, "seed": True, "keep_source": True},
]  # fmt: skip


@pytest.fixture
def shot(small_scene: Path) -> Any:
    """See `make_shot`."""
    return make_shot(small_scene)


def test_only_what_the_engine_knows_is_shown(own_sidecar: Any, shot: Any) -> None:
    now, kept = module("sidecar").connection(), bpy.context.scene.ex4d_generate
    assert {"engine_menu", "prompt", "seed", "overscan", "use_exr", "Start Sidecar"} <= set(drawn())
    now.capabilities = {"engines": ENGINES}
    seen = drawn()
    assert "seed" in seen
    assert not {"prompt", "quality_menu", "keep_source"} & set(seen)
    kept.engine_menu = "ex4d"
    assert {"prompt", "quality_menu", "keep_source", "seed"} <= set(drawn())
    assert (kept.quality, kept.quality_menu) == ("", "DEFAULT")  # an item without identifier is a heading to Blender
    kept.quality_menu, kept.prompt, kept.keep_source, kept.seed = "best", "a room", True, 3
    settings = module("generating.settings")
    wanted = {"engine": "ex4d", "quality": "best", "prompt": "a room", "keep_source": True, "seed": 3}
    assert settings.chosen(bpy.context.scene).request() == wanted
    kept.engine_menu = "draft"
    assert settings.chosen(bpy.context.scene).request() == {"engine": "draft", "seed": 3}
    kept.engine_menu = "ex4d"
    assert (kept.quality, kept.quality_menu) == ("best", "best")  # and nothing is lost by looking at another engine
    now.capabilities = {}
    assert (kept.engine, kept.engine_menu) == ("ex4d", "ex4d")  # nor without a sidecar
    drawn()


def test_an_engine_that_cannot_work_says_why(shared_sidecar: Any, shot: Any) -> None:
    now = started()
    now.capabilities = now.capabilities | {"engines": ENGINES}
    with pytest.raises(RuntimeError, match="It has no GPU: choose the draft engine"):
        bpy.ops.ex4d.generate(engine="ex4d")
    with pytest.raises(RuntimeError, match="It has no GPU"):
        bpy.ops.ex4d.choose_engine(engine="ex4d")
    bpy.context.scene.ex4d_generate.engine = "ex4d"
    tick_until(module("generating.preflight").answer, what="the sentence")
    assert "It has no GPU: choose the draft" in " ".join(drawn())
    bpy.ops.ex4d.choose_engine(engine="draft")
    assert bpy.context.scene.ex4d_generate.engine == "draft"


def test_whether_it_fits_is_asked_when_it_may_have_changed(
    shared_sidecar: Any, shot: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    started()
    as_with_windows(monkeypatch)
    preflight = module("generating.preflight")
    asked: list[Any] = []
    real = preflight._ask
    monkeypatch.setattr(preflight, "_ask", lambda now, question: (asked.append(question), real(now, question)))
    found = tick_until(preflight.answer, what="the answer")
    assert (found.fits, found.shortages) == (True, ())
    assert {"Fits this machine", "ex4d.generate", "ex4d.generate_all"} <= set(drawn())
    tick_for(1.5)
    for _ in range(3):
        drawn()
    assert len(asked) == 1
    shot.width, shot.height, shot.frame_end = 16000, 16000, 4000  # a terabyte or so
    drawn()
    tick_until(lambda: len(asked) == 2 and preflight.answer(), what="the other answer")
    found = preflight.answer()
    assert not found.fits
    assert "GB of memory" in found.shortages[0]
    assert "ex4d " not in found.shortages[0]  # no commands of a terminal
    assert set(found.shortages[0].split()) <= set(" ".join(drawn()).split())
    monkeypatch.undo()
    with pytest.raises(RuntimeError, match="GB of memory"):
        bpy.ops.ex4d.preflight()
    shot.width = shot.height = 64
    shot.frame_end = 6
    assert bpy.ops.ex4d.preflight() == {"FINISHED"}


@pytest.mark.timed
def test_a_long_shot_is_asked_about_without_a_hitch(shared_sidecar: Any, shot: Any) -> None:
    now, preflight = started(), module("generating.preflight")
    shot.frame_end = 20_000
    question = preflight.question_of(now, bpy.context.scene, shot)
    seconds = []
    for _ in range(5):  # other processes may take a moment from one of them
        begin = time.perf_counter()
        task = preflight._task(now, question)
        seconds.append(time.perf_counter() - begin)
    assert min(seconds) < 0.008
    assert module("sidecar").run(task).fits in (True, False)


def test_the_newest_frame_is_shown_while_it_runs(
    shared_sidecar: Any, shot: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    started()
    as_with_windows(monkeypatch)
    previews = module("generating.previews")
    long_shot(shot, 4)
    bpy.ops.ex4d.generate()
    job = wished()[0].job
    until_stage(job, "generate")
    tick_until(lambda: previews._shown.get(job), what="a thumbnail")
    (picture,) = previews._collection.values()
    assert tuple(picture.image_size) == (64, 48)
    pixels = np.array(picture.image_pixels_float[:]).reshape(48, 64, 4)
    assert pixels[..., :3].std() > 0.05  # the noise of the footage, and no grey box
    tick_until(takes, what="the take")
    tick_for(1.2)
    assert not previews._shown
    assert not len(previews._collection)


@pytest.mark.parametrize("state", ["queued", "running", "succeeded", "failed", "cancelled"])
def test_takes_to_come_in_every_state(own_sidecar: Any, shot: Any, state: str) -> None:
    now = module("sidecar").connection()
    document = {"id": "a-1", "number": 1, "kind": "reshoot", "state": state, "fraction": 0.4, "eta_s": 90.0}
    document |= {"problem": {"detail": "The disk is full: free some."}} if state == "failed" else {}
    now.learn(document)
    wish = bpy.context.scene.ex4d_wished_takes.add()
    wish.job, wish.name, wish.shot, wish.number = "a-1", "Shot 010", shot.key, 3
    for each in ("off", "starting", "ready", "lost", "failed"):
        now.state = each
        assert "Shot 010  take_003" in drawn()
    now.state = "ready"
    seen = drawn()
    assert ("ex4d.keep_take" in seen) == (state == "succeeded")
    assert ("ex4d.retry_job" in seen) == (state in ("failed", "cancelled"))
    assert ("ex4d.cancel_job" in seen) == (state in ("queued", "running"))
    assert "ex4d.forget_take" in seen
    wish.job = "unknown"
    assert "ex4d.send_take" in drawn()
