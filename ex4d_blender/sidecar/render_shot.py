# SPDX-License-Identifier: GPL-3.0-or-later
"""A render of a camera move by the sidecar: what a shot sees of the footage, and what it does not."""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..client import ClientError, Download, Json, Task, local_path
from ..client.http import Flow
from ..placed import Placed
from ..translation import translated
from .joblist import new_job_id
from .shot_job import ShotJob

FILES = ("color.mp4", "mask.mp4", "shot.json", "trajectory.json")


class RenderShot(Task[Path]):
    """Renders a trajectory and fetches the shot's files into `folder`, replacing it. Result: `folder`.

    Events and `close()` are those of `ShotJob`.

    Args:
        placed: the footage.
        trajectory_document: `trajectory.json` of the camera (DESIGN section 3).
        passes: `depth`, `risk`, … as `capabilities["passes"]` has them.
        folder: where the shot goes; made when it is whole.
        method: of the geometry, as `capabilities["methods"]` has them.
        files: which files to fetch, names of `shots/NAME/`; with passes their folders come too.
        background: whether the persistent background layer counts as seen.
        connection: the ready connection; default the extension's own.

    Raises:
        UserError: the sidecar is not ready, or the scene's folder is missing.
    """

    def __init__(
        self,
        placed: Placed,
        trajectory_document: Json,
        passes: Sequence[str],
        folder: Path,
        *,
        method: str = "quads",
        files: Sequence[str] = FILES,
        background: bool = True,
        connection: Any = None,
    ) -> None:
        from . import required_connection

        connection = connection or required_connection()
        facts = placed.facts()
        self.job_id = new_job_id(f"{facts.name}-render")
        self._folder, self._wanted, self._passes = folder, tuple(files), tuple(passes)
        request = {"kind": "render", "method": method, "passes": list(passes), "background": background}
        request["allow_unseen"] = True
        self._job = ShotJob(self.job_id, facts, request, trajectory_document, follow=True, connection=connection)
        super().__init__(self._job.server, self._job.find_server)

    def flow(self) -> Flow[Path]:
        """Scene, job, files."""
        job = yield from self._job.flow()
        self.server = self._job.server
        if job.get("state") != "succeeded":
            problem = job.get("problem") or {}
            detail = problem.get("detail") or translated(
                "The render has no pictures ({state}): begin it again", state=job.get("state")
            )
            raise ClientError(str(detail).rstrip("."), str(problem.get("code") or "job"), problem.get("remedy"))
        return (yield from self._fetch())

    def _fetch(self) -> Flow[Path]:
        """The files that are wanted, into a folder that then takes its name."""
        url = f"/v1/jobs/{self.job_id}/files"
        listed = (yield from self.insist("GET", url)).document.get("files")
        partial = self._folder.with_name(self._folder.name + ".partial")
        for entry in listed if isinstance(listed, list) else []:
            name, size = str(entry.get("name")), entry.get("size")
            if name in self._wanted or name.split("/")[0] in self._passes:
                target = local_path(partial, name)
                yield from Download(self.server, f"{url}/{name}", target, size, self.find_server).flow()
        replace_folder(partial, self._folder)
        return self._folder


def replace_folder(partial: Path, folder: Path) -> None:
    """Give a finished folder its name; one that bears it already goes first.

    Raises: OSError.
    """
    old = folder.with_name(folder.name + ".old")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        os.replace(folder, old)
    os.replace(partial, folder)
    shutil.rmtree(old, ignore_errors=True)
