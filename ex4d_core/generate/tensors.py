"""Reading the tensors of a file or folder one by one: mapped, not copied, where the file allows it."""

from __future__ import annotations

import pickle
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ex4d_core.errors import InputError
from ex4d_core.weight_headers import damaged, weight_files

_SCALES = (".scale_weight", ".weight_scale")
"""What ComfyUI's 8-bit files keep beside a weight, which is to be multiplied with it."""
_MARKS = ("scaled_fp8", ".scale_input", ".input_scale", ".comfy_quant", "spiece_model")
"""What they keep besides, and the words of a text encoder: no weights of the model."""
_FLOAT8 = (torch.float8_e4m3fn, torch.float8_e5m2)


def tensors(path: Path) -> Iterator[tuple[str, Tensor]]:
    """Name and tensor of all files of a component, on the CPU and in the file's own type.

    Those of .safetensors are mapped: they take memory of their own only when they are cast. 8-bit weights with scales,
    as ComfyUI's "fp8_scaled" has them, come multiplied, in bfloat16.

    Args:
        path: a .safetensors, .pth, .pt or .ckpt file, or a folder as in `weight_headers.weight_files`.

    Raises:
        InputError: a file is damaged, missing, or holds more than tensors.
    """
    for file in weight_files(path):
        yield from _mapped(file) if file.suffix in (".safetensors", ".sft") else pickled(file).items()


def pickled(file: Path) -> dict[str, Tensor]:
    """The tensors of what `torch.save` wrote; nothing in it is executed.

    Args:
        file: a state dict, or one under "state_dict" or "model_state".

    Raises:
        InputError: it is damaged, or holds more than tensors.
    """
    try:
        with file.open("rb") as stream:
            begin = stream.read(2)
        if begin and begin != b"PK" and begin[:1] != pickle.PROTO:  # of a zip file, and of what torch wrote before
            raise InputError(f"{file} holds no weights: name a file that does.")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what is refused below
            state: Any = torch.load(file, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(file))
    except (pickle.UnpicklingError, OSError, RuntimeError, ValueError, EOFError, KeyError, IndexError) as error:
        if isinstance(error, pickle.UnpicklingError) or "TorchScript" in str(error):
            wrong = f"{file} holds code besides tensors, which is not run: take the .safetensors file."
            raise InputError(wrong) from error
        raise damaged(file) from error
    for inner in ("state_dict", "model_state"):
        state = state.get(inner, state) if isinstance(state, dict) else state
    if not isinstance(state, dict) or not all(isinstance(n, str) and isinstance(t, Tensor) for n, t in state.items()):
        raise InputError(f"{file} does not hold named tensors alone: take the file that the model's page names.")
    return cast("dict[str, Tensor]", state)


def _mapped(file: Path) -> Iterator[tuple[str, Tensor]]:
    try:
        opened: Any = safe_open(file, framework="pt", device="cpu")
    except (OSError, SafetensorError) as error:
        raise damaged(file) from error
    with opened as read:
        names = set(read.keys())
        for name in sorted(names):
            if name.endswith((*_SCALES, *_MARKS)):
                continue
            tensor: Tensor = read.get_tensor(name)
            scales = [s for end in _SCALES if (s := name.removesuffix(".weight") + end) in names]
            if scales and tensor.dtype in _FLOAT8:
                tensor = _scaled(tensor, read.get_tensor(scales[0]), file)
            yield name, tensor


def _scaled(tensor: Tensor, scale: Tensor, file: Path) -> Tensor:
    """What 8-bit numbers stand for.

    Args:
        tensor: (out, ...).
        scale: one number, or one for each of out.
        file: for messages.

    Raises:
        InputError: there are other scales.
    """
    if scale.numel() not in (1, len(tensor)):
        raise InputError(f"{file} holds 8-bit numbers with scales for blocks: take the file of 16 bits.")
    spread = scale.float().reshape(-1, *[1] * (tensor.ndim - 1))
    return (tensor.float() * spread).to(torch.bfloat16)
