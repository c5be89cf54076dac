# SPDX-License-Identifier: GPL-3.0-or-later
"""A render of a camera move by the sidecar: what a shot sees of the footage, and what it does not."""

import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..client import ClientError, Download, FindServer, JobTask, Json, Server, Task, local_path, same_data
from ..client.http import Event, Flow
from ..errors import UserError
from ..placed import Placed
from ..translation import translated
from .joblist import new_job_id
from .sending import Send

TAKE_IN_SECONDS = 900.0  # the sidecar answers when it has decoded every frame of a scene
FILES = ("color.mp4", "mask.mp4", "shot.json", "trajectory.json")


class RenderShot(Task[Path]):
    """Renders a trajectory and fetches the shot's files into `folder`, replacing it. Result: `folder`.

    The sidecar is made to know the scene first, by its content hash; the scene's folder is read then, its datablocks
    are not. Events are those of the job (`state`, `progress`, …) and of the transfers (`bytes`). Cancelled with
    `close()`, it leaves a job that goes on: cancel that by `job_id`.

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
        method: str = "dwmesh",
        files: Sequence[str] = FILES,
        background: bool = True,
        connection: Any = None,
    ) -> None:
        from . import required_connection

        connection = connection or required_connection()
        find: FindServer | None = same_data(connection.server) if connection.is_local else None
        super().__init__(connection.server, find)
        facts = placed.facts()
        self.job_id = new_job_id(f"{facts.name}-render")
        self._scene_folder, self._hash, self._local = facts.folder, facts.content_hash, connection.is_local
        self._imported = next(
            (job.scene for job in connection.jobs if job.content_hash == self._hash and job.scene), None
        )
        self._folder, self._wanted, self._passes = folder, tuple(files), tuple(passes)
        options = {"kind": "render", "method": method, "passes": list(passes), "background": background}
        try:  # a long move takes a while to write out: here, where an operator calls, not in a tick
            self._trajectory = json.dumps(trajectory_document, allow_nan=False)
            self._options = json.dumps(options | {"allow_unseen": True})
        except (TypeError, ValueError) as error:
            raise UserError(
                "The camera move has numbers that are none ({reason}): look at its keyframes.", reason=error
            ) from error

    def flow(self) -> Flow[Path]:
        """Scene, job, files."""
        scene = yield from self._known_scene()
        body = f'{self._options[:-1]}, "scene": {json.dumps(scene)}, "trajectory": {self._trajectory}}}'
        job = yield from self._follow(_Prepared(self.server, self.job_id, body.encode(), self.find_server))
        if job.get("state") != "succeeded":
            problem = job.get("problem") or {}
            detail = problem.get("detail") or translated(
                "The render has no pictures ({state}): begin it again", state=job.get("state")
            )
            raise ClientError(str(detail).rstrip("."), str(problem.get("code") or "job"), problem.get("remedy"))
        return (yield from self._fetch())

    def _follow(self, task: Task[Json]) -> Flow[Json]:
        result = yield from task.flow()
        self.server = task.server
        return result

    def _known_scene(self) -> Flow[str]:
        """The id under which the sidecar has this very scene."""
        own = f"scene-{self._hash[:32]}"
        for name in filter(None, (self._imported, own)):
            try:
                document = (yield from self.insist("GET", f"/v1/scenes/{name}")).document
                if document.get("content_hash") == self._hash:
                    return name
            except ClientError as error:
                if error.status != 404:
                    raise
        files = [] if self._local else scene_files(self._scene_folder)
        send = Send(self.server, self._scene_folder, files, is_local=self._local, find_server=self.find_server)
        source = yield from send.flow()
        yield Event("log", {"message": "The sidecar looks at the scene"})
        body = json.dumps(source).encode()
        path = f"/v1/scenes/{own}"
        yield from self.call("PUT", path, body, "application/json", silence=TAKE_IN_SECONDS)
        return own

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


class _Prepared(JobTask):
    """A job whose request was written out before."""

    def __init__(self, server: Server, job_id: str, body: bytes, find_server: FindServer | None) -> None:
        super().__init__(server, job_id, {}, find_server=find_server)
        self._body = body, "application/json"


def scene_files(folder: Path) -> list[Path]:
    """The files of a scene folder that another machine needs: all but its shots, and nothing half-made."""
    found = (path for path in folder.rglob("*") if path.is_file() and path.suffix != ".partial")
    return sorted(path for path in found if path.relative_to(folder).parts[0] != "shots")


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
