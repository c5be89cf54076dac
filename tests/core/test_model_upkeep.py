"""Models that are there: verified, repaired, removed, and the commands for it."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from fake_hub import COMMIT, Hub, content
from model_download_cases import FILES, LORA, OURS, PREVIEW, VACE, run, serving_models

from ex4d_core import models
from ex4d_core.cli import main
from ex4d_core.errors import CancelledError, MissingDependencyError
from ex4d_core.model_check import drop_damaged, remove, verify
from ex4d_core.model_download import download
from ex4d_core.model_store import repository
from ex4d_core.models import location, state


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """See `serving_models`."""
    with serving_models(tmp_path, monkeypatch) as served:
        yield served


def test_verify_finds_what_is_damaged_and_repair_fetches_only_that(hub: Hub) -> None:
    folder = download(VACE)
    whole = verify(VACE)
    assert whole.good
    assert list(whole.whole) == OURS
    victim = "text_encoder/model-1.safetensors"
    data = bytearray(FILES[victim])
    data[1000] ^= 1
    os.chmod((folder / victim).resolve(), 0o644)
    (folder / victim).write_bytes(bytes(data))
    assert state(VACE) == "ready", "its size is right"
    seen: list[int] = []
    found = verify(VACE, on_progress=lambda done, *_: seen.append(done))
    assert found.damaged == (victim,)
    assert not found.good
    assert seen[-1] == 3
    drop_damaged(found)
    assert verify(VACE).missing == (victim,)
    before = hub.sent
    download(VACE)
    assert hub.sent - before == len(FILES[victim])
    assert verify(VACE).good
    with pytest.raises(CancelledError):
        verify(VACE, cancelled=lambda: True)
    with pytest.raises(MissingDependencyError, match="ex4d models download ex4d-lora --accept` \\(0.4 GB\\)"):
        verify(LORA)


def test_verify_knows_the_hashes_of_others_downloads_by_their_names(hub: Hub, tmp_path: Path) -> None:
    folder = download(VACE)
    shutil.rmtree(tmp_path / "state")
    assert verify(VACE).good
    (folder / OURS[0]).resolve().write_bytes(b"{!")
    by_hand = folder / "vae/config.json"
    by_hand.write_bytes(b"{}")
    found = verify(VACE)
    assert found.damaged == (OURS[0],)
    assert found.unknown == ("vae/config.json",)


def test_remove_takes_what_belongs_to_the_model_and_nothing_else(hub: Hub, tmp_path: Path) -> None:
    encoder = replace(VACE, name="encoder", patterns=("text_encoder/*", "tokenizer/*"))
    rest = replace(VACE, name="rest", patterns=("model_index.json", "scheduler/*", "transformer/*", "vae/*"))
    folder = download(encoder)
    download(rest)
    other = tmp_path / "hub/models--somebody--else/snapshots/1234"
    other.mkdir(parents=True)
    (other / "weights").write_bytes(b"precious")
    hub.repositories[LORA.hub_id] = {"ex4d.ckpt": content(50_000, 6)}
    download(LORA)
    expected = sum(len(FILES[path]) for path in OURS if encoder.holds(path))
    assert remove(encoder) == expected
    assert state(encoder) == "absent"
    assert state(rest) == state(LORA) == "ready"
    assert verify(rest).good
    assert remove(rest) == sum(len(FILES[path]) for path in OURS if rest.holds(path))
    assert not folder.exists()
    assert (other / "weights").read_bytes() == b"precious"
    assert remove(rest) == 0


def test_remove_takes_what_a_broken_download_left(hub: Hub) -> None:
    hub.seconds_per_piece = 0.05
    cancelled = threading.Event()
    threading.Timer(0.3, cancelled.set).start()
    with pytest.raises(CancelledError):
        download(VACE, cancelled=cancelled.is_set)
    assert state(VACE) == "incomplete"
    assert remove(VACE) > 16_000
    assert state(VACE) == "absent"


def test_the_command_downloads_into_a_folder_lists_verifies_and_removes(hub: Hub, tmp_path: Path) -> None:
    hub.repositories[LORA.hub_id] = {"ex4d.ckpt": content(50_000, 6)}
    folder = tmp_path / "my weights"
    refused = run(hub, "download", "ex4d-lora", "--folder", str(folder))
    _, errors = refused.communicate()
    assert refused.returncode == 1
    assert "add --accept if that suits you" in errors
    assert not hub.asked
    done = run(hub, "download", "ex4d-lora", "vace-1.3b", "--accept", "--folder", str(folder), "--json")
    output, errors = done.communicate()
    assert done.returncode == 0, errors
    where = json.loads(output)["models"]
    assert set(where) == {"ex4d-lora", "wan2.1-vace-1.3b"}
    assert all(Path(path).is_relative_to(folder) for path in where.values())
    assert location(VACE) == Path(where["wan2.1-vace-1.3b"]), "it is found again without being told"
    assert models.folders("vace-1.3b") == models.require("vace-1.3b") == [Path(where["wan2.1-vace-1.3b"])]
    assert "hf_secret" not in errors
    assert "~19.0 GB" not in errors


def test_the_command_lists_verifies_repairs_and_removes(hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    def ex4d(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main(["models", *arguments])
        said = capsys.readouterr()
        return int(ended.value.code or 0), said.out, said.err

    assert ex4d("verify") == (0, "There are no models on this machine.\n", "")
    code, said, errors = ex4d("download", "vace-1.3b", "ex4d-lora", "--accept")
    assert code == 0
    assert f"Wan2.1 VACE 1.3B: 19.0 GB from {hub.address}/Wan-AI/Wan2.1-VACE-1.3B-diffusers into " in errors
    (folder, _) = (Path(line.split(": ", 1)[1]) for line in said.splitlines())
    code, said, _ = ex4d("list")
    assert re.search(r"^ready +wan2.1-vace-1.3b +~19.0 GB  vace-1.3b$", said, re.M)
    assert re.search(r"^absent +taew2.1 +22.6 MB .*\(optional\)$", said, re.M)
    assert "NON-COMMERCIAL, needs --accept: none stated" in said
    rows = {row["name"]: row for row in json.loads(ex4d("list", "--json")[1])["models"]}
    assert (rows[LORA.name]["revision"], rows[LORA.name]["state"]) == (COMMIT, "ready")
    code, said, _ = ex4d("where", "vace-1.3b")
    assert said == f"wan2.1-vace-1.3b  ready        {folder}\n"
    victim = folder / "tokenizer/spiece.model"
    victim.resolve().write_bytes(bytes(5000))
    code, said, _ = ex4d("verify")
    assert code == 1
    assert "  damaged: tokenizer/spiece.model\n  -> ex4d models verify wan2.1-vace-1.3b --repair downloads" in said
    assert "ex4d-lora: 1 files are what they should be" in said
    code, said, _ = ex4d("verify", "vace-1.3b", "--repair")
    assert (code, "damaged" in said) == (0, False)
    assert victim.read_bytes() == FILES["tokenizer/spiece.model"]
    assert ex4d("remove", VACE.name)[:2] == (0, "wan2.1-vace-1.3b: 3.1 MB freed\n")
    code, _, errors = ex4d("remove", VACE.name)
    assert (code, errors) == (
        1,
        "ex4d: The model wan2.1-vace-1.3b is not on this machine: there is nothing to remove.\n",
    )
    assert ex4d("remove", "vace-1.3b")[2] == (
        "ex4d: No model of vace-1.3b is on this machine: there is nothing to remove.\n"
    )
    preview = repository(Path(os.environ["HF_HUB_CACHE"]), PREVIEW.hub_id) / "snapshots" / PREVIEW.revision
    preview.mkdir(parents=True)
    (preview / "taew2_1.safetensors").touch()
    assert ex4d("download", "vace-1.3b")[0] == 0
    code, said, errors = ex4d("remove", "vace-1.3b")
    assert (code, said) == (0, "wan2.1-vace-1.3b: 3.1 MB freed\n")
    assert "taew2.1 stays: ex4d, vace-14b can use it, too.\n" in errors
    code, _, errors = ex4d("download", "wan")
    assert re.search(
        r"taew2.1, .*, or an engine or a depth estimator: .*depth-pro, .*ex4d, vace-1.3b, vace-14b\.$", errors
    )


@pytest.mark.timed
def test_ctrl_c_leaves_what_came_for_the_next_time(hub: Hub) -> None:
    hub.seconds_per_piece = 0.1
    process = run(hub, "download", "wan2.1-vace-1.3b")
    deadline = time.monotonic() + 20
    while hub.sent < 100_000 and time.monotonic() < deadline:
        time.sleep(0.02)
    assert state(VACE) == "downloading"
    process.send_signal(signal.SIGINT)
    began = time.monotonic()
    _, errors = process.communicate(timeout=10)
    assert time.monotonic() - began < 2
    assert process.returncode == 130
    assert errors.splitlines()[-1] == "ex4d: Interrupted: run the same command again to go on."
    assert state(VACE) == "incomplete"
    hub.seconds_per_piece = 0
    download(VACE)
    assert verify(VACE).good
    assert sum(hub.begins()) >= 50_000
