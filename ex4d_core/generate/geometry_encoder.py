"""EX-4D's geometry encoder: what the warped colour and its mask say, one vector for each patch of the transformer."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn

PATCH = (1, 2, 2)
"""Latent frames, rows and columns that make one patch of the Wan transformers."""


class GeometryEncoder(ModelMixin, ConfigMixin):
    """Three 1x1x1 convolutions over the latents of colour and mask, and a projection to the transformer's patches.

    The names of its parameters are those of the released checkpoint. The projection starts at zero, so that training
    begins with the image-to-video model as it is.
    """

    @register_to_config
    def __init__(self, in_channels: int = 16, hidden_channels: int = 1024, out_channels: int = 5120) -> None:
        """Make one with random convolutions.

        Args:
            in_channels: of the VAE's latents.
            hidden_channels: between the convolutions.
            out_channels: width of the transformer.
        """
        super().__init__()
        self.latent_encoder = nn.Sequential(
            nn.Conv3d(2 * in_channels, hidden_channels, kernel_size=1),
            nn.SiLU(),
            nn.Conv3d(hidden_channels, hidden_channels, kernel_size=1),
            nn.SiLU(),
            nn.Conv3d(hidden_channels, hidden_channels, kernel_size=1),
        )
        self.latent_patch_embedding = nn.Conv3d(hidden_channels, out_channels, kernel_size=PATCH, stride=PATCH)
        nn.init.zeros_(self.latent_patch_embedding.weight)
        nn.init.zeros_(self.latent_patch_embedding.bias)  # pyright: ignore[reportArgumentType]

    def forward(self, color: Tensor, mask: Tensor) -> Tensor:
        """What is to be added to the transformer's patch tokens.

        Args:
            color: (1, in_channels, t, h, w), normalised latents of the warped video.
            mask: (1, in_channels, t, h, w), normalised latents of its mask, see `conditioning.geometry_latent`.

        Returns:
            (1, out_channels, t, h/2, w/2).
        """
        return self.latent_patch_embedding(self.latent_encoder(torch.cat([color, mask], dim=1)))


@contextmanager
def geometry_added(transformer: nn.Module, latent: Tensor) -> Generator[None]:
    """Add the geometry to the patch tokens of a Wan transformer while this lasts.

    A hook on its patch embedding: it leaves names and configuration of the transformer alone, and holds under every
    offload, quantisation, cache and compilation, as these begin after it.

    Args:
        transformer: of diffusers.
        latent: (1, D, t, h/2, w/2), from `GeometryEncoder`.
    """

    def add(_module: nn.Module, _inputs: object, tokens: Tensor) -> Tensor:
        return tokens + latent.to(tokens)

    embedding = transformer.get_submodule("patch_embedding")
    hook = embedding.register_forward_hook(add)
    try:
        yield
    finally:
        hook.remove()
