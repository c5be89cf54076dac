# SPDX-License-Identifier: GPL-3.0-or-later
"""Brings the connection about: by starting a sidecar, or at the address in the preferences."""

import ipaddress
import logging
import time
from pathlib import Path
from urllib.parse import urlsplit

import bpy

from ..client import Server
from ..errors import UserError
from ..preferences import own_folder, preferences
from . import waiting
from .connection import Connection, check
from .process import find_executable
from .ticking import connection, every_tick, no_longer

READY_SECONDS = 90.0  # that a script waits for a sidecar that starts
LOST_SECONDS = 10.0  # … for one that does not answer
_log = logging.getLogger(__name__)


def start_sidecar() -> None:
    """Start a sidecar as the preferences say, or take the one that runs. Raises: UserError."""
    chosen = preferences()
    options = ["--data", str(Path(bpy.path.abspath(chosen.data_folder)))] if chosen.data_folder else []
    try:
        command = find_executable(bpy.path.abspath(chosen.executable))
    except UserError:
        if connection().take_local():  # one that runs already needs no program to start it
            return
        raise
    connection().start(command, options, own_folder("sidecar"))


def connect_address() -> None:
    """Connect to the preferences' address. Raises: UserError."""
    chosen = preferences()
    if not chosen.address or not chosen.token:
        raise UserError("Connecting needs the address and the token of a sidecar: enter both in the preferences.")
    server = Server(whole_address(chosen.address), chosen.token.strip())
    check(server)  # first: what is no address says nothing about where it leads
    if not bpy.app.online_access and not is_loopback(server.address):
        raise UserError(
            "{address} is another machine and Blender is set to stay offline: switch on Allow Online Access in its "
            "preferences (System).",
            address=server.address,
        )
    connection().connect(server)


def connect_at_start() -> None:
    """Where the preferences ask for it, connect to their address, as soon as Blender is up."""
    every_tick(_first_tick)


def _first_tick() -> None:
    no_longer(_first_tick)
    if preferences().use_address:
        try:
            connect_address()
        except UserError as error:
            _log.warning("%s", error)


def whole_address(typed: str) -> str:
    """An address as it was typed, with the `http://` that people leave out."""
    typed = typed.strip().rstrip("/")
    return typed if not typed or "://" in typed else f"http://{typed}"


def is_loopback(address: str) -> bool:
    """Whether a whole address means this machine, so that nothing goes into a network."""
    try:
        host = urlsplit(address).hostname or ""
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def required_connection() -> Connection:
    """The connection, ready; in background mode a sidecar is started and waited for. Raises: UserError."""
    now = connection()
    if waiting.operators_wait() and now.state != "ready":
        _wait(now)
    if now.state == "ready":
        return now
    if now.state in ("starting", "lost"):
        raise UserError(now.message)
    raise UserError(
        now.message
        if now.state == "failed" and now.message
        else "There is no sidecar: press Start in the Sidecar panel, or connect to one."
    )


def _wait(now: Connection) -> None:
    if now.state in ("off", "failed"):  # a script that asks again has a reason to
        chosen = preferences()
        if chosen.use_address:
            connect_address()
        else:
            start_sidecar()
    begun = time.monotonic()
    while now.state in ("starting", "lost") and time.monotonic() - begun < READY_SECONDS:
        if now.state == "lost" and time.monotonic() - begun > LOST_SECONDS:
            break
        now.step()  # and no full tick: this runs inside an operator, where nothing else may happen
        time.sleep(0.02)
