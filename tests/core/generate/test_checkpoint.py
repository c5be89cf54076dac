"""EX-4D's checkpoint: bit for bit there and back, and errors that name what is wrong."""

import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from accelerate import init_empty_weights
from diffusers import WanTransformer3DModel
from tiny import models

from ex4d_core.errors import InputError
from ex4d_core.files import is_no_space
from ex4d_core.generate.checkpoint import (
    Dimensions,
    Ex4dCheckpoint,
    add_lora,
    check_fits,
    read_checkpoint,
    write_checkpoint,
)
from ex4d_core.generate.wan_keys import transformer_names

GOLDEN = Path(__file__).resolve().parents[2] / "data" / "golden_ex4d" / "ex4d_tiny.ckpt"
State = dict[str, torch.Tensor]
ALPHAS = ("NaN", "Infinity", "-16", "0", "1e308")


@pytest.fixture
def state() -> State:
    return torch.load(GOLDEN, weights_only=True)


@pytest.fixture
def save(tmp_path: Path) -> Callable[[object], Path]:
    def write(state: object) -> Path:
        torch.save(state, tmp_path / "ex4d.ckpt")
        return tmp_path / "ex4d.ckpt"

    return write


def transformer(layers: int = 2, width: int = 48) -> WanTransformer3DModel:
    sizes = {"num_attention_heads": 2, "attention_head_dim": width // 2, "in_channels": 36, "text_dim": 32}
    return WanTransformer3DModel(**sizes, ffn_dim=96, num_layers=layers, image_dim=64, added_kv_proj_dim=width)


def test_there_and_back_bit_for_bit(tmp_path: Path) -> None:
    checkpoint = read_checkpoint(GOLDEN)
    assert (checkpoint.rank, checkpoint.alpha, checkpoint.adapter) == (16, 16.0, "default")
    assert len(checkpoint.lora) == 40
    assert len(checkpoint.geometry) == 8
    assert "blocks.1.attn2.to_out.0.lora_B.weight" in checkpoint.lora
    assert "blocks.0.ffn.net.0.proj.lora_A.weight" in checkpoint.lora
    write_checkpoint(checkpoint, tmp_path / GOLDEN.name)
    assert (tmp_path / GOLDEN.name).read_bytes() == GOLDEN.read_bytes()
    assert not (tmp_path / GOLDEN.name).with_suffix(".json").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="no limit there that acts as a full disk does")
@pytest.mark.parametrize("lacking", [10, 20_000])
def test_a_full_disk_is_told_as_one(tmp_path: Path, lacking: int) -> None:
    import resource

    checkpoint, limits = read_checkpoint(GOLDEN), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (GOLDEN.stat().st_size - lacking, limits[1]))
    try:
        with pytest.raises(OSError, match="No space left") as told:
            write_checkpoint(checkpoint, tmp_path / GOLDEN.name)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert is_no_space(told.value)


def test_odd_bits_adapter_names_and_alpha_survive(state: State, save: Callable[[object], Path], tmp_path: Path) -> None:
    odd = {name.replace(".default", ".mine"): tensor.to(torch.bfloat16) for name, tensor in state.items()}
    first = next(iter(odd.values()))
    first[0, :3] = torch.tensor([float("nan"), -0.0, 1e-40])
    path = save(odd)
    path.with_suffix(".json").write_text(json.dumps({"r": 16, "lora_alpha": 4.0}), encoding="utf-8")
    checkpoint = read_checkpoint(path)
    assert (checkpoint.alpha, checkpoint.adapter) == (4.0, "mine")
    assert read_checkpoint(path, alpha=8.0).alpha == 8.0
    copy = tmp_path / "copy" / "ex4d.ckpt"
    copy.parent.mkdir()
    write_checkpoint(checkpoint, copy)
    assert copy.read_bytes() == path.read_bytes()
    assert read_checkpoint(copy).alpha == 4.0


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("blocks.1.cross_attn.v.lora_B.default.weight", "lacks {}: use the file"),
        ("latent_patch_embedding.bias", "lacks {}: use the file"),
    ],
)
def test_what_is_missing_is_named(state: State, save: Callable[[object], Path], name: str, fault: str) -> None:
    del state[name]
    with pytest.raises(InputError, match=rf"^ex4d\.ckpt {fault.format(name)}"):
        read_checkpoint(save(state))


@pytest.mark.parametrize(
    "name", ["blocks.0.cross_attn.k_img.lora_A.default.weight", "camera.weight", "latent_encoder.6.bias"]
)
def test_what_is_unexpected_is_named(state: State, save: Callable[[object], Path], name: str) -> None:
    state[name] = torch.zeros(3)
    with pytest.raises(InputError, match=rf"has what does not belong there, {name}: use"):
        read_checkpoint(save(state))


@pytest.mark.parametrize(
    ("name", "shape", "fault"),
    [
        ("blocks.1.self_attn.q.lora_A.default.weight", (8, 48), "has 8x48, not 16x48"),
        ("blocks.0.ffn.2.lora_A.default.weight", (16, 95), "has 16x95, not 16x96"),
        ("blocks.0.ffn.0.lora_B.default.weight", (90, 16), "has 90x16, not 96x16"),
        ("latent_encoder.2.weight", (64, 63, 1, 1, 1), "has 64x63x1x1x1, not 64x64x1x1x1"),
        ("latent_patch_embedding.weight", (40, 64, 1, 2, 2), "has 40x64x1x2x2, not 48x64x1x2x2"),
        ("latent_patch_embedding.bias", (), "has a number, not 48"),
    ],
)
def test_what_is_misshapen_is_named(
    state: State, save: Callable[[object], Path], name: str, shape: tuple[int, ...], fault: str
) -> None:
    state[name] = torch.zeros(shape)
    with pytest.raises(InputError, match=rf"has other shapes, {name} {fault}: use"):
        read_checkpoint(save(state))


@pytest.mark.parametrize("block", ["9999999", "4" * 5000])
def test_a_block_far_above_all_others_is_named_at_once(
    state: State, save: Callable[[object], Path], block: str
) -> None:
    name = f"blocks.{block}.self_attn.q.lora_A.default.weight"
    state[name] = torch.zeros(16, 48)
    began = time.process_time()
    with pytest.raises(InputError, match=rf"^ex4d\.ckpt has what does not belong there, {name}: use"):
        read_checkpoint(save(state))
    assert time.process_time() - began < 5


def test_a_block_that_is_missing_among_others_is_told(state: State, save: Callable[[object], Path]) -> None:
    last = {name.replace("blocks.1.", "blocks.2."): tensor for name, tensor in state.items()}
    with pytest.raises(InputError, match=r"^ex4d\.ckpt lacks blocks\.1\.self_attn\.q\.[^;]+: use"):
        read_checkpoint(save(last))


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda tensor: tensor.to(torch.int8), "int8"),
        (lambda tensor: tensor.to(torch.complex64), "complex64"),
        (lambda tensor: tensor > 0, "bool"),
        (lambda tensor: tensor.to_sparse(), "sparse_coo float32"),
        (lambda tensor: tensor.to("meta"), "float32"),
    ],
)
@pytest.mark.parametrize("name", ["blocks.0.ffn.2.lora_B.default.weight", "latent_encoder.2.weight"])
def test_numbers_that_are_no_weights_are_named(
    state: State, save: Callable[[object], Path], name: str, spoil: Callable[[torch.Tensor], torch.Tensor], told: str
) -> None:
    state[name] = spoil(state[name])
    with pytest.raises(InputError, match=rf"^ex4d\.ckpt has {told} in {name}, where weights are floats: use"):
        read_checkpoint(save(state))


def test_a_file_that_is_no_checkpoint_is_refused_and_runs_no_code(
    save: Callable[[object], Path], tmp_path: Path
) -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.mkdir, (str(tmp_path / "trapped"),)

    for bad in ({"a": Trap()}, [torch.zeros(2)], {"a": 1}, {}, {1: torch.zeros(2)}):
        with pytest.raises(
            InputError, match=r"ex4d\.ckpt (holds code|does not hold named tensors alone|lacks blocks\.0)"
        ):
            read_checkpoint(save(bad))
    assert not (tmp_path / "trapped").exists()
    cut = tmp_path / "cut.ckpt"
    cut.write_bytes(GOLDEN.read_bytes()[:1000])
    for path in (cut, tmp_path / "absent.ckpt", tmp_path):
        with pytest.raises(InputError, match=path.name):
            read_checkpoint(path)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ('{"r": 8, "lora_alpha": 8}', "says rank 8, but ex4d.ckpt has rank 16"),
        ("{}", "does not say r"),
        ("[", "does not"),
        ('{"r": Infinity, "lora_alpha": 16}', "says rank inf"),
        ('{"r": 16, "lora_alpha": 1%s}' % ("0" * 400), "does not say r"),
        *((f'{{"r": 16, "lora_alpha": {alpha}}}', "scales a LoRA of rank 16 by an alpha of") for alpha in ALPHAS),
    ],
)
def test_a_config_that_does_not_fit_is_refused(
    state: State, save: Callable[[object], Path], text: str, fault: str
) -> None:
    path = save(state)
    path.with_suffix(".json").write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=rf"^ex4d\.json {fault}.*: mend"):
        read_checkpoint(path)


def test_a_transformer_of_another_size_is_refused_by_name() -> None:
    checkpoint = read_checkpoint(GOLDEN)
    check_fits(checkpoint, transformer())
    with pytest.raises(InputError, match=r"lacks blocks\.2\.attn1\.to_q\.lora_A\.weight, .*\.lora_B\.weight: use"):
        check_fits(checkpoint, transformer(layers=3))
    with pytest.raises(InputError, match=r"does not belong there, blocks\.1\.attn1\.to_q\.lora_A\.weight"):
        check_fits(checkpoint, transformer(layers=1))
    with pytest.raises(
        InputError, match=r"blocks\.0\.attn1\.to_q\.lora_A\.weight has 16x48, not 16x24, .* and \d+ more: use"
    ):
        add_lora(transformer(width=24), checkpoint)


def test_the_lora_is_an_adapter_scaled_by_alpha_over_rank() -> None:
    torch.manual_seed(0)
    model, checkpoint = transformer(), replace(read_checkpoint(GOLDEN), alpha=4.0)
    linear, x = model.blocks[1].ffn.net[2], torch.randn(3, 96)
    plain = linear(x)
    add_lora(model, checkpoint, dtype=torch.bfloat16)
    down, up = (checkpoint.lora[f"blocks.1.ffn.net.2.lora_{side}.weight"] for side in "AB")
    wrapped = model.blocks[1].ffn.net[2]
    torch.testing.assert_close(wrapped(x), plain + 4 / 16 * x @ down.T @ up.T, rtol=0.02, atol=0.02)
    assert wrapped.lora_A["ex4d"].weight.dtype == torch.bfloat16
    assert model.active_adapters() == ["ex4d"]
    touched = {name.rsplit(".lora_A", 1)[0] for name, _ in model.named_modules() if name.endswith(".lora_A")}
    assert touched == {name.rsplit(".lora_A", 1)[0] for name in checkpoint.lora if ".lora_A" in name}
    model.set_adapters(["ex4d"], [0.0])
    torch.testing.assert_close(model.blocks[1].ffn.net[2](x), plain)


def test_the_released_file_fits_the_released_transformer() -> None:
    """Both on the meta device, at their real size."""
    released = Dimensions(40, 5120, 13824, 16, 16, 1024)
    with init_empty_weights():
        lora, geometry = (
            {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}
            for shapes in (released.lora("default"), released.geometry())
        )
        model = WanTransformer3DModel(in_channels=36, image_dim=1280, added_kv_proj_dim=5120)
    assert len(lora) == 800
    assert len(geometry) == 8
    assert sum(tensor.numel() for tensor in lora.values()) == pytest.approx(76.68e6, rel=1e-4)
    assert sum(tensor.numel() for tensor in geometry.values()) == pytest.approx(23.11e6, rel=1e-3)
    names = transformer_names(name.replace(".default", "") for name in lora)
    renamed = {new: lora[old.replace(".weight", ".default.weight")] for old, new in names.items()}
    checkpoint = Ex4dCheckpoint(renamed, geometry, 16, 16.0)
    add_lora(model, checkpoint)
    landed = {name.replace(".ex4d", "") for name, _ in model.named_parameters() if ".lora_" in name}
    assert landed == set(renamed)
    originals = {name.replace(".base_layer", "") for name, _ in model.named_parameters() if ".lora_" not in name}
    assert len(models.original_transformer_names(dict.fromkeys(originals, torch.empty(1)))) == 1303
