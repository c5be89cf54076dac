# SPDX-License-Identifier: GPL-3.0-or-later
"""A job of the sidecar about a shot: it is made to know the footage's scene first, then gets the camera's move."""

import json
from pathlib import Path
from typing import Any

from ..client import ClientError, JobTask, Json, Server, Task, same_data
from ..client.http import Event, Flow
from ..errors import UserError
from ..scene_folder import SceneFacts
from .sending import Send

TAKE_IN_SECONDS = 900.0  # the sidecar answers when it has decoded every frame of a scene


class KnownScene(Task[str]):
    """Makes a sidecar know a scene, by its content hash. Result: the id under which it has this very scene.

    Args:
        facts: the scene's folder is read where the sidecar does not know it; its datablocks are not.
        connection: the ready connection.
    """

    def __init__(self, facts: SceneFacts, connection: Any) -> None:
        find = same_data(connection.server) if connection.is_local else None
        super().__init__(connection.server, find)
        self._folder, self._hash, self._local = facts.folder, facts.content_hash, connection.is_local
        self._imported = next(
            (job.scene for job in connection.jobs if job.content_hash == self._hash and job.scene), None
        )

    def flow(self) -> Flow[str]:
        """Asks for it under both names that it may have, and sends it where neither is known."""
        own = f"scene-{self._hash[:32]}"
        for name in filter(None, (self._imported, own)):
            try:
                document = (yield from self.insist("GET", f"/v1/scenes/{name}")).document
                if document.get("content_hash") == self._hash:
                    return name
            except ClientError as error:
                if error.status != 404:
                    raise
        files = [] if self._local else scene_files(self._folder)
        send = Send(self.server, self._folder, files, is_local=self._local, find_server=self.find_server)
        source = yield from send.flow()
        self.server = send.server
        yield Event("log", {"message": "The sidecar looks at the scene"})
        yield from self._take_in(f"/v1/scenes/{own}", json.dumps(source).encode())
        return own

    def _take_in(self, path: str, body: bytes) -> Flow[None]:
        """A request that takes long, and may safely be repeated: the sidecar may be restarted meanwhile."""
        while True:
            try:
                yield from self.call("PUT", path, body, "application/json", silence=TAKE_IN_SECONDS)
            except ClientError as error:
                yield from self.failed(error)
            else:
                yield from self.reached()
                return


class ShotJob(Task[Json]):
    """Asks for a job about a shot. Result: the Job document; where it is followed, of a job that failed too.

    Events are those of the job (`state`, `progress`, …) and of the transfers (`bytes`). Ended with `close()`, it leaves
    a job that goes on: cancel that by `job_id`.

    Args:
        job_id: the id it gets; the same again changes nothing.
        facts: of the footage.
        request: of a `render` or `reshoot` job (docs/api.md), without scene and trajectory.
        trajectory: `trajectory.json` of the camera (DESIGN section 3).
        follow: whether to stay until the job's end.
        connection: the ready connection.

    Raises:
        UserError: the trajectory has numbers that are none.
    """

    def __init__(
        self, job_id: str, facts: SceneFacts, request: Json, trajectory: Json, *, follow: bool, connection: Any
    ) -> None:
        self._scene = KnownScene(facts, connection)
        super().__init__(self._scene.server, self._scene.find_server)
        self.job_id, self._follow = job_id, follow
        try:  # a long move takes a while to write out: here, where an operator calls, not in a tick
            self._trajectory = json.dumps(trajectory, allow_nan=False)
            self._request = json.dumps(request)
        except (TypeError, ValueError) as error:
            raise UserError(
                "The camera move has numbers that are none ({reason}): look at its keyframes.", reason=error
            ) from error

    def flow(self) -> Flow[Json]:
        """Scene, then job."""
        scene = yield from self._scene.flow()
        self.server = self._scene.server
        text = f'{self._request[:-1]}, "scene": {json.dumps(scene)}, "trajectory": {self._trajectory}}}'
        if self._follow:
            job = _Prepared(self.server, self.job_id, text.encode(), self.find_server)
            document = yield from job.flow()
            self.server = job.server
            return document
        reply = yield from self.insist("PUT", f"/v1/jobs/{self.job_id}", text.encode(), "application/json")
        yield Event("job", reply.document)
        return reply.document


class _Prepared(JobTask):
    """A job whose request was written out before."""

    def __init__(self, server: Server, job_id: str, body: bytes, find_server: Any) -> None:
        super().__init__(server, job_id, {}, find_server=find_server)
        self._body = body, "application/json"


def scene_files(folder: Path) -> list[Path]:
    """The files of a scene folder that another machine needs: all but its shots, and nothing half-made."""
    found = (path for path in folder.rglob("*") if path.is_file() and path.suffix != ".partial")
    return sorted(path for path in found if path.relative_to(folder).parts[0] != "shots")
