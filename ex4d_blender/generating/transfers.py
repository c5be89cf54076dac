# SPDX-License-Identifier: GPL-3.0-or-later
"""A finished take on its way from the sidecar to the project. A task without Blender."""

import json
import os
from pathlib import Path
from typing import Any

from ..client import ClientError, DownloadFolder, FindServer, Server, Task
from ..client.http import Flow
from ..takes.folder import TAKE_FILE, TRAJECTORY_FILE
from ..translation import translated
from . import folders

SHOT_FILE = "shot.json"
SETTINGS = ("engine", "quality", "prompt", "seed", "keep_source", "size")


class FetchTake(Task[Path]):
    """Fetches a job's shot as a take. Result: its folder, `take_003`, with `take.json`; never over another take.

    Args:
        job_id: the job, which has succeeded.
        folder: of the shot's takes.
        number: the take's, if it is still free.
        about: `take.json` without what the number decides.
    """

    def __init__(
        self,
        server: Server,
        job_id: str,
        folder: Path,
        number: int,
        about: dict[str, Any],
        find_server: FindServer | None = None,
    ) -> None:
        super().__init__(server, find_server)
        self._job, self._folder, self._number, self._about = job_id, folder, number, about

    def flow(self) -> Flow[Path]:
        """Downloads into `take_003.partial`, which takes its name when it is whole."""
        if found := folders.of_job(self._folder, self._job):
            return found
        partial = folders.claim(self._folder, self._number, self._job, self._about)
        files = f"/v1/jobs/{self._job}/files"
        download = DownloadFolder(self.server, files, partial, self.find_server, self.patience)
        yield from download.flow()
        if not (partial / TRAJECTORY_FILE).is_file():
            message = "The job {job} has made no shot: generate it again"
            raise ClientError(translated(message, job=self._job), "file")
        if not self._about["settings"]:
            _tell_settings(partial)
        target = partial.with_suffix("")
        os.replace(partial, target)
        return target


def _tell_settings(take: Path) -> None:
    """Put into `take.json` what the sidecar has written of the settings: nobody here knows them."""
    try:
        asked = json.loads((take / SHOT_FILE).read_text("utf-8"))["request"]
        document = json.loads((take / TAKE_FILE).read_text("utf-8"))
        document["settings"] = {name: asked[name] for name in SETTINGS if name in asked}
    except (OSError, ValueError, TypeError, KeyError):  # the pictures are none the worse for it
        return
    (take / TAKE_FILE).write_text(json.dumps(document, indent=1), "utf-8")
