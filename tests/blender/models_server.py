"""A sidecar that knows two models and has all the time in the world for them; run as a script, prints its port.

Its documents are checked by the sidecar's own types, and what it refuses, the sidecar's own rules refuse. How the one
job ends, the test says: `POST /end?state=failed`.
"""

import json
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from ex4d_server import models
from ex4d_server.documents import TERMINAL, EngineStatus, JobStatus, ModelsJob, ModelStatus, Preflight
from ex4d_server.problems import RequestError, problem, problem_of

MODEL = {"name": "lab/big", "title": "Big", "size_bytes": 8_200_000_000, "left_bytes": 8_200_000_000,
         "licence": "Apache-2.0", "commercial": True, "where": "hub.invalid",
         "folder": "/models/big", "state": "absent"}  # fmt: skip
KNOWN = [MODEL, {**MODEL, "name": "lab/nc", "title": "Non-Commercial", "licence": "CC-BY-NC-4.0", "commercial": False}]
models.known_models = lambda: [ModelStatus.model_validate(one) for one in KNOWN]
JOBS: dict[str, dict[str, Any]] = {}
FULL = problem(507, "no-space", "The model needs 8.2 GB of disk and 1.0 GB are free: free some space there.")


def engine() -> EngineStatus:
    """One that needs a model."""
    missing = ["The model lab/nc is not on this machine: download it first."] if KNOWN[1]["state"] != "ready" else []
    return EngineStatus(name="big", summary="", licence="", available=not missing, missing=missing, packages=[],
                        models=["lab/nc"], quality_models={}, qualities=[], prompt=True, seed=True, keep_source=False,
                        setup=False)  # fmt: skip


def change(job: str, **fields: Any) -> dict[str, Any]:
    """A job's next document; the model is as far as its job."""
    now = JOBS[job]
    now.update(fields, last_event=now["last_event"] + 1)
    states = {"running": "downloading", "succeeded": "ready", "failed": "incomplete", "cancelled": "incomplete"}
    next(one for one in KNOWN if one["name"] == now["request"].model)["state"] = states[now["state"]]
    return document(job)


def document(job: str) -> dict[str, Any]:
    """A Job document."""
    return JobStatus.model_validate({k: v for k, v in JOBS[job].items() if k != "request"}).model_dump(mode="json")


class Handler(BaseHTTPRequestHandler):
    """What of docs/api.md a download needs."""

    def do_GET(self) -> None:
        """Health, capabilities, jobs, a job, its events."""
        url = urlsplit(self.path)
        match url.path.split("/")[2:]:
            case ["health"]:
                self.answer({"status": "ready", "detail": "", "version": "0", "api": 1})
            case ["capabilities"]:
                found = [one.model_dump() for one in models.known_models()]
                self.answer({"models": found, "engines": [engine().model_dump()]})
            case ["jobs"]:
                after = int(parse_qs(url.query)["after"][0])
                jobs = [document(job) for job in JOBS if JOBS[job]["number"] > after]
                self.answer({"jobs": jobs, "next": None})
            case ["jobs", job]:
                self.answer(document(job))
            case ["jobs", job, "events"]:
                self.follow(job)

    def do_PUT(self) -> None:
        """Takes a job, or refuses it."""
        job = self.path.rsplit("/", 1)[-1]
        try:
            request = ModelsJob.model_validate_json(self.rfile.read(int(self.headers["Content-Length"])))
            models.check_model(request)
        except RequestError as error:
            self.answer(problem_of(error).model_dump(), error.status)
            return
        plain = dict.fromkeys(("stage", "eta_s", "preview_url", "problem", "result", "started_at", "finished_at"))
        JOBS[job] = {**plain, "id": job, "number": len(JOBS) + 1, "kind": "models", "request": request, "attempt": 1,
                     "stages": [], "created_at": "", "last_event": 0}  # fmt: skip
        self.answer(change(job, state="running", fraction=0.25, message="weights: 2 of 8 GB"), 201)

    def do_POST(self) -> None:
        """Preflight, cancel, retry; and the test's word."""
        url = urlsplit(self.path)
        if url.path == "/v1/preflight":
            self.answer(Preflight(fits=True, shortages=[]).model_dump())
            return
        if url.path == "/end":
            (state,) = parse_qs(url.query)["state"]
            self.answer(change(list(JOBS)[-1], state=state, problem=FULL if state == "failed" else None, message=state))
            return
        job, action = url.path.split("/")[3:]
        if action == "cancel":
            self.answer(change(job, state="cancelled", message="cancelled"))
        else:
            attempt = JOBS[job]["attempt"] + 1
            self.answer(change(job, state="running", message="weights: 2 of 8 GB", problem=None, attempt=attempt))

    def follow(self, job: str) -> None:
        """The end of a job as one event, when it has come."""
        while JOBS[job]["state"] not in TERMINAL:
            time.sleep(0.02)
        data = json.dumps({"job": job, "state": JOBS[job]["state"]})
        self.answer(f"id: {JOBS[job]['last_event']}\nevent: state\ndata: {data}\n\n", kind="text/event-stream")

    def answer(self, body: object, status: int = 200, kind: str = "application/json") -> None:
        """Send a document."""
        data = (body if isinstance(body, str) else json.dumps(body)).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/problem+json" if status >= 400 else kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing on the terminal."""


if __name__ == "__main__":
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        sys.stdout.write(f"{server.server_port}\n")
        sys.stdout.flush()
        server.serve_forever()
