"""EX-4D's geometry encoder: a model of diffusers that begins as nothing, and the hook that adds what it says."""

from pathlib import Path

import pytest
import torch
from diffusers import WanTransformer3DModel

from ex4d_core.generate.geometry_encoder import GeometryEncoder, geometry_added


@pytest.fixture
def latents() -> tuple[torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(0)
    return torch.randn(1, 16, 3, 6, 10, generator=draw), torch.randn(1, 16, 3, 6, 10, generator=draw)


def test_a_new_one_adds_nothing(latents: tuple[torch.Tensor, torch.Tensor]) -> None:
    encoder = GeometryEncoder(hidden_channels=24, out_channels=36)
    assert encoder(*latents).shape == (1, 36, 3, 3, 5)
    assert not encoder(*latents).any()
    torch.nn.init.normal_(encoder.latent_patch_embedding.weight)
    assert not torch.equal(encoder(*latents), encoder(latents[1], latents[0]))  # which is which matters


def test_it_is_kept_in_a_folder_as_other_models(latents: tuple[torch.Tensor, torch.Tensor], tmp_path: Path) -> None:
    encoder = GeometryEncoder(hidden_channels=24, out_channels=36)
    torch.nn.init.normal_(encoder.latent_patch_embedding.weight)
    encoder.save_pretrained(tmp_path)
    again = GeometryEncoder.from_pretrained(tmp_path)
    assert torch.equal(again(*latents), encoder(*latents))


def test_geometry_is_added_to_the_tokens_while_it_lasts() -> None:
    model = WanTransformer3DModel(num_attention_heads=2, attention_head_dim=12, num_layers=1, ffn_dim=8, text_dim=4)
    x, geometry = torch.randn(1, 16, 2, 4, 6), torch.randn(1, 24, 2, 2, 3)
    names, plain = set(model.state_dict()), model.patch_embedding(x)
    with geometry_added(model, geometry.to(torch.float64)):
        assert torch.equal(model.patch_embedding(x), plain + geometry)
        assert model.patch_embedding(x).dtype == torch.float32
        torch.testing.assert_close(model.patch_embedding(x.expand(2, -1, -1, -1, -1))[1:], plain + geometry)
        assert set(model.state_dict()) == names
    assert torch.equal(model.patch_embedding(x), plain)
    with pytest.raises(RuntimeError, match="size of tensor"), geometry_added(model, geometry[..., 1:]):
        model.patch_embedding(x)  # of another video
    assert torch.equal(model.patch_embedding(x), plain)
