"""The quality ladder: named profiles of the diffusion engines, and what may be combined with what."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal, get_args

from ex4d_core.engines import EngineSetup
from ex4d_core.errors import InputError
from ex4d_core.generate.ladder import RUNGS, Rung

Cache = Literal["none", "first-block", "taylorseer"]


@dataclass(frozen=True)
class Profile:
    """How a video is denoised."""

    name: str
    steps: int
    guidance: float
    """Scale of classifier-free guidance; 1: one pass a step, and the negative prompt has no effect."""
    cache: Cache = "none"
    """Which calls of blocks are saved."""
    distilled: float = 0.0
    """Weight of the step-distilled LoRA stacked on the engine's own; 0: without it."""
    threshold: float = 0.0
    """Of the first-block cache: the rest of the blocks is saved while the first one's residual has changed by at most
    this share since it was last computed."""
    interval: int = 0
    """Of taylorseer: one step in so many is computed, the others are extrapolated."""
    warm_up: int = 0
    """Of taylorseer: so many steps are computed first."""

    @property
    def passes(self) -> int:
        """Passes through the transformer, saved ones among them."""
        return self.steps * (1 if self.guidance == 1 else 2)

    @property
    def note(self) -> str:
        """What the user is to be told before it is used; empty: nothing."""
        if self.guidance == 1:
            return f"The quality {self.name} works without guidance: the negative prompt has no effect."
        return ""


@dataclass(frozen=True)
class _CacheFacts:
    """What a cache may be combined with."""

    steps: int
    """Fewest steps with which it is of use."""
    rungs: tuple[Rung, ...]
    compiled: bool


_CACHES: Mapping[Cache, _CacheFacts] = {
    "none": _CacheFacts(steps=1, rungs=RUNGS, compiled=True),
    # It decides on the host, which a graph that is compiled whole does not allow. Users report that caches of this
    # kind are of no use below about ten steps: neighbouring steps differ too much.
    "first-block": _CacheFacts(steps=10, rungs=RUNGS, compiled=False),
    # It keeps the outputs of all blocks (`cache_bytes`), which no card holds that needs another rung.
    "taylorseer": _CacheFacts(steps=10, rungs=("resident",), compiled=False),
}

_MOST_STEPS = 200
_DISTILLED_STEPS = range(4, 9)

_FINAL = Profile("final", steps=25, guidance=5.0)
_FAST = Profile("fast", steps=4, guidance=1.0, distilled=0.8)


def _cached(threshold: float) -> Profile:
    """Thresholds at which others still found the result usable: https://github.com/testdummyvt/diffsynth-wan-cache
    reports 0.06 (14B, 1.85 times as fast) and 0.04 (1.3B, 1.36 times), and ruined videos at half as much again."""
    return replace(_FINAL, name="cached", cache="first-block", threshold=threshold)


PROFILES: Mapping[str, Mapping[str, Profile]] = {
    "ex4d": {"final": _FINAL, "cached": _cached(0.06), "fast": _FAST},
    "vace-14b": {"final": _FINAL, "cached": _cached(0.06)},
    "vace-1.3b": {"final": _FINAL, "cached": _cached(0.04)},
}
"""The profiles of each engine by quality; the first is its default."""


def profile(engine: str, quality: str = "", setup: EngineSetup | None = None) -> Profile:
    """The profile that a quality of an engine stands for, with the user's own steps and cache.

    Args:
        engine: one of `PROFILES`.
        quality: one of the engine's, empty: its default.
        setup: its `steps` and `cache` replace the profile's.

    Raises:
        InputError: there is none of that name, or what is asked for cannot be combined.
    """
    known = PROFILES.get(engine)
    if known is None:
        raise InputError(f"The engine {engine!r} has no qualities: choose one of {', '.join(PROFILES)}.")
    if quality and quality not in known:
        raise InputError(f"The engine {engine} has no quality {quality!r}: choose one of {', '.join(known)}.")
    chosen = known[quality or next(iter(known))]
    setup = setup or EngineSetup()
    if setup.cache:
        chosen = _with_cache(chosen, setup.cache)
    if setup.steps:
        chosen = _with_steps(chosen, setup.steps)
    return chosen


def check_plan(profile: Profile, rung: Rung, compiled: bool) -> None:
    """Refuse a profile that cannot be run that way.

    Args:
        profile: how the video is denoised.
        rung: of the VRAM ladder.
        compiled: whether the transformer's blocks are compiled.

    Raises:
        InputError: the two cannot be combined.
    """
    facts = _CACHES[profile.cache]
    if rung not in facts.rungs:
        rungs = " or ".join(facts.rungs)
        raise InputError(
            f"The cache {profile.cache} keeps too much in video memory for --memory {rung}:"
            f" choose --cache first-block, or --memory {rungs}."
        )
    if compiled and not facts.compiled:
        raise InputError(f"The cache {profile.cache} cannot work in compiled blocks: choose --quality final.")


def may_compile(profile: Profile) -> bool:
    """Whether the transformer's blocks may be compiled."""
    return _CACHES[profile.cache].compiled


def cache_bytes(profile: Profile, tokens: int, width: int, blocks: int, item_bytes: int = 2) -> int:
    """Video memory that a profile's cache takes beyond what the model needs.

    First-block keeps three tensors of a block's size for each pass: the first block's output and residual, and the
    residual of the others. TaylorSeer keeps value and slope of three outputs of each block.

    Args:
        profile: with the cache.
        tokens: of the video, (frames + 3) / 4 * height / 16 * width / 16.
        width: of the transformer.
        blocks: of the transformer.
        item_bytes: of its data type.
    """
    kept = {"none": 0, "first-block": 3, "taylorseer": 2 * 3 * blocks}[profile.cache]
    branches = 1 if profile.guidance == 1 else 2
    return branches * kept * tokens * width * item_bytes


def _with_cache(profile: Profile, cache: str) -> Profile:
    names = [name for name in get_args(Cache) if name != "none"]
    if cache not in names:
        raise InputError(f"There is no cache {cache!r}: choose one of {', '.join(names)}.")
    if profile.cache == "none":
        raise InputError(f"The quality {profile.name} uses no cache: choose --quality cached, or leave --cache out.")
    if cache == "taylorseer":
        return replace(profile, cache="taylorseer", threshold=0.0, interval=3, warm_up=5)
    return profile


def _with_steps(profile: Profile, steps: int) -> Profile:
    if profile.distilled and steps not in _DISTILLED_STEPS:
        fewest, most = _DISTILLED_STEPS[0], _DISTILLED_STEPS[-1]
        raise InputError(
            f"The quality {profile.name} was distilled for few steps, not {steps}: choose {fewest} to {most} steps."
        )
    fewest = _CACHES[profile.cache].steps
    if not fewest <= steps <= _MOST_STEPS:
        raise InputError(
            f"The quality {profile.name} cannot be made in {steps} steps: choose {fewest} to {_MOST_STEPS}."
        )
    return replace(profile, steps=steps)
