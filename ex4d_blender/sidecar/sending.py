# SPDX-License-Identifier: GPL-3.0-or-later
"""Files on their way to a sidecar: by their path where it reads this machine's disk, else packed and uploaded."""

import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

from ..client import Event, FindServer, Json, Server, Task, Upload
from ..client.http import MORE, PIECE_BYTES, Flow

_EPOCH = (1980, 1, 1, 0, 0, 0)  # the same files give the same zip, and so the same upload


class Send(Task[Json]):
    """Makes files known to a sidecar. Result: what stands for them in a request, `{"path": …}` or `{"upload": …}`.

    Args:
        path: the clip, pattern or folder, absolute.
        files: the files that it means, for a sidecar on another machine; of a folder or pattern all of them.
        is_local: whether the sidecar reads this machine's files.
    """

    def __init__(
        self,
        server: Server,
        path: Path,
        files: Sequence[Path],
        *,
        is_local: bool,
        find_server: FindServer | None = None,
    ) -> None:
        super().__init__(server, find_server)
        self._path, self._files, self._is_local = path, list(files), is_local

    def flow(self) -> Flow[Json]:
        """Packs what is more than one file, and uploads."""
        if self._is_local:
            return {"path": str(self._path)}
        if self._files == [self._path]:
            return (yield from self._upload(self._path))
        with tempfile.TemporaryDirectory(prefix="ex4d-", ignore_cleanup_errors=True) as folder:
            base = self._path if self._path.is_dir() else self._path.parent
            archive = Path(folder) / f"{base.name or 'files'}.zip"
            yield from pack(self._files, base, archive)
            return (yield from self._upload(archive))

    def _upload(self, path: Path) -> Flow[Json]:
        upload = Upload(self.server, None, path, find_server=self.find_server, patience=self.patience)
        document = yield from upload.flow()
        self.server = upload.server
        return {"upload": str(document.get("id", upload.upload_id))}


def pack(files: Sequence[Path], base: Path, archive: Path) -> Flow[None]:
    """Zip files under their names relative to `base`, a piece at a time."""
    total, done = sum(file.stat().st_size for file in files), 0
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as packed:
        for file in files:
            entry = zipfile.ZipInfo(file.relative_to(base).as_posix(), _EPOCH)
            with file.open("rb") as source, packed.open(entry, "w", force_zip64=True) as target:
                while data := source.read(PIECE_BYTES):
                    target.write(data)
                    done += len(data)
                    yield MORE
            yield Event("bytes", {"stage": "pack", "name": archive.name, "done": done, "total": total})
