"""LoRA and geometry encoder: where they are, what is trained, that they begin as nothing, and the way to a file."""

from dataclasses import replace
from pathlib import Path

import make_tiny_models
import pytest
import torch
from diffusers import WanTransformer3DModel
from train_cases import SHAPE, sample

from ex4d_core.errors import InputError
from ex4d_core.generate.checkpoint import add_lora, read_checkpoint, write_checkpoint
from ex4d_core.generate.geometry_encoder import GeometryEncoder
from ex4d_core.training.adapter import TARGETS, load_trained, new_adapter, trainable, trained
from ex4d_core.training.objective import drawn, loss, predict

TOUCHED = {f"{kind}_attn.{part}" for kind in ("self", "cross") for part in "qkvo"} | {"ffn.0", "ffn.2"}


def velocity(
    transformer: WanTransformer3DModel, encoder: GeometryEncoder | None, dtype: torch.dtype = torch.float32
) -> torch.Tensor:
    given = sample()
    state = drawn(given.latents, 5.0, torch.Generator().manual_seed(3))
    geometry = None if encoder is None else encoder(given.color, given.mask)
    return predict(transformer, geometry, given, state.noisy, state.timestep, dtype)


def shaken(transformer: WanTransformer3DModel, encoder: GeometryEncoder) -> None:
    """As if it had been trained."""
    draw = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in trainable(transformer, encoder):
            parameter.add_(torch.randn(parameter.shape, generator=draw) * 0.05)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_new_one_changes_no_bit(dtype: torch.dtype) -> None:
    transformer = make_tiny_models.wan_transformer(0).to(dtype)
    before, state = velocity(transformer, None, dtype), torch.get_rng_state()
    encoder = new_adapter(transformer, SHAPE, 1)
    after = velocity(transformer, encoder, dtype)
    assert torch.equal(after, before)
    assert after.dtype == before.dtype == dtype
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_lora_and_encoder_alone_are_trained_in_float32(dtype: torch.dtype) -> None:
    transformer = make_tiny_models.wan_transformer(0).to(dtype)
    encoder = new_adapter(transformer, SHAPE, 1)
    names = {name for name, parameter in transformer.named_parameters() if parameter.requires_grad}
    halves = ("lora_A", "lora_B")
    blocks = range(make_tiny_models.LAYERS)
    assert names == {f"blocks.{b}.{t}.{half}.ex4d.weight" for b in blocks for t in TARGETS for half in halves}
    assert all(parameter.requires_grad for parameter in encoder.parameters())
    parameters = trainable(transformer, encoder)
    assert len(parameters) == len(names) + 8
    assert {parameter.dtype for parameter in parameters} == {torch.float32}
    frozen = {p.dtype for p in transformer.parameters() if not p.requires_grad}
    assert dtype in frozen
    given = sample()
    state = drawn(given.latents, 5.0, torch.Generator().manual_seed(3))
    shaken(transformer, encoder)
    loss(velocity(transformer, encoder, dtype), state.target).backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in parameters)
    assert all(p.grad is None for p in transformer.parameters() if not p.requires_grad)


def test_the_seed_decides_how_it_begins() -> None:
    def first(seed: int) -> torch.Tensor:
        transformer = make_tiny_models.wan_transformer(0)
        encoder = new_adapter(transformer, SHAPE, seed)
        return torch.cat([parameter.detach().flatten() for parameter in trainable(transformer, encoder)])

    assert torch.equal(first(1), first(1))
    assert not torch.equal(first(1), first(2))


def test_what_is_trained_works_as_the_released_file_does(tmp_path: Path) -> None:
    transformer = make_tiny_models.wan_transformer(0)
    encoder = new_adapter(transformer, SHAPE, 1)
    base = velocity(transformer, encoder)
    shaken(transformer, encoder)
    output = velocity(transformer, encoder)
    assert (output - base).abs().max() > 0.01
    write_checkpoint(trained(transformer, encoder, SHAPE), tmp_path / "ex4d.ckpt")

    released = make_tiny_models.ex4d_checkpoint(0)
    names = torch.load(tmp_path / "ex4d.ckpt", weights_only=True).keys()
    assert names == released.keys()
    assert {name.split(".", 2)[2].split(".lora")[0] for name in names if "lora" in name} == TOUCHED

    checkpoint = read_checkpoint(tmp_path / "ex4d.ckpt")
    assert (checkpoint.rank, checkpoint.alpha) == (SHAPE.rank, SHAPE.alpha)
    loaded = make_tiny_models.wan_transformer(0)
    add_lora(loaded, checkpoint)
    assert torch.equal(velocity(loaded, checkpoint.geometry_encoder()), output)

    further = make_tiny_models.wan_transformer(0)
    other = new_adapter(further, SHAPE, 99)
    load_trained(further, other, checkpoint)
    assert torch.equal(velocity(further, other), output)
    assert len(trainable(further, other)) == len(trainable(transformer, encoder))


def test_layers_left_out_are_zeros_in_the_file(tmp_path: Path) -> None:
    transformer = make_tiny_models.wan_transformer(0)
    shape = replace(SHAPE, targets=("attn1.to_q", "ffn.net.2"))
    encoder = new_adapter(transformer, shape, 1)
    assert len(trainable(transformer)) == 2 * 2 * make_tiny_models.LAYERS
    shaken(transformer, encoder)
    write_checkpoint(trained(transformer, encoder, shape), tmp_path / "ex4d.ckpt")
    checkpoint, loaded = read_checkpoint(tmp_path / "ex4d.ckpt"), make_tiny_models.wan_transformer(0)
    add_lora(loaded, checkpoint)
    assert torch.equal(velocity(loaded, checkpoint.geometry_encoder()), velocity(transformer, encoder))

    narrower = make_tiny_models.wan_transformer(0)
    fewer = replace(SHAPE, targets=("attn1.to_q",))
    with pytest.raises(InputError, match="has a LoRA on blocks.0.ffn.net.2, which the training leaves out"):
        load_trained(narrower, new_adapter(narrower, fewer, 1), checkpoint)


def test_another_size_is_refused(tmp_path: Path) -> None:
    transformer = make_tiny_models.wan_transformer(0)
    shape = replace(SHAPE, rank=8)
    write_checkpoint(trained(transformer, new_adapter(transformer, shape, 1), shape), tmp_path / "ex4d.ckpt")
    other = make_tiny_models.wan_transformer(0)
    encoder = new_adapter(other, SHAPE, 1)
    with pytest.raises(InputError, match="rank 8, alpha 8 and 40 hidden .* asks for rank 4, alpha 8 and 40"):
        load_trained(other, encoder, read_checkpoint(tmp_path / "ex4d.ckpt"))
