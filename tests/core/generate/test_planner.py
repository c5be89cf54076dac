"""The planner: weights and peaks against the real classes at their real dimensions, on the meta device; which rung."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKLWan, WanTransformer3DModel, WanVACETransformer3DModel
from peft import LoraConfig
from tiny import models
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import CLIPVisionConfig, CLIPVisionModel, UMT5Config, UMT5EncoderModel

from ex4d_core.errors import InputError, MissingDependencyError
from ex4d_core.generate.estimates import Machine, VideoSize, activation_bytes, vae_bytes
from ex4d_core.generate.geometry_encoder import GeometryEncoder
from ex4d_core.generate.ladder import LADDER, RUNGS, Plan, step
from ex4d_core.generate.planner import below, candidates, fits, plan, table
from ex4d_core.generate.profiles import profile
from ex4d_core.generate.sizes import known_sizes, sizes_of
from ex4d_core.model_files import ModelFiles

GIB = 2**30
SMALL, LARGE = VideoSize(512, 512, 49), VideoSize(832, 480, 81)
I2V: dict[str, Any] = {"in_channels": 36, "image_dim": 1280, "added_kv_proj_dim": 5120}
VACE_1_3B: dict[str, Any] = {"num_attention_heads": 12, "ffn_dim": 8960}
LORA = ["to_q", "to_k", "to_v", "to_out.0", "ffn.net.0.proj", "ffn.net.2"]


def card(vram: float, ram: float, disk: float = 200) -> Machine:
    """A machine of these GiB, of which the system and the desktop have taken their part."""
    return Machine("cuda", "bfloat16", int(vram * 0.93 * GIB), int(ram * 0.85 * GIB), int(disk * GIB), name="GPU")


def on_meta(make: Any, *arguments: Any, **options: Any) -> Any:
    with torch.device("meta"):
        return make(*arguments, **options).eval()


def count(module: torch.nn.Module, word: str = "") -> int:
    return sum(parameter.numel() for name, parameter in module.named_parameters() if word in name)


class Held(TorchDispatchMode):
    """The most bytes that tensors hold at once, those of a model apart."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        own = itertools.chain(model.parameters(), model.buffers())
        self._own = {StorageWeakRef(tensor.untyped_storage()) for tensor in own}
        self._live: dict[StorageWeakRef, int] = {}
        self._most = 0  # if nothing had been freed since it was last looked
        self.peak = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, torch.Tensor):
                storage = tensor.untyped_storage()
                reference = StorageWeakRef(storage)
                if reference not in self._own and reference not in self._live:
                    self._live[reference] = storage.nbytes()
                    self._most += storage.nbytes()
        if self._most > self.peak:
            self._live = {reference: size for reference, size in self._live.items() if not reference.expired()}
            self._most = sum(self._live.values())
            self.peak = max(self.peak, self._most)
        return result


@contextmanager
def flash_attention() -> Iterator[None]:
    """On the meta device torch would take the plain kernel, which holds tokens x tokens, as no GPU's does."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(F, "scaled_dot_product_attention", lambda query, *_args, **_options: torch.empty_like(query))
        yield


@torch.no_grad()
def held_by_a_pass(transformer: Any, size: VideoSize) -> int:
    half = {"dtype": torch.bfloat16, "device": "meta"}
    shape = ((size.frames - 1) // 4 + 1, size.height // 8, size.width // 8)
    inputs: dict[str, Any] = {
        "hidden_states": torch.empty(1, transformer.config.in_channels, *shape, **half),
        "timestep": torch.empty(1, device="meta"),
        "encoder_hidden_states": torch.empty(1, 512, 4096, **half),
    }
    if isinstance(transformer, WanVACETransformer3DModel):
        inputs["control_hidden_states"] = torch.empty(1, 96, *shape, **half)
    else:
        inputs["encoder_hidden_states_image"] = torch.empty(1, 257, 1280, **half)
    transformer.rope.to("meta")
    with flash_attention(), Held(transformer) as held:
        transformer(**inputs, return_dict=False)
    return held.peak


@pytest.mark.parametrize(
    ("engine", "kind", "options"),
    [
        ("ex4d", WanTransformer3DModel, I2V),
        ("vace-14b", WanVACETransformer3DModel, {}),
        ("vace-1.3b", WanVACETransformer3DModel, VACE_1_3B | {"num_layers": 30, "vace_layers": [*range(0, 30, 2)]}),
    ],
)
def test_weights_are_those_of_the_real_classes(engine: str, kind: Any, options: dict[str, Any]) -> None:
    model, sizes = on_meta(kind, **options), known_sizes(engine)
    blocks = [count(block) for block in (*model.blocks, *getattr(model, "vace_blocks", []))]
    assert (sizes.transformer_parameters, sizes.blocks_parameters) == (count(model), sum(blocks))
    assert (sizes.block_parameters, sizes.blocks) == (max(blocks), len(blocks))
    assert (sizes.dim, sizes.ffn_dim) == (model.config.num_attention_heads * 128, model.config.ffn_dim)
    assert sizes.hints == len(getattr(model, "vace_blocks", []))


def test_facts() -> None:
    """The field report's: 16.395 G, 403.8 M a block, LoRA 76.68 M, camera 23.11 M."""
    sizes = known_sizes("ex4d")
    assert round(sizes.transformer_parameters / 1e9, 3) == 16.395
    assert round(sizes.block_parameters / 1e6, 1) == 403.8
    assert round(sizes.lora_parameters / 1e6, 2) == 76.68
    assert round(sizes.geometry_parameters / 1e6, 2) == 23.11


def test_weights_of_the_helpers() -> None:
    clip = CLIPVisionConfig(
        hidden_size=1280, intermediate_size=5120, num_hidden_layers=32, num_attention_heads=16, patch_size=14
    )
    text = UMT5Config(vocab_size=256384, d_model=4096, d_kv=64, d_ff=10240, num_layers=24, num_heads=64)
    sizes = known_sizes("ex4d")
    assert sizes.vae_parameters == count(on_meta(AutoencoderKLWan))
    assert sizes.image_encoder_parameters == count(on_meta(CLIPVisionModel, clip))
    assert sizes.text_encoder_parameters == count(on_meta(UMT5EncoderModel, text))
    assert sizes.geometry_parameters == count(on_meta(GeometryEncoder, 16, 1024, 5120))


@pytest.mark.parametrize("size", [SMALL, LARGE])
def test_a_pass_of_ex4d_holds_what_is_estimated(size: VideoSize) -> None:
    transformer = on_meta(WanTransformer3DModel, **I2V, num_layers=2).bfloat16()
    plain = replace(known_sizes("ex4d"), lora_parameters=0)
    assert held_by_a_pass(transformer, size) == pytest.approx(activation_bytes(plain, size, 2), rel=0.03)
    with torch.device("meta"):
        transformer.add_adapter(LoraConfig(r=16, lora_alpha=16, target_modules=LORA))
    transformer.bfloat16()
    assert count(transformer, "lora") * 20 == known_sizes("ex4d").lora_parameters
    assert held_by_a_pass(transformer, size) == pytest.approx(activation_bytes(known_sizes("ex4d"), size, 2), rel=0.03)


@pytest.mark.parametrize(("engine", "options"), [("vace-1.3b", VACE_1_3B), ("vace-14b", {})])
def test_a_pass_of_vace_holds_its_hints(engine: str, options: dict[str, Any]) -> None:
    for hints in (2, 5):
        transformer = on_meta(WanVACETransformer3DModel, **options, num_layers=5, vace_layers=[*range(hints)])
        sizes = replace(known_sizes(engine), hints=hints)
        held = held_by_a_pass(transformer.bfloat16(), SMALL)
        assert held == pytest.approx(activation_bytes(sizes, SMALL, 2), rel=0.05)


def held_by_the_vae(vae: AutoencoderKLWan, size: VideoSize) -> tuple[int, int]:
    latent = (1, 16, (size.frames - 1) // 4 + 1, size.height // 8, size.width // 8)
    with flash_attention(), torch.no_grad():
        with Held(vae) as encode:
            vae.encode(torch.empty(1, 3, size.frames, size.height, size.width, device="meta"))
        with Held(vae) as decode:
            vae.decode(torch.empty(latent, device="meta"))
    return encode.peak, decode.peak


@pytest.mark.parametrize(
    ("size", "tiled"),
    [
        (VideoSize(320, 256, 9), False),
        pytest.param(VideoSize(320, 256, 9), True, marks=pytest.mark.slow),
        pytest.param(replace(LARGE, frames=17), False, marks=pytest.mark.slow),
        pytest.param(replace(LARGE, frames=17), True, marks=pytest.mark.slow),
    ],
)
def test_the_vae_holds_what_is_estimated(size: VideoSize, tiled: bool) -> None:
    vae = on_meta(AutoencoderKLWan)
    if tiled:
        vae.enable_tiling()
    assert held_by_the_vae(vae, size) == pytest.approx(vae_bytes(size, tiled), rel=0.03)


@pytest.mark.parametrize("name", ["ex4d_diffusers", "ex4d_original", "ex4d_comfy", "ex4d_gguf", "vace_1_3b"])
def test_sizes_from_files_of_every_layout(name: str, tmp_path: Path) -> None:
    """All layouts of EX-4D hold the same tiny model, made of the same shapes as the real one."""
    from ex4d_core.model_files import find_files

    getattr(models, name)(tmp_path, 0)
    engine = "vace-1.3b" if name.startswith("vace") else "ex4d"
    sizes = sizes_of(find_files(engine, [tmp_path]))
    transformer = models.vace_transformer(0, sizes.dim // 128, 2) if engine != "ex4d" else models.wan_transformer(0)
    blocks = [count(block) for block in (*transformer.blocks, *getattr(transformer, "vace_blocks", []))]
    if engine == "ex4d":
        assert (sizes.transformer_parameters, sizes.block_parameters) == (count(transformer), max(blocks))
        assert sizes.image_encoder_parameters == pytest.approx(count(models.clip(0)), rel=0.01)
        assert sizes.lora_parameters > 0
        assert sizes.geometry_parameters > 0
    else:
        assert sizes.hints > 0
    assert (sizes.dim, sizes.ffn_dim) == (transformer.config.num_attention_heads * 128, transformer.config.ffn_dim)
    assert sizes.vae_parameters == pytest.approx(count(models.vae(0)), rel=0.1)  # of .pth by its length
    assert sizes.text_encoder_parameters == pytest.approx(count(models.text_encoder(0)), rel=0.25)  # as above
    assert (sizes.stored == "gguf-q8") is (name == "ex4d_gguf")


def test_a_file_that_is_no_transformer_is_refused(tmp_path: Path) -> None:
    models.ex4d_diffusers(tmp_path, 0)
    with pytest.raises(InputError, match="is not a transformer of Wan"):
        sizes_of(ModelFiles(tmp_path / "vae", tmp_path / "vae"))


@pytest.mark.parametrize(
    ("engine", "vram", "ram", "rung"),
    [
        ("ex4d", 80, 128, "resident"),
        ("ex4d", 48, 96, "resident"),
        ("ex4d", 24, 64, "block-offload"),
        ("ex4d", 24, 32, "fp8"),
        ("ex4d", 16, 32, "fp8-offload"),
        ("ex4d", 12, 32, "fp8-offload"),
        ("vace-1.3b", 8, 16, "model-offload"),
        ("vace-14b", 12, 32, "fp8-offload"),
    ],
)
def test_the_promised_machines_have_a_plan(engine: str, vram: float, ram: float, rung: str) -> None:
    machine = card(vram, ram)
    found = plan(known_sizes(engine), SMALL, machine)
    assert (found.rung, found.tiled_vae, found.measured) == (rung, False, False)
    assert found.vram_bytes < machine.vram_bytes
    assert found.ram_bytes <= machine.ram_bytes


def test_full_size_on_eight_gigabytes_needs_tiles() -> None:
    found = plan(known_sizes("vace-1.3b"), LARGE, card(8, 16))
    assert found.tiled_vae
    assert found.vram_bytes < vae_bytes(LARGE, tiled=False)[1]


def test_quantized_files_are_run_as_they_are() -> None:
    eight, four = known_sizes("ex4d", "gguf-q8"), known_sizes("ex4d", "gguf-q4")
    assert plan(eight, SMALL, card(24, 32)).rung == "gguf-q8"
    assert plan(four, SMALL, card(16, 32)).rung == "gguf-q4"
    assert plan(eight, SMALL, card(12, 32)).rung == "block-offload"
    assert plan(four, SMALL, card(12, 32)).ram_bytes < plan(eight, SMALL, card(12, 32)).ram_bytes
    with pytest.raises(InputError, match="needs such a GGUF file"):
        plan(known_sizes("ex4d"), SMALL, card(80, 128), "gguf-q8")
    with pytest.raises(InputError, match="not quantized"):
        plan(eight, SMALL, card(80, 128), "fp8")


def test_a_rung_that_is_asked_for_is_taken_whether_it_fits_or_not() -> None:
    small = card(8, 16)
    for rung in RUNGS:
        sizes = known_sizes("ex4d", step(rung).rung if rung.startswith("gguf") else "float")  # pyright: ignore
        found = plan(sizes, SMALL, small, rung)
        assert found.rung == rung
    assert not fits(plan(known_sizes("ex4d"), SMALL, small, "resident"), small)
    with pytest.raises(InputError, match="no way 'all'.*resident"):
        plan(known_sizes("ex4d"), SMALL, small, "all")


def test_tables_go_down() -> None:
    """Every rung takes no more video memory than resident; those that fetch trade it for RAM, and disk for RAM."""
    rungs = {found.rung: found for found in table(known_sizes("ex4d"), SMALL, card(24, 64))}
    assert tuple(rungs) == RUNGS == tuple(rung.rung for rung in LADDER)
    order = ["resident", "model-offload", "gguf-q8", "gguf-q4", "block-offload"]
    assert [rungs[name].vram_bytes for name in order] == sorted((rungs[n].vram_bytes for n in order), reverse=True)
    assert rungs["fp8-offload"].ram_bytes < rungs["block-offload"].ram_bytes * 0.7
    assert rungs["disk-offload"].disk_bytes > 32e9 > rungs["disk-offload"].ram_bytes
    assert not any(found.measured for found in rungs.values())


def test_caches_and_compiling_follow_the_profile() -> None:
    sizes, machine = known_sizes("ex4d"), card(80, 128)
    final, cached = profile("ex4d", "final"), profile("ex4d", "cached")
    assert plan(sizes, SMALL, machine, profile=final).compiled
    assert not plan(sizes, SMALL, machine, profile=cached).compiled
    # in turns the VAE's peak is another one than the transformer's
    taken = {
        name: plan(sizes, SMALL, machine, "model-offload", profile("ex4d", name)).vram_bytes
        for name in ("final", "cached", "fast")
    }
    assert taken["cached"] > taken["final"] + 6 * SMALL.tokens * 5120 * 2
    assert taken["fast"] > taken["final"] + 0.5e9  # the second LoRA


def test_coming_down_always_takes_less() -> None:
    sizes, machine = known_sizes("ex4d"), card(80, 256)
    found, seen = plan(sizes, LARGE, machine), list[Plan]()
    while found is not None:
        seen.append(found)
        found = below(sizes, LARGE, machine, found)
    taken = [one.vram_bytes for one in seen]
    assert taken == sorted(taken, reverse=True)
    assert len(set(taken)) == len(taken) >= 4
    assert seen[-1].tiled_vae
    # what would need more RAM than there is is passed over
    low = below(sizes, LARGE, card(80, 32), seen[0])
    assert low is not None
    assert low.rung == "fp8"


def test_one_memory_has_no_turns() -> None:
    """On a CPU and Apple's chips weights stay, get smaller, or go to disk."""
    cpu = Machine("cpu", "float32", 0, 128 * GIB, 200 * GIB)
    assert [one.rung for one in candidates(known_sizes("ex4d"), SMALL, cpu) if not one.tiled_vae] == [
        "resident",
        "fp8",
        "disk-offload",
    ]
    mps = replace(cpu, device="mps", dtype="bfloat16", fp8=False, ram_bytes=64 * GIB)
    found = plan(known_sizes("ex4d"), SMALL, mps)
    assert found.rung == "resident"
    assert found.ram_bytes > found.vram_bytes > 30e9
    with pytest.raises(InputError, match="8-bit floats, which this device lacks"):
        plan(known_sizes("ex4d"), SMALL, mps, "fp8")


def test_where_nothing_fits_it_says_what_would() -> None:
    with pytest.raises(MissingDependencyError) as said:
        plan(known_sizes("ex4d"), LARGE, card(4, 16))
    assert str(said.value).startswith("832x480x81 needs at least ")
    assert "video memory" in str(said.value)
    assert said.value.remedy.startswith("choose a shot of half the size, ")
    assert said.value.remedy.endswith("the engine vace-1.3b, the engine draft.")
    with pytest.raises(MissingDependencyError, match=r"GB of disk \(0.1 free\)"):
        plan(known_sizes("ex4d"), SMALL, card(12, 16, disk=0.1))
