"""`ex4d train export`."""

from __future__ import annotations

from pathlib import Path

import click

from ex4d_core.commands.console import Console, command

_WORDS = ("schedule", "targets", "dtype", "base")
"""Settings that are no numbers, and no paths."""


@command(
    "export",
    """
  ex4d train export street/checkpoints/step-0002000 -o street-adapter
  ex4d generate SHOT --engine ex4d --model-dir street-adapter
""",
)
@click.argument("checkpoint", type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="Folder to write.")
@click.option("--raw", is_flag=True, help="The weights of the last step, not their moving average.")
@click.option("--overwrite", is_flag=True, help="Replace an exported folder.")
def export_command(console: Console, checkpoint: Path, output: Path, raw: bool, overwrite: bool) -> None:
    """Write what was trained for other tools: ex4d.ckpt, a LoRA for diffusers and peft, a model card.

    CHECKPOINT is a folder of `ex4d train run`: one of its checkpoints, or `out`, of which the newest is taken.
    """
    from ex4d_core.files import require_outside
    from ex4d_core.training.export import CARD, Origin, export
    from ex4d_core.training.state import newest, read_saved

    saved = newest(checkpoint) or read_saved(checkpoint)
    require_outside(saved.folder, output)
    told = saved.told
    averaged = bool(told.config.get("ema")) and not raw
    # a card is made to be published: no paths of this machine, which are all other texts
    settings = {n: v for n, v in told.config.items() if isinstance(v, int | float) or n in _WORDS}
    adapter = saved.last() if raw else saved.adapter()
    export(adapter, Origin(told.step, averaged, told.clips, told.size, settings), output, overwrite)
    values = {"folder": str(output), "step": told.step, "averaged": averaged, "clips": len(told.clips)}
    text = f"step {told.step}, learnt from {len(told.clips)} clips: {output} ({CARD} tells how to use it)"
    console.result(values, text)
