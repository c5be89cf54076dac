"""Schemathesis attacks a sidecar with what its OpenAPI document allows, and with what it does not."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from conftest import Running, Start, reshoot_request
from raw_http import ask, put_piece, run_job, upload

SECONDS = 30
"""A request that takes longer counts as a hang."""
IDS = ("shot-010", "seed-scene", "seed-upload", "seed-failed", "seed-part")
"""What is there when the attack begins; `shot-010` is also the example of the document."""

CONFIG = """
# Ids often hit something that is there.
dictionaries.ids = {{ values = {ids} }}
parameters."path.id" = {{ dictionary = "ids", probability = 0.7 }}
parameters."path.name" = {{ dictionary = "files", probability = 0.5 }}
dictionaries.files = {{ values = ["shot.json", "output.mp4", "scene.json", "output/000000.png", "..", "color"] }}

# 507 says that the disk lacks what an upload announces, which no schema knows.
[checks.not_a_server_error]
expected-statuses = ["2xx", "3xx", "4xx", 507]

# What no schema can tell: whether poses are rigid and an engine is there (jobs, preflight), what a checksum is and how
# much the disk holds (uploads), what lies in a folder (scenes). Such requests have the right form and are refused.
{refusing}
"""
REFUSING = ("PUT /v1/jobs/{id}", "POST /v1/preflight", "PUT /v1/uploads/{id}", "PUT /v1/scenes/{id}")
OPERATION = """
[[operations]]
include-name = "{name}"
checks.positive_data_acceptance.expected-statuses = ["2xx", 401, 403, 404, 409, 413, 422, 507]
"""


@dataclass(frozen=True)
class Attack:
    """What schemathesis did."""

    cases: int
    passed: bool
    report: str


def attack(
    running: Running, folder: Path, examples: int, phases: str, token: bool, *options: str, limit: float = 300
) -> Attack:
    """Run schemathesis with all its checks.

    Args:
        running: the sidecar.
        folder: for its configuration.
        examples: cases for each operation and phase that draws them at random.
        phases: which of examples, coverage, fuzzing and stateful.
        token: whether it knows the token.
        options: further ones.
        limit: seconds until all of it counts as a hang.
    """
    refusing = "".join(OPERATION.format(name=name) for name in REFUSING)
    (folder / "schemathesis.toml").write_text(CONFIG.format(ids=json.dumps(list(IDS)), refusing=refusing))
    (folder / "openapi.json").write_bytes(ask(running.server, "GET", "/v1/openapi.json").body)
    command = [
        *(sys.executable, "-m", "schemathesis.cli", "--config-file", "schemathesis.toml", "run", "openapi.json"),
        *("--url", running.server.address, "--checks", "all", "--mode", "all", "--max-examples", str(examples)),
        *("--phases", phases, "--seed", "4", "--request-timeout", str(SECONDS), "--continue-on-failure", "--no-shrink"),
        *("--suppress-health-check", "all", *options),
    ]
    if token:
        command += ["--header", f"Authorization: Bearer {running.server.token}"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=limit)
    found = re.search(r"(\d+) generated", done.stdout)
    assert found, done.stdout + done.stderr
    return Attack(int(found[1]), done.returncode == 0, done.stdout)


def seeded(start: Start, clip: Path) -> Running:
    """A sidecar with a job, a scene and an upload that succeeded, a job that failed and an upload half-way."""
    running = start()
    server = running.server
    job = run_job(server, reshoot_request(clip, scene="seed-scene"), "shot-010")
    assert job["state"] == "succeeded", job
    assert run_job(server, {"kind": "generate", "shot": "nothing"}, "seed-failed")["state"] == "failed"
    upload(server, clip.read_bytes(), "clip.mp4", "seed-upload")
    assert put_piece(server, "seed-part", bytes(100), 0, 50).status == 201
    return running


def assert_well(running: Running) -> None:
    """The sidecar lives, and met no error of its own."""
    assert running.process.poll() is None
    assert ask(running.server, "GET", "/v1/health").json()["status"] in ("ready", "busy")
    log = (running.data / "logs" / "sidecar.log").read_text()
    assert "Traceback" not in log, log[-5000:]


WITHOUT_SHUTDOWN = ("--exclude-path", "/v1/shutdown")
"""Ending the sidecar is tested with its life; here it would end the test."""


def test_attack(start: Start, tiny_clip: Path, tmp_path: Path) -> None:
    running = seeded(start, tiny_clip)
    found = attack(running, tmp_path, 6, "examples,fuzzing", True, *WITHOUT_SHUTDOWN)
    assert found.passed, found.report
    assert found.cases >= 150, found.report
    assert_well(running)


def test_attack_without_the_token(sidecar: Running, reshot: dict[str, Any], tmp_path: Path) -> None:
    before = [ask(sidecar.server, "GET", f"/v1/{noun}").json() for noun in ("jobs", "scenes")]
    found = attack(sidecar, tmp_path, 2, "examples,fuzzing", False)
    assert found.passed, found.report
    assert found.cases >= 50, found.report
    assert [ask(sidecar.server, "GET", f"/v1/{noun}").json() for noun in ("jobs", "scenes")] == before
    assert_well(sidecar)


@pytest.mark.slow
def test_long_attack(start: Start, tiny_clip: Path, tmp_path: Path) -> None:
    running = seeded(start, tiny_clip)
    found = attack(running, tmp_path, 120, "examples,coverage,fuzzing,stateful", True, *WITHOUT_SHUTDOWN, limit=3600)
    assert found.passed, found.report
    assert found.cases >= 5000, found.report
    assert_well(running)


@pytest.mark.slow
def test_long_attack_without_the_token(start: Start, tiny_clip: Path, tmp_path: Path) -> None:
    running = seeded(start, tiny_clip)
    found = attack(running, tmp_path, 20, "examples,coverage,fuzzing", False, limit=3600)
    assert found.passed, found.report
    assert found.cases >= 2000, found.report
    assert_well(running)
