"""The schedule, the loop and its brakes."""

import pytest
import torch
from tiny import models
from torch import Tensor, nn

from ex4d_core.errors import CancelledError, InputError
from ex4d_core.generate.latents import decode
from ex4d_core.generate.sampling import cancellable, denoise
from ex4d_core.generate.schedule import euler
from ex4d_core.generate.sinusoid import ExactSinusoid


def test_the_levels_are_those_of_the_reference() -> None:
    four = euler(4)
    assert four.sigmas.tolist() == pytest.approx([1, 0.9375, 5 / 6, 0.625], abs=1e-7)
    assert four.timesteps.tolist() == pytest.approx([1000, 937.5, 2500 / 3, 625], abs=1e-4)
    # its author's list for the step-distilled LoRA in 8 steps
    eight = [1000, 972.2, 937.5, 892.9, 833.3, 750, 625, 416.7]
    assert euler(8).timesteps.tolist() == pytest.approx(eight, abs=0.06)
    many = euler(25, shift=3.0).sigmas
    assert many.dtype == torch.float32
    assert (many.diff() < 0).all()
    assert many[-1].item() == pytest.approx(3 * 0.04 / (1 + 2 * 0.04), abs=1e-6)


def test_a_model_that_knows_the_video_is_followed_to_it() -> None:
    video, noise = torch.randn(2, 1, 16, 2, 4, 6)
    seen: list[tuple[int, Tensor]] = []
    # along a straight path from noise to video the velocity is the same everywhere
    latents = denoise(lambda *_: noise - video, euler(7), noise, 1.0, on_step=lambda *told: seen.append(told))
    torch.testing.assert_close(latents, video, atol=1e-6, rtol=0)
    assert [index for index, _ in seen] == list(range(7))
    for _, x0 in seen:
        torch.testing.assert_close(x0, video, atol=1e-6, rtol=0)


def test_guidance_is_computed_in_float32() -> None:
    asked: list[tuple[float, str, torch.dtype]] = []

    def predict(latents: Tensor, timestep: Tensor, branch: str) -> Tensor:
        asked.append((timestep.item(), branch, latents.dtype))
        return torch.full_like(latents, 1.5 if branch == "cond" else 1.0078125, dtype=torch.bfloat16)

    noise = torch.zeros(1, 1, 1, 1, 1, dtype=torch.bfloat16)
    latents = denoise(predict, euler(2), noise, 5.0)
    assert latents.dtype == torch.float32
    assert latents.item() == pytest.approx(-(1.0078125 + 5 * (1.5 - 1.0078125)), abs=1e-6)  # bfloat16 gives -3.46875
    levels = euler(2).timesteps.tolist()
    assert asked == [(t, branch, torch.float32) for t in levels for branch in ("cond", "uncond")]


def test_without_guidance_the_negative_prompt_is_not_asked() -> None:
    asked: list[str] = []

    def predict(latents: Tensor, _timestep: Tensor, branch: str) -> Tensor:
        asked.append(branch)
        return latents

    denoise(predict, euler(3), torch.ones(1, 1, 1, 1, 1), 1.0)
    assert asked == ["cond"] * 3


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("branch", ["cond", "uncond"])
def test_numbers_that_are_none_end_it_in_their_step(bad: float, branch: str) -> None:
    seen: list[int] = []

    def predict(latents: Tensor, timestep: Tensor, asked: str) -> Tensor:
        velocity = latents.to(torch.float16)
        if asked == branch and timestep.item() < 1000:
            velocity[..., 1] = bad
        return velocity

    with pytest.raises(InputError, match=r"^The transformer, in step 2, gave infinity or .*: run `ex4d models verify`"):
        denoise(predict, euler(3), torch.ones(1, 2, 1, 2, 2), 5.0, on_step=lambda index, _: seen.append(index))
    assert seen == [0]


def test_a_vae_that_gives_no_numbers_is_told() -> None:
    vae = models.vae(0)
    assert decode(vae, torch.zeros(1, 16, 1, 2, 2)).isfinite().all()
    vae.decoder.conv_out.bias.data[1] = torch.inf
    vae.decoder.conv_in.bias.data[0] = torch.nan
    with pytest.raises(InputError, match=r"^The VAE gave infinity or .*: run"):
        decode(vae, torch.zeros(1, 16, 1, 2, 2))


@pytest.mark.parametrize("passes", [0, 1, 4])
def test_it_stops_between_passes(passes: int) -> None:
    asked: list[str] = []

    def predict(latents: Tensor, _timestep: Tensor, branch: str) -> Tensor:
        asked.append(branch)
        return latents

    with pytest.raises(CancelledError):
        denoise(predict, euler(3), torch.ones(1, 1, 1, 1, 1), 5.0, stop=lambda: len(asked) == passes)
    assert len(asked) == passes


def test_it_stops_between_blocks_and_leaves_no_hooks() -> None:
    blocks, asked = nn.ModuleList(nn.Linear(2, 2) for _ in range(3)), 0

    def cancelled() -> bool:
        nonlocal asked
        asked += 1
        return asked > 2

    def run(x: Tensor) -> Tensor:
        for block in blocks:
            x = block(x)
        return x

    with pytest.raises(CancelledError), cancellable(blocks, cancelled):
        run(torch.ones(1, 2))
    assert asked == 3
    run(torch.ones(1, 2))
    assert asked == 3


def test_compiled_blocks_are_left_whole() -> None:
    class Block(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return 2 * x

    block = Block()
    block.compile(fullgraph=True, backend="eager")
    with cancellable([block], lambda: True):
        assert block(torch.ones(2)).tolist() == [2, 2]


def test_the_sinusoid_is_that_of_float64() -> None:
    (row,) = ExactSinusoid(8)(torch.tensor([833.3333129882812]))
    angles = 833.3333129882812 / 10000 ** (torch.arange(4, dtype=torch.float64) / 4)
    assert row.dtype == torch.float32
    assert torch.equal(row, torch.cat([angles.cos(), angles.sin()]).float())
