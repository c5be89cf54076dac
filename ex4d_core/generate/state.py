"""Filling models with tensors from files, where nothing may be missing, left over or of another shape."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from torch import Tensor, nn

from ex4d_core.errors import InputError
from ex4d_core.weight_headers import damaged

Shape = tuple[int, ...]
Rename = Callable[[Iterable[str]], dict[str, str]]
_NAMED = 24  # of each kind in one message
_WEIGHTS = (torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2)
"""What numbers weights may be."""
_STUMBLES = (OSError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RuntimeError)
"""Of libraries that build a model of sizes that are none."""


def check_names(found: Mapping[str, Shape], expected: Mapping[str, Shape], where: str) -> None:
    """Refuse a set of tensors that is not exactly the expected one.

    Args:
        found: names and shapes that are there.
        expected: names and shapes that should be.
        where: what they come from, begins the message.

    Raises:
        InputError: names each that is missing, unexpected or of the wrong shape.
    """
    missing = [name for name in expected if name not in found]
    unexpected = [name for name in found if name not in expected]
    misshapen = [
        f"{name} has {_by(found[name])}, not {_by(shape)}"
        for name, shape in expected.items()
        if name in found and found[name] != shape
    ]
    kinds = (("lacks", missing), ("has what does not belong there,", unexpected), ("has other shapes,", misshapen))
    faults = [f"{verb} {_listed(names)}" for verb, names in kinds if names]
    if faults:
        raise InputError(f"{where} {'; it '.join(faults)}: use the file that belongs to this model, whole.")


def require_weights(name: str, tensor: Tensor, where: str) -> None:
    """Refuse what cannot be a weight, and would be cast to one: whole and complex numbers, sparse tensors.

    Args:
        name: in the file.
        tensor: of that name.
        where: the file, for messages.

    Raises:
        InputError: it is none.
    """
    if tensor.dtype not in _WEIGHTS or tensor.layout is not torch.strided or tensor.is_meta:
        kind = f"{tensor.dtype}".removeprefix("torch.")
        layout = "" if tensor.layout is torch.strided else f"{tensor.layout} ".removeprefix("torch.")
        raise InputError(
            f"{where} has {layout}{kind} in {name}, where weights are floats: use the file that the model's page names."
        )


@contextmanager
def described_by(file: Path) -> Generator[None]:
    """Name the file where a model cannot be made of what it says: libraries raise whatever they stumble over.

    Raises:
        InputError: it is damaged.
    """
    try:
        yield
    except (*_STUMBLES, StrictDataclassError) as error:
        raise damaged(file) from error


def shapes(tensors: Mapping[str, Tensor]) -> dict[str, Shape]:
    """Names and shapes."""
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


def same_names(names: Iterable[str]) -> dict[str, str]:
    """The renaming that changes nothing."""
    return {name: name for name in names}


def fill(
    model: nn.Module,
    tensors: Iterable[tuple[str, Tensor]],
    rename: Rename,
    where: str,
    dtype: torch.dtype | None = None,
) -> None:
    """Give a model, also one on the meta device, its tensors; exactly its own, each once.

    Args:
        model: its parameters are replaced, not copied into.
        tensors: name in the file and tensor; taken one by one, so that a file larger than memory allows can be cast.
        rename: names in the file -> name in the file: name in the model.
        where: the file, for messages.
        dtype: to cast to, save what the model keeps in float32 (`_keep_in_fp32_modules`); None: as in the file.

    Raises:
        InputError: names each that is missing, unexpected or of the wrong shape.
    """
    originals: dict[str, str] = {}
    told_kept: Any = getattr(model, "_keep_in_fp32_modules", None)
    kept = frozenset[str](told_kept or ())
    state: dict[str, Tensor] = {}
    for name, tensor in tensors:
        require_weights(name, tensor, where)
        new = rename([name])[name]
        originals[new] = name
        wanted = dtype if kept.isdisjoint(new.split(".")) else torch.float32
        state[new] = tensor if dtype is None else tensor.to(wanted)

    def told(shapes_of: Mapping[str, Shape]) -> dict[str, Shape]:
        return {originals.get(name, name): shape for name, shape in shapes_of.items()}

    check_names(told(shapes(state)), told(shapes(model.state_dict())), where)
    model.load_state_dict(state, strict=True, assign=True)
    model.requires_grad_(False).eval()


def _by(shape: Shape) -> str:
    return "x".join(map(str, shape)) or "a number"


def _listed(names: list[Any]) -> str:
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")
