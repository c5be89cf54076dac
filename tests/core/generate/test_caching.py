"""Saved block calls: counted, kept apart between the passes, and forgotten afterwards."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import (
    PyramidAttentionBroadcastConfig,
    WanTransformer3DModel,
    WanVACETransformer3DModel,
)
from peft import LoraConfig
from torch import Tensor

from ex4d_core.engines import EngineSetup
from ex4d_core.errors import CancelledError, InputError
from ex4d_core.generate.caching import Savings, cached
from ex4d_core.generate.profiles import Profile, profile
from ex4d_core.generate.sampling import Branch, cancellable

_BLOCKS, _STEPS = 4, 9
_SIZES = {
    "num_attention_heads": 2,
    "attention_head_dim": 12,
    "in_channels": 16,
    "out_channels": 16,
    "text_dim": 16,
    "freq_dim": 16,
    "ffn_dim": 32,
    "num_layers": _BLOCKS,
}
_NONE = profile("ex4d", "final")
_FIRST = replace(profile("ex4d", "cached"), threshold=0.3)
_TAYLOR = profile("ex4d", "cached", EngineSetup(cache="taylorseer"))
_both = pytest.mark.parametrize("chosen", [_FIRST, _TAYLOR], ids=["first-block", "taylorseer"])


def _wan() -> Any:
    torch.manual_seed(0)
    transformer: Any = WanTransformer3DModel(**_SIZES).eval()
    linears = ["to_q", "to_k", "to_v", "to_out.0", "net.0.proj", "net.2"]
    transformer.add_adapter(LoraConfig(r=2, target_modules=linears, init_lora_weights=False), "ex4d")
    return transformer


def _vace() -> Any:
    torch.manual_seed(0)
    transformer: Any = WanVACETransformer3DModel(**_SIZES, vace_layers=[0, 2], vace_in_channels=96).eval()
    for name, parameter in transformer.named_parameters():
        if "vace_blocks" in name and "proj_" in name:  # zero as made, like the hints
            torch.nn.init.normal_(parameter, std=0.3)
    return transformer


def _text(branch: Branch) -> Tensor:
    """Different for the two passes, as prompt and negative prompt are."""
    return torch.randn(1, 512, 16, generator=torch.Generator().manual_seed(1 if branch == "cond" else 2))


@torch.no_grad()
def _pass(transformer: Any, latents: Tensor, step: int, branch: Branch, **inputs: Tensor) -> Tensor:
    timestep = torch.tensor([1000.0 * (1 - step / 12)])
    with transformer.cache_context(branch):
        return transformer(latents, timestep, _text(branch), return_dict=False, **inputs)[0]


def _noise() -> Tensor:
    return torch.randn(1, 16, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def _denoise(transformer: Any, chosen: Profile, cancelled: Callable[[], bool] = lambda: False) -> Tensor:
    """Both passes a step with guidance, as `sampling.denoise` does."""
    latents = _noise()
    with cached(transformer, chosen, _STEPS), cancellable(transformer.blocks, cancelled):
        for step in range(_STEPS):
            positive, negative = (_pass(transformer, latents, step, b) for b in ("cond", "uncond"))
            latents = latents - (negative + 5.0 * (positive - negative)) / 60
    return latents


def _predictions(transformer: Any, branches: tuple[Branch, ...]) -> dict[Branch, list[Tensor]]:
    """Passes over latents that do not depend on their results, so that each branch has the same alone and with the
    other."""
    found: dict[Branch, list[Tensor]] = {branch: [] for branch in branches}
    for step in range(_STEPS):
        for branch in branches:
            found[branch].append(_pass(transformer, _noise() * (1 - 0.03 * step), step, branch))
    return found


def _distance(transformer: Any) -> float:
    """Largest difference of the passes made by turns from the same passes alone."""
    together = _predictions(transformer, ("cond", "uncond"))
    transformer._reset_stateful_cache()
    worst = 0.0
    for branch in together:
        alone = _predictions(transformer, (branch,))[branch]
        transformer._reset_stateful_cache()
        pairs = zip(together[branch], alone, strict=True)
        worst = max(worst, *(float((a - b).abs().max()) for a, b in pairs))
    return worst


@_both
def test_the_passes_do_not_get_each_others_results(chosen: Profile) -> None:
    transformer = _wan()
    with cached(transformer, chosen, _STEPS) as savings:
        assert _distance(transformer) == 0.0
    assert savings.saved


def test_a_cache_that_mixes_the_passes_would_be_found() -> None:
    """Pyramid attention broadcast does; this is why it is not offered."""
    transformer = _wan()
    config = PyramidAttentionBroadcastConfig(
        spatial_attention_block_skip_range=2,
        spatial_attention_timestep_skip_range=(-1, 1001),
        spatial_attention_block_identifiers=("blocks",),
        current_timestep_callback=lambda: 500,
    )
    transformer.enable_cache(config)
    assert _distance(transformer) > 0.1


@_both
def test_a_cached_run_is_near_the_whole_one_and_not_it(chosen: Profile) -> None:
    whole, saved = _denoise(_wan(), _NONE), _denoise(_wan(), chosen)
    difference = float((whole - saved).std() / whole.std())
    assert 1e-5 < difference < 0.1


@_both
def test_after_a_cancel_a_run_equals_that_of_a_fresh_model(chosen: Profile) -> None:
    fresh, used = _denoise(_wan(), chosen), _wan()
    asked = iter(range(10**6))
    with pytest.raises(CancelledError):
        _denoise(
            used, chosen, cancelled=lambda: next(asked) >= 6 * 2 * _BLOCKS + 5
        )  # between blocks, in the second pass of step 6
    assert torch.equal(_denoise(used, chosen), fresh)
    assert torch.equal(_denoise(used, chosen), fresh), "nor is anything kept from a run that was not stopped"


@_both
def test_the_transformer_is_left_as_it_was(chosen: Profile) -> None:
    transformer = _wan()
    before = {name: _hooks(module) for name, module in transformer.named_modules()}
    whole = _denoise(transformer, _NONE)
    _denoise(transformer, chosen)
    assert not transformer.is_cache_enabled
    assert {name: _hooks(module) for name, module in transformer.named_modules()} == before
    assert torch.equal(_denoise(transformer, _NONE), whole)


def _hooks(module: torch.nn.Module) -> tuple[int, ...]:
    registry: Any = getattr(module, "_diffusers_hook", None)
    ours = 0 if registry is None else len(registry.hooks)
    return len(module._forward_pre_hooks), len(module._forward_hooks), ours


def test_saved_calls_are_counted_by_what_was_not_computed() -> None:
    passes = 2 * _STEPS
    never = replace(_FIRST, threshold=1e9)  # computes each branch once, and then only the first block
    for chosen, computed in ((never, 2 * _BLOCKS + (passes - 2)), (_TAYLOR, 2 * _BLOCKS * len(_computed(_TAYLOR)))):
        transformer = _wan()
        with cached(transformer, chosen, _STEPS) as savings:
            _predictions(transformer, ("cond", "uncond"))
        assert savings == Savings(chosen.cache, passes * _BLOCKS, passes * _BLOCKS - computed)
        assert savings.settings == {"block_calls": savings.calls, "block_calls_saved": savings.saved}
    with cached(_wan(), _NONE, _STEPS) as savings:
        pass
    assert savings.settings == {}


def _computed(chosen: Profile) -> list[int]:
    """Steps that TaylorSeer computes: those of its warm-up, and then one in each interval, the second first."""
    return [s for s in range(_STEPS) if s < chosen.warm_up or (s - chosen.warm_up - 1) % chosen.interval == 0]


def test_a_cache_that_saves_nothing_is_an_error() -> None:
    transformer = _wan()
    with pytest.raises(InputError, match="saved nothing in 9 steps.*: choose --cache taylorseer, or --quality final"):
        _denoise(transformer, replace(_FIRST, threshold=0.0))
    with (
        pytest.raises(InputError, match=r"saved nothing in 2 steps.*: choose --quality final\."),
        cached(transformer, _TAYLOR, 2),
    ):
        _pass(transformer, _noise(), 0, "cond")
    assert not transformer.is_cache_enabled
    with pytest.raises(ZeroDivisionError), cached(transformer, _FIRST, 1):
        raise ZeroDivisionError  # what went wrong is told, not that nothing was saved


def test_a_pair_of_transformers_shares_the_count() -> None:
    first, second = _wan(), _wan()
    with cached(first, replace(_FIRST, threshold=1e9), _STEPS, second) as savings:
        for step in range(_STEPS):
            _pass(first if step == 0 else second, _noise(), step, "cond")  # the first has nothing to save
    assert (savings.calls, savings.saved) == (_STEPS * _BLOCKS, (_STEPS - 2) * (_BLOCKS - 1))
    assert not first.is_cache_enabled
    assert not second.is_cache_enabled


@_both
def test_vace_gets_its_hints_once(chosen: Profile) -> None:
    """The same pass again, saved, has the same result; the first-block cache alone would add the hints twice."""
    transformer = _vace()
    control = torch.randn(1, 96, 3, 8, 8, generator=torch.Generator().manual_seed(3))
    whole = _pass(transformer, _noise(), 0, "cond", control_hidden_states=control)
    without = _pass(transformer, _noise(), 0, "cond", control_hidden_states=torch.zeros_like(control))
    assert (whole - without).abs().max() > 0.1, "the hints matter"
    with cached(transformer, chosen, _STEPS) as savings:
        for _ in range(_STEPS):
            again = _pass(transformer, _noise(), 0, "cond", control_hidden_states=control)
            assert (again - whole).abs().max() < (1e-5 if chosen is _FIRST else 2e-2)  # its factors are bfloat16
    assert savings.saved


def _block_offload(transformer: Any, _folder: Path) -> None:
    transformer.enable_group_offload(torch.device("cpu"), offload_type="block_level", num_blocks_per_group=1)


def _leaf_offload(transformer: Any, _folder: Path) -> None:
    transformer.enable_group_offload(torch.device("cpu"), offload_type="leaf_level")


def _disk_offload(transformer: Any, folder: Path) -> None:
    transformer.enable_group_offload(
        torch.device("cpu"), offload_type="block_level", num_blocks_per_group=1, offload_to_disk_path=str(folder)
    )


def _fp8(transformer: Any, _folder: Path) -> None:
    transformer.enable_layerwise_casting(torch.float8_e4m3fn, compute_dtype=torch.float32)


@pytest.mark.slow
@pytest.mark.parametrize("place", [_block_offload, _leaf_offload, _disk_offload, _fp8])
def test_the_first_block_cache_works_on_every_rung(place: Callable[[Any, Path], None], tmp_path: Path) -> None:
    """With weights that come and go, a cached run is as far from a whole one as with weights that stay."""
    transformer = _wan()
    place(transformer, tmp_path)
    whole, saved = _denoise(transformer, _NONE), _denoise(transformer, _FIRST)
    assert 1e-5 < float((whole - saved).std() / whole.std()) < 0.1
    if place is not _fp8:
        assert (saved - _denoise(_wan(), _FIRST)).abs().max() < 1e-3
    assert torch.equal(_denoise(transformer, _NONE), whole)


@pytest.fixture
def compiling() -> Iterator[None]:
    yield
    torch.compiler.reset()


@pytest.mark.slow
@_both
def test_a_cache_does_not_work_in_compiled_blocks(chosen: Profile, compiling: None) -> None:
    """Why the table of profiles forbids it; where diffusers learns it, this fails, and the table may allow it."""
    transformer = _wan()
    transformer.compile_repeated_blocks(fullgraph=True, backend="eager")
    with pytest.raises(Exception, match="compiler.disable"), cached(transformer, chosen, _STEPS):
        _pass(transformer, _noise(), 0, "cond")
    _pass(transformer, _noise(), 0, "cond")  # without it they run
