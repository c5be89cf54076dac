"""Uploads in pieces: repeated, lost, damaged, from two clients, and across a crash of the sidecar."""

from __future__ import annotations

import hashlib
import itertools
import random
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from conftest import Running, Start
from hostile_zips import packed
from raw_http import ask, new_id, put_piece, run_job, upload

from ex4d_core.clip import read_lossless
from ex4d_core.images import write_png

SIZE = 300_000
DATA = random.Random(7).randbytes(SIZE)
CUTS = (0, 100_000, 199_999, 200_000, SIZE)


def stored(running: Running, data: bytes, name: str) -> bytes:
    """What the sidecar keeps of a complete upload."""
    key = hashlib.sha256(f"{hashlib.sha256(data).hexdigest()} {name}".encode()).hexdigest()
    return (running.data / "cache" / "upload" / key / name).read_bytes()


def status(running: Running, name: str) -> dict[str, Any]:
    return ask(running.server, "GET", f"/v1/uploads/{name}").json()


def test_pieces_in_order(sidecar: Running) -> None:
    name = new_id("pieces")
    for number, (start, end) in enumerate(itertools.pairwise(CUTS)):
        answer = put_piece(sidecar.server, name, DATA, start, end)
        assert answer.status == (201 if number == 0 else 200)
        document = answer.json()
        assert document == status(sidecar, name)
        assert (document["received"], document["complete"]) == (end, end == SIZE)
        assert (document["size"], document["name"]) == (SIZE, "clip.mp4")
    assert stored(sidecar, DATA, "clip.mp4") == DATA
    assert not (sidecar.data / "uploads" / f"{name}.part").exists()


def test_repeated_and_lost_pieces(sidecar: Running) -> None:
    server, name = sidecar.server, new_id("lossy")
    assert put_piece(server, name, DATA, 0, 100_000).status == 201
    lost = put_piece(server, name, DATA, 200_000, 300_000).problem(409, "upload-gap")
    assert lost["received"] == 100_000
    assert status(sidecar, name)["received"] == 100_000
    for start, end in ((0, 100_000), (50_000, 60_000), (50_000, 150_000)):
        assert put_piece(server, name, DATA, start, end).status == 200
    assert status(sidecar, name)["received"] == 150_000, "a repeated piece takes nothing away"
    assert put_piece(server, name, DATA, 10_000, 20_000).json()["received"] == 150_000
    assert put_piece(server, name, DATA, 150_000).json()["complete"]
    for start, end in ((0, 100_000), (200_000, SIZE)):  # late duplicates
        late = put_piece(server, name, DATA, start, end)
        assert (late.status, late.json()["complete"]) == (200, True)
    assert stored(sidecar, DATA, "clip.mp4") == DATA


def test_a_damaged_piece_is_not_taken(sidecar: Running) -> None:
    server, name = sidecar.server, new_id("damaged")
    put_piece(server, name, DATA, 0, 100_000)
    put_piece(server, name, DATA, 100_000, 200_000, piece_sha256="0" * 64).problem(422, "upload-checksum")
    assert status(sidecar, name)["received"] == 100_000
    put_piece(server, new_id("never"), DATA, piece_sha256="0" * 64).problem(422, "upload-checksum")
    assert put_piece(server, name, DATA, 100_000).json()["complete"]


def test_a_damaged_whole_starts_over(sidecar: Running) -> None:
    server, name = sidecar.server, new_id("wrong-whole")
    wrong = {"sha256": "f" * 64}
    put_piece(server, name, DATA, 0, 200_000, **wrong)
    put_piece(server, name, DATA, 200_000, **wrong).problem(422, "upload-damaged")
    assert (status(sidecar, name)["received"], status(sidecar, name)["complete"]) == (0, False)
    put_piece(server, name, DATA, 200_000, **wrong).problem(409, "upload-gap")
    # the announced file does arrive in the end, though an earlier byte of it was another
    name, other = new_id("mended"), b"x" + DATA[1:]
    put_piece(server, name, other, 0, 200_000, sha256=hashlib.sha256(DATA).hexdigest())
    put_piece(server, name, DATA, 200_000).problem(422, "upload-damaged")
    put_piece(server, name, DATA, 0, 200_000)
    assert put_piece(server, name, DATA, 200_000).json()["complete"]


def test_an_id_is_one_file(sidecar: Running) -> None:
    server, name = sidecar.server, new_id("one")
    put_piece(server, name, DATA, 0, 100_000)
    for changes in ({"name": "other.mp4"}, {"size": SIZE + 1}, {"sha256": "0" * 64}):
        put_piece(server, name, DATA, 0, 100_000, **changes).problem(409, "upload-differs")
    assert ask(server, "DELETE", f"/v1/uploads/{name}").status == 204
    ask(server, "GET", f"/v1/uploads/{name}").problem(404, "no-upload")
    ask(server, "DELETE", f"/v1/uploads/{name}").problem(404, "no-upload")
    assert not (sidecar.data / "uploads" / f"{name}.part").exists()
    assert put_piece(server, name, DATA, 0, 100_000, name="other.mp4").status == 201


def test_what_cannot_be_is_refused(sidecar: Running) -> None:
    server = sidecar.server
    put_piece(server, new_id("no"), DATA, size=SIZE - 1).problem(422, "upload-size")
    put_piece(server, new_id("no"), DATA, offset=1).problem(422, "upload-size")
    put_piece(server, new_id("no"), b"").problem(422, "bad-request")
    put_piece(server, new_id("no"), DATA, 0, 10, size=10**15).problem(413, "upload-too-large")
    put_piece(server, new_id("no"), DATA, 5, 10).problem(409, "upload-gap")
    for bad in (
        *(
            {"name": n}
            for n in ("../clip.mp4", "/clip.mp4", "a/b", "a\\b", "..", ".", "", "con", "a:b", "x" * 201, "a\n")
        ),
        *({"size": n} for n in (0, -1, "x", 2**60)),
        *({"offset": n} for n in (-1, "x", 2**60)),
        *({key: n} for key in ("sha256", "piece_sha256") for n in ("", "0" * 63, "G" * 64, "A" * 64)),
    ):
        put_piece(server, new_id("no"), DATA, 0, 10, **bad).problem(422, "bad-request")
    assert not list((sidecar.data / "uploads").glob("no-*.part"))


def test_an_upload_that_is_not_whole_is_no_footage(sidecar: Running) -> None:
    name = new_id("part")
    put_piece(sidecar.server, name, DATA, 0, 100_000)
    job = run_job(sidecar.server, {"kind": "import", "footage": {"upload": name}})
    assert job["problem"]["code"] == "upload-incomplete"
    assert job["problem"]["received"] == 100_000
    ask(sidecar.server, "PUT", f"/v1/scenes/{name}", {"upload": name}).problem(409, "upload-incomplete")


def test_two_clients_send_the_same_file(sidecar: Running) -> None:
    """Each sends all pieces in order, both at once, obeying what the sidecar answers."""
    name, gate = new_id("both"), threading.Barrier(4)

    def client(number: int) -> None:
        gate.wait()
        received = 0
        while received < SIZE:
            end = min(received + 7_000 + number, SIZE)
            answer = put_piece(sidecar.server, name, DATA, received, end)
            assert answer.status in (200, 201, 409), answer.body
            received = answer.json()["received"]

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(client, range(4)))
    assert status(sidecar, name)["complete"]
    assert stored(sidecar, DATA, "clip.mp4") == DATA


def test_an_upload_goes_on_after_a_crash(start: Start) -> None:
    running = start()
    put_piece(running.server, "big", DATA, 0, 100_000)
    put_piece(running.server, "big", DATA, 100_000, 150_000)
    running.kill()
    again = start()
    assert status(again, "big")["received"] == 150_000
    assert put_piece(again.server, "big", DATA, 150_000).json()["complete"]
    again.kill()
    last = start()
    assert status(last, "big")["complete"]
    assert stored(last, DATA, "clip.mp4") == DATA


def test_a_crash_before_the_last_check(start: Start) -> None:
    """All bytes are on disk, but the sidecar died before it had checked the whole: a client must be told to go on."""
    running = start()
    put_piece(running.server, "big", DATA, 0, 200_000)
    running.kill()
    with (running.data / "uploads" / "big.part").open("ab") as part:
        part.write(DATA[200_000:])
    again = start()
    document = status(again, "big")
    assert not document["complete"]
    assert document["received"] < SIZE
    assert put_piece(again.server, "big", DATA, document["received"]).json()["complete"]
    assert stored(again, DATA, "clip.mp4") == DATA


@pytest.mark.parametrize("inside", ["", "frames/"])
def test_a_zip_of_images_is_footage(sidecar: Running, tiny_clip: Path, tmp_path: Path, inside: str) -> None:
    images: dict[str, bytes] = {}
    for number, frame in enumerate(read_lossless(tiny_clip)):
        write_png(tmp_path / "frame.png", frame)
        images[f"{inside}shot_{number:04d}.png"] = (tmp_path / "frame.png").read_bytes()
    name = upload(sidecar.server, packed(images), "frames.zip")
    job = run_job(sidecar.server, {"kind": "import", "footage": {"upload": name}, "fps": [12, 1]})
    assert job["state"] == "succeeded", job
    scene = ask(sidecar.server, "GET", f"/v1/scenes/{job['id']}").json()
    assert scene["document"]["frames"] == len(images)
    again = run_job(sidecar.server, {"kind": "import", "footage": {"upload": name}, "fps": [12, 1]})
    assert again["stages"][0]["cached"]
