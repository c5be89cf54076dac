"""Attention: which is chosen, that the process gets its own back, and what is said of one that is not here."""

from __future__ import annotations

import pytest
import torch
from diffusers.models.attention_dispatch import AttentionBackendName, _AttentionBackendRegistry

from ex4d_core.errors import InputError, MissingDependencyError
from ex4d_core.generate import attention
from ex4d_core.generate.attention import BACKENDS, attending, choose


def active() -> str:
    return AttentionBackendName(_AttentionBackendRegistry.get_active_backend()[0]).value


def test_every_name_is_one_of_diffusers() -> None:
    assert {AttentionBackendName(name).value for name in BACKENDS.values()} == set(BACKENDS.values())


def test_a_job_leaves_the_process_as_it_was() -> None:
    before = active()
    with attending("cudnn"):
        assert active() == "_native_cudnn"
        with attending("native"):
            assert active() == "native"
        assert active() == "_native_cudnn"
    assert active() == before
    with pytest.raises(ZeroDivisionError), attending("cudnn"):
        raise ZeroDivisionError
    assert active() == before


@pytest.mark.parametrize(
    ("capability", "here", "chosen"),
    [
        ((8, 9), ("flash3", "flash", "sage"), "native"),  # torch's own takes FlashAttention 2
        ((9, 0), (), "cudnn"),
        ((9, 0), ("flash3",), "flash3"),
        ((9, 0), ("sage", "flash3-hub", "sage-hub"), "cudnn"),  # inexact, and downloaded code: only if asked for
        ((12, 0), ("flash3",), "cudnn"),
    ],
)
def test_the_fastest_exact_one_is_chosen(
    monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], here: tuple[str, ...], chosen: str
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: capability)
    monkeypatch.setattr(attention, "_usable", lambda name: name in here)
    assert choose("", "cuda") == chosen
    monkeypatch.setattr(torch.version, "hip", "6.4")
    assert choose("", "cuda") == "native"


@pytest.mark.parametrize("device", ["cpu", "mps"])
def test_other_devices_have_torchs_own(device: str) -> None:
    assert choose("", device) == choose("native", device) == "native"
    with pytest.raises(InputError, match="needs an NVIDIA GPU"):
        choose("cudnn", device)


def test_what_is_not_here_is_said_before_the_job() -> None:
    with pytest.raises(InputError, match="no attention 'fast': choose one of native, cudnn"):
        choose("fast", "cuda")
    for name in ("flash", "flash3", "sage"):
        with pytest.raises(MissingDependencyError, match=f"attention {name} is not usable here: install "):
            choose(name, "cuda")
        with pytest.raises(MissingDependencyError), attending(name):
            pass
    with pytest.raises(MissingDependencyError, match="kernels"):
        choose("sage-hub", "cuda")
