"""Components put where a plan wants them: fp8, offloading, tiles, compiling; after the LoRAs, which must come first.

All that is done to a model goes when the model goes: whoever needs another plan drops it and loads again.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import weakref
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ex4d_core.files import cache_folder
from ex4d_core.generate.ladder import Plan
from ex4d_core.generate.loading import Components

_PIECE = 2**30  # bytes; a power of two, as torch rounds page-locked memory up to one
_ALIGNED = 256


def place(components: Components, plan: Plan) -> None:
    """Put models that were loaded for a plan, LoRAs included, where it wants them.

    Args:
        components: on the CPU; changed in place.
        plan: that they were loaded for.

    Raises:
        torch.OutOfMemoryError: they do not fit; drop them.
    """
    transformers = [t for t in (components.transformer, components.second_transformer) if t is not None]
    helpers: list[Any] = [
        c for c in (components.vae, components.image_encoder, components.geometry_encoder) if c is not None
    ]
    dtype: torch.dtype = getattr(torch, plan.dtype)
    if plan.weights == "fp8":
        for transformer in transformers:
            transformer.enable_layerwise_casting(torch.float8_e4m3fn, compute_dtype=dtype)
    if plan.tiled_vae:
        components.vae.enable_tiling()
    if plan.keeping == "device":
        for module in (*transformers, *helpers):
            module.to(plan.device)
    else:
        _take_turns(components, transformers, plan)
    if plan.compiled:
        for transformer in transformers:
            _compile(transformer)


def _take_turns(components: Components, transformers: list[Any], plan: Plan) -> None:
    """Only what works is on the device; transformers that fetch their own weights just send the others away."""
    turns = _Turns(torch.device(plan.device))
    vae: Any = components.vae
    turns.add(vae, vae.encoder, vae.post_quant_conv)
    for helper in (components.image_encoder, components.geometry_encoder):
        if helper is not None:
            turns.add(helper, helper)
    for transformer in transformers:
        if plan.keeping == "turns":
            turns.add(transformer, transformer)
        else:
            turns.add(nn.Module(), transformer)
            _fetch(transformer, plan)


class _Turns:
    """Of several models the one that is called is on the device; the others are in RAM, where all have a copy.

    Hooks of torch rather than of accelerate: a VAE is not called as a whole, and nothing has to be copied back.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._there: nn.Module | None = None
        self._in_ram: list[tuple[Tensor, Tensor]] = []

    def add(self, module: nn.Module, *doors: nn.Module) -> None:
        """Let a module take part, which begins to work where one of `doors` is called."""

        def enter(_door: nn.Module, _inputs: Any) -> None:
            if self._there is not module:
                self._leave()
                self._enter(module)

        for door in doors:
            door.register_forward_pre_hook(enter)

    def _enter(self, module: nn.Module) -> None:
        self._there = module
        for tensor in _tensors(module):
            self._in_ram.append((tensor, tensor.data))
            tensor.data = _copied(tensor.data, self._device)

    def _leave(self) -> None:
        for tensor, data in self._in_ram:
            tensor.data = data
        self._in_ram.clear()


def _copied(data: Tensor, device: torch.device) -> Tensor:
    return data.to(device)


def _fetch(transformer: Any, plan: Plan) -> None:
    """Weights come to the device when they are needed: from RAM by blocks or layers, or from disk by layers."""
    # on other devices diffusers refuses streams, and there is no second memory to copy from at the same time
    streams = plan.device == "cuda"
    options: dict[str, Any] = {"onload_device": torch.device(plan.device), "use_stream": streams}
    if plan.keeping == "disk":
        _fetch_from_disk(transformer, plan, options)
        return
    if streams:
        pack(_tensors(transformer), page_locked=True)
    if plan.keeping == "blocks":
        transformer.enable_group_offload(offload_type="block_level", num_blocks_per_group=1, **options)
    else:
        transformer.enable_group_offload(offload_type="leaf_level", **options)


def _fetch_from_disk(transformer: Any, plan: Plan, options: dict[str, Any]) -> None:
    """Blocks go to disk one after the other, each cast only then, so that RAM never holds the whole model."""
    from diffusers.hooks.group_offloading import apply_group_offloading

    parent = cache_folder() if plan.offload_folder is None else plan.offload_folder
    parent.mkdir(parents=True, exist_ok=True)
    # diffusers takes files for its own that lie there already, so the folder is new, and goes with the model
    folder = Path(tempfile.mkdtemp(prefix="offload-", dir=parent))
    weakref.finalize(transformer, shutil.rmtree, folder, ignore_errors=True)
    dtype: torch.dtype = getattr(torch, plan.dtype)
    lists = [child for child in transformer.children() if isinstance(child, nn.ModuleList)]
    inside = {id(tensor) for modules in lists for tensor in _tensors(modules)}
    for tensor in _tensors(transformer):
        if id(tensor) not in inside:
            tensor.data = tensor.data.to(plan.device)
    for number, block in enumerate(block for blocks in lists for block in blocks):
        for layer in block.modules():
            if isinstance(layer, nn.Linear) and layer.weight.dtype.is_floating_point:
                layer.to(dtype)
        # files are named after the layers within the block, so each block has its own folder
        path = str(folder / str(number))
        apply_group_offloading(block, offload_type="leaf_level", offload_to_disk_path=path, **options)


def pack(tensors: Iterable[Tensor], page_locked: bool) -> None:
    """Move the data of tensors into few large pieces of memory, one tensor after the other.

    Page-locked memory, which the GPU reads while it computes, is rounded up to a power of two for each piece: layer by
    layer that would be half as much again.

    Args:
        tensors: on the CPU.
        page_locked: take such memory; needs CUDA.
    """
    found = list(tensors)
    left = sum(_room(tensor) for tensor in found)
    piece, begin = torch.empty(0, dtype=torch.uint8), 0
    for tensor in found:
        need = _room(tensor)
        if begin + need > len(piece):
            size = max(_power_of_two(need), min(_PIECE, _power_of_two(left)))
            piece, begin = torch.empty(size, dtype=torch.uint8, pin_memory=page_locked), 0
        data = tensor.data
        moved = piece[begin : begin + data.nbytes].view(data.dtype).view(data.shape)
        tensor.data = moved.copy_(data)
        begin, left = begin + need, left - need


def _room(tensor: Tensor) -> int:
    return -(-tensor.data.nbytes // _ALIGNED) * _ALIGNED


def _power_of_two(size: int) -> int:
    return 1 << max(size - 1, 0).bit_length()


def _tensors(module: nn.Module) -> Iterator[Tensor]:
    yield from module.parameters()
    yield from module.buffers()


def _compile(transformer: Any) -> None:
    """Each kind of block is compiled once, for all its repetitions; the result is kept for the next start."""
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(cache_folder() / "inductor"))
    transformer.compile_repeated_blocks(fullgraph=True)
