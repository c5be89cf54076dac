"""`ex4d depth`: the depth estimators."""

from __future__ import annotations

from typing import Any

import click

from ex4d_core.commands.console import Console, command
from ex4d_core.errors import InputError

_PARITY = {
    "own": "our own method",
    "library": "the library's own code",
    "tested": "tested: agrees with the official code",
    "untested": "untested: not compared with the official code",
}


@click.group("depth")
def depth_command() -> None:
    """The estimators that tell how far away things are."""


@command(
    "list",
    """
  ex4d depth list
  ex4d depth list --json
""",
)
def _list(console: Console) -> None:
    """What there is, under which licence, what it yields, and whether it is ready here."""
    from ex4d_core.depth.registry import default_estimator, estimator_names

    default = default_estimator()
    rows = [estimator_row(name) for name in estimator_names()]
    width = max(len(row["name"]) for row in rows)
    lines: list[str] = []
    for row in rows:
        licence = row["licence"] if row["commercial"] else f"NON-COMMERCIAL: {row['licence']}"
        state = "ready" if row["ready"] else "missing"
        mark = "; the default here" if row["name"] == default else ""
        lines += [
            f"{state:7}  {row['name']:{width}}  {row['summary']}{mark}",
            f"{'':7}  {'':{width}}  {licence}; {_download(row)}; {row['device']}",
            f"{'':7}  {'':{width}}  yields {', '.join(row['yields'])}; {_PARITY[row['parity']]}",
            *(f"{'':7}  {'':{width}}  -> {InputError(sentence).remedy}" for sentence in row["missing"]),
        ]
    console.result({"estimators": rows, "default": default}, "\n".join(lines))


def estimator_row(name: str) -> dict[str, Any]:
    """What there is to know about an estimator on this machine, as JSON has it."""
    from ex4d_core.depth.registry import download_bytes, estimator_facts, missing

    facts, lacks = estimator_facts(name), missing(name)
    yields = [f"{facts.units} depth" if facts.units != "as given" else "depth as it is given"]
    yields += ["the lens"] if facts.intrinsics else []
    yields += ["the camera's path"] if facts.poses else []
    return {
        "name": name,
        "summary": facts.summary,
        "licence": facts.licence,
        "commercial": facts.commercial,
        "download_bytes": download_bytes(name),
        "device": facts.device,
        "units": facts.units,
        "per_frame": facts.per_frame,
        "intrinsics": facts.intrinsics,
        "poses": facts.poses,
        "yields": yields,
        "parity": facts.parity,
        "checkout": bool(facts.checkout),
        "ready": not lacks,
        "missing": list(lacks),
    }


def _download(row: dict[str, Any]) -> str:
    from ex4d_core.models import gigabytes

    if row["checkout"]:
        return "from a folder of yours"
    return f"{gigabytes(row['download_bytes'])} to download" if row["download_bytes"] else "nothing to download"


depth_command.add_command(_list)
