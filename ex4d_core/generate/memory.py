"""Running out of memory: how to tell, and how to let go of everything."""

from __future__ import annotations

import gc
import sys

import torch

_SAID = (
    "out of memory",  # CUDA, HIP, MPS, whatever class they come as
    "can't allocate memory",  # the CPU's, on Linux and macOS
    "not enough memory",  # and on Windows
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory has run out, the GPU's or the machine's."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _SAID)


def release() -> None:
    """Give back what nobody refers to any more: cycles, compiled code, what torch's allocators keep."""
    gc.collect()
    if "torch._dynamo" in sys.modules:
        torch.compiler.reset()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.accelerator.empty_host_cache()
    elif torch.backends.mps.is_available():
        torch.mps.empty_cache()
