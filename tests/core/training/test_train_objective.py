"""Flow matching: what is noised, what is to be learnt, and that the model is asked as the generator asks it."""

import make_tiny_models
import pytest
import torch
from train_cases import HIDDEN, sample

from ex4d_core.generate.conditioning import Conditioning, predictor
from ex4d_core.generate.geometry_encoder import GeometryEncoder, geometry_added
from ex4d_core.generate.schedule import euler
from ex4d_core.training.objective import drawn, loss, noised, predict, shifted


@pytest.mark.parametrize("shift", [1.0, 3.0, 5.0])
def test_levels_are_bent_as_the_generator_bends_them(shift: float) -> None:
    schedule = euler(8, shift)
    even = torch.linspace(1, 0, 9)[:-1]
    assert torch.equal(shifted(even, shift), schedule.sigmas)
    halfway = noised(torch.zeros(1, 1, 1, 1, 1), torch.ones(1, 1, 1, 1, 1), schedule.sigmas[3:4])
    assert torch.equal(halfway.timestep, schedule.timesteps[3:4])


def test_the_target_leads_back_to_the_video() -> None:
    """A model that says the target takes Euler's steps from noise to the very video, in any number of steps."""
    video, noise = sample(0).latents, sample(1).latents
    for steps in (1, 3):
        schedule = euler(steps)
        latents = noise
        for index in range(steps):
            state = noised(video, noise, schedule.sigmas[index : index + 1])
            torch.testing.assert_close(state.noisy, latents)
            latents = schedule.step(state.target, index, latents)
        torch.testing.assert_close(latents, video)
    assert torch.equal(noised(video, noise, torch.ones(1)).noisy, noise)


def test_levels_are_drawn_evenly_before_they_are_bent() -> None:
    draw = torch.Generator().manual_seed(0)
    latents = torch.zeros(1, 1, 1, 1, 1)
    levels = torch.cat([drawn(latents, 5.0, draw).timestep for _ in range(2000)]) / 1000
    assert 0 < levels.min() < 0.02
    assert levels.max() <= 1
    even = levels / (5 - 4 * levels)  # the bend undone
    torch.testing.assert_close(even.mean(), torch.tensor(0.5), atol=0.02, rtol=0)
    torch.testing.assert_close(even.std(), torch.tensor(12**-0.5), atol=0.01, rtol=0)


def test_a_draw_is_the_same_for_the_same_seed_alone() -> None:
    latents = sample().latents
    first, again, other = (drawn(latents, 5.0, torch.Generator().manual_seed(seed)) for seed in (7, 7, 8))
    assert torch.equal(first.noisy, again.noisy)
    assert not torch.equal(first.noisy, other.noisy)
    assert first.timestep != other.timestep
    noise = first.target + latents
    assert abs(noise.mean()) < 0.05
    assert abs(noise.std() - 1) < 0.05


def test_the_model_is_asked_as_for_generating() -> None:
    transformer, given = make_tiny_models.wan_transformer(0), sample()
    encoder = GeometryEncoder(16, HIDDEN, make_tiny_models.DIM)
    torch.nn.init.normal_(encoder.latent_patch_embedding.weight, std=0.1)
    state = drawn(given.latents, 5.0, torch.Generator().manual_seed(0))
    geometry = encoder(given.color, given.mask)
    asked = predict(transformer, geometry, given, state.noisy, state.timestep, torch.float32)
    conditioning = Conditioning(given.image, given.tokens, geometry)
    with geometry_added(transformer, geometry):
        expected = predictor(transformer, conditioning, {"cond": given.text})(state.noisy, state.timestep, "cond")
    assert torch.equal(asked, expected)
    assert not torch.equal(predict(transformer, None, given, state.noisy, state.timestep, torch.float32), expected)
    loss(asked, state.target).backward()
    assert encoder.latent_encoder[0].weight.grad.any()


def test_the_loss_is_the_mean_square_in_float32() -> None:
    target = torch.full((1, 2, 1, 2, 2), 300.0)
    value = loss(torch.zeros_like(target, dtype=torch.float16), target.half())  # 90000 is too large for float16
    assert value.dtype == torch.float32
    assert value == 90000
