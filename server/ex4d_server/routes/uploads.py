"""Footage and packed scenes from clients that do not share a disk with the sidecar."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Body, Query, Response
from pydantic import AfterValidator

from ex4d_server.documents import UploadStatus
from ex4d_server.names import Id, is_confined
from ex4d_server.routes.shared import ThisSidecar, problems

router = APIRouter(prefix="/uploads", tags=["uploads"])

_Sha256 = Annotated[str, Query(pattern=r"^[0-9a-f]{64}$")]
_Size = Annotated[int, Query(ge=1, le=2**53)]
_Offset = Annotated[int, Query(ge=0, le=2**53)]
_Piece = Annotated[bytes, Body(media_type="application/octet-stream", min_length=1)]


def _file_name(name: str) -> str:
    if "/" in name or not is_confined(name):
        raise ValueError("must be a plain file name without folders")
    return name


_Name = Annotated[str, Query(min_length=1, max_length=200), AfterValidator(_file_name)]


@router.put(
    "/{id}",
    responses={**problems(409, 422, 507), 201: {"description": "A new upload", "model": UploadStatus}},
)
def put_upload(
    sidecar: ThisSidecar,
    response: Response,
    id: Id,
    name: _Name,
    size: _Size,
    sha256: _Sha256,
    offset: _Offset,
    piece_sha256: _Sha256,
    piece: _Piece,
) -> UploadStatus:
    """Send one piece of a file, in order. A piece that is already here is accepted again.

    `size` and `sha256` are of the whole file, `offset` and `piece_sha256` of this piece. After a piece was lost the
    answer is 409 `upload-gap`, whose `received` says where to go on.
    """
    status, new = sidecar.uploads.put(id, name, size, sha256, offset, piece_sha256, piece)
    response.status_code = 201 if new else 200
    return status


@router.get("/{id}", responses=problems(404, 422))
def get_upload(sidecar: ThisSidecar, id: Id) -> UploadStatus:
    """How far an upload is."""
    return sidecar.uploads.status(id)


@router.delete("/{id}", status_code=204, responses=problems(404, 422))
def delete_upload(sidecar: ThisSidecar, id: Id) -> None:
    """Forget an upload."""
    sidecar.uploads.delete(id)
