"""Jobs of kind `models` by a real sidecar, from a hub of our own: progress, cancel, retry, a crash, refusals."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import fake_hub
import pytest
from conftest import Running, Start, end, launch, wait_started
from ex4d_server import models
from ex4d_server.documents import ModelsJob
from fake_hub import Hub, content
from raw_http import ask, new_id

from ex4d_core.models import known_model

VACE, BIG, LORA = known_model("wan2.1-vace-1.3b"), known_model("wan2.1-vace-14b"), known_model("ex4d-lora")
FILES = {
    "model_index.json": b"{}",
    "scheduler/scheduler_config.json": b"{ }",
    "text_encoder/model.safetensors": content(400_000, 1),
    "tokenizer/spiece.model": content(5000, 2),
    "transformer/diffusion_pytorch_model.safetensors": content(3_000_000, 3),
    "vae/diffusion_pytorch_model.safetensors": content(100_000, 4),
}


@pytest.fixture(scope="module")
def hub() -> Iterator[Hub]:
    """A hub with three models."""
    with fake_hub.serving() as served:
        files = dict.fromkeys((VACE.hub_id, BIG.hub_id), FILES)
        served.repositories = {**files, LORA.hub_id: {"ex4d.ckpt": content(50_000, 5)}}
        yield served


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the sidecar's models go."""
    return tmp_path_factory.mktemp("weights")


@pytest.fixture(scope="module")
def variables(hub: Hub, weights: Path) -> dict[str, str]:
    """The environment of a sidecar that knows this hub alone."""
    return {
        "HF_ENDPOINT": hub.address,
        "EX4D_MODELS": str(weights),
        "HF_HUB_CACHE": str(weights / "others"),
        "HF_HUB_DOWNLOAD_TIMEOUT": "2",
        "HF_TOKEN": "hf_secret_of_the_artist",
        "NO_PROXY": "127.0.0.1,localhost",
    }


@pytest.fixture(scope="module")
def one(variables: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A sidecar; each test downloads another model."""
    folder = tmp_path_factory.mktemp("sidecar")
    data, state = folder / "data", folder / "state"
    running = wait_started(launch(data, state, environment=variables), data, state)
    yield running
    end(running)


@pytest.fixture(autouse=True)
def well_behaved(hub: Hub) -> None:
    """Each test makes the hub's faults of its own."""
    hub.seconds_per_piece, hub.refusal = 0, None
    hub.asked.clear()
    hub.sent = 0


def model(one: Running, name: str) -> dict[str, Any]:
    """As the capabilities tell of it."""
    found = ask(one.server, "GET", "/v1/capabilities").json()["models"]
    return next(document for document in found if document["name"] == name)


def begin(one: Running, **request: Any) -> str:
    """Ask for a download; the job's id."""
    job = new_id("models")
    answer = ask(one.server, "PUT", f"/v1/jobs/{job}", {"kind": "models", **request})
    assert answer.status == 201, answer.body
    return job


def wait(one: Running, job: str, *states: str, seconds: float = 20) -> dict[str, Any]:
    """The job when it is in one of the states."""
    deadline = time.monotonic() + seconds
    while True:
        found = ask(one.server, "GET", f"/v1/jobs/{job}").json()
        if found["state"] in states:
            return found
        assert time.monotonic() < deadline, found
        time.sleep(0.02)


def come(hub: Hub, count: int) -> None:
    """Wait until that many bytes were sent."""
    deadline = time.monotonic() + 20
    while hub.sent < count:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_model_comes_with_progress_beside_the_other_jobs(hub: Hub, one: Running, weights: Path) -> None:
    assert "models" in ask(one.server, "GET", "/v1/capabilities").json()["job_kinds"]
    before = model(one, VACE.name)
    assert (before["state"], before["folder"]) == ("absent", str(weights))
    assert (before["size_bytes"], before["licence"], before["commercial"]) == (VACE.bytes, "Apache-2.0", True)
    engines = {e["name"]: e for e in ask(one.server, "GET", "/v1/capabilities").json()["engines"]}
    assert engines["vace-1.3b"]["models"] == [VACE.name]
    assert any("ex4d models download wan2.1-vace-1.3b" in sentence for sentence in engines["vace-1.3b"]["missing"])

    hub.seconds_per_piece = 0.01
    job = begin(one, model=VACE.name)
    come(hub, 1)
    assert model(one, VACE.name)["state"] == "downloading"
    assert ask(one.server, "GET", "/v1/health").json()["status"] == "ready", "the devices are free"
    done = wait(one, job, "succeeded", "failed")
    assert done["state"] == "succeeded", done
    assert (done["fraction"], done["result"]) == (1.0, None)
    assert [(stage["name"], stage["cached"]) for stage in done["stages"]] == [("models", False)]
    after = model(one, VACE.name)
    assert after["state"] == "ready"
    assert {p: (Path(after["folder"]) / p).read_bytes() for p in FILES} == FILES
    ask(one.server, "GET", f"/v1/jobs/{job}/files").problem(409, "job-state")
    again = wait(one, begin(one, model=VACE.name), "succeeded")
    assert [stage["cached"] for stage in again["stages"]] == [True]
    log = ask(one.server, "GET", f"/v1/jobs/{job}/log").body.decode() + "".join(
        file.read_text() for file in (one.data / "logs").rglob("*") if file.is_file()
    )
    assert "hf_secret" not in log
    assert fake_hub.SIGNATURE not in log


@pytest.mark.timed
def test_cancel_within_a_second_and_retry_goes_on(hub: Hub, one: Running) -> None:
    hub.seconds_per_piece = 0.03
    job = begin(one, model=BIG.name)
    come(hub, 300_000)
    running = wait(one, job, "running")
    assert running["stage"] == "models"
    assert running["message"].startswith("downloading (MB): ")
    assert 0 <= running["fraction"] < 1
    began = time.monotonic()
    ask(one.server, "POST", f"/v1/jobs/{job}/cancel")
    wait(one, job, "cancelled")
    assert time.monotonic() - began < 1
    assert model(one, BIG.name)["state"] == "incomplete"
    hub.seconds_per_piece = 0
    ask(one.server, "POST", f"/v1/jobs/{job}/retry")
    assert wait(one, job, "succeeded", "failed")["state"] == "succeeded"
    assert hub.begins(), "what was there is not fetched again"


@pytest.mark.slow
def test_a_killed_sidecar_goes_on_where_it_was(
    hub: Hub, start: Start, variables: dict[str, str], tmp_path: Path
) -> None:
    own = {**variables, "EX4D_MODELS": str(tmp_path / "weights")}
    one = start(environment=own)
    hub.seconds_per_piece = 0.03
    job = begin(one, model=VACE.name)
    come(hub, 300_000)
    one.kill()
    hub.seconds_per_piece = 0
    hub.asked.clear()
    two = start(environment=own)
    done = wait(two, job, "succeeded", "failed")
    assert done["state"] == "succeeded", done
    assert hub.begins(), "what was there is not fetched again"
    assert model(two, VACE.name)["state"] == "ready"


def test_refusals_are_problems(hub: Hub, one: Running) -> None:
    request = {"kind": "models", "model": LORA.name}
    ask(one.server, "PUT", f"/v1/jobs/{new_id('m')}", request).problem(422, "licence")
    ask(one.server, "POST", "/v1/preflight", request).problem(422, "licence")
    ask(one.server, "PUT", f"/v1/jobs/{new_id('m')}", {**request, "model": "wan"}).problem(422, "no-model")
    assert ask(one.server, "POST", "/v1/preflight", {**request, "accept_licence": True}).json()["fits"]

    hub.refusal = (401, {"X-Error-Message": "Invalid credentials in Authorization header"})
    failed = wait(one, begin(one, model=LORA.name, accept_licence=True), "failed", "succeeded")
    problem = failed["problem"]
    assert (problem["code"], problem["status"]) == ("download-failed", 422)
    assert "does not know your token: log in anew" in problem["detail"]
    assert problem["remedy"].startswith("log in anew")
    assert "hf_secret" not in str(failed)
    hub.refusal = None
    ask(one.server, "POST", f"/v1/jobs/{failed['id']}/retry")
    assert wait(one, failed["id"], "succeeded", "failed")["state"] == "succeeded"


def test_a_model_that_does_not_fit_is_told_before_the_work(
    variables: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("EX4D_MODELS", str(tmp_path))
    monkeypatch.setenv("EX4D_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setattr(models.shutil, "disk_usage", lambda _path: SimpleNamespace(free=10**9))
    (shortage,) = models.model_shortages(ModelsJob(kind="models", model=VACE.name))
    assert (shortage.what, shortage.needed_bytes, shortage.free_bytes) == ("disk", VACE.bytes, 10**9)
    assert "needs 19.0 GB of disk in" in shortage.message
    assert "and 1.0 GB are free: free some space there or let EX4D_MODELS name" in shortage.message
