"""Files of results over HTTP: parts, versions, and what asks for neither."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from conftest import Running
from raw_http import Answer, ask

NAME = "output.mp4"


@pytest.fixture(scope="module")
def data(reshot: dict[str, Any]) -> bytes:
    """The file's bytes on disk."""
    return Path(reshot["result"]["path"], NAME).read_bytes()


def get(sidecar: Running, **headers: str) -> Answer:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return ask(sidecar.server, "GET", f"/v1/jobs/reshot/files/{NAME}", headers=named)


def test_a_whole_file(sidecar: Running, data: bytes) -> None:
    answer = get(sidecar)
    assert (answer.status, answer.body) == (200, data)
    assert answer.headers["content-length"] == str(len(data))
    assert answer.headers["accept-ranges"] == "bytes"
    files = ask(sidecar.server, "GET", "/v1/jobs/reshot/files").json()["files"]
    assert answer.headers["etag"] == next(file["etag"] for file in files if file["name"] == NAME)


def test_every_kind_of_part(sidecar: Running, data: bytes) -> None:
    size = len(data)
    assert size > 2000
    for asked, first, last in (
        ("bytes=0-0", 0, 0),
        ("bytes=0-99", 0, 99),
        ("bytes=100-", 100, size - 1),
        (f"bytes={size - 1}-", size - 1, size - 1),
        ("bytes=-1", size - 1, size - 1),
        ("bytes=-500", size - 500, size - 1),
        (f"bytes=-{size + 5}", 0, size - 1),
        (f"bytes=10-{size * 9}", 10, size - 1),
        (f"bytes=0-{size - 1}", 0, size - 1),
    ):
        answer = get(sidecar, Range=asked)
        assert answer.status == 206, asked
        assert answer.body == data[first : last + 1], asked
        assert answer.headers["content-range"] == f"bytes {first}-{last}/{size}", asked
        assert answer.headers["content-length"] == str(last + 1 - first)


def test_parts_that_the_file_does_not_have(sidecar: Running, data: bytes) -> None:
    size = len(data)
    for asked in (f"bytes={size}-", f"bytes={size}-{size + 10}", "bytes=999999999999-", "bytes=-0"):
        answer = get(sidecar, Range=asked)
        answer.problem(416, "bad-range")
        assert answer.headers["content-range"] == f"bytes */{size}", asked


def test_other_ranges_are_ignored(sidecar: Running, data: bytes) -> None:
    for asked in (
        *("bytes=", "bytes=-", "bytes=5-4", "bytes=a-b", "lines=0-5", "bytes 0-5", "bytes=0-1,5-6", "bytes=1.5-2"),
        *("bytes=--5", "bytes=0x0-0x5", "bytes=" + "9" * 5000 + "-", "bytes=\u00b2-5"),
    ):
        answer = get(sidecar, Range=asked)
        assert (answer.status, answer.body) == (200, data), asked


def test_if_range(sidecar: Running, data: bytes) -> None:
    tag = get(sidecar).headers["etag"]
    same = get(sidecar, Range="bytes=7-", If_Range=tag)
    assert (same.status, same.body) == (206, data[7:])
    for other in ('"another"', f"W/{tag}", tag.strip('"'), "Sat, 01 Jan 2000 00:00:00 GMT"):
        changed = get(sidecar, Range="bytes=7-", If_Range=other)
        assert (changed.status, changed.body) == (200, data), other
    beyond = get(sidecar, Range=f"bytes={len(data)}-", If_Range='"another"')
    assert (beyond.status, beyond.body) == (200, data), "a changed file is sent whole"
    get(sidecar, Range=f"bytes={len(data)}-", If_Range=tag).problem(416, "bad-range")


def test_what_is_known_is_not_sent_again(sidecar: Running, data: bytes) -> None:
    tag = get(sidecar).headers["etag"]
    for known in (tag, f"W/{tag}", f'"x", {tag}', "*"):
        answer = get(sidecar, If_None_Match=known)
        assert (answer.status, answer.body) == (304, b""), known
        assert answer.headers["etag"] == tag
    for other in ('"x"', '""', tag[:-2] + '"', ""):
        assert get(sidecar, If_None_Match=other).body == data, other
    assert get(sidecar, If_None_Match=tag, Range="bytes=0-1").status == 304


def test_another_file_has_another_tag(sidecar: Running, reshot: dict[str, Any]) -> None:
    files = ask(sidecar.server, "GET", "/v1/jobs/reshot/files").json()["files"]
    assert len({file["etag"] for file in files}) == len(files)


def test_scenes_are_served_alike(sidecar: Running, reshot: dict[str, Any]) -> None:
    folder = Path(ask(sidecar.server, "GET", "/v1/scenes/reshot").json()["path"])
    files = ask(sidecar.server, "GET", "/v1/scenes/reshot/files").json()["files"]
    assert {file["name"] for file in files} == {
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()
    }
    for file in files:
        on_disk = (folder / file["name"]).read_bytes()
        target = f"/v1/scenes/reshot/files/{file['name']}"
        assert ask(sidecar.server, "GET", target).body == on_disk
        part = ask(sidecar.server, "GET", target, headers={"Range": "bytes=3-9"})
        assert (part.status, part.body) == (206, on_disk[3:10])
