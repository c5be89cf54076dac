"""Scenes: the footage as meshes."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Request, Response

from ex4d_core.errors import Ex4dError
from ex4d_server.documents import FileList, SceneList, SceneSource, SceneStatus
from ex4d_server.names import Id
from ex4d_server.problems import RequestError, not_found
from ex4d_server.results import file_response, list_files
from ex4d_server.routes.shared import IsLocal, ThisSidecar, problems
from ex4d_server.scenes import scene_folder, scene_status, take_in

router = APIRouter(prefix="/scenes", tags=["scenes"])

FileName = Annotated[str, Path(max_length=1024, examples=["output.mp4"])]


@router.put(
    "/{id}",
    responses={**problems(403, 404, 409, 422, 507), 201: {"description": "A new id", "model": SceneStatus}},
)
def put_scene(sidecar: ThisSidecar, is_local: IsLocal, response: Response, id: Id, body: SceneSource) -> SceneStatus:
    """Take in a scene folder: from a zip that was uploaded, or from this machine's disk (local clients only).

    Every frame is decoded and the content hash checked first. An id that is in use means the new scene from then on.
    """
    refuse_remote_path(body.path, is_local)
    new = sidecar.store.scene_key(id) is None
    limit = sidecar.settings.upload_bytes
    take_in(id, body, sidecar.cache, sidecar.uploads, limit, is_ending=lambda: sidecar.announcer.closed)
    response.status_code = 201 if new else 200
    return scene_status(id, sidecar.cache, is_local)


@router.get("", responses=problems())
def get_scenes(sidecar: ThisSidecar, is_local: IsLocal) -> SceneList:
    """All scenes."""
    found: list[SceneStatus] = []
    for scene, _ in sidecar.store.list_scenes():
        try:
            found.append(scene_status(scene, sidecar.cache, is_local))
        except Ex4dError:
            continue  # its folder was removed or damaged by hand
    return SceneList(scenes=found)


@router.get("/{id}", responses=problems(404, 422))
def get_scene(sidecar: ThisSidecar, is_local: IsLocal, id: Id) -> SceneStatus:
    """A scene's `scene.json`, and for a local client its folder."""
    return scene_status(id, sidecar.cache, is_local)


@router.get("/{id}/files", responses=problems(404, 422))
def get_scene_files(sidecar: ThisSidecar, id: Id) -> FileList:
    """The files of a scene."""
    return FileList(files=list_files(scene_folder(id, sidecar.cache)))


@router.get("/{id}/files/{name:path}", response_class=Response, responses=problems(404, 416, 422))
def get_scene_file(sidecar: ThisSidecar, request: Request, id: Id, name: FileName) -> Response:
    """One file of a scene; understands Range, If-Range and If-None-Match."""
    return file_response(request, scene_folder(id, sidecar.cache), name)


@router.delete("/{id}", status_code=204, responses=problems(404, 422))
def delete_scene(sidecar: ThisSidecar, id: Id) -> None:
    """Forget a scene; shots that need it keep it on disk."""
    if not sidecar.store.delete_scene(id):
        raise not_found("scene", id)


def refuse_remote_path(path: str | None, is_local: bool) -> None:
    """Paths are for clients on the same machine.

    Raises:
        RequestError: 403.
    """
    if path is not None and not is_local:
        raise RequestError(
            "A path on this machine was given from another one: upload the file instead.", "path-not-allowed", 403
        )
