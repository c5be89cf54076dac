"""Saving calls of a transformer's blocks whose result hardly changes from step to step."""

from __future__ import annotations

import logging
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from diffusers.hooks.first_block_cache import FirstBlockCacheConfig
from diffusers.hooks.taylorseer_cache import TaylorSeerCacheConfig

from ex4d_core.errors import InputError
from ex4d_core.generate.profiles import Profile

_LOG = logging.getLogger(__name__)

# TaylorSeer's own choice of modules matches none of Wan's, silently; these are extrapolated instead.
_EXTRAPOLATED = ["blocks.*attn1", "blocks.*attn2", "blocks.*ffn"]


@dataclass
class Savings:
    """Counts calls of blocks while a video is denoised."""

    cache: str
    calls: int = 0
    """Of all blocks, in all passes."""
    saved: int = 0
    """Those among them that computed nothing."""

    @property
    def settings(self) -> dict[str, Any]:
        """For `Engine.settings`."""
        return {} if self.cache == "none" else {"block_calls": self.calls, "block_calls_saved": self.saved}


@contextmanager
def cached(transformer: Any, profile: Profile, steps: int, second: Any = None) -> Generator[Savings]:
    """Denoise a video with the cache of a profile inside the block; without one if the profile has none.

    Each pass is to be made inside `transformer.cache_context("cond")` or `("uncond")`, so that the two do not get each
    other's results. Whatever ends the block, the transformer is afterwards as before, and remembers nothing.

    Args:
        transformer: a Wan or VACE transformer of diffusers.
        profile: with the cache.
        steps: that the block will make.
        second: the other transformer of a pair (Wan2.2), which shares the steps.

    Yields:
        What was saved so far.

    Raises:
        InputError: the block went through and nothing was saved.
    """
    savings = Savings(profile.cache)
    if profile.cache == "none":
        yield savings
        return
    with ExitStack() as stack:
        for each in (transformer,) if second is None else (transformer, second):
            stack.enter_context(_enabled(each, profile))
            stack.enter_context(_counted(each, savings))
        yield savings
    if not savings.saved:
        raise InputError(
            f"The cache {profile.cache} saved nothing in {steps} steps of this shot, whose result would be the same as"
            f" without it: choose {'--cache taylorseer, or ' if profile.cache == 'first-block' else ''}--quality final."
        )
    _LOG.info("The cache %s saved %d of %d block calls.", profile.cache, savings.saved, savings.calls)


@contextmanager
def _enabled(transformer: Any, profile: Profile) -> Generator[None]:
    if profile.cache == "first-block":
        config: Any = FirstBlockCacheConfig(threshold=profile.threshold)
    else:
        config = TaylorSeerCacheConfig(
            cache_interval=profile.interval,
            disable_cache_before_step=profile.warm_up,
            cache_identifiers=_EXTRAPOLATED,
        )
    transformer.enable_cache(config)
    try:
        yield
    finally:
        transformer._reset_stateful_cache()
        transformer.disable_cache()


@contextmanager
def _counted(transformer: Any, savings: Savings) -> Generator[None]:
    """Count the block calls inside the block, and mend what the first-block cache does to VACE.

    A block was computed if the last layer of its feed-forward net was called: both caches hook in above that.

    VACE adds its hints between the blocks. The residual that the first-block cache replays has them already, and the
    transformer adds them again to what goes through the blocks that are saved. So the last one gives what the first
    one gave: its output with the residual, which is the value wanted.
    """
    computed = False
    first_output: torch.Tensor | None = None
    blocks = transformer.blocks

    def begin(_module: Any, _args: Any) -> None:
        nonlocal computed
        computed = False

    def compute(_module: Any, _args: Any) -> None:
        nonlocal computed
        computed = True

    def end(module: Any, _args: Any, output: torch.Tensor) -> torch.Tensor | None:
        nonlocal first_output
        savings.calls += 1
        savings.saved += not computed
        if savings.cache != "first-block":
            return None
        if module is blocks[0]:
            first_output = output
        elif module is blocks[-1]:
            wanted, first_output = first_output, None  # the pass is over: give its memory back
            return None if computed else wanted
        return None

    handles: list[Any] = []
    try:
        for block in blocks:
            handles.append(block.register_forward_pre_hook(begin))
            handles.append(block.ffn.net[-1].register_forward_pre_hook(compute))
            handles.append(block.register_forward_hook(end))
        yield
    finally:
        for handle in handles:
            handle.remove()
