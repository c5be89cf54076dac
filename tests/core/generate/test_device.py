"""Device and dtype: a table of machines, and this one."""

import pytest
import torch

from ex4d_core.generate.device import Device, DeviceFacts, choose, probe


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        (DeviceFacts(cuda=True, capability=(9, 0)), Device("cuda", "bfloat16", True)),  # H100
        (DeviceFacts(cuda=True, capability=(12, 0)), Device("cuda", "bfloat16", True)),  # RTX 5090
        (DeviceFacts(cuda=True, capability=(8, 6)), Device("cuda", "bfloat16", True)),  # RTX 3090
        (DeviceFacts(cuda=True, capability=(7, 5)), Device("cuda", "float16", True)),  # RTX 2080
        (DeviceFacts(cuda=True, capability=(6, 1)), Device("cuda", "float32", True)),  # GTX 1080
        (DeviceFacts(cuda=True, amd="gfx1100"), Device("cuda", "bfloat16", True)),  # RX 7900
        (DeviceFacts(cuda=True, amd="gfx1030"), Device("cuda", "float16", True)),  # RX 6900
        (DeviceFacts(cuda=True, amd="gfx942"), Device("cuda", "bfloat16", True)),  # MI300
        (DeviceFacts(mps=True, macos=15), Device("mps", "bfloat16", False)),
        (DeviceFacts(mps=True, macos=13), Device("mps", "float16", False)),
        (DeviceFacts(), Device("cpu", "float32", True)),
    ],
)
def test_each_machine_computes_in_what_it_does_well(facts: DeviceFacts, expected: Device) -> None:
    assert choose(facts) == expected


def test_what_is_chosen_here_computes() -> None:
    found = choose(probe())
    assert (found.name == "cuda") == torch.cuda.is_available()
    ones = torch.ones(8, 8, device=found.name, dtype=getattr(torch, found.dtype))
    assert (ones @ ones).sum().item() == 512
    if found.fp8:
        assert ones.to(torch.float8_e4m3fn).to(ones.dtype).equal(ones)
