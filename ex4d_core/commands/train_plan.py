"""`ex4d train plan`."""

from __future__ import annotations

import math
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ex4d_core.commands.console import Console, command
from ex4d_core.commands.doctor_engine import ShotSize
from ex4d_core.errors import InputError

if TYPE_CHECKING:
    from ex4d_core.training.memory_plan import Estimate

_GB = 1e9
_SHARDED = (2, 4, 8)


@command(
    "plan",
    """
  ex4d train plan
  ex4d train plan --size 832x480x81 --vram 24
""",
)
@click.option("--model-dir", type=click.Path(path_type=Path), help="Plan for the transformer in this folder.")
@click.option("--size", type=ShotSize(), default="512x512x49", show_default=True, help="Of the clips.")
@click.option("--vram", type=click.FloatRange(1, 10_000), multiple=True, help="GB of a GPU; may be repeated.")
@click.option("--rank", type=click.IntRange(1, 1024), default=16, show_default=True, help="Of the LoRA.")
@click.option("--eight-bit", is_flag=True, help="With AdamW's moments in 8 bits.")
def plan_command(
    console: Console,
    model_dir: Path | None,
    size: tuple[int, int, int],
    vram: tuple[float, ...],
    rank: int,
    eight_bit: bool,
) -> None:
    """Say what training takes of a GPU, and what fits; by default on cards of 24, 48 and 80 GB.

    For each way to keep the frozen weights (`base` in the configuration), and sharded over several GPUs (`sharded`).
    Arithmetic, which no GPU has measured yet; without --model-dir for the released model of 14 billion weights.
    """
    from ex4d_core.generate.estimates import VideoSize
    from ex4d_core.generate.sizes import known_sizes, transformer_sizes
    from ex4d_core.model_files import find_parts
    from ex4d_core.training.memory_plan import CARDS, SUMMARIES, Setup, estimate, largest_clips, ways

    if size[0] % 16 or size[1] % 16 or size[2] < 5 or size[2] % 4 != 1:
        near = (*(max(16, round(side / 16) * 16) for side in size[:2]), max(5, round((size[2] - 1) / 4) * 4 + 1))
        raise InputError(
            "Clips are of multiples of 16 pixels and 4n+1 frames, 5 or more: give --size"
            f" {'x'.join(map(str, near))} instead of {'x'.join(map(str, size))}."
        )
    if any(math.isnan(card) for card in vram):
        raise InputError("--vram is no number: give the GB of a GPU.")
    sizes = known_sizes("ex4d")
    if model_dir is not None:
        sizes = transformer_sizes(find_parts("ex4d", (model_dir,), needed=())["transformer"])
    clips, setup, cards = VideoSize(*size), Setup(rank=rank, eight_bit=eight_bit), vram or CARDS
    setups = [*ways(setup), *(replace(setup, gpus=gpus, eight_bit=False) for gpus in _SHARDED)]
    found = [estimate(sizes, clips, each) for each in setups]
    largest = {card: largest_clips(sizes, setup, card * _GB) for card in cards}
    lines = [f"clips of {size[0]}x{size[1]}x{size[2]}, GB on each GPU; arithmetic, not measured"]
    names = [f"{card:g} GB" for card in cards]
    lines.append(_row("", "weights", "trained", "step", "all", *names))
    lines += [
        _row(
            _called(each),
            *(f"{bytes_ / _GB:.1f}" for bytes_ in _parts(each)),
            *("fits" if each.fits(card * _GB) else "-" for card in cards),
        )
        for each in found
    ]
    lines += [f"{_called(each):<14} {SUMMARIES[each.setup.base]}" for each in found if each.setup.gpus == 1]
    for card, fitting in largest.items():
        if fitting is None:
            lines.append(f"one GPU of {card:g} GB holds none of the usual sizes")
            continue
        clip, way = fitting
        lines.append(
            f'one GPU of {card:g} GB holds clips of up to {clip.width}x{clip.height}x{clip.frames}, base "{way.base}"'
        )
    console.result(
        {
            "size": asdict(clips),
            "ways": [_plain(each, cards) for each in found],
            "largest": {
                f"{card:g}": None if fitting is None else {**asdict(fitting[0]), "base": fitting[1].base}
                for card, fitting in largest.items()
            },
        },
        "\n".join(lines),
    )


def _called(each: Estimate) -> str:
    return each.setup.base if each.setup.gpus == 1 else f"sharded over {each.setup.gpus}"


def _parts(each: Estimate) -> tuple[int, int, int, int]:
    return each.weights_bytes, each.trained_bytes, each.step_bytes, each.vram_bytes


def _plain(each: Estimate, cards: tuple[float, ...]) -> dict[str, Any]:
    names = ("weights_bytes", "trained_bytes", "step_bytes", "vram_bytes")
    fits = {f"{card:g}": each.fits(card * _GB) for card in cards}
    return {
        "base": each.setup.base,
        "gpus": each.setup.gpus,
        **dict(zip(names, _parts(each), strict=True)),
        "fits": fits,
    }


def _row(*cells: str) -> str:
    return f"{cells[0]:<14} " + " ".join(f"{cell:>8}" for cell in cells[1:])
