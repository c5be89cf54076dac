"""Step-distilled LoRAs (LightX2V's for Wan2.1), as an adapter that stacks with EX-4D's.

Their files hold low-rank pairs for linear layers (`lora_down`, `lora_up`, scaled by `alpha` / rank), and plain
differences of weights (`diff`) and biases (`diff_b`), as ComfyUI applies them: parameter + strength * difference.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ex4d_core.errors import InputError
from ex4d_core.generate.checkpoint import cast_adapter
from ex4d_core.generate.state import check_names, shapes
from ex4d_core.generate.tensors import tensors
from ex4d_core.generate.wan_keys import transformer_names

ADAPTER = "distill"
_PREFIX = re.compile(r"^(?:model\.)?(?:diffusion_model|transformer)\.")
_PART = re.compile(
    r"(?P<module>.+)\.(?:(?P<down>lora_down|lora_A)|(?P<up>lora_up|lora_B))(?:\.default)?\.weight"
    r"|(?P<plain>.+)\.(?P<kind>alpha|diff|diff_b)"
)


@dataclass(frozen=True, eq=False)
class DistilledLora:
    """One file, with diffusers' names."""

    low_rank: Mapping[str, Tensor]
    """MODULE.lora_A.weight (r, in), MODULE.lora_B.weight (out, r), times alpha / r, and MODULE.lora_B.bias (out,)."""
    differences: Mapping[str, Tensor]
    """Parameter -> what it changes by at strength 1, of layers without a low-rank pair."""


def read_distilled(path: Path) -> DistilledLora:
    """Read a file; nothing in it is passed over.

    Raises:
        InputError: it is damaged, or holds what is no part of a LoRA of Wan.
    """
    modules: dict[str, dict[str, Tensor]] = defaultdict(dict)
    strangers: list[str] = []
    for name, tensor in tensors(path):
        match = _PART.fullmatch(_PREFIX.sub("", name))
        if match is None:
            strangers.append(name)
            continue
        kind = match["kind"] or ("down" if match["down"] else "up")
        modules[_renamed(match["module"] or match["plain"])][kind] = tensor.float()
    halves = [m for m, parts in modules.items() if ("down" in parts) != ("up" in parts)]
    if strangers or halves or not modules:
        what = ", ".join([*strangers[:8], *halves[:8]]) or "nothing"
        raise InputError(f"{path} is not a LoRA of Wan, it holds {what}: give one with lora_down and lora_up.")
    low_rank: dict[str, Tensor] = {}
    differences: dict[str, Tensor] = {}
    for module, parts in modules.items():
        if "down" not in parts:
            renamed = {"diff": f"{module}.weight", "diff_b": f"{module}.bias"}
            differences |= {renamed[kind]: tensor for kind, tensor in parts.items() if kind in renamed}
            continue
        rank = len(parts["down"])
        low_rank[f"{module}.lora_A.weight"] = parts["down"]
        low_rank[f"{module}.lora_B.weight"] = parts["up"] * (float(parts["alpha"]) / rank if "alpha" in parts else 1.0)
        low_rank[f"{module}.lora_B.bias"] = parts.get("diff_b", torch.zeros(len(parts["up"])))
        if "diff" in parts:
            differences[f"{module}.weight"] = parts["diff"]
    return DistilledLora(low_rank, differences)


def add_distilled(transformer: Any, lora: DistilledLora, weight: float, dtype: torch.dtype, where: str) -> None:
    """Stack it on a transformer as adapter "distill"; before fp8 casting, offloading and compilation.

    The differences go into the parameters themselves, so that another weight needs the transformer anew. Adapters that
    are there stay active with weight 1.

    Args:
        transformer: of diffusers; its linear layers may be quantised.
        lora: for this model.
        weight: strength, 1 as trained.
        dtype: of the adapter, in which the transformer computes.
        where: the file, for messages.

    Raises:
        InputError: it was made for another transformer; names what does not fit.
    """
    _check(transformer, lora, where)
    before: list[str] = list(getattr(transformer, "peft_config", {}))
    parameters = _parameters(transformer)
    for name, difference in lora.differences.items():
        data = parameters[name].data
        parameters[name].data = (data.float() + weight * difference).to(data.dtype)
    transformer.load_lora_adapter(
        {name: tensor.to(dtype) for name, tensor in lora.low_rank.items()},
        prefix=None,
        adapter_name=ADAPTER,
        low_cpu_mem_usage=True,
    )
    cast_adapter(transformer, ADAPTER, dtype)
    transformer.set_adapters([*before, ADAPTER], [*[1.0] * len(before), weight])


def _renamed(module: str) -> str:
    """diffusers' name of a layer, from the original one."""
    name = f"{module}.weight"
    return transformer_names([name])[name].removesuffix(".weight")


def _check(transformer: Any, lora: DistilledLora, where: str) -> None:
    modules = ((name.removesuffix(".base_layer"), module) for name, module in transformer.named_modules())
    layers = {name: module for name, module in modules if hasattr(module, "in_features")}
    expected: dict[str, tuple[int, ...]] = {}
    for name, tensor in lora.low_rank.items():
        layer = layers.get(name.rsplit(".lora_", 1)[0])
        if layer is None:
            continue
        rank = tensor.shape[0] if ".lora_A." in name else tensor.shape[-1]
        sides = {"lora_A.weight": (rank, layer.in_features), "lora_B.weight": (layer.out_features, rank)}
        expected[name] = (sides | {"lora_B.bias": (layer.out_features,)})[".".join(name.split(".")[-2:])]
    parameters = _parameters(transformer)
    expected |= {name: tuple(parameters[name].shape) for name in lora.differences if name in parameters}
    check_names(shapes(lora.low_rank) | shapes(lora.differences), expected, where)


def _parameters(transformer: Any) -> dict[str, Any]:
    """By the names that they have without adapters."""
    return {name.replace(".base_layer.", "."): parameter for name, parameter in transformer.named_parameters()}
