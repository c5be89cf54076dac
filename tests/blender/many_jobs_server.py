"""A server that says it is a sidecar with thousands of jobs; run as a script in the library's environment.

Prints its port. A process of its own, so that a test measures Blender's side alone.
"""

import json
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from urllib.parse import parse_qs, urlsplit

JOBS = 3000
STAGES = [{"name": name, "cached": False, "seconds": 12.5} for name in ("depth", "scene", "render", "generate")]


def job(number: int) -> dict[str, object]:
    """A Job document of the usual size."""
    return {
        "id": f"shot_{number:04}-3f9a1c",
        "number": number,
        "kind": "reshoot",
        "state": "running" if number > JOBS - 20 else "succeeded",
        "stage": "generate",
        "fraction": 0.5,
        "eta_s": 100.0,
        "message": "filling what was never seen",
        "preview_url": f"/v1/jobs/shot_{number:04}-3f9a1c/preview?v=3",
        "problem": None,
        "attempt": 1,
        "stages": STAGES,
        "result": {"kind": "shot", "scene": "s", "path": "/data/cache/render/" + "a" * 64, "content_hash": "b" * 64},
        "created_at": "2026-01-01T00:00:00+00:00",
        "started_at": "2026-01-01T00:00:00+00:00",
        "finished_at": None,
        "last_event": 100,
    }


class Handler(BaseHTTPRequestHandler):
    """Health, capabilities, and pages of jobs."""

    def do_GET(self) -> None:
        """Answers each of them."""
        url = urlsplit(self.path)
        if url.path == "/v1/health":
            body: object = {"status": "busy", "detail": "", "version": "0", "api": 1}
        elif url.path == "/v1/capabilities":
            body = {"depth_estimators": [], "passes": [], "methods": []}
        else:
            query = parse_qs(url.query)
            after, limit = int(query["after"][0]), int(query["limit"][0])
            numbers = range(after + 1, min(after + limit, JOBS) + 1)
            more = numbers.stop <= JOBS
            body = {"jobs": [job(number) for number in numbers], "next": numbers.stop - 1 if more else None}
        data = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing on the terminal."""


if __name__ == "__main__":
    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        sys.stdout.write(f"{server.server_port}\n")
        sys.stdout.flush()
        server.serve_forever()
