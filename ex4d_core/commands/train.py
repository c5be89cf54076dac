"""`ex4d train`; each of its commands has a module of its own beside this one."""

from __future__ import annotations

import click

from ex4d_core.commands.train_export import export_command
from ex4d_core.commands.train_plan import plan_command
from ex4d_core.commands.train_prepare import prepare_command
from ex4d_core.commands.train_run import run_command


@click.group("train")
def train_command() -> None:
    """Train the LoRA and the geometry encoder on footage of your own.

    See docs/training.md.
    """


train_command.add_command(prepare_command)
train_command.add_command(run_command)
train_command.add_command(plan_command)
train_command.add_command(export_command)
