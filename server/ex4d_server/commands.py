"""`ex4d serve` and `ex4d cache`."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Any

import click

from ex4d_core.commands.console import Console, command


class Finite(click.FloatRange):
    """A number that is one: neither infinite nor NaN."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value!r} is not a number that can be used here.", param, ctx)
        return number


_DATA = click.option("--data", type=click.Path(path_type=Path), help="Data folder; default the platform's own.")


@command(
    "serve",
    """
  ex4d serve
  ex4d serve --data D:/ex4d --cache-gb 200
  ex4d serve --host 0.0.0.0 --port 8188 --token-file token.txt
""",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=0, show_default=True, help="0: any that is free.")
@_DATA
@click.option(
    "--parent-pid",
    type=click.IntRange(1, 2**31 - 1),
    metavar="N",
    help="Stay while this process lives; then finish and end.",
)
@click.option("--exit-when-idle", type=Finite(min=0, min_open=True), metavar="MIN", help="End after MIN idle minutes.")
@click.option("--token-file", type=click.Path(path_type=Path), help="The token; needed for other machines.")
@click.option("--cache-gb", type=Finite(min=0), default=50, show_default=True, help="Evict finished stages beyond it.")
@click.option("--worker-silence", type=Finite(min=1), default=30, hidden=True)  # seconds until a worker counts as hung
def serve_command(
    console: Console,
    host: str,
    port: int,
    data: Path | None,
    parent_pid: int | None,
    exit_when_idle: float | None,
    token_file: Path | None,
    cache_gb: float,
    worker_silence: float,
) -> None:
    """Run the sidecar, the server that works for Blender.

    Prints its address. Address and token are found by Blender in a file that only you can read. Ctrl-C ends it;
    what runs goes on at the next start.
    """
    from ex4d_server.folders import DataFolder, default_data
    from ex4d_server.guard import is_loopback
    from ex4d_server.lifecycle import Life, address_file, new_token, read_token, require_token_for, serve
    from ex4d_server.logs import log_to
    from ex4d_server.sidecar import Settings

    require_token_for(host, token_file)
    token = read_token(token_file) if token_file else new_token()
    folder = (data or default_data()).absolute()
    settings = Settings(
        data=folder,
        token=token,
        host=host,
        cache_bytes=round(cache_gb * 1e9),
        heartbeat_seconds=worker_silence,
    )

    def on_ready(address: str) -> None:
        facts = {"address": address, "data": str(folder), "address_file": str(address_file(folder))}
        console.result(facts, f"The sidecar listens on {address}, data in {folder}; Ctrl-C ends it.")
        if token_file is not None and not is_loopback(host):
            console.say(
                f"Other machines can send jobs and read results at port {address.rsplit(':', 1)[1]} of this one, with "
                f"the token in {token_file} and without encryption: use it in a network that you trust."
            )
        sys.stdout.flush()

    DataFolder(folder).claim()
    with log_to(folder / "logs"):
        waiting = serve(settings, port, Life(parent_pid, exit_when_idle), on_ready)
    if waiting:
        console.say(f"Ended; {waiting} unfinished {'job goes' if waiting == 1 else 'jobs go'} on at the next start.")


@command("show", "  ex4d cache show\n  ex4d cache show --data D:/ex4d --json")
@_DATA
def show_command(console: Console, data: Path | None) -> None:
    """List finished stages; `pinned` are needed by a job or a scene."""
    from dataclasses import asdict

    from ex4d_server.caching import open_cache

    with open_cache(data) as cache:
        found = cache.list()
    kinds = sorted({entry.kind for entry in found})
    lines: list[str] = []
    for kind in kinds:
        own = [entry for entry in found if entry.kind == kind]
        pinned, oldest = sum(e.bytes for e in own if e.pinned), min(e.made_at for e in own)[:10]
        size = _size(sum(e.bytes for e in own))
        lines.append(f"{kind:9} {len(own):5} {size:>9}, {_size(pinned)} pinned, since {oldest}")
    total = sum(entry.bytes for entry in found)
    lines.append(f"{'total':9} {len(found):5} {_size(total):>9} in {cache.folder.root}")
    values = {"data": str(cache.folder.root), "bytes": total, "entries": [asdict(entry) for entry in found]}
    console.result(values, "\n".join(lines))


@command("prune", "  ex4d cache prune\n  ex4d cache prune --to-gb 20")
@_DATA
@click.option("--to-gb", type=Finite(min=0), default=0, show_default=True, help="Leave this much.")
def prune_command(console: Console, data: Path | None, to_gb: float) -> None:
    """Remove finished stages that nothing needs, oldest first; also while the sidecar runs."""
    from ex4d_server.caching import open_cache

    with open_cache(data) as cache:
        gone = cache.evict(round(to_gb * 1e9))
        left = cache.total_bytes()
    freed = sum(entry.bytes for entry in gone)
    text = f"Removed {len(gone)} stages, {_size(freed)}; {_size(left)} are left."
    console.result({"removed": len(gone), "freed_bytes": freed, "left_bytes": left}, text)


def _size(size: int) -> str:
    return f"{size / 1e9:.2f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"


cache_command = click.Group(
    "cache", commands=[show_command, prune_command], help="Show and prune what the sidecar keeps on disk."
)
"""`ex4d cache`."""
