"""Seconds and video memory of EX-4D on each rung of the VRAM ladder, against the estimates and the floor of arithmetic.

    python scripts/bench_generate.py OUT.json [--size 512x512x49] [--profiles final,cached,fast] [--rungs ...]
                                     [--model-dir FOLDER]

With an NVIDIA or AMD GPU: the real 14B dimensions with random weights (speed and memory do not depend on their values;
GGUF rungs need --model-dir), each profile and rung in a process of its own that may take no more of the GPU than the
card that the rung is for. Rungs other than resident are timed over a few steps. Without a GPU it says so and runs tiny
models: that proves the path and no speed. OUT.json is written after each run, and what it holds is not run again.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from environment import in_environment

in_environment("gpu")

import numpy as np
import torch
from torch import Tensor, nn

from ex4d_core.engines import EngineSetup
from ex4d_core.generate.attention import attending, choose
from ex4d_core.generate.estimates import VideoSize
from ex4d_core.generate.ex4d import EX4D, Ex4dModel
from ex4d_core.generate.geometry_encoder import GeometryEncoder
from ex4d_core.generate.ladder import RUNGS, Plan
from ex4d_core.generate.loading import Components
from ex4d_core.generate.machine import this_machine, with_torch
from ex4d_core.generate.placement import place
from ex4d_core.generate.planner import plan
from ex4d_core.generate.profiles import Profile, profile
from ex4d_core.generate.sizes import known_sizes
from ex4d_core.generate.video_model import Report, Window
from ex4d_core.model_files import find_files
from ex4d_core.progress import never_cancelled

LONGEST = 480  # seconds of one run
FEW = 5  # steps of rungs that are slow
CARDS = {"model-offload": 48, "gguf-q8": 24, "gguf-q4": 16, "block-offload": 24, "fp8": 24, "fp8-offload": 12}
CARDS |= {"leaf-offload": 12, "disk-offload": 12}
"""GiB of the card that a rung is for."""
RATES = {"H200": 790e12, "H100": 790e12, "4090": 165e12}
"""FLOP/s of bfloat16 that large products reach in practice (shared/facts/diffusion.md)."""
TINY = VideoSize(64, 64, 9)
ON_CPU = ("resident", "model-offload", "block-offload", "fp8", "fp8-offload", "leaf-offload", "disk-offload")


def main() -> int:
    """Run what the file does not hold yet, one process each; print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="JSON, added to")
    parser.add_argument("--size", default="512x512x49", help="width x height x frames (default: 512x512x49)")
    parser.add_argument("--profiles", default="final,cached,fast")
    parser.add_argument("--rungs", default="", help="default: all that can be run")
    parser.add_argument("--model-dir", type=Path, help="real weights instead of random ones")
    parser.add_argument("--one", nargs=2, metavar=("PROFILE", "RUNG"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    gpu = torch.cuda.is_available()
    size = VideoSize(*map(int, options.size.split("x"))) if gpu else TINY
    if options.one:
        print(json.dumps(measure(*options.one, size, options.model_dir)))
        return 0
    if not gpu:
        print("There is no GPU here: tiny models on the CPU, which prove the path and tell nothing about speed.")
    results: dict[str, Any] = json.loads(options.out.read_text()) if options.out.exists() else {}
    possible = ON_CPU if not gpu else [rung for rung in RUNGS if options.model_dir or not rung.startswith("gguf")]
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.model_dir or (None if gpu else _tiny(Path(scratch)))
        for name in options.profiles.split(","):
            for rung in options.rungs.split(",") if options.rungs else possible:
                key = f"{name} {rung} {size.width}x{size.height}x{size.frames}"
                if key not in results:
                    results[key] = _apart(options, name, rung, folder)
                    options.out.write_text(json.dumps(results, indent=1))
                print(_row(key, results[key]), flush=True)
    return 0


def _apart(options: argparse.Namespace, name: str, rung: str, folder: Path | None) -> dict[str, Any]:
    command = [sys.executable, __file__, str(options.out), "--size", options.size, "--one", name, rung]
    command += ["--model-dir", str(folder)] if folder else []
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=LONGEST, check=False)
    except subprocess.TimeoutExpired:
        return {"failed": f"took longer than {LONGEST} s"}
    if done.returncode:
        return {"failed": (done.stderr.strip().splitlines() or ["no message"])[-1]}
    return json.loads(done.stdout.strip().splitlines()[-1])


def measure(name: str, rung: str, size: VideoSize, folder: Path | None) -> dict[str, Any]:
    """One video of random conditioning with one profile on one rung."""
    wanted = profile("ex4d", name, EngineSetup())
    gpu = torch.cuda.is_available()
    if gpu and rung in CARDS:
        limit = CARDS[rung] * 2**30 / torch.cuda.get_device_properties(0).total_memory
        torch.cuda.set_per_process_memory_fraction(min(1.0, limit))
    sizes = known_sizes("ex4d") if folder is None else EX4D.sizes(find_files("ex4d", [folder], rung))
    chosen = plan(sizes, size, with_torch(this_machine()), rung, wanted)
    chosen = replace(chosen, attention=choose("", chosen.device))
    steps = wanted.steps if rung == "resident" and gpu else min(wanted.steps, FEW)
    begin = time.perf_counter()
    model = _random_model(chosen, wanted) if folder is None else _from(folder, chosen, wanted)
    loaded = time.perf_counter() - begin
    if gpu:
        torch.cuda.reset_peak_memory_stats()
    stamps: list[float] = []

    def on_progress(_done: int, _total: int, stage: str) -> None:
        if stage == "denoising":
            stamps.append(time.perf_counter())

    rng = np.random.default_rng(0)
    color = rng.integers(0, 256, (size.frames, size.height, size.width, 3), dtype=np.uint8)
    window = Window(color, np.ones(color.shape[:3], bool), "", 0, replace(wanted, steps=steps))
    begin = time.perf_counter()
    with attending(chosen.attention):
        model.video(window, Report(on_progress, cancelled=never_cancelled))
    whole = time.perf_counter() - begin
    step = statistics.median(np.diff(stamps).tolist() or [0.0])  # the first step compiles and fetches
    told: dict[str, Any] = dict(model.settings)
    fixed = sum(seconds for stage, seconds in told["seconds"].items() if stage != "denoising")
    vae = told["seconds"]["encoding"] + told["seconds"]["decoding"]
    result = {
        "device": torch.cuda.get_device_name() if gpu else platform.processor() or platform.machine(),
        "torch": torch.__version__,
        "attention": chosen.attention,
        "compiled": chosen.compiled,
        "load_s": round(loaded, 1),
        "steps_timed": steps,
        "step_s": round(step, 4),
        "total_s": round(fixed + step * wanted.steps, 2),  # of the profile's own number of steps, after the first
        "measured_s": round(whole, 2),
        "vae_share": round(vae / (fixed + step * wanted.steps), 4),
        "estimate_gb": round(chosen.vram_bytes / 1e9, 3),
    }
    if gpu:
        peak, floor = torch.cuda.max_memory_reserved(), _floor(size) * (1 if wanted.guidance == 1 else 2)
        result |= {"peak_gb": round(peak / 1e9, 3), "over_estimate": round(peak / chosen.vram_bytes - 1, 3)}
        result |= {"floor_s": round(floor, 4), "over_floor": round(step / floor, 2)}
    return result


def _from(folder: Path, chosen: Plan, wanted: Profile) -> Ex4dModel:
    return EX4D.load(find_files("ex4d", [folder], chosen.rung), chosen, wanted)


def _random_model(chosen: Plan, wanted: Profile) -> Ex4dModel:
    """The real dimensions, filled on the GPU where that is many times as fast, and handed over in RAM."""
    from diffusers import AutoencoderKLWan, WanTransformer3DModel
    from peft import LoraConfig
    from transformers import CLIPVisionConfig, CLIPVisionModel

    dtype: torch.dtype = getattr(torch, chosen.dtype)
    transformer: Any = _meta_transformer(WanTransformer3DModel)
    targets = ["to_q", "to_k", "to_v", "to_out.0", "ffn.net.0.proj", "ffn.net.2"]
    with torch.device("meta"):
        transformer.add_adapter(LoraConfig(r=16, lora_alpha=16, target_modules=targets), "ex4d")
        if wanted.distilled:
            transformer.add_adapter(LoraConfig(r=64, lora_alpha=64, target_modules=targets), "distill")
            transformer.set_adapters(["ex4d", "distill"], [1.0, wanted.distilled])
        clip = CLIPVisionConfig(
            hidden_size=1280, intermediate_size=5120, num_hidden_layers=32, num_attention_heads=16, patch_size=14
        )
        helpers = (AutoencoderKLWan(), CLIPVisionModel(clip), GeometryEncoder(16, 1024, 5120))
    kept = tuple(transformer._keep_in_fp32_modules)
    for name, parameter in list(transformer.named_parameters()):
        _fill(transformer, name, torch.float32 if any(part in kept for part in name.split(".")) else dtype, parameter)
    # rotary tables are computed, not stored, and the meta device keeps no numbers
    rope = transformer.rope
    transformer.rope = type(rope)(rope.attention_head_dim, rope.patch_size, rope.max_seq_len)
    for helper, kind in zip(helpers, (torch.float32, torch.float32, dtype), strict=True):
        for name, parameter in list(helper.named_parameters()):
            _fill(helper, name, kind, parameter)
        for name, buffer in list(helper.named_buffers()):
            owner, _, last = name.rpartition(".")
            values = torch.arange(buffer.numel()).view(buffer.shape).to(buffer.dtype)  # CLIP's numbers of positions
            setattr(helper.get_submodule(owner), last, values)
    vae, image_encoder, geometry = helpers
    parts = Components(transformer, vae, image_encoder=image_encoder.eval(), geometry_encoder=geometry)
    place(parts, chosen)
    return Ex4dModel(parts, _Embeddings(chosen.device), _NoPreview(), chosen)  # pyright: ignore[reportArgumentType]


def _meta_transformer(kind: Any) -> Any:
    with torch.device("meta"):
        return kind(in_channels=36, image_dim=1280, added_kv_proj_dim=5120).requires_grad_(False).eval()


def _fill(module: nn.Module, name: str, dtype: torch.dtype, parameter: nn.Parameter) -> None:
    owner, _, last = name.rpartition(".")
    values = torch.empty(parameter.shape, device="cuda", dtype=dtype).normal_(std=0.02).cpu()
    setattr(module.get_submodule(owner), last, nn.Parameter(values, requires_grad=False))


class _Embeddings:
    """In place of `Prompts`: what a text of 40 tokens would give."""

    def __init__(self, device: str) -> None:
        self._embedding = torch.zeros(1, 512, 4096, dtype=torch.bfloat16, device=device)
        self._embedding[:, :40].normal_()

    def embeddings(self, _text: str) -> Tensor:
        return self._embedding


class _NoPreview:
    """In place of `Previewer`."""

    def during(self, _on_preview: Any) -> Any:
        return lambda _index, _x0: None


def _floor(size: VideoSize) -> float:
    """Seconds that the products of one pass take at the rate that this GPU reaches."""
    from diffusers import WanTransformer3DModel
    from torch.utils.flop_counter import FlopCounterMode

    transformer = _meta_transformer(WanTransformer3DModel).bfloat16()
    half = {"dtype": torch.bfloat16, "device": "meta"}
    latent = ((size.frames - 1) // 4 + 1, size.height // 8, size.width // 8)
    transformer.rope.to("meta")
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        transformer(
            hidden_states=torch.empty(1, 36, *latent, **half),
            timestep=torch.empty(1, device="meta"),
            encoder_hidden_states=torch.empty(1, 512, 4096, **half),
            encoder_hidden_states_image=torch.empty(1, 257, 1280, **half),
        )
    name = torch.cuda.get_device_name()
    rate = next((rate for card, rate in RATES.items() if card in name), None) or _reached()
    return counter.get_total_flops() / rate


def _reached() -> float:
    """FLOP/s of a large product."""
    n = 8192
    a = torch.randn(n, n, device="cuda", dtype=torch.bfloat16)
    for _ in range(5):
        a @ a
    torch.cuda.synchronize()
    begin = time.perf_counter()
    for _ in range(20):
        a @ a
    torch.cuda.synchronize()
    return 20 * 2 * n**3 / (time.perf_counter() - begin)


def _tiny(folder: Path) -> Path:
    import make_tiny_models

    make_tiny_models.ex4d_diffusers(folder, 0)
    os.environ["EX4D_CACHE_DIR"] = str(folder / "cache")
    return folder


def _row(key: str, result: dict[str, Any]) -> str:
    if "failed" in result:
        return f"{key}: failed: {result['failed']}"
    memory = f", peak {result['peak_gb']} GB ({result['over_estimate']:+.0%})" if "peak_gb" in result else ""
    floor = f" ({result['over_floor']} x floor)" if "over_floor" in result else ""
    return (
        f"{key}: {result['step_s']} s a step{floor}, {result['total_s']} s, VAE {result['vae_share']:.0%}, "
        f"estimate {result['estimate_gb']} GB{memory}"
    )


if __name__ == "__main__":
    sys.exit(main())
