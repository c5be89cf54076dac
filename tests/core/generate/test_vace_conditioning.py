"""VACE's conventions: each mistake that would spoil a video in silence shows in the conditioning."""

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKLWan, UniPCMultistepScheduler, WanVACEPipeline, WanVACETransformer3DModel
from PIL import Image

from ex4d_core.errors import InputError
from ex4d_core.generate.vace_conditioning import control_latents, joined_holes, mask_channels, vace_inputs

FRAMES, HEIGHT, WIDTH = 9, 32, 48
KEPT, GENERATED, WHERE = slice(0, 16), slice(16, 32), slice(32, 96)


@pytest.fixture(scope="module")
def vae():
    torch.manual_seed(0)
    sizes = {"base_dim": 3, "z_dim": 16, "dim_mult": [1, 1, 1, 1], "num_res_blocks": 1}
    return AutoencoderKLWan(**sizes, temperal_downsample=[False, True, True]).eval()


@pytest.fixture
def encode(vae):
    mean = torch.tensor(vae.config.latents_mean).view(1, -1, 1, 1, 1)
    std = torch.tensor(vae.config.latents_std).view(1, -1, 1, 1, 1)

    @torch.no_grad()
    def call(video):
        return (vae.encode(video).latent_dist.mode() - mean) / std

    return call


@pytest.fixture
def color():
    return np.random.default_rng(0).integers(0, 256, (FRAMES, HEIGHT, WIDTH, 3), np.uint8)


@pytest.fixture
def mask():
    """Seen but for the same hole in all frames."""
    seen = np.ones((FRAMES, HEIGHT, WIDTH), np.bool_)
    seen[:, 5:19, 11:30] = False
    return seen


@pytest.fixture
def moving():
    """Another hole in each frame, and none in the first."""
    seen = np.ones((FRAMES, HEIGHT, WIDTH), np.bool_)
    for frame in range(1, FRAMES):
        seen[frame, 4 : 4 + frame, 5 * frame - 4 : 5 * frame] = False
    return seen


def test_the_channels_are_those_of_the_stock_pipeline(vae, encode, color, mask):
    transformer = WanVACETransformer3DModel(
        num_attention_heads=1, attention_head_dim=12, ffn_dim=8, num_layers=1, text_dim=8, vace_layers=[0]
    )
    stock = WanVACEPipeline(None, None, vae, UniPCMultistepScheduler(), transformer)
    reference = color[0, ::-1].copy()
    video, generate, pictures = stock.preprocess_conditions(
        [np.where(mask[..., None], color, 127.5) / 255],  # floats: PIL has no 127.5
        [np.repeat(1.0 - mask[..., None], 3, axis=3)],
        Image.fromarray(reference),
        height=HEIGHT,
        width=WIDTH,
        num_frames=FRAMES,
        dtype=torch.float32,
    )
    with torch.no_grad():
        expected = torch.cat(
            [stock.prepare_video_latents(video, generate, pictures), stock.prepare_masks(generate, pictures)], dim=1
        )

    ours = control_latents(vace_inputs(color, mask, reference), encode)

    assert ours.shape == expected.shape == (1, 96, 4, HEIGHT // 8, WIDTH // 8)
    assert torch.equal(ours[:, WHERE], expected[:, WHERE])
    assert (ours - expected).abs().max() < 1e-5


def test_holes_are_mid_grey_whatever_the_render_shows_there(color, mask):
    black = vace_inputs(np.where(mask[..., None], color, np.uint8(0)), mask)
    white = vace_inputs(np.where(mask[..., None], color, np.uint8(255)), mask)
    assert torch.equal(black.video, white.video)
    assert black.video[0, :, ~torch.from_numpy(mask)].abs().max() == 0
    seen = black.video[0].permute(1, 2, 3, 0)[torch.from_numpy(mask)].numpy()
    np.testing.assert_allclose(seen * 127.5 + 127.5, color[mask], atol=1e-4)


def test_holes_are_joined_over_the_frames_of_a_latent_frame(color, moving):
    holes = joined_holes(moving)
    assert not holes[0].any()
    for frame in range(1, FRAMES):
        group = ~moving[1:5] if frame < 5 else ~moving[5:9]
        np.testing.assert_array_equal(holes[frame], group.any(axis=0))
    inputs = vace_inputs(color, moving)
    assert inputs.video[0, :, torch.from_numpy(holes)].abs().max() == 0
    np.testing.assert_array_equal(inputs.generate[0, 0].numpy(), holes)


def test_every_pixel_of_the_mask_has_its_place_in_the_channels(color, moving):
    inputs = vace_inputs(color, moving)
    channels = mask_channels(inputs.generate)[0].numpy()  # (64, 3, h/8, w/8)
    for latent, frame in enumerate((0, 1, 5)):
        for y, x in np.ndindex(HEIGHT, WIDTH):
            assert channels[y % 8 * 8 + x % 8, latent, y // 8, x // 8] == inputs.generate[0, 0, frame, y, x]


def test_swapped_polarity_shows(encode, color, mask):
    right, swapped = (control_latents(vace_inputs(color, seen), encode) for seen in (mask, ~mask))
    assert torch.equal(swapped[:, WHERE], 1 - right[:, WHERE])
    assert (swapped[:, KEPT] - right[:, KEPT]).abs().max() > 0.1


def test_black_holes_show(encode, color, mask):
    inputs = vace_inputs(color, mask)
    black = torch.where(inputs.generate > 0, -torch.ones(()), inputs.video)
    assert (encode(black * inputs.generate) - control_latents(inputs, encode)[:, GENERATED]).abs().max() > 0.05


def test_keep_all_is_the_video_and_nothing_to_do(encode, color, mask):
    latents = control_latents(vace_inputs(color, np.ones_like(mask)), encode)
    video = torch.from_numpy((color / 127.5 - 1).astype(np.float32).transpose(3, 0, 1, 2))[None]
    assert (latents[:, KEPT] - encode(video)).abs().max() < 1e-5
    assert torch.equal(latents[:, GENERATED], encode(torch.zeros_like(video)))
    assert latents[:, WHERE].abs().max() == 0


def test_generate_all_is_grey_and_all_to_do(encode, color, mask):
    latents = control_latents(vace_inputs(color, np.zeros_like(mask)), encode)
    grey = encode(torch.zeros(1, 3, FRAMES, HEIGHT, WIDTH))
    assert torch.equal(latents[:, KEPT], grey)
    assert torch.equal(latents[:, GENERATED], grey)
    assert latents[:, WHERE].min() == 1


def test_the_reference_is_a_latent_frame_of_its_own_and_first(encode, color, mask):
    picture = color[3, :, ::-1].copy()
    without = control_latents(vace_inputs(color, mask), encode)
    latents = control_latents(vace_inputs(color, mask, picture), encode)
    assert torch.equal(latents[:, :, 1:], without)
    signed = torch.from_numpy((picture / 127.5 - 1).astype(np.float32).transpose(2, 0, 1))[None, :, None]
    assert (latents[:, KEPT, :1] - encode(signed)).abs().max() < 1e-5
    assert latents[:, 16:, :1].abs().max() == 0


def test_a_reference_of_another_shape_is_not_squashed(color, mask):
    tall = np.zeros((4 * HEIGHT, 2 * WIDTH, 3), np.uint8)  # black
    fitted = vace_inputs(color, mask, tall).reference
    assert fitted is not None
    picture = fitted[0, :, 0]
    assert picture.shape == (3, HEIGHT, WIDTH)
    side = (WIDTH - WIDTH // 2) // 2  # as high as the window, hence half as wide
    assert picture[:, :, :side].min() == picture[:, :, -side:].min() == 1
    assert picture[:, :, side:-side].max() == -1


@pytest.mark.parametrize(
    ("shape", "mask_shape", "words"),
    [
        ((9, 32, 48, 3), (5, 32, 48), "9 frames of 48x32 and a mask of 5 frames of 48x32"),
        ((9, 32, 48, 3), (9, 32, 32), "mask of 9 frames of 32x32"),
        ((10, 32, 48, 3), (10, 32, 48), "10 frames: give it 4n.1, such as 9"),
        ((9, 24, 48, 3), (9, 24, 48), "48x24: make both multiples of 16"),
    ],
)
def test_other_sizes_are_refused(shape, mask_shape, words):
    with pytest.raises(InputError, match=words):
        vace_inputs(np.zeros(shape, np.uint8), np.ones(mask_shape, np.bool_))
