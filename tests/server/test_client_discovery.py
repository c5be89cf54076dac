"""Finding running sidecars by the files in which they announce themselves."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ex4d_server.client import Server, discover, same_data, state_folder
from scripted_server import TOKEN

GOOD: dict[str, Any] = {"address": "http://127.0.0.1:4000", "pid": os.getpid(), "version": "0.1.0", "api": 1}
GOOD |= {"token": TOKEN, "data": "/data/a", "started_at": "2026-11-21T14:00:00+00:00"}


def announce(folder: Path, name: str, written: int, **changes: Any) -> None:
    file = folder / "sidecars" / f"{name}.json"
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps({key: value for key, value in (GOOD | changes).items() if value is not None}), "utf-8")
    os.utime(file, (written, written))


def test_newest_first(tmp_path: Path) -> None:
    announce(tmp_path, "a", 100, data="/data/old")
    announce(tmp_path, "b", 300, data="/data/new")
    announce(tmp_path, "c", 200)
    assert [server.data for server in discover(tmp_path)] == ["/data/new", "/data/a", "/data/old"]
    assert discover(tmp_path)[1] == Server("http://127.0.0.1:4000", TOKEN, os.getpid(), "0.1.0", 1, "/data/a")
    assert TOKEN not in repr(discover(tmp_path))


def test_nothing_there(tmp_path: Path) -> None:
    assert discover(tmp_path) == []
    assert discover(tmp_path / "missing") == []


def test_dead_processes_are_left_out(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        announce(tmp_path, "a", 100, pid=child.pid)
        assert [server.pid for server in discover(tmp_path)] == [child.pid]
        child.communicate(b"\n")
    assert discover(tmp_path) == []


@pytest.mark.parametrize(
    "changes",
    [
        *({"pid": pid} for pid in (0, -1, 1 << 40, 1 << 80, "x", None, [1])),
        *({"address": address} for address in ("", "ftp://a", "http://a\r\nb", None, 5)),
        *({"token": token} for token in ("", "a b", None)),
        {"api": "x"},
    ],
)
def test_damaged_fields(tmp_path: Path, changes: dict[str, Any]) -> None:
    announce(tmp_path, "good", 100)
    announce(tmp_path, "bad", 200, **changes)
    assert [server.data for server in discover(tmp_path)] == ["/data/a"]


@pytest.mark.parametrize("text", [b"", b"{", b"[1]", b"null", b"\xff\xfe", b"[" * 50_000, b"\0" * 100, b"{}" * 100_000])
def test_damaged_files(tmp_path: Path, text: bytes) -> None:
    announce(tmp_path, "good", 100)
    (tmp_path / "sidecars" / "bad.json").write_bytes(text)
    (tmp_path / "sidecars" / "folder.json").mkdir()
    (tmp_path / "sidecars" / "link.json").symlink_to(tmp_path / "missing")
    assert len(discover(tmp_path)) == 1


def test_state_folder_of_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EX4D_STATE_DIR", str(tmp_path))
    assert state_folder() == tmp_path
    announce(tmp_path, "a", 100)
    assert len(discover()) == 1
    monkeypatch.delenv("EX4D_STATE_DIR")
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("XDG_STATE_HOME", "/state")
    assert state_folder() == Path("/state/ex4d")
    monkeypatch.delenv("XDG_STATE_HOME")
    assert state_folder() == Path.home() / ".local/state/ex4d"
    monkeypatch.setattr(sys, "platform", "darwin")
    assert state_folder() == Path.home() / "Library/Application Support/ex4d"
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setenv("LOCALAPPDATA", "/local")
    assert state_folder() == Path("/local/ex4d")


def test_same_data_after_a_restart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EX4D_STATE_DIR", str(tmp_path))
    announce(tmp_path, "a", 100)
    announce(tmp_path, "b", 200, data="/data/other")
    find = same_data(discover()[1])
    announce(tmp_path, "a", 300, address="http://127.0.0.1:5000", token="new")
    assert find() == Server("http://127.0.0.1:5000", "new", os.getpid(), "0.1.0", 1, "/data/a")
    assert same_data(Server("http://box:1", TOKEN))() is None
