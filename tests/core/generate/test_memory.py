"""Telling that memory ran out from what else goes wrong, and letting go."""

from __future__ import annotations

import weakref

import pytest
import torch

from ex4d_core.generate.memory import is_out_of_memory, release


def test_the_cpus_allocator_is_understood() -> None:
    with pytest.raises(RuntimeError) as raised:
        torch.empty(2**60, dtype=torch.uint8)
    assert is_out_of_memory(raised.value)


@pytest.mark.parametrize(
    ("error", "is_it"),
    [
        (torch.OutOfMemoryError("any words"), True),
        (MemoryError(), True),
        (RuntimeError("MPS backend out of memory (MPS allocated: 18 GB)"), True),
        (RuntimeError("CUDA error: out of memory"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
        (RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: not enough memory: you tried"), True),
        (RuntimeError("CUDA error: device-side assert triggered"), False),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_words_of_every_device(error: Exception, is_it: bool) -> None:
    assert is_out_of_memory(error) is is_it


def test_cycles_are_let_go() -> None:
    class Held:
        pass

    one = Held()
    one.itself = one  # pyright: ignore
    gone = weakref.ref(one)
    del one
    release()
    assert gone() is None
