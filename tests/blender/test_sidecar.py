"""The connection to a real sidecar: started, found, stopped, killed, frozen, and found again."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import bpy
import pytest
from conftest import EXTENSION, module
from sidecar_steps import as_with_windows, started, tick_for, tick_until


def test_start_and_stop(own_sidecar: Any) -> None:
    now = started()
    assert now.is_local
    assert now.health["api"] == 1
    assert now.capabilities["depth_estimators"]
    assert module("sidecar").jobs() == []
    pid = now.server.pid
    assert bpy.ops.ex4d.stop_sidecar() == {"FINISHED"}
    assert now.state == "off"
    assert now.server is None
    tick_until(lambda: not module("client").discover(), what="its end")
    again = started()  # the jobs' folder is free again
    assert again.server.pid != pid


def failing(tmp_path: Path, name: str, lines: str) -> str:
    """An executable that does something else than to serve."""
    path = tmp_path / name
    path.write_text(f"#!/bin/sh\n{lines}\n")
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("echo 'libcuda is missing' >&2; exit 3", r"ended at its start with code 3 \(libcuda is missing\): look into"),
        ("kill -9 $$", "signal 9"),
        (
            'echo \'{"error": {"code": "x", "message": "The disk is full: free some."}}\'; exit 1',
            "The disk is full: free",
        ),
        (
            'echo \'{"error": {"code": "x", "message": "Jobs are open: stop it, or give another --data."}}\'; exit 1',
            "stop it, or give another Data Folder in the preferences",
        ),
    ],
)
def test_a_sidecar_that_dies_at_its_start_is_started_once(
    own_sidecar: Any, tmp_path: Path, lines: str, said: str
) -> None:
    count = tmp_path / "count"
    own_sidecar.executable = failing(tmp_path, "ex4d", f"echo x >> {count}\n{lines}")
    with pytest.raises(RuntimeError, match=said):
        bpy.ops.ex4d.start_sidecar()
    tick_for(1.0)
    now = module("sidecar").connection()
    assert now.state == "failed"
    assert count.read_text() == "x\n"


def test_no_executable(own_sidecar: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own_sidecar.executable = str(tmp_path / "nothing")
    with pytest.raises(RuntimeError, match="nothing cannot be run: choose"):
        bpy.ops.ex4d.start_sidecar()
    own_sidecar.executable = ""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    if module("sidecar.process").shutil.which("ex4d", path="/opt/homebrew/bin:/usr/local/bin") is None:
        with pytest.raises(RuntimeError, match="not on this machine's path: choose"):
            bpy.ops.ex4d.start_sidecar()
    failing(tmp_path, "ex4d", "exit 5")  # and found once it is there
    with pytest.raises(RuntimeError, match="code 5"):
        bpy.ops.ex4d.start_sidecar()


def test_killed_it_starts_again_but_not_for_ever(own_sidecar: Any) -> None:
    now = started()
    for death in range(1, 3):
        pid = now.server.pid
        os.kill(pid, signal.SIGKILL)
        tick_until(lambda pid=pid: now.state == "ready" and now.server.pid != pid, what=f"start {death}")
    os.kill(now.server.pid, signal.SIGKILL)
    tick_until(lambda: now.state == "failed", what="the end")
    assert "has died 3 times" in now.message
    started()  # by hand, at any time


def test_ended_by_somebody_else_is_off_and_found_again(own_sidecar: Any, tmp_path: Path) -> None:
    now = started()
    module("client").Client(now.server).post("/v1/shutdown")
    tick_until(lambda: now.state == "off", what="its end")
    assert now.message == "The sidecar has ended."
    started()
    module("sidecar.ticking").reset()  # as another Blender, which has started none
    now = module("sidecar").connection()
    tick_until(lambda: now.state == "ready", what="the one that runs")
    assert now.is_local
    assert not now.started_here
    bpy.ops.ex4d.disconnect_sidecar()
    tick_for(2.5)
    assert now.state == "off"  # until somebody asks
    assert bpy.ops.ex4d.find_sidecar() == {"FINISHED"}
    tick_until(lambda: now.state == "ready", what="the one that runs")


def test_frozen_it_is_lost_and_comes_back(own_sidecar: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    now = started()
    patience = module("sidecar.watch").SILENCE_SECONDS
    monkeypatch.setattr(module("sidecar.watch"), "SILENCE_SECONDS", 1.0)
    os.kill(now.server.pid, signal.SIGSTOP)
    tick_until(lambda: now.state == "lost", what="the loss")
    assert "silent" in now.message
    monkeypatch.setattr(module("sidecar.watch"), "SILENCE_SECONDS", patience)  # one of a busy machine is slow, not lost
    as_with_windows(monkeypatch)
    with pytest.raises(module("errors").UserError, match="silent"):
        module("sidecar").required_connection()
    os.kill(now.server.pid, signal.SIGCONT)
    tick_until(lambda: now.state == "ready", what="the answer")


def test_an_announcement_left_by_a_crash_is_no_sidecar(
    own_sidecar: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process has got the number of the one that crashed."""
    monkeypatch.setattr(module("sidecar.connection"), "UNANSWERED_SECONDS", 1.0)
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    folder = tmp_path / "state" / "sidecars"
    folder.mkdir(parents=True)
    now = module("sidecar").connection()
    with subprocess.Popen(["sleep", "600"]) as other:
        try:
            left = {"address": f"http://127.0.0.1:{port}", "token": "t" * 20, "pid": other.pid}
            left |= {"version": "0", "api": 1, "data": str(tmp_path / "old")}
            (folder / "old.json").write_text(json.dumps(left))
            tick_until(lambda: now.state != "off", what="the look")
            assert now.state == "starting"  # it may just be slow
            tick_until(lambda: now.state != "starting", what="the end of patience")
            assert now.state == "off"
            assert started().server.pid != other.pid
        finally:
            other.kill()


def test_logs_hide_secrets(own_sidecar: Any) -> None:
    masked = module("sidecar.operators").masked
    home = str(Path.home())
    assert (
        masked(f"{home}/clip.mp4 Authorization: Bearer abcdefgh12345678") == "~/clip.mp4 Authorization: Bearer (hidden)"
    )
    assert "s3cret" not in masked('{"token": "s3cret-0123456789"}')


@pytest.fixture
def only_log(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A log that *Open Log* opens."""
    log = tmp_path / "sidecar.log"
    log.write_text("x")
    monkeypatch.setattr(module("sidecar.operators"), "log_file", lambda: log)
    return log


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="these have a program of their own")
@pytest.mark.parametrize(
    ("lines", "reason"),
    [(None, "xdg-open: No such file"), ("exit 3", "xdg-open: 3")],
    ids=["none", "it gives up"],
)
def test_a_log_that_nothing_here_opens(
    extension: Any,
    only_log: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    lines: str | None,
    reason: str,
) -> None:
    if lines:
        failing(tmp_path, "xdg-open", lines)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RuntimeError) as caught:
        bpy.ops.ex4d.sidecar_log()
    (sentence,) = str(caught.value).strip().splitlines()
    assert f"No program here opens {only_log} ({reason}" in sentence
    assert "Traceback" not in "".join(capfd.readouterr())


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="these have a program of their own")
@pytest.mark.parametrize("lines", ['echo "$1" > "$1.opened"', 'echo "$1" > "$1.opened"; exec sleep 3'])
def test_a_log_is_opened_and_not_waited_for(
    extension: Any, only_log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lines: str
) -> None:
    failing(tmp_path, "xdg-open", lines)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setattr(module("sidecar.opening"), "_PATIENCE_SECONDS", 0.5)
    begun = time.monotonic()
    assert bpy.ops.ex4d.sidecar_log() == {"FINISHED"}
    assert time.monotonic() - begun < 5
    assert only_log.with_name("sidecar.log.opened").read_text().strip() == str(only_log)


def test_disabling_ends_what_runs_here(own_sidecar: Any) -> None:
    now = started()
    pid = now.server.pid
    bpy.ops.preferences.addon_disable(module=EXTENSION)
    try:
        assert not [thread for thread in threading.enumerate() if thread.name.startswith("ex4d")]
        assert not hasattr(bpy.types, "EX4D_PT_sidecar")
        os.kill(pid, 0)  # its jobs go on
    finally:
        bpy.ops.preferences.addon_enable(module=EXTENSION)


def test_a_frozen_one_can_be_stopped(own_sidecar: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    as_with_windows(monkeypatch)
    now = module("sidecar").connection()
    bpy.ops.ex4d.start_sidecar()
    tick_until(lambda: now.state == "ready", what="the sidecar")
    monkeypatch.setattr(module("sidecar.watch"), "SILENCE_SECONDS", 1.0)
    pid = now.server.pid
    os.kill(pid, signal.SIGSTOP)
    tick_until(lambda: now.state == "lost", what="the loss")
    bpy.ops.ex4d.stop_sidecar()
    assert now.state == "off"
    os.kill(pid, signal.SIGCONT)
    tick_until(lambda: not module("sidecar.process").living(), what="its end")


def test_an_address_that_is_wrong_does_not_stay(extension: Any) -> None:
    """Refused within seconds, and forgotten: the next import is not sent there."""
    chosen = module("preferences").preferences()
    before = chosen.address, chosen.token, chosen.use_address
    for address in ("http://127.0.0.1:9", "http://[::1"):
        began = time.monotonic()
        with pytest.raises(RuntimeError):
            bpy.ops.ex4d.connect_sidecar(address=address, token="x" * 40)
        assert time.monotonic() - began < 40
        assert (chosen.address, chosen.token, chosen.use_address) == before
        assert module("sidecar").connection().state in ("off", "failed")
