"""Which rung of the VRAM ladder fits: a pure function of a model's sizes, the video and the machine. No torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from ex4d_core.errors import InputError, MissingDependencyError
from ex4d_core.generate.estimates import Machine, VideoSize, estimate
from ex4d_core.generate.ladder import LADDER, RUNGS, Plan, Step
from ex4d_core.generate.profiles import Profile, check_plan
from ex4d_core.generate.sizes import SHAPES, ComponentSizes

_DRIVER = 700_000_000
"""What CUDA itself takes of a card, which torch does not count."""
_GGUF_BYTES: Mapping[str, float] = {"gguf-q8": 1.107, "gguf-q4": 0.692}  # of a parameter


def plan(
    sizes: ComponentSizes, size: VideoSize, machine: Machine, rung: str = "", profile: Profile | None = None
) -> Plan:
    """The highest rung that fits, or the one that is asked for.

    Args:
        sizes: of the engine's models.
        size: of a window.
        machine: what is free.
        rung: one of `ladder.RUNGS`, taken whether it fits or not; empty: chosen.
        profile: how the video will be denoised; its cache takes memory, too.

    Raises:
        InputError: there is no such rung, or the model's file or the profile cannot be run on it.
        MissingDependencyError: nothing fits; the sentence says what would.
    """
    if rung:
        return _asked_for(sizes, size, machine, rung, profile)
    for candidate in candidates(sizes, size, machine, profile):
        if fits(candidate, machine):
            return candidate
    raise MissingDependencyError(_nothing_fits(sizes, size, machine, profile))


def below(
    sizes: ComponentSizes, size: VideoSize, machine: Machine, failed: Plan, profile: Profile | None = None
) -> Plan | None:
    """What to try after a plan ran out of memory; None after the last.

    Args:
        sizes: of the engine's models.
        size: of the window that failed.
        machine: of whose RAM and disk is enough; that its video memory was thought to be enough is what was wrong.
        failed: the plan, tiled or not.
        profile: how the video is denoised.
    """
    place = RUNGS.index(failed.rung)
    for candidate in candidates(sizes, size, machine, profile):
        later = (RUNGS.index(candidate.rung), candidate.tiled_vae) > (place, failed.tiled_vae)
        smaller = candidate.vram_bytes < failed.vram_bytes
        if later and smaller and candidate.disk_bytes <= machine.disk_bytes and _ram_fits(candidate, machine):
            return candidate
    return None


def candidates(
    sizes: ComponentSizes, size: VideoSize, machine: Machine, profile: Profile | None = None
) -> Iterator[Plan]:
    """All plans that the model's file and the device allow, from the fastest, whether they fit or not.

    The VAE works in tiles only where a rung does not fit otherwise: tiles change the picture a little.
    """
    for rung in LADDER:
        if not _possible(rung, sizes, machine, profile):
            continue
        for tiled in (False, True):
            if tiled and rung.keeping == "device" and not machine.shared:
                continue  # the next rung is as fast, and needs no tiles
            yield estimate(rung, tiled, sizes, size, machine, profile)


def table(sizes: ComponentSizes, size: VideoSize, machine: Machine) -> tuple[Plan, ...]:
    """Every rung of the ladder, those for GGUF files included, without tiles."""
    return tuple(estimate(rung, False, stored_for(sizes, rung.rung), size, machine, None) for rung in LADDER)


def stored_for(sizes: ComponentSizes, rung: str) -> ComponentSizes:
    """The same model as it would be in the file that a rung is for."""
    if rung not in _GGUF_BYTES:
        return sizes
    return replace(sizes, stored=rung, bytes_per_parameter=_GGUF_BYTES[rung])


def fits(plan: Plan, machine: Machine) -> bool:
    """Whether the machine has what a plan takes."""
    video = machine.shared or plan.vram_bytes + _DRIVER <= machine.vram_bytes
    return video and _ram_fits(plan, machine) and plan.disk_bytes <= machine.disk_bytes


def _ram_fits(plan: Plan, machine: Machine) -> bool:
    return plan.ram_bytes <= machine.ram_bytes


def _asked_for(sizes: ComponentSizes, size: VideoSize, machine: Machine, rung: str, profile: Profile | None) -> Plan:
    chosen = next((known for known in LADDER if known.rung == rung), None)
    if chosen is None:
        raise InputError(f"There is no way {rung!r} to use the memory: choose one of {', '.join(RUNGS)}.")
    if fault := _fault(chosen, sizes, machine):
        raise InputError(fault)
    if profile is not None:
        check_plan(profile, chosen.rung, compiled=False)
    plans = [estimate(chosen, tiled, sizes, size, machine, profile) for tiled in (False, True)]
    return next((plan for plan in plans if fits(plan, machine)), plans[0])


def _possible(rung: Step, sizes: ComponentSizes, machine: Machine, profile: Profile | None) -> bool:
    if machine.shared and rung.keeping not in ("device", "disk") and rung.rung not in ("fp8", "gguf-q8", "gguf-q4"):
        return False  # nothing is saved by moving weights within one memory
    if profile is not None:
        try:
            check_plan(profile, rung.rung, compiled=False)
        except InputError:
            return False
    return not _fault(rung, sizes, machine)


def _fault(rung: Step, sizes: ComponentSizes, machine: Machine) -> str:
    """Why a rung cannot be; empty if it can."""
    of_gguf = rung.rung in ("gguf-q8", "gguf-q4")
    if of_gguf and sizes.stored != rung.rung:
        return f"The rung {rung.rung} needs such a GGUF file: download one, or choose another rung."
    if sizes.stored != "float" and not of_gguf and (rung.rung in ("resident", "model-offload") or "fp8" in rung.rung):
        return f"The rung {rung.rung} is for models that are not quantized, and this one is: choose {sizes.stored}."
    if "fp8" in rung.rung and not machine.fp8:
        return f"The rung {rung.rung} needs 8-bit floats, which this device lacks: take a GGUF file."
    return ""


def _nothing_fits(sizes: ComponentSizes, size: VideoSize, machine: Machine, profile: Profile | None) -> str:
    """One sentence: what the smallest way needs, what there is, what would help."""
    plans = list(candidates(sizes, size, machine, profile))
    if not plans:
        assert profile is not None  # without one, some rung can always be
        return f"The cache {profile.cache} can be used on no rung that these models allow: choose --quality final."
    least = min(plans, key=lambda p: (p.ram_bytes if machine.shared else p.vram_bytes, p.ram_bytes))
    lacks = [
        f"{needed / 1e9:.1f} GB of {what} ({free / 1e9:.1f} free)"
        for needed, free, what in (
            (0 if machine.shared else least.vram_bytes + _DRIVER, machine.vram_bytes, "video memory"),
            (least.ram_bytes, machine.ram_bytes, "memory"),
            (least.disk_bytes, machine.disk_bytes, "disk"),
        )
        if needed > free
    ]
    helps = [
        words
        for words, smaller in (
            ("a shot of half the size", replace(size, width=size.width // 32 * 16, height=size.height // 32 * 16)),
            ("fewer frames", replace(size, frames=min(size.frames, 17))),
        )
        if any(fits(p, machine) for p in candidates(sizes, smaller, machine, profile))
    ]
    if sizes.dim > SHAPES["vace-1.3b"].dim:
        helps.append("the engine vace-1.3b")
    remedy = ", ".join([*helps, "the engine draft"])
    return f"{size.width}x{size.height}x{size.frames} needs at least {' and '.join(lacks)}: choose {remedy}."
