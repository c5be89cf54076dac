"""LPIPS (Zhang et al. 2018) by torchmetrics, with the weights of its backbone from a file on this machine.

torchmetrics has the linear heads (BSD-2) and takes the backbone from torchvision's hub; here the backbone is built
without weights, so that nothing is downloaded, and filled from the file.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d

from ex4d_core.errors import InputError
from ex4d_core.generate.state import fill, require_weights
from ex4d_core.generate.tensors import tensors

LEAST_SIDE = 35
"""Pixels under which AlexNet's last layers see nothing."""
_FIRST = "features.0.weight"
_BACKBONES: dict[tuple[int, ...], str] = {(64, 3, 11, 11): "alex", (64, 3, 3, 3): "vgg"}
"""Shape of the first convolution -> torchmetrics' name; DyCheck and most papers use AlexNet."""


class Lpips:
    """The network, its backbone filled."""

    def __init__(self, net: nn.Module, name: str) -> None:
        """Take torchmetrics' network, and which it is: alex or vgg."""
        self._net: Any = net.eval()
        self.name = name

    @torch.inference_mode()
    def __call__(self, x: Tensor, y: Tensor) -> float:
        """Distance of two pictures (1, 3, H, W) float32 in 0..1; NaN below `LEAST_SIDE` pixels."""
        if min(x.shape[-2:]) < LEAST_SIDE:
            return math.nan
        found = float(self._net(x, y, normalize=True))
        require_finite(found, "LPIPS")
        return found

    @torch.inference_mode()
    def masked(self, x: Tensor, y: Tensor, mask: Tensor) -> float:
        """Distance of the pixels of a mask.

        Both pictures are black outside of it (DyCheck's way), and each layer's differences are averaged with the
        share of the mask under each of its cells.

        Args:
            x: (1, 3, H, W) float32 in 0..1.
            y: (1, 3, H, W).
            mask: (1, 1, H, W) float32 of 0 and 1, not empty.
        """
        if min(x.shape[-2:]) < LEAST_SIDE:
            return math.nan
        net = self._net
        layers = [net.net(net.scaling_layer(2 * (p * mask) - 1)) for p in (x, y)]
        total = 0.0
        for head, of_x, of_y in zip(net.lins, *layers, strict=True):
            away = head((_unit(of_x) - _unit(of_y)) ** 2)  # (1, 1, h, w)
            share = adaptive_avg_pool2d(mask, away.shape[-2:])
            total += float((away * share).sum() / share.sum())
        return total


def load_lpips(file: Path) -> Lpips:
    """Read torchvision's AlexNet or VGG16 (alexnet-owt-*.pth, vgg16-*.pth).

    Raises:
        InputError: it is missing, damaged, or another network's.
    """
    from torchmetrics.functional.image.lpips import _NoTrainLpips  # pyright: ignore[reportPrivateUsage]

    state = read_weights(file)
    name = _BACKBONES.get(tuple(state[_FIRST].shape)) if _FIRST in state else None
    if name is None:
        raise InputError(f"{file} is no backbone of LPIPS: give torchvision's AlexNet or VGG16, alexnet-owt-*.pth.")
    whole: Any = _NoTrainLpips(net=name, pnet_rand=True)  # pyright: ignore[reportArgumentType]
    places: dict[str, str] = {}
    for inside in whole.net.state_dict():  # slice2.3.weight is features.3.weight
        places["features." + inside.partition(".")[2]] = inside

    def rename(names: Iterable[str]) -> dict[str, str]:
        return {one: places.get(one, one) for one in names}

    kept = ((one, tensor) for one, tensor in state.items() if not one.startswith("classifier."))
    fill(whole.net, kept, rename, str(file), torch.float32)
    return Lpips(whole, name)


def read_weights(file: Path) -> dict[str, Tensor]:
    """The tensors of a file of weights, on the CPU.

    Raises:
        InputError: it is missing, damaged, holds more than weights, or numbers that are not finite.
    """
    if not file.exists():
        raise InputError(f"There is no file {file}: check the name.")
    state = dict(tensors(file))
    for name, tensor in state.items():
        if name.endswith("num_batches_tracked"):
            continue
        require_weights(name, tensor, str(file))
        if not bool(torch.isfinite(tensor).all()):
            raise InputError(f"{file} has numbers in {name} that are not finite: get it again.")
    return state


def require_finite(found: NDArray[np.float32] | float, network: str) -> None:
    """Refuse what came of weights that are finite, but far too large.

    Raises:
        InputError: the network's output is no number.
    """
    if not np.isfinite(found).all():
        raise InputError(f"The weights of {network} give no finite numbers: get the file again.")


def _unit(features: Tensor) -> Tensor:
    """Features of length 1 at each place, as torchmetrics has them."""
    return features / torch.sqrt(1e-8 + (features**2).sum(dim=1, keepdim=True))
