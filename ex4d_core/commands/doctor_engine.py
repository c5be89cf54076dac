"""`ex4d doctor --engine`: how an engine would be run on this machine, and what each rung of the VRAM ladder takes."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ex4d_core.commands.console import Console

if TYPE_CHECKING:
    from ex4d_core.engines import EngineSetup
    from ex4d_core.generate.estimates import Machine, VideoSize
    from ex4d_core.generate.ladder import Plan
    from ex4d_core.generate.sizes import ComponentSizes

_GB = 1e9
_ONE_MEMORY = {
    "resident": "everything in memory",
    "gguf-q8": "a GGUF file of 8 bits in memory",
    "gguf-q4": "a GGUF file of 4 to 6 bits in memory",
    "fp8": "8-bit floats in memory, computed in more bits",
    "disk-offload": "weights on disk, read layer by layer in every step: the slowest",
}
"""The rungs of a CPU and of Apple's chips, which have no memory of a GPU's own, and for which nothing is compiled."""


class ShotSize(click.ParamType):
    """WxHxN: pixels and frames."""

    name = "WxHxN"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int, int]:
        if isinstance(value, tuple):
            return value
        match = re.fullmatch(r"([1-9]\d{0,4})[xX]([1-9]\d{0,4})[xX]([1-9]\d{0,6})", str(value))
        if not match:
            self.fail(
                f"{value!r} is not the size of a shot: write width, height and frames like 832x480x81.", param, ctx
            )
        return int(match[1]), int(match[2]), int(match[3])


@dataclass(frozen=True)
class _Findings:
    """What there is to say."""

    engine: str
    here: bool
    """Whether the sizes are those of files on this machine, or those of the real models from their dimensions."""
    made: VideoSize
    """One window, as the model makes it."""
    machine: Machine
    plan: Plan | None
    problem: str
    """Why there is no plan, one sentence."""
    rungs: tuple[Plan, ...]


def report(console: Console, engine: str, size: tuple[int, int, int], model_dir: Path | None) -> int:
    """Print the plan and all rungs; 1 if none fits.

    Args:
        console: to print to.
        engine: its name.
        size: width, height and frames of a shot.
        model_dir: the user's own files; None: those that `ex4d models` has, or would have.

    Raises:
        InputError: there is no such engine, or no such folder, or a file in it is damaged.
        MissingDependencyError: the folder lacks a part.
    """
    from ex4d_core.engines import EngineSetup, check_request, engine_facts, engine_needs

    setup = EngineSetup(model_dir=model_dir)
    check_request(engine, "", False, setup)
    if not engine_facts(engine).reads_setup:
        needs = engine_needs(engine, *size)
        text = f"{engine} needs {_gigabytes(needs.ram_bytes)} of memory and no GPU for {'x'.join(map(str, size))}."
        console.result({"engine": engine, "needs": asdict(needs)}, text)
        return 0
    findings = _find(engine, size, setup)
    console.result(_document(findings), "\n".join(_lines(findings)))
    return 0 if findings.plan is not None else 1


def _find(engine: str, size: tuple[int, int, int], setup: EngineSetup) -> _Findings:
    from ex4d_core.errors import MissingDependencyError
    from ex4d_core.generate.around import model_size
    from ex4d_core.generate.estimates import VideoSize
    from ex4d_core.generate.machine import this_machine
    from ex4d_core.generate.planner import plan, table
    from ex4d_core.generate.sizes import WAN2_1

    sizes, here = _sizes(engine, setup)
    machine, made = this_machine(), VideoSize(*model_size(*size, WAN2_1))
    chosen, problem = None, ""
    try:
        chosen = plan(sizes, made, machine)
    except MissingDependencyError as error:
        problem = str(error)
    # what a card would need is told also where there is none
    card = replace(machine, device="cuda", dtype="bfloat16") if machine.device == "cpu" else machine
    return _Findings(engine, here, made, machine, chosen, problem, table(sizes, made, card))


def _sizes(engine: str, setup: EngineSetup) -> tuple[ComponentSizes, bool]:
    from ex4d_core.errors import Ex4dError
    from ex4d_core.generate.revisions import model_files
    from ex4d_core.generate.sizes import known_sizes, sizes_of

    try:
        return sizes_of(model_files(engine, setup)), True
    except Ex4dError:
        if setup.model_dir is not None:
            raise
        return known_sizes(engine), False  # not downloaded, or not whole: `ex4d models` tells


def _summary(plan: Plan) -> str:
    """What a rung is where it is to be run."""
    from ex4d_core.generate.ladder import step

    told = _ONE_MEMORY.get(plan.rung) if plan.device in ("cpu", "mps") else None
    return told or step(plan.rung).summary


def _lines(found: _Findings) -> list[str]:
    from ex4d_core.generate.planner import fits

    machine, made = found.machine, found.made
    if machine.device == "cpu":
        gpu = "no GPU that torch could use; a CPU is for tests: one step takes it about an hour with 14 G parameters"
    elif machine.shared:
        gpu = f"{machine.name}, which shares the machine's memory"
    else:
        gpu = f"{machine.name}, {_gigabytes(machine.vram_bytes)} of video memory free"
    lines = [
        f"{found.engine}, windows of {made.width}x{made.height}x{made.frames}; "
        + ("models on this machine" if found.here else "models not on this machine: sizes of the real ones"),
        f"machine  {gpu}",
        f"         {_gigabytes(machine.ram_bytes)} of memory free, {_gigabytes(machine.disk_bytes)} of disk",
    ]
    if found.plan is not None:
        tiles = ", VAE in tiles" if found.plan.tiled_vae else ""
        lines.append(f"plan     {found.plan.rung}: {_summary(found.plan)}{tiles}")
        takes = f"{_gigabytes(found.plan.vram_bytes)} of video memory, " if not machine.shared else ""
        lines.append(f"         takes {takes}{_gigabytes(found.plan.ram_bytes)} of memory")
    else:
        lines.append(f"plan     none. {found.problem}")
    lines += ["", f"{'rung':<15}{'GPU':>9}{'memory':>9}{'disk':>9}  {'estimate':<12}"]
    for plan in found.rungs:
        known = "measured" if plan.measured else "unmeasured"
        fit = " fits" if not machine.shared and fits(plan, machine) else ""
        numbers = "".join(f"{_gigabytes(size):>9}" for size in (plan.vram_bytes, plan.ram_bytes, plan.disk_bytes))
        lines.append(f"{plan.rung:<15}{numbers}  {known:<12}{_summary(plan)}{fit and f' ({fit.strip()})'}")
    return lines


def _document(found: _Findings) -> dict[str, Any]:
    from ex4d_core.generate.planner import fits

    def told(plan: Plan) -> dict[str, Any]:
        values = asdict(plan) | {"summary": _summary(plan), "fits": fits(plan, found.machine)}
        return {name: value for name, value in values.items() if name != "offload_folder"}

    machine = {name: value for name, value in asdict(found.machine).items() if name != "offload_folder"}
    return {
        "engine": found.engine,
        "models_here": found.here,
        "window": asdict(found.made),
        "machine": machine,
        "plan": told(found.plan) if found.plan is not None else None,
        "problem": found.problem,
        "rungs": [told(plan) for plan in found.rungs],
    }


def _gigabytes(size: int) -> str:
    return f"{size / _GB:.1f} GB" if size else "-"
