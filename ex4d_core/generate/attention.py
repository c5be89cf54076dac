"""Which code computes attention: chosen for each job, and put back after it, as diffusers keeps it for the process."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from importlib.util import find_spec

from ex4d_core.errors import InputError, MissingDependencyError

BACKENDS = {
    "native": "native",
    "cudnn": "_native_cudnn",
    "flash": "flash",
    "flash3": "_flash_3",
    "sage": "sage",
    "flash-hub": "flash_hub",
    "flash3-hub": "_flash_3_hub",
    "sage-hub": "sage_hub",
}
"""Our names and diffusers'. Those that end in -hub download code from huggingface.co and run it: only who names one
agrees to that; it is never chosen."""

_HOPPER = (9, 0)
_PACKAGES = {
    "flash": "flash-attn, which is built for your torch (pip install flash-attn)",
    "flash3": "FlashAttention 3, built from the folder hopper of github.com/Dao-AILab/flash-attention",
    "sage": "sageattention 2.1.1 or later, built from github.com/thu-ml/SageAttention",
}
_MODULES = {"flash": "flash_attn", "flash3": "flash_attn_interface", "sage": "sageattention"}
_HUB = "the package kernels (pip install kernels) and a GPU"


def require_known(asked: str) -> None:
    """Refuse what is no name of `BACKENDS`. Raises: InputError."""
    if asked not in BACKENDS:
        raise InputError(f"There is no attention {asked!r}: choose one of {', '.join(BACKENDS)}.")


def not_installed(asked: str) -> list[str]:
    """What a backend needs that is not here, told without torch: a sentence, or none."""
    module = "kernels" if asked.endswith("-hub") else _MODULES.get(asked, "")
    return [str(_absent(asked))] if module and find_spec(module) is None else []


def choose(asked: str, device: str) -> str:
    """A name of `BACKENDS` for a job.

    Sage rounds to 8 bits, so it is only for who asks for it; it is about twice as fast on Ada and no faster on Ampere.

    Args:
        asked: by the user; empty: the fastest exact one that is here.
        device: of torch.

    Raises:
        InputError: there is none of that name, or not for this device.
        MissingDependencyError: it is not installed.
    """
    if asked:
        return _checked(asked, device)
    if device != "cuda":
        return "native"
    import torch

    if torch.version.hip or torch.cuda.get_device_capability() < _HOPPER:
        return "native"  # torch's own takes FlashAttention 2 by itself
    if torch.cuda.get_device_capability() == _HOPPER and _usable("flash3"):
        return "flash3"
    return "cudnn"


@contextmanager
def attending(name: str) -> Generator[None]:
    """Let diffusers' models compute attention that way inside the block.

    Args:
        name: one of `BACKENDS`.

    Raises:
        MissingDependencyError: it cannot be used here.
    """
    from diffusers.models.attention_dispatch import attention_backend

    if not _usable(name):
        raise _absent(name)
    with attention_backend(BACKENDS[name]):
        yield


def _checked(asked: str, device: str) -> str:
    require_known(asked)
    if asked != "native" and device != "cuda":
        raise InputError(f"The attention {asked} needs an NVIDIA GPU: leave it out, or choose native.")
    if not _usable(asked):
        raise _absent(asked)
    return asked


def _usable(name: str) -> bool:
    from diffusers.models import attention_dispatch

    backend = attention_dispatch.AttentionBackendName(BACKENDS[name])
    try:
        attention_dispatch._check_attention_backend_requirements(backend)  # pyright: ignore[reportPrivateUsage]
    except RuntimeError:
        return False
    return True


def _absent(name: str) -> MissingDependencyError:
    return MissingDependencyError(
        f"The attention {name} is not usable here: install {_PACKAGES.get(name, _HUB)}, or choose another."
    )
