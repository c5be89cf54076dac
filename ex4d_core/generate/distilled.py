"""Step-distilled LoRAs (LightX2V's for Wan2.1), as an adapter that stacks with EX-4D's.

Their files hold low-rank pairs for linear layers (`lora_down`, `lora_up`, scaled by `alpha` / rank), and plain
differences of weights (`diff`) and biases (`diff_b`), as ComfyUI applies them: parameter + strength * difference.
"""

from __future__ import annotations

import re
import warnings
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ex4d_core.errors import InputError
from ex4d_core.generate.checkpoint import require_scale, set_adapter
from ex4d_core.generate.state import check_names, require_weights, shapes
from ex4d_core.generate.tensors import tensors
from ex4d_core.generate.wan_keys import transformer_names

ADAPTER = "distill"
_PREFIX = re.compile(r"^(?:model\.)?(?:diffusion_model|transformer)\.")
_PART = re.compile(
    r"(?P<module>.+)\.(?:(?P<down>lora_down|lora_A)|(?P<up>lora_up|lora_B))(?:\.default)?\.weight"
    r"|(?P<plain>.+)\.(?P<kind>alpha|diff|diff_b)"
)

_KINDS = {
    "down": ".lora_A.weight",
    "up": ".lora_B.weight",
    "diff_b": ".lora_B.bias",
    "diff": ".weight",
    "alpha": ".alpha",
}
"""What the adapter calls the parts of a layer."""


@dataclass(frozen=True, eq=False)
class DistilledLora:
    """One file, with diffusers' names."""

    low_rank: Mapping[str, Tensor]
    """MODULE.lora_A.weight (r, in), MODULE.lora_B.weight (out, r), times alpha / r, and MODULE.lora_B.bias (out,)."""
    differences: Mapping[str, Tensor]
    """Parameter -> what it changes by at strength 1, of layers without a low-rank pair."""
    names: Mapping[str, str]
    """Name here -> name in the file."""


def read_distilled(path: Path) -> DistilledLora:
    """Read a file; nothing in it is passed over.

    Raises:
        InputError: it is damaged, or holds what is no part of a LoRA of Wan.
    """
    modules: dict[str, dict[str, Tensor]] = defaultdict(dict)
    names: dict[str, str] = {}
    strangers: list[str] = []
    for name, tensor in tensors(path):
        match = _PART.fullmatch(_PREFIX.sub("", name))
        if match is None:
            strangers.append(name)
            continue
        kind = match["kind"] or ("down" if match["down"] else "up")
        if kind != "alpha":  # which may be a whole number
            require_weights(name, tensor, str(path))
        elif tensor.numel() != 1:
            strangers.append(name)
            continue
        module = _renamed(match["module"] or match["plain"])
        modules[module][kind] = tensor.float()
        names[f"{module}{_KINDS[kind]}"] = name
    for module, parts in modules.items():
        if ("down" in parts) != ("up" in parts):
            strangers.append(f"half of a pair, {names[module + _KINDS['down' if 'down' in parts else 'up']]}")
    if strangers or not modules:
        what = ", ".join(strangers[:8]) or "nothing"
        raise InputError(f"{path} is not a LoRA of Wan, it holds {what}: give one with lora_down and lora_up.")
    low_rank: dict[str, Tensor] = {}
    differences: dict[str, Tensor] = {}
    for module, parts in modules.items():
        if "down" in parts:
            down, up, alpha = parts["down"], parts["up"], parts.get("alpha")
            if alpha is not None:
                require_scale(float(alpha), len(down), str(path))
            low_rank[f"{module}.lora_A.weight"] = down
            low_rank[f"{module}.lora_B.weight"] = up if alpha is None else up * (float(alpha) / len(down))
            low_rank[f"{module}.lora_B.bias"] = parts.get("diff_b", torch.zeros(len(up)))
        elif "diff_b" in parts:
            differences[f"{module}.bias"] = parts["diff_b"]
            names[f"{module}.bias"] = names[f"{module}{_KINDS['diff_b']}"]
        if "diff" in parts:
            # the modulations are parameters themselves, and not the weight of a layer
            name = module if module.endswith("scale_shift_table") else f"{module}.weight"
            differences[name] = parts["diff"]
            names[name] = names[f"{module}{_KINDS['diff']}"]
    return DistilledLora(low_rank, differences, names)


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
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Already found a `peft_config`")  # that is what stacking is
        transformer.load_lora_adapter(
            {name: tensor.to(dtype) for name, tensor in lora.low_rank.items()},
            prefix=None,
            adapter_name=ADAPTER,
            low_cpu_mem_usage=True,
        )
    set_adapter(transformer, ADAPTER, lora.low_rank, dtype)
    transformer.set_adapters([*before, ADAPTER], [*[1.0] * len(before), weight])


def _renamed(module: str) -> str:
    """diffusers' name of a layer, from the original one."""
    name = f"{module}.weight"
    return transformer_names([name])[name].removesuffix(".weight")


def _check(transformer: Any, lora: DistilledLora, where: str) -> None:
    modules = ((name.removesuffix(".base_layer"), module) for name, module in transformer.named_modules())
    layers = {name: module for name, module in modules if hasattr(module, "in_features")}
    expected: dict[str, tuple[int, ...]] = {}
    for name in lora.low_rank:
        module, _, end = name.rpartition(".lora_")
        if layer := layers.get(module):
            rank = len(lora.low_rank[f"{module}.lora_A.weight"])
            sides = {"A.weight": (rank, layer.in_features), "B.weight": (layer.out_features, rank)}
            expected[name] = sides.get(end, (layer.out_features,))
    parameters = _parameters(transformer)
    expected |= {name: tuple(parameters[name].shape) for name in lora.differences if name in parameters}
    found = shapes(lora.low_rank) | shapes(lora.differences)
    told = {name: lora.names.get(name, name) for name in found}
    check_names({told[n]: s for n, s in found.items()}, {told[n]: s for n, s in expected.items()}, where)


def _parameters(transformer: Any) -> dict[str, Any]:
    """By the names that they have without adapters."""
    return {name.replace(".base_layer.", "."): parameter for name, parameter in transformer.named_parameters()}
