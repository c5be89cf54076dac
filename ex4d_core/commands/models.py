"""`ex4d models`: weights on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ex4d_core.commands.console import Console, command
from ex4d_core.errors import InputError, MissingDependencyError

if TYPE_CHECKING:
    from ex4d_core.models import Model

_folder_option = click.option(
    "--folder",
    type=click.Path(path_type=Path),
    help="A folder for weights of your own; default EX4D_MODELS, or Hugging Face's cache, which other programs share.",
)


@click.group("models")
def models_command() -> None:
    """Download, verify and remove the weights that engines and depth estimators load."""


@command(
    "list",
    """
  ex4d models list
  ex4d models list --json
""",
)
@_folder_option
def _list(console: Console, folder: Path | None) -> None:
    """What there is, what it costs, and what of it is here."""
    from ex4d_core.models import CATALOGUE, gigabytes

    rows = [_facts(model, folder) for model in CATALOGUE]
    width = max(len(model.name) for model in CATALOGUE)
    lines: list[str] = []
    for model, facts in zip(CATALOGUE, rows, strict=True):
        size = f"{'~' if model.approximate else ''}{gigabytes(model.bytes)}"
        licence = model.licence if model.commercial else f"NON-COMMERCIAL, needs --accept: {model.licence}"
        use = f"{', '.join(model.engines)}{' (optional)' if model.optional else ''}"
        lines.append(f"{facts['state']:11}  {model.name:{width}}  {size:>9}  {use}")
        lines.append(f"{'':11}  {model.title}; {licence}")
    console.result({"models": rows}, "\n".join(lines))


@command(
    "download",
    """
  ex4d models download vace-1.3b
  ex4d models download ex4d --accept --folder /mnt/weights
  ex4d models download depth-anything-v2-small
  ex4d models download wan2.1-i2v-14b-480p wan2.1-i2v-14b-480p-q8
""",
)
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@_folder_option
@click.option("--accept", is_flag=True, help="Accept licences that allow no commercial work, or that nobody stated.")
def _download(console: Console, names: tuple[str, ...], folder: Path | None, accept: bool) -> None:
    """Have models on disk, or all that an engine or a depth estimator needs.

    Goes on where an earlier download stopped. Token, proxy, mirror and time-outs are those of Hugging Face's tools:
    `hf auth login`, HTTPS_PROXY, HF_ENDPOINT, HF_HUB_DOWNLOAD_TIMEOUT; HF_HUB_OFFLINE=1 forbids the network.
    """
    from ex4d_core.model_download import check_licence, download
    from ex4d_core.model_hub import require_hub, source
    from ex4d_core.model_store import places
    from ex4d_core.models import environment_left, gigabytes, location, state

    wanted = _named(names)
    for model in wanted:
        if state(model, folder) != "ready":
            check_licence(model, accept)
    where: dict[str, str] = {}
    for model in wanted:
        if location(model, folder) is None:
            require_hub()
            cache = places(model.name, folder)[0]
            console.say(f"{model.title}: {gigabytes(model.bytes)} from {source(model)} into {cache}")
        if environment := environment_left(model):
            console.say(f"{model.title}: about {gigabytes(environment)} for a Python of its own")
        with console.progress() as on_progress:
            where[model.name] = str(download(model, folder, on_progress=on_progress))
    console.result({"models": where}, "\n".join(f"{name}: {path}" for name, path in where.items()))


@command(
    "verify",
    """
  ex4d models verify
  ex4d models verify wan2.1-vace-1.3b --repair
""",
)
@click.argument("names", metavar="[NAME...]", nargs=-1)
@_folder_option
@click.option("--repair", is_flag=True, help="Download again what is damaged or missing.")
def _verify(console: Console, names: tuple[str, ...], folder: Path | None, repair: bool) -> int:
    """Hash every file of the models that are here.

    Needs no network without --repair. Exits with 1 if a file is damaged or missing.
    """
    from ex4d_core.model_check import drop_damaged, verify
    from ex4d_core.model_download import download
    from ex4d_core.models import CATALOGUE, state

    wanted = _named(names) if names else [m for m in CATALOGUE if state(m, folder) in ("ready", "incomplete")]
    results: dict[str, Any] = {}
    lines: list[str] = []
    for model in wanted:
        with console.progress() as on_progress:
            found = verify(model, folder, on_progress=on_progress)
            if repair and not found.good:
                drop_damaged(found)
                download(model, folder, on_progress=on_progress)
                found = verify(model, folder, on_progress=on_progress)
        problems = {name: list(getattr(found, name)) for name in ("damaged", "missing", "unknown")}
        results[model.name] = {"folder": str(found.folder), "files": len(found.whole), **problems}
        lines.append(f"{model.name}: {len(found.whole)} files are what they should be, in {found.folder}")
        lines += [f"  {kind}: {path}" for kind, paths in problems.items() for path in paths]
        if not found.good:
            lines.append(f"  -> ex4d models verify {model.name} --repair downloads them again")
    console.result({"models": results}, "\n".join(lines) or "There are no models on this machine.")
    return 1 if any(one["damaged"] or one["missing"] for one in results.values()) else 0


@command(
    "remove",
    """
  ex4d models remove wan2.1-i2v-14b-480p-q4
  ex4d models remove ex4d
  ex4d models remove ex4d
""",
)
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@_folder_option
def _remove(console: Console, names: tuple[str, ...], folder: Path | None) -> None:
    """Remove models, or all that only one engine uses, and nothing else of the same cache."""
    from ex4d_core.model_check import remove
    from ex4d_core.models import CATALOGUE, gigabytes, state

    here = [model for model in CATALOGUE if state(model, folder) != "absent"]
    wanted: dict[str, Model] = {}
    for name in names:
        if name not in _engines():
            (model,) = _named((name,))
            if model not in here:
                raise MissingDependencyError(f"The model {name} is not on this machine: there is nothing to remove.")
            wanted[name] = model
            continue
        used = [model for model in here if name in model.engines]
        if not used:
            raise MissingDependencyError(f"No model of {name} is on this machine: there is nothing to remove.")
        for model in used:
            if model.engines == (name,):
                wanted[model.name] = model
            else:
                others = ", ".join(engine for engine in model.engines if engine != name)
                console.say(f"{model.name} stays: {others} can use it, too.")
    freed = {model.name: remove(model, folder) for model in wanted.values()}
    console.result({"freed_bytes": freed}, "\n".join(f"{n}: {gigabytes(size)} freed" for n, size in freed.items()))


@command(
    "where",
    """
  ex4d models where
  ex4d models where wan2.1-vace-1.3b
""",
)
@click.argument("names", metavar="[NAME...]", nargs=-1)
@_folder_option
def _where(console: Console, names: tuple[str, ...], folder: Path | None) -> None:
    """The folders in which models lie, or would go."""
    from ex4d_core.models import CATALOGUE

    rows = [_facts(model, folder) for model in (_named(names) if names else CATALOGUE)]
    width = max(len(row["name"]) for row in rows)
    lines = [f"{row['name']:{width}}  {row['state']:11}  {row['folder']}" for row in rows]
    console.result({"models": rows}, "\n".join(lines))


def _facts(model: Model, folder: Path | None) -> dict[str, Any]:
    from ex4d_core.model_store import places
    from ex4d_core.models import location, revision_of, state

    return {
        "name": model.name,
        "title": model.title,
        "state": state(model, folder),
        "bytes": model.bytes,
        "approximate": model.approximate,
        "licence": model.licence,
        "commercial": model.commercial,
        "engines": list(model.engines),
        "optional": model.optional,
        "revision": revision_of(model) or None,
        "where": model.where,
        "folder": str(location(model, folder) or places(model.name, folder)[0]),
    }


def _engines() -> set[str]:
    from ex4d_core.models import CATALOGUE

    return {engine for model in CATALOGUE for engine in model.engines}


def _named(names: tuple[str, ...]) -> list[Model]:
    """Models by their names, or by the name of an engine that needs them."""
    from ex4d_core.models import known_model, needed

    engines = _engines()
    found: dict[str, Model] = {}
    for name in names:
        try:
            chosen = needed(name) if name in engines else (known_model(name),)
        except InputError as error:
            raise InputError(
                f"{str(error)[:-1]}, or an engine or a depth estimator: {', '.join(sorted(engines))}."
            ) from error
        found |= {model.name: model for model in chosen}
    return list(found.values())


for _subcommand in (_list, _download, _verify, _remove, _where):
    models_command.add_command(_subcommand)
