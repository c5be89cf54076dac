"""A cancel is noticed at once: by the threads' owner, and by every long task at any moment."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from ex4d_core import cli, sample
from ex4d_core.ahead import beside, in_order
from ex4d_core.errors import CancelledError
from ex4d_core.generate import generate_shot
from ex4d_core.ingest import import_scene
from ex4d_core.presets import Move, preset
from ex4d_core.progress import Cancelled, never_cancelled
from ex4d_core.rendering import render_shot

pytestmark = pytest.mark.timed

PROMISED_SECONDS = 1.0
FRAMES = 4


def test_results_come_in_order_and_a_few_ahead() -> None:
    started: list[int] = []

    def make(index: int, _unwanted: Cancelled) -> int:
        started.append(index)
        time.sleep(0.02 if index % 2 else 0.0)
        return index

    seen = []
    for result in in_order(make, 10, 3, never_cancelled, "test"):
        assert max(started) <= result + 4
        seen.append(result)
    assert seen == list(range(10))


def test_errors_of_a_step_arrive_in_their_turn() -> None:
    def make(index: int, _unwanted: Cancelled) -> int:
        if index == 2:
            raise ValueError("two")
        return index

    seen = []
    with pytest.raises(ValueError, match="two"):
        seen.extend(in_order(make, 5, 2, never_cancelled, "test"))
    assert seen == [0, 1]


@pytest.mark.parametrize("how", ["cancelled", "closed"])
def test_a_long_step_is_not_waited_for_and_learns_of_it(how: str) -> None:
    release, told = threading.Event(), threading.Event()

    def make(index: int, unwanted: Cancelled) -> int:
        if index:
            while not unwanted() and not release.wait(0.01):
                pass
            if unwanted():
                told.set()
            release.wait(30)
        return index

    stop = threading.Event()
    results = in_order(make, 3, 2, stop.is_set, "test")
    assert next(results) == 0
    begun = time.monotonic()
    if how == "closed":
        results.close()
    else:
        stop.set()
        with pytest.raises(CancelledError):
            next(results)
    assert time.monotonic() - begun < 0.5
    assert told.wait(5)
    release.set()


def test_work_beside() -> None:
    assert beside(lambda unwanted: unwanted(), never_cancelled, "test") is False
    begun, release = time.monotonic(), threading.Event()
    with pytest.raises(CancelledError):
        beside(lambda _: release.wait(30), lambda: time.monotonic() > begun + 0.2, "test")
    assert time.monotonic() - begun < 1.0
    release.set()


def test_ctrl_c_while_work_beside_is_cleared_away_is_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    real = ThreadPoolExecutor.shutdown

    def shutdown(self: ThreadPoolExecutor, **how: bool) -> None:
        real(self, **how)
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(ThreadPoolExecutor, "shutdown", shutdown)
    with pytest.raises(KeyboardInterrupt):
        beside(lambda _: None, never_cancelled, "test")


def test_ctrl_c_that_python_swallows_comes_again() -> None:
    class Cleared:
        def __del__(self) -> None:
            signal.raise_signal(signal.SIGINT)

    def work() -> None:
        with cli.ctrl_c_counts():
            Cleared()
            for _ in range(500):
                time.sleep(0.01)

    with pytest.raises(KeyboardInterrupt):
        work()


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Callable[..., object]]:
    """Whole tasks at 832x480, each into a new folder; run once, so that kernels are compiled."""
    base = tmp_path_factory.mktemp("cancel")
    count = iter(range(10_000))
    true: dict[str, Any] = {"frames": FRAMES, **sample.import_options()}
    scene = import_scene(sample.clip_path(), base / "s.ex4d", **true)
    path = preset(scene, Move("orbit", yaw=25), radius=sample.facts().orbit_radius)
    shot = render_shot(scene, path, base / "shot")

    def new() -> Path:
        return base / f"{next(count)}.ex4d"

    return {
        "embedded": lambda **k: import_scene(sample.clip_path(), new(), frames=FRAMES, plate=True, **k),
        "depth files": lambda **k: import_scene(sample.clip_path(), new(), **true, **k),
        "render": lambda **k: render_shot(scene, path, new(), passes=("depth", "risk"), **k),
        "generate": lambda **k: generate_shot(shot, "draft", overwrite=True, **k),
    }


class Stop:
    """A cancel that comes a moment after the n-th progress, which is the same in every run; 0: at once."""

    def __init__(self, after: float) -> None:
        self.after, self.told, self.moment = after, 0, float("inf")

    def on_progress(self, done: int, total: int, stage: str) -> None:
        self.told += 1
        self._begin_if_due()

    def __call__(self) -> bool:
        self._begin_if_due()
        return time.monotonic() > self.moment

    def _begin_if_due(self) -> None:
        if self.told >= self.after:
            self.moment = min(self.moment, time.monotonic() + 0.02)


@pytest.mark.parametrize("task", ["embedded", "depth files", "render", "generate"])
def test_every_task_stops_within_a_second_at_any_moment(tasks: dict[str, Callable[..., object]], task: str) -> None:
    whole = Stop(float("inf"))
    tasks[task](cancelled=whole, on_progress=whole.on_progress)
    assert whole.told >= FRAMES
    for share in (0.0, 0.4, 0.6):  # later, two steps that run side by side may both be over by then
        stop = Stop(int(share * whole.told))
        with pytest.raises(CancelledError):
            tasks[task](cancelled=stop, on_progress=stop.on_progress)
        assert time.monotonic() - stop.moment < PROMISED_SECONDS
