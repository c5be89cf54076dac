# SPDX-License-Identifier: GPL-3.0-or-later
"""The two ways of an import: footage to the sidecar, and the finished scene into the project. Tasks without Blender."""

import json
import os
from pathlib import Path

from ..client import ClientError, DownloadFolder, FindServer, JobTask, Json, Server, Task
from ..client.http import MORE, Event, Flow
from ..scene_folder import SCENE_FILE
from ..sidecar.sending import Send
from ..translation import translated
from .source import Source

MANY = 1000
"""Scenes of one name beside each other."""
_in_use: set[Path] = set()


class SendImport(Task[Json]):
    """Sends footage and asks for its import. Result: the Job document.

    Args:
        job_id: the id it gets; the same again changes nothing.
        options: of an import job (docs/api.md), without its files.
        footage: the clip.
        depth: depth that another program made.
        solve: of the footage's camera.
        is_local: whether the sidecar reads this machine's files.
        follow: whether to stay until the job's end.
    """

    def __init__(
        self,
        server: Server,
        job_id: str,
        options: Json,
        footage: Source,
        depth: Source | None,
        solve: Source | None,
        *,
        is_local: bool,
        follow: bool = False,
        find_server: FindServer | None = None,
    ) -> None:
        super().__init__(server, find_server)
        self.job_id, self._options, self._follow = job_id, options, follow
        self._media = {
            name: (source.path, [] if is_local else source.files())
            for name, source in (("footage", footage), ("depth", depth), ("source_camera", solve))
            if source is not None
        }
        self._is_local = is_local

    def flow(self) -> Flow[Json]:
        """Files first, then the request."""
        request = dict(self._options) | {"kind": "import"}
        for name, (path, files) in self._media.items():
            send = Send(self.server, path, files, is_local=self._is_local, find_server=self.find_server)
            request[name] = yield from send.flow()
            self.server = send.server
        if self._follow:
            job = JobTask(self.server, self.job_id, request, find_server=self.find_server)
            return (yield from job.flow())
        body = json.dumps(request).encode()
        reply = yield from self.insist("PUT", f"/v1/jobs/{self.job_id}", body, "application/json")
        yield Event("job", reply.document)
        return reply.document


class FetchScene(Task[Path]):
    """Fetches a finished import's scene. Result: its folder.

    A folder of that name that holds this very scene is taken as it is; another one stays, and a number is added.

    Args:
        job_id: the import.
        content_hash: of its scene.
        outputs: the folder in which the scene's folder is made.
        name: of the scene, without `.ex4d`.
    """

    def __init__(
        self,
        server: Server,
        job_id: str,
        content_hash: str,
        outputs: Path,
        name: str,
        find_server: FindServer | None = None,
    ) -> None:
        super().__init__(server, find_server)
        self._url, self._hash = f"/v1/jobs/{job_id}/files", content_hash
        self._outputs, self._name = outputs, name

    def flow(self) -> Flow[Path]:
        """Downloads into `NAME.ex4d.partial`, which takes its name when it is whole."""
        if found := fetched(self._outputs, self._name, self._hash):
            return found
        target = next(path for path in _names(self._outputs, self._name) if not path.exists() and path not in _in_use)
        partial = target.with_name(target.name + ".partial")
        _in_use.add(target)
        try:
            yield from _clear(partial)
            partial.mkdir(parents=True, exist_ok=True)
            download = DownloadFolder(self.server, self._url, partial, self.find_server, self.patience)
            yield from download.flow()
            self._check(partial)
            os.replace(partial, target)
        finally:
            _in_use.discard(target)
        return target

    def _check(self, folder: Path) -> None:
        if not _is(folder, self._hash):
            message = "What came of {name} is not the scene that was made: press Place again"
            raise ClientError(translated(message, name=self._name), "file")


def fetched(outputs: Path, name: str, content_hash: str) -> Path | None:
    """The folder that holds this scene already."""
    for path in _names(outputs, name):
        if not path.exists():
            return None
        if _is(path, content_hash):
            return path
    return None


def _is(folder: Path, content_hash: str) -> bool:
    """Whether a folder holds this scene, by the hash alone: to parse a long camera path takes too long for a tick."""
    try:
        return f'"{content_hash}"'.encode() in (folder / SCENE_FILE).read_bytes()
    except OSError:
        return False


def _names(outputs: Path, name: str) -> list[Path]:
    """Where a scene of this name may lie, in order."""
    return [outputs / (f"{name}.ex4d" if number == 1 else f"{name}_{number}.ex4d") for number in range(1, MANY)]


def _clear(folder: Path) -> Flow[None]:
    """Removes what an earlier try left, a file at a time."""
    for path in sorted(folder.rglob("*"), reverse=True) if folder.is_dir() else ():
        path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
        yield MORE
