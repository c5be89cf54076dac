"""Downloads against a real HTTP server that speaks the hub's interface: whole, broken off, refused, damaged."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import fake_hub
import pytest
from fake_hub import COMMIT, Hub, content
from huggingface_hub import close_session, constants
from model_download_cases import FILES, LORA, OURS, VACE, serving_models

from ex4d_core import model_download, model_fetch, model_hub, models
from ex4d_core.errors import BusyError, CancelledError, InputError, MissingDependencyError, OutputError, SpaceError
from ex4d_core.model_check import remove, verify
from ex4d_core.model_download import DownloadError, check_licence, download
from ex4d_core.model_store import download_lock, read_record, repository
from ex4d_core.models import known_model, state


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """See `serving_models`."""
    with serving_models(tmp_path, monkeypatch) as served:
        yield served


def test_a_whole_download_is_what_the_hub_has_and_the_cache_is_everybodys(hub: Hub, tmp_path: Path) -> None:
    seen: list[tuple[int, int, str]] = []
    assert state(VACE) == "absent"
    folder = download(VACE, on_progress=lambda *progress: seen.append(progress))
    assert folder == tmp_path / "hub/models--Wan-AI--Wan2.1-VACE-1.3B-diffusers/snapshots" / VACE.revision
    assert {path: (folder / path).read_bytes() for path in OURS} == {path: FILES[path] for path in OURS}
    assert not (folder / "README.md").exists()
    assert seen[-1] == (4, 4, "downloading (MB)")
    assert [done for done, _, _ in seen] == sorted(done for done, _, _ in seen)
    assert state(VACE) == "ready"
    from huggingface_hub import snapshot_download, try_to_load_from_cache

    offline = snapshot_download(VACE.hub_id, revision=VACE.revision, cache_dir=tmp_path / "hub", local_files_only=True)
    assert Path(offline) == folder
    found = try_to_load_from_cache(VACE.hub_id, OURS[0], cache_dir=tmp_path / "hub", revision=VACE.revision)
    assert found is not None
    asked = len(hub.asked)
    assert download(VACE) == folder
    assert len(hub.asked) == asked, "what is there is not asked for"


def test_what_other_programs_downloaded_is_taken_as_it_is(hub: Hub, tmp_path: Path) -> None:
    folder = repository(tmp_path / "hub", VACE.hub_id) / "snapshots" / VACE.revision
    for path in OURS:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(FILES[path])
    assert state(VACE) == "ready"
    assert download(VACE) == folder
    assert not hub.asked
    (folder / "text_encoder/model-2.safetensors").unlink()
    assert state(VACE) == "incomplete", "the list of shards names it"
    download(VACE)
    assert state(VACE) == "ready"
    assert hub.sent == len(FILES["text_encoder/model-2.safetensors"])


def test_a_break_in_mid_file_goes_on_where_it_stopped(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_fetch, "RETRIES", 0)
    hub.break_after, hub.breaks = 70_000, 2
    download(VACE)  # each file that broke had brought something: that is tried again at once
    assert state(VACE) == "ready"
    total = sum(len(FILES[path]) for path in OURS)
    assert hub.sent == total, "no byte came twice"
    assert hub.begins() == [70_000, 70_000]


def test_a_download_that_failed_goes_on_the_next_time(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_fetch, "RETRIES", 0)
    big = "transformer/diffusion_pytorch_model.safetensors"
    hub.break_after, hub.breaks, hub.refused_after_break = 2**20, 1, (403, {})
    transformer = replace(VACE, patterns=(big,))
    with pytest.raises(DownloadError, match=r"does not give .* to you"):
        download(transformer)
    assert state(transformer) == "incomplete"
    assert hub.sent == 2**20
    hub.refusal = None
    download(transformer)
    assert state(transformer) == "ready"
    assert hub.sent == len(FILES[big]), "what was there was not sent again"


def test_a_server_that_knows_no_ranges_begins_anew(hub: Hub) -> None:
    hub.ranges, hub.break_after, hub.breaks = False, 100_000, 1
    seen: list[int] = []
    download(VACE, on_progress=lambda done, *_: seen.append(done))
    assert state(VACE) == "ready"
    assert verify(VACE).good


def test_cancel_takes_effect_at_once_and_the_next_call_goes_on(hub: Hub) -> None:
    hub.seconds_per_piece = 0.2
    cancelled = threading.Event()
    threading.Timer(0.6, cancelled.set).start()
    with pytest.raises(CancelledError):
        download(VACE, cancelled=cancelled.is_set)
    assert state(VACE) == "incomplete"
    assert not hub.begins()
    hub.seconds_per_piece = 0
    download(VACE)
    assert verify(VACE).good
    assert min(hub.begins()) >= 16_384


@pytest.mark.timed
def test_a_stalled_server_does_not_hold_up_a_cancel(hub: Hub) -> None:
    hub.seconds_per_piece = 30
    cancelled = threading.Event()
    threading.Timer(0.3, cancelled.set).start()
    began = time.monotonic()
    with pytest.raises(CancelledError):
        download(VACE, cancelled=cancelled.is_set)
    assert time.monotonic() - began < 1.3


def test_a_file_that_comes_wrong_is_not_kept(hub: Hub) -> None:
    hub.repositories[LORA.hub_id] = {"ex4d.ckpt": content(50_000, 6)}
    hub.swapped = content(50_000, 7)
    with pytest.raises(model_fetch.DamagedError, match=r"ex4d.ckpt came with another content than its hash says"):
        download(LORA)
    assert not list((Path(os.environ["HF_HUB_CACHE"])).rglob("*.incomplete"))
    hub.swapped = None
    assert download(LORA).joinpath("ex4d.ckpt").read_bytes() == content(50_000, 6)


@pytest.mark.parametrize(
    ("status", "headers", "sentence"),
    [
        (401, {"X-Error-Message": "Invalid credentials in Authorization header"}, "does not know your token: log in"),
        (401, {"X-Error-Code": "RepoNotFound"}, r"has no .*, or hides it from you: check HF_ENDPOINT, or log in"),
        (403, {"X-Error-Code": "GatedRepo"}, "shown only to those who accepted its terms: accept them on that page"),
        (403, {}, "does not give .* to you: log in with `hf auth login`"),
        (404, {"X-Error-Code": "RepoNotFound"}, "has no .*, or hides it from you"),
        (404, {"X-Error-Code": "RevisionNotFound"}, "has no revision ec4d2cb.*: update EX-4D"),
        (501, {}, r"answers with an error of its own \(501\): wait a while"),
    ],
)
def test_each_refusal_is_one_sentence(hub: Hub, status: int, headers: dict[str, str], sentence: str) -> None:
    hub.refusal = (status, headers)
    with pytest.raises(DownloadError, match=sentence) as refused:
        download(VACE)
    said = str(refused.value)
    assert "\n" not in said
    assert refused.value.remedy
    assert said.endswith(".")


def test_a_hub_that_says_nothing_or_is_not_there(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_fetch, "RETRIES", 0)
    monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 0.2)
    hub.seconds_per_piece, hub.break_after = 2, 16_384
    with pytest.raises(DownloadError, match=r"says nothing any more: check the network, then run the same command"):
        download(VACE)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(DownloadError, match=r"http://127.0.0.1:9 cannot be reached: check the network, HTTPS_PROXY"):
        download(LORA)


def test_a_proxy_is_used_where_one_is_named(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", hub.address)
    monkeypatch.delenv("NO_PROXY")
    monkeypatch.setattr(constants, "ENDPOINT", "http://hub.invalid")
    monkeypatch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE", "http://hub.invalid/{repo_id}/resolve/{revision}/{filename}"
    )
    close_session()  # it has read the variables
    try:
        download(LORA)
    finally:
        close_session()
    assert state(LORA) == "ready"
    assert all(path.startswith("http://") for path in hub.paths())


def test_offline_mode_forbids_the_network_and_uses_what_is_there(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = download(VACE)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    asked = len(hub.asked)
    assert download(VACE) == folder
    assert verify(VACE).good
    with pytest.raises(
        DownloadError, match=r"HF_HUB_OFFLINE forbids the network: unset it, or copy the folder .*EX-4D"
    ):
        download(LORA)
    assert len(hub.asked) == asked


def test_the_token_goes_to_the_hub_alone_and_into_no_log(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret_of_the_artist")
    with caplog.at_level(logging.DEBUG):
        download(VACE)
    tokens = {path.startswith("/cdn/"): headers.get("authorization") for _, path, headers in hub.asked}
    assert tokens == {False: "Bearer hf_secret_of_the_artist", True: None}
    assert "hf_secret" not in caplog.text
    assert fake_hub.SIGNATURE not in caplog.text


@pytest.mark.parametrize(
    ("variable", "value", "sentence"),
    [
        *(
            ("HF_ENDPOINT", address, "HF_ENDPOINT is not the address of a hub: write one")
            for address in ("", "hub", "http://127.0.0.1:99999", "http://user:s3cret@", "ftp://a", "http://[b")
        ),
        *(
            (name, value, f"{name} is '{value}', not a number of whole seconds: write one")
            for name in ("HF_HUB_DOWNLOAD_TIMEOUT", "HF_HUB_ETAG_TIMEOUT")
            for value in ("", "abc", "1.5")
        ),
        ("HF_TOKEN", "hf_s3cret\u00e4", "Your token .* has characters that no token has: set HF_TOKEN anew"),
    ],
)
def test_a_setting_that_cannot_be_used_is_one_sentence(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, sentence: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(InputError, match=sentence) as refused:
        download(VACE)
    assert "s3cret" not in str(refused.value)
    assert not hub.asked


def test_the_password_of_a_mirror_is_shown_nowhere(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "http://user:s3cret@127.0.0.1:9")
    with pytest.raises(DownloadError, match=r"^http://\*\*\*@127.0.0.1:9 cannot be reached"):
        download(LORA)
    assert model_hub.source(LORA) == f"http://***@127.0.0.1:9/{LORA.hub_id}"
    # as its loop of retries does
    logging.getLogger("huggingface_hub.utils._http").warning("thrown while requesting %s/api", constants.ENDPOINT)
    assert caplog.messages[-1] == "thrown while requesting http://***@127.0.0.1:9/api"
    assert "thrown" not in capsys.readouterr().err, "that is the program's own output to print, once"


@pytest.mark.parametrize("variable", ["EX4D_MODELS", "HF_HUB_CACHE", "EX4D_STATE_DIR"])
def test_a_name_too_long_is_one_sentence(hub: Hub, monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    monkeypatch.setenv(variable, os.path.join(os.environ["HF_HUB_CACHE"], "x" * 300))
    assert state(VACE) == "absent"
    with pytest.raises(OutputError, match=r"xx.*: its name is too long for this disk: choose a shorter one"):
        download(VACE)
    if variable != "EX4D_STATE_DIR":
        assert remove(VACE) == 0


def test_a_disk_without_room_is_named_with_numbers_before_anything_comes(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: SimpleNamespace(free=1_000_000))
    with pytest.raises(SpaceError, match=r"needs 3.1 MB more on the disk of .* and 1.0 MB are free: free some space"):
        download(VACE)
    assert hub.sent == 0


@pytest.mark.skipif(sys.platform != "linux", reason="limits the size of files of a process")
def test_a_disk_that_fills_up_in_mid_download_is_one_sentence(hub: Hub) -> None:
    code = (
        "import resource, signal, sys\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, 150_000))\n"
        "from ex4d_core.cli import main; main(['models', 'download', 'wan2.1-vace-1.3b'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, "HF_ENDPOINT": hub.address}
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("ex4d: Cannot write ")
    assert "Traceback" not in done.stderr
    assert state(VACE) == "incomplete"


def test_the_revision_of_the_first_download_is_kept_to(hub: Hub) -> None:
    assert LORA.revision == ""
    folder = download(LORA)
    assert folder.name == COMMIT
    record = read_record(LORA.name)
    assert record is not None
    assert record.revision == models.revision_of(LORA) == COMMIT
    hub.commit = "f" * 40
    assert remove(LORA) == 50_000
    assert download(LORA).name == COMMIT, "the hub's main has moved on; we have not"
    assert not any(hub.commit in path for path in hub.paths())


def test_another_file_than_the_known_one_is_refused(hub: Hub) -> None:
    taew = known_model("taew2.1")
    hub.repositories[taew.hub_id] = {"taew2_1.safetensors": content(5000)}
    with pytest.raises(DownloadError, match=r"has another taew2_1.safetensors than the one that we know"):
        download(taew)
    hub.repositories[taew.hub_id] = {"other": b""}
    with pytest.raises(DownloadError, match=r"holds none of taew2_1.safetensors at 2ac5ae1c3291"):
        download(taew)
    hub.repositories[VACE.hub_id] = {"vae/../../../../escaped": b"x"}
    with pytest.raises(DownloadError, match=r"would lie outside its folder"):
        download(VACE)


def test_two_processes_never_download_the_same_model(hub: Hub) -> None:
    with download_lock(VACE.name):
        assert state(VACE) == "downloading"
        with pytest.raises(BusyError, match="Another ex4d downloads or removes wan2.1-vace-1.3b: wait for it"):
            download(VACE)
    assert state(VACE) == "absent"


def test_a_licence_is_accepted_first() -> None:
    check_licence(VACE, accepted=False)
    check_licence(LORA, accepted=True)
    with pytest.raises(InputError, match=r"EX-4D: .* not known to be free for commercial work .*: add --accept"):
        check_licence(LORA, accepted=False)


def test_without_huggingface_hub_a_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch, hub: Hub) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(MissingDependencyError, match=r"not installed: run pip install .\[gpu\]"):
        model_download.download(VACE)
