"""Which device of torch computes, and in which numbers: what it does well, not what it can be made to do."""

from __future__ import annotations

import platform
from dataclasses import dataclass

import torch

_BF16_AMD = ("gfx908", "gfx90a", "gfx94", "gfx95", "gfx11", "gfx12")
"""CDNA, RDNA3 and later have instructions for bfloat16; older ones emulate it, whatever torch says."""
_FP16_FAST = (7, 0)
_BF16_FAST = (8, 0)
"""CUDA capabilities: tensor cores came with Volta, for bfloat16 with Ampere; Pascal has slow float16."""
_BF16_MACOS = 14


@dataclass(frozen=True)
class DeviceFacts:
    """What torch tells of the machine."""

    cuda: bool = False
    """NVIDIA or AMD, at least one that works."""
    capability: tuple[int, int] = (0, 0)
    """Of an NVIDIA card."""
    amd: str = ""
    """Architecture of an AMD card: gfx1100 ...; empty: it is NVIDIA's."""
    mps: bool = False
    macos: int = 0
    """Major version."""


@dataclass(frozen=True)
class Device:
    """What to compute on."""

    name: str
    """Of torch: cuda (also ROCm), mps or cpu."""
    dtype: str
    """Of torch: bfloat16, float16 or float32."""
    fp8: bool
    """Whether weights can be kept in 8-bit floats and cast where they are used."""


def choose(facts: DeviceFacts) -> Device:
    """The fastest device, and the type of the transformer: bfloat16 as it was trained in, where that is fast.

    float16 has as many bytes and a smaller range; float32 is for what computes neither well.
    """
    if facts.cuda and facts.amd:
        return Device("cuda", "bfloat16" if facts.amd.startswith(_BF16_AMD) else "float16", fp8=True)
    if facts.cuda:
        dtype = "bfloat16" if facts.capability >= _BF16_FAST else "float16"
        return Device("cuda", dtype if facts.capability >= _FP16_FAST else "float32", fp8=True)
    if facts.mps:  # Metal has no type of 8-bit floats
        return Device("mps", "bfloat16" if facts.macos >= _BF16_MACOS else "float16", fp8=False)
    return Device("cpu", "float32", fp8=True)


def probe() -> DeviceFacts:
    """Ask torch; the first card that it sees counts, which CUDA_VISIBLE_DEVICES chooses."""
    if torch.cuda.is_available():
        if torch.version.hip:
            arch = str(getattr(torch.cuda.get_device_properties(0), "gcnArchName", "unknown"))
            return DeviceFacts(cuda=True, amd=arch.partition(":")[0])
        return DeviceFacts(cuda=True, capability=torch.cuda.get_device_capability(0))
    macos = platform.mac_ver()[0].partition(".")[0]
    return DeviceFacts(mps=torch.backends.mps.is_available(), macos=int(macos) if macos.isdigit() else 0)
