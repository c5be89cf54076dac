"""What the tests of loading ask for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ex4d_core.generate.ladder import Plan, Rung
from ex4d_core.generate.profiles import Profile

Tiny = Callable[[str], Path]
FAST = Profile("fast", 4, 1.0, distilled=0.7)
LORA = "wan2.1_i2v_lora_rank64_lightx2v_4step.safetensors"
FP16 = "diffusion_models/wan2.1_i2v_480p_14B_fp16.safetensors"


def plan(rung: Rung = "resident", dtype: str = "float32") -> Plan:
    return Plan(rung, "cpu", dtype, tiled_vae=False, vram_bytes=0, ram_bytes=0)
