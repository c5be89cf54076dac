"""`ex4d doctor --engine`: what is told with a GPU, without one, and where torch is not even installed."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from ex4d_core.commands.doctor import doctor_command
from ex4d_core.errors import InputError, MissingDependencyError
from ex4d_core.generate import machine
from ex4d_core.generate.estimates import Machine
from ex4d_core.generate.ladder import RUNGS

GIB = 2**30
CARD = Machine("cuda", "bfloat16", 22 * GIB, 28 * GIB, 100 * GIB, name="NVIDIA GeForce RTX 4090")


def on(monkeypatch: pytest.MonkeyPatch, found: Machine, *arguments: str) -> tuple[int, str]:
    monkeypatch.setattr(machine, "this_machine", lambda: found)
    done = CliRunner().invoke(doctor_command, arguments, standalone_mode=False)
    if done.exception is not None:
        raise done.exception
    return done.return_value, done.output


def test_a_card_gets_a_plan_and_all_rungs(monkeypatch: pytest.MonkeyPatch) -> None:
    code, text = on(monkeypatch, CARD, "--engine", "ex4d", "--size", "512x512x49")
    assert code == 0
    assert "RTX 4090, 23.6 GB of video memory free" in text
    assert "plan     fp8: 8-bit floats on the GPU" in text
    rows = [line for line in text.splitlines() if "unmeasured" in line]
    assert tuple(row.split()[0] for row in rows) == RUNGS
    assert {row.split()[0] for row in rows if row.endswith("(fits)")} == {
        "gguf-q8",
        "gguf-q4",
        "fp8",
        "fp8-offload",
        "disk-offload",
    }


def test_json_has_the_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    code, text = on(monkeypatch, CARD, "--engine", "ex4d", "--size", "1920x1080x81", "--json")
    document = json.loads(text)
    assert code == 0
    assert document["window"] == {"width": 832, "height": 480, "frames": 81}
    assert document["models_here"] is False
    assert document["plan"]["rung"] == "fp8-offload"
    assert [rung["rung"] for rung in document["rungs"]] == list(RUNGS)
    for rung in document["rungs"]:
        assert rung["measured"] is False
        assert rung["vram_bytes"] > 1e9
        assert rung["ram_bytes"] > 1e9
    assert document["plan"]["fits"]


def test_where_nothing_fits_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    small = replace(CARD, vram_bytes=4 * GIB, ram_bytes=8 * GIB)
    code, text = on(monkeypatch, small, "--engine", "ex4d")
    assert code == 1
    assert "plan     none. 832x480x81 needs at least" in text
    assert "the engine draft" in text


def test_without_a_gpu_it_says_what_a_cpu_and_what_a_card_would_need(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = Machine("cpu", "float32", 0, 128 * GIB, 200 * GIB)
    code, text = on(monkeypatch, cpu, "--engine", "ex4d", "--size", "512x512x49")
    assert code == 0
    assert "a CPU is for tests" in text
    assert "plan     resident: everything in memory\n" in text
    (row,) = [line for line in text.splitlines() if line.startswith("fp8 ")]
    _code, on_card = on(monkeypatch, CARD, "--engine", "ex4d", "--size", "512x512x49")
    assert row in [line.removesuffix(" (fits)") for line in on_card.splitlines()]


def test_a_cpu_in_json_and_apples_chips_have_no_memory_of_a_gpus_own(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = Machine("cpu", "float32", 0, 40 * GIB, 200 * GIB)
    asked = ("--engine", "ex4d", "--size", "512x512x49")
    plan = json.loads(on(monkeypatch, cpu, *asked, "--json")[1])["plan"]
    assert (plan["rung"], plan["summary"]) == ("fp8", "8-bit floats in memory, computed in more bits")
    apple = Machine("mps", "bfloat16", 96 * GIB, 96 * GIB, 200 * GIB, name="Apple M3 Max")
    assert "plan     resident: everything in memory\n" in on(monkeypatch, apple, *asked)[1]


def test_files_of_ones_own_are_planned_with(
    monkeypatch: pytest.MonkeyPatch, tiny_models: Callable[[str], Path], tmp_path: Path
) -> None:
    asked = ("--engine", "ex4d", "--json", "--model-dir")
    found = json.loads(on(monkeypatch, CARD, *asked, str(tiny_models("ex4d-comfy")))[1])
    assert (found["models_here"], found["plan"]["rung"]) == (True, "resident")
    with pytest.raises(MissingDependencyError, match="There is no transformer for ex4d in "):
        on(monkeypatch, CARD, *asked, str(tmp_path))
    with pytest.raises(InputError, match=r"There is no folder x{300} with models: check the name"):
        on(monkeypatch, CARD, *asked, "x" * 300)


@pytest.mark.parametrize("option", [("--size", "512x512x49"), ("--model-dir", ".")])
def test_what_only_an_engine_reads_is_refused_without_one(
    monkeypatch: pytest.MonkeyPatch, option: tuple[str, str]
) -> None:
    with pytest.raises(InputError, match="--size and --model-dir tell how an engine would be run: add --engine"):
        on(monkeypatch, CARD, *option)


def test_the_packages_of_the_diffusion_engines_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    text = on(monkeypatch, CARD)[1]
    assert re.search(r"^ok +gpu packages: .*\bgguf \d.*\bhuggingface_hub \d", text, re.M)


def test_an_engine_without_models_needs_memory_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    assert on(monkeypatch, CARD, "--engine", "draft")[1].startswith("draft needs 0.")
    with pytest.raises(InputError, match="no engine 'dream'"):
        on(monkeypatch, CARD, "--engine", "dream")


@pytest.mark.parametrize("size", ["832x480", "832x480x0", "axbxc", "832x480x81x2"])
def test_a_size_that_is_none(size: str) -> None:
    done = CliRunner().invoke(doctor_command, ["--engine", "ex4d", "--size", size])
    assert done.exit_code == 2
    assert "832x480x81" in done.output


def test_it_works_without_torch() -> None:
    """As where only the light core is installed."""
    program = (
        "import sys\n"
        "for name in ('torch', 'diffusers', 'peft', 'transformers', 'accelerate'):\n"
        "    sys.modules[name] = None\n"
        "from ex4d_core.cli import main\n"
        "main(['doctor', '--engine', 'vace-1.3b', '--size', '512x512x49', '--json'])\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    document = json.loads(done.stdout)
    assert done.returncode == (0 if document["plan"] else 1)
    assert len(document["rungs"]) == len(RUNGS)
