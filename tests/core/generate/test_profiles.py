"""The quality ladder: what a name stands for, and what may be combined with what."""

from __future__ import annotations

from typing import get_args

import pytest

from ex4d_core.engines import EngineSetup
from ex4d_core.errors import InputError
from ex4d_core.generate.ladder import RUNGS, Rung
from ex4d_core.generate.profiles import PROFILES, Profile, cache_bytes, check_plan, may_compile, profile

_TAYLOR = EngineSetup(cache="taylorseer")


def test_the_first_quality_is_final_as_the_reference_has_it() -> None:
    for engine in PROFILES:
        final = profile(engine)
        assert (final.name, final.steps, final.guidance, final.cache, final.distilled) == ("final", 25, 5.0, "none", 0)
        assert final == profile(engine, "final")
        assert final.passes == 50


@pytest.mark.parametrize(
    ("engine", "qualities"),
    [("ex4d", "final cached fast"), ("vace-14b", "final cached"), ("vace-1.3b", "final cached")],
)
def test_an_engine_has_the_qualities_that_its_models_can_do(engine: str, qualities: str) -> None:
    assert " ".join(PROFILES[engine]) == qualities
    assert [profile(engine, name).name for name in PROFILES[engine]] == qualities.split()


def test_fast_is_a_few_passes_and_says_what_it_loses() -> None:
    fast = profile("ex4d", "fast")
    assert fast.passes * 6 <= profile("ex4d").passes
    assert fast.guidance == 1.0
    assert 0.6 <= fast.distilled <= 1.0
    assert "negative prompt has no effect" in fast.note
    assert not profile("ex4d", "cached").note


def test_a_cached_profile_has_what_its_cache_needs() -> None:
    for engine in PROFILES:
        first, taylor = profile(engine, "cached"), profile(engine, "cached", _TAYLOR)
        assert first.cache == "first-block"
        assert 0 < first.threshold < 0.09, "users report ruined videos from 0.09 on"
        assert (taylor.cache, taylor.interval, taylor.threshold) == ("taylorseer", 3, 0.0)
        assert 0 < taylor.warm_up < taylor.steps
    assert profile("vace-1.3b", "cached").threshold < profile("vace-14b", "cached").threshold


# quality, cache asked for, steps asked for -> cache and steps, or what the error says.
_ASKED = [
    ("final", "", 0, ("none", 25)),
    ("final", "", 1, ("none", 1)),
    ("final", "", 50, ("none", 50)),
    ("final", "", 201, "cannot be made in 201 steps: choose 1 to 200"),
    ("final", "", -3, "cannot be made in -3 steps"),
    ("final", "first-block", 0, "uses no cache: choose --quality cached"),
    ("cached", "", 0, ("first-block", 25)),
    ("cached", "first-block", 10, ("first-block", 10)),
    ("cached", "taylorseer", 40, ("taylorseer", 40)),
    ("cached", "", 9, "cannot be made in 9 steps: choose 10 to 200"),
    ("cached", "taylorseer", 9, "cannot be made in 9 steps: choose 10 to 200"),
    ("cached", "teacache", 0, "no cache 'teacache': choose one of first-block, taylorseer"),
    ("cached", "none", 0, "no cache 'none': choose one of first-block, taylorseer"),
    ("fast", "", 0, ("none", 4)),
    ("fast", "", 8, ("none", 8)),
    ("fast", "", 3, "not 3: choose 4 to 8 steps"),
    ("fast", "", 25, "not 25: choose 4 to 8 steps"),
    ("fast", "taylorseer", 0, "uses no cache: choose --quality cached"),
    ("best", "", 0, "no quality 'best': choose one of final, cached, fast"),
]


@pytest.mark.parametrize(("quality", "cache", "steps", "outcome"), _ASKED)
def test_what_the_user_may_combine(quality: str, cache: str, steps: int, outcome: tuple[str, int] | str) -> None:
    setup = EngineSetup(cache=cache, steps=steps)
    if isinstance(outcome, str):
        with pytest.raises(InputError) as error:
            profile("ex4d", quality, setup)
        assert outcome in str(error.value)
        assert error.value.remedy
        return
    chosen = profile("ex4d", quality, setup)
    assert (chosen.cache, chosen.steps) == outcome


def test_an_engine_without_profiles_is_named() -> None:
    with pytest.raises(InputError, match="'draft' has no qualities: choose one of ex4d"):
        profile("draft")
    with pytest.raises(InputError, match="vace-14b has no quality 'fast': choose one of final, cached"):
        profile("vace-14b", "fast")


_ANYWHERE = frozenset(RUNGS)
# profile -> the rungs that it runs on, and whether it may be compiled there.
_PLANS: list[tuple[Profile, frozenset[Rung], bool]] = [
    (profile("ex4d", "final"), _ANYWHERE, True),
    (profile("ex4d", "fast"), _ANYWHERE, True),
    (profile("ex4d", "cached"), _ANYWHERE, False),
    (profile("ex4d", "cached", _TAYLOR), frozenset({"resident"}), False),
]


@pytest.mark.parametrize("rung", get_args(Rung))
@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize(("chosen", "rungs", "compiles"), _PLANS, ids=lambda v: getattr(v, "cache", ""))
def test_which_profile_runs_how(
    chosen: Profile, rungs: frozenset[Rung], compiles: bool, rung: Rung, compiled: bool
) -> None:
    assert may_compile(chosen) == compiles
    if rung in rungs and (compiles or not compiled):
        check_plan(chosen, rung, compiled)
        return
    with pytest.raises(InputError) as error:
        check_plan(chosen, rung, compiled)
    assert chosen.cache in str(error.value)
    assert error.value.remedy


def test_what_a_cache_keeps_is_counted() -> None:
    """512x512, 49 frames, 14B: a tensor of all tokens is 136 MB; see facts/diffusion.md for the tokens."""
    tokens, width, blocks = 13_312, 5120, 40
    kept = {name: cache_bytes(profile("ex4d", name), tokens, width, blocks) for name in PROFILES["ex4d"]}
    assert kept["final"] == kept["fast"] == 0
    assert kept["cached"] == 2 * 3 * tokens * width * 2
    taylor = cache_bytes(profile("ex4d", "cached", _TAYLOR), tokens, width, blocks)
    assert 60e9 < taylor < 70e9, "beyond any card that needs another rung than resident"
