"""Count the video memory that DepthCrafter needs: no weights, no GPU.

    python scripts/bench_depthcrafter.py

Models of the real sizes run on the device "meta", which makes tensors without contents; the bytes of those that live
at once are counted. Attention counts as fused: it keeps nothing but its result. What a card's libraries take besides
(workspaces, fragments, about half a gigabyte for the context) is not in it.
"""

from __future__ import annotations

import argparse
import sys
import weakref
from collections.abc import Callable
from typing import Any
from unittest import mock

from environment import in_environment

in_environment("gpu")

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKLTemporalDecoder
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ex4d_core.depth.depthcrafter.denoising import DECODED
from ex4d_core.depth.depthcrafter.footprint import needed_bytes
from ex4d_core.depth.depthcrafter.thrift import work_in_pieces
from ex4d_core.depth.depthcrafter.unet import FrameTokenUNet

SIZES = ((1024, 576), (768, 448), (512, 256))
FRAMES = (110, 49)


class Counted(TorchDispatchMode):
    """Counts the bytes of the tensors that are made inside it, while they live."""

    def __init__(self) -> None:
        super().__init__()
        self.now, self.most = 0, 0
        self._living: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation, count what it makes."""
        made = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(made):
            if isinstance(tensor, Tensor):
                storage = tensor.untyped_storage()
                if storage._cdata not in self._living:
                    self._living.add(storage._cdata)
                    self.now += storage.nbytes()
                    weakref.finalize(storage, self._gone, storage._cdata, storage.nbytes())
        self.most = max(self.most, self.now)
        return made

    def _gone(self, storage: int, size: int) -> None:
        self._living.discard(storage)
        self.now -= size


def main() -> int:
    """Print a table."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    print("| size | frames at once | UNet, stock | UNet, in pieces | VAE | refused below |")
    print("|---|---|---|---|---|---|")
    for size in SIZES:
        for frames in FRAMES:
            stock, thrifty = (gigabytes(denoising(size, frames, pieces)) for pieces in (False, True))
            least = gigabytes(needed_bytes(size, frames))
            print(f"| {size[0]}x{size[1]} | {frames} | {stock} | {thrifty} | {gigabytes(decoding(size))} | {least} |")
    return 0


def denoising(size: tuple[int, int], frames: int, pieces: bool) -> int:
    """Bytes of the UNet and of one pass of it."""
    with torch.device("meta"):
        unet = FrameTokenUNet(
            block_out_channels=(320, 640, 1280, 1280), num_attention_heads=(5, 10, 20, 20), cross_attention_dim=1024
        )
    unet.half().to("meta")
    if pieces:
        work_in_pieces(unet)
    sample, tokens = empty(1, frames, 8, size[1] // 8, size[0] // 8), empty(1, frames, 1024)
    return weights(unet) + most(lambda: unet(sample, empty(), tokens, empty(1, 3)))


def decoding(size: tuple[int, int]) -> int:
    """Bytes of the VAE and of one pass of its decoder."""
    with torch.device("meta"):
        vae: Any = AutoencoderKLTemporalDecoder(
            block_out_channels=(128, 256, 512, 512), down_block_types=("DownEncoderBlock2D",) * 4, layers_per_block=2
        )
    vae.half().to("meta")
    work_in_pieces(vae.decoder)
    latents = empty(DECODED, 4, size[1] // 8, size[0] // 8)
    return weights(vae) + most(lambda: vae.decode(latents, num_frames=DECODED))


def most(work: Callable[[], object]) -> int:
    """Bytes of the tensors that live at once."""
    with torch.inference_mode(), mock.patch.object(F, "scaled_dot_product_attention", _fused), Counted() as counted:
        work()
    return counted.most


def weights(model: torch.nn.Module) -> int:
    """Bytes of a model."""
    return sum(parameter.nbytes for parameter in model.parameters())


def empty(*shape: int) -> Tensor:
    """(shape) float16 without contents."""
    return torch.empty(shape, device="meta", dtype=torch.float16)


def gigabytes(size: int) -> str:
    """For people."""
    return f"{size / 1e9:.1f} GB"


def _fused(query: Tensor, key: Tensor, value: Tensor, **_options: Any) -> Tensor:
    return torch.empty_like(query)


if __name__ == "__main__":
    sys.exit(main())
