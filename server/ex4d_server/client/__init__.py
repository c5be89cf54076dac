"""HTTP client of the EX-4D sidecar: what the extension, scripts and tests import.

The extension ships this folder as it is (standard library only, relative imports within) and steps the tasks from a
timer; scripts use the blocking `Client` or `wait`. `tasks.py` tells how a task works.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from .discovery import discover, state_folder
from .files import Download, DownloadFolder, Upload, local_path
from .http import ClientError, Event, Json, Reply, Server, Wait
from .jobs import TERMINAL_STATES, EventStream, JobTask
from .tasks import PATIENCE_SECONDS, Call, FindServer, Task, wait

__all__ = [
    "TERMINAL_STATES",
    "Call",
    "Client",
    "ClientError",
    "Download",
    "DownloadFolder",
    "Event",
    "EventStream",
    "FindServer",
    "JobTask",
    "Json",
    "Reply",
    "Server",
    "Task",
    "Upload",
    "Wait",
    "discover",
    "local_path",
    "same_data",
    "state_folder",
    "wait",
]

OnEvent = Callable[[Event], object]
T = TypeVar("T")


def same_data(server: Server) -> FindServer:
    """A `find_server` for tasks: whatever serves the same data folder on this machine after a restart."""

    def find() -> Server | None:
        return next((s for s in discover() if server.data and s.data == server.data), None)

    return find


class Client:
    """The blocking way to a sidecar.

    Args:
        patience: seconds that long tasks (jobs, uploads, downloads) put up with a server that does not answer.
    """

    def __init__(
        self, server: Server, find_server: FindServer | None = None, patience: float = PATIENCE_SECONDS
    ) -> None:
        self.server, self._find, self._patience = server, find_server or same_data(server), patience

    def get(self, path: str, **query: Any) -> Any:
        """The parsed JSON, or bytes, of a GET. Raises: ClientError."""
        return self._through(Call(self.server, "GET", path, query=query)).body

    def put(self, path: str, body: Any = None, **query: Any) -> Any:
        """PUT of JSON, or of bytes. Raises: ClientError."""
        return self._through(Call(self.server, "PUT", path, body, query=query)).body

    def post(self, path: str, body: Any = None, **query: Any) -> Any:
        """POST of JSON. Raises: ClientError."""
        return self._through(Call(self.server, "POST", path, body, query=query)).body

    def delete(self, path: str) -> Any:
        """DELETE. Raises: ClientError."""
        return self._through(Call(self.server, "DELETE", path)).body

    def run(self, job_id: str, request: Json, on_event: OnEvent | None = None, timeout: float | None = None) -> Json:
        """Submits a job and waits for its end: the Job document, of a failed job too. Raises: ClientError."""
        task = JobTask(self.server, job_id, request, find_server=self._find, patience=self._patience)
        return self._through(task, timeout, on_event)

    def upload(self, path: Path, upload_id: str | None = None, on_event: OnEvent | None = None) -> str:
        """Uploads a file and returns the upload's id, by default one made from its content. Raises: ClientError."""
        task = Upload(self.server, upload_id, path, find_server=self._find, patience=self._patience)
        self._through(task, None, on_event)
        return str(task.upload_id)

    def download_job(self, job_id: str, folder: Path, on_event: OnEvent | None = None) -> list[Path]:
        """Fetches all files of a job into `folder`. Raises: ClientError."""
        files = f"/v1/jobs/{job_id}/files"
        task = DownloadFolder(self.server, files, folder, find_server=self._find, patience=self._patience)
        return self._through(task, None, on_event)

    def _through(self, task: Task[T], timeout: float | None = None, on_event: OnEvent | None = None) -> T:
        try:
            return wait(task, timeout, on_event)
        finally:
            task.close()
            self.server = task.server
