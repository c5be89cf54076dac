"""Each quality of each engine, from the files to the frames."""

from __future__ import annotations

import logging
import shutil
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import cast

import numpy as np
import pytest
from numpy.typing import NDArray

from ex4d_core.engines import EngineSetup
from ex4d_core.errors import CancelledError
from ex4d_core.generate.engine import Engine, Shot, make_engine
from ex4d_core.generate.profiles import PROFILES, Profile
from ex4d_core.progress import never_cancelled, silent

Video = NDArray[np.uint8]
_STEPS = 10


def _shot(quality: str) -> Shot:
    """Five frames, a part of them never seen."""
    waves = np.sin(np.arange(5 * 32 * 48 * 3).reshape(5, 32, 48, 3) * 0.37) * 120 + 128
    mask = np.ones((5, 32, 48), bool)
    mask[1:, 8:20, 10:30] = False
    return Shot((waves * mask[..., None]).astype(np.uint8), mask, Fraction(24), quality=quality)


def _made(engine: Engine, quality: str, seen: list[Video] | None = None) -> Video:
    look = (seen if seen is not None else []).append
    return np.stack([f.color for f in engine.generate(_shot(quality), silent, never_cancelled, look)])


def _change(monkeypatch: pytest.MonkeyPatch, engine: str, profile: Profile) -> None:
    monkeypatch.setitem(cast("dict[str, Profile]", PROFILES[engine]), profile.name, profile)


def test_ex4d_in_each_quality(
    tiny_ex4d: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One engine, one after the other: a cache or a LoRA of one does not stay for the next."""
    for quality in ("final", "cached"):  # in less time
        _change(monkeypatch, "ex4d", replace(PROFILES["ex4d"][quality], steps=_STEPS))
    engine, previews = make_engine("ex4d", EngineSetup(model_dir=tiny_ex4d, memory="resident")), list[Video]()
    final = _made(engine, "final", previews)
    assert engine.settings["profile"]["steps"] == _STEPS
    assert "block_calls" not in engine.settings
    assert previews
    assert all(frames.shape[0] == 2 and frames.shape[-1] == 3 for frames in previews), "one for each latent frame"

    cached = _made(engine, "cached")
    assert 0 < engine.settings["block_calls_saved"] < engine.settings["block_calls"] == 2 * _STEPS * 2
    assert not np.array_equal(cached, final)

    assert not [r for r in caplog.records if "negative prompt" in r.message]
    with caplog.at_level(logging.WARNING):
        fast = _made(engine, "fast")
    assert len([r for r in caplog.records if "negative prompt has no effect" in r.message]) == 1
    assert engine.settings["profile"]["steps"] == 4
    assert "block_calls" not in engine.settings
    assert not np.array_equal(fast, final)

    assert np.array_equal(_made(engine, "final"), final)


def test_a_cancelled_cached_shot_leaves_nothing_behind(tiny_ex4d: Path) -> None:
    """Made again by the same engine, it is what another one, which was never stopped, makes of it."""
    setup = EngineSetup(model_dir=tiny_ex4d, memory="resident", steps=_STEPS)
    fresh, used = make_engine("ex4d", setup), make_engine("ex4d", setup)
    steps: list[int] = []

    def note(done: int, _total: int, stage: str) -> None:
        steps.append(done)

    def cancelled() -> bool:
        return len(steps) > 14

    with pytest.raises(CancelledError):
        list(used.generate(_shot("cached"), note, cancelled))
    again = _made(used, "cached")
    assert used.settings["block_calls_saved"] > 0
    assert np.array_equal(again, _made(fresh, "cached"))


@pytest.mark.parametrize("cache", ["first-block", "taylorseer"])
def test_vace_cached(cache: str, tiny_vace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # what random weights give changes more from step to step
    _change(monkeypatch, "vace-1.3b", replace(PROFILES["vace-1.3b"]["cached"], threshold=0.3))
    setup = EngineSetup(model_dir=tiny_vace, memory="resident", cache=cache, steps=_STEPS)
    engine = make_engine("vace-1.3b", setup)
    _made(engine, "cached")
    assert engine.settings["profile"]["cache"] == cache
    assert 0 < engine.settings["block_calls_saved"] < engine.settings["block_calls"] == 2 * _STEPS * 4


def test_the_second_run_needs_no_text_encoder(tiny_vace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EX4D_CACHE_DIR", str(tmp_path / "cache"))  # other tests have other encoders
    made = _made(make_engine("vace-1.3b", EngineSetup(model_dir=tiny_vace, memory="resident", steps=1)), "final")
    shutil.copytree(tiny_vace, tmp_path / "bare", ignore=shutil.ignore_patterns("text_encoder", "tokenizer"))
    bare = make_engine("vace-1.3b", EngineSetup(model_dir=tmp_path / "bare", memory="resident", steps=1))
    assert np.array_equal(_made(bare, "final"), made)
