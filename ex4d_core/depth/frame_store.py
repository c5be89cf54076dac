"""What an estimator has finished of a clip, a file for each frame, so that a rerun goes on after the last one."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ex4d_core.files import explained

Floats = NDArray[np.float32]


class FrameStore:
    """Arrays (h, w) float32 of the frames of a clip, kept as `NAME/000000.npy`."""

    def __init__(self, folder: Path | None, name: str, count: int) -> None:
        """Open, or begin.

        Args:
            folder: where it is kept; None: in a temporary folder that goes with this object.
            name: of the folder in it: another for each kind of content, and for each revision of it.
            count: frames of the clip.

        Raises:
            OutputError: the folder cannot be written.
        """
        self._temporary = tempfile.TemporaryDirectory(prefix="ex4d_") if folder is None else None
        parent = Path(self._temporary.name) if self._temporary is not None else folder
        assert parent is not None
        self.folder, self.count = parent / name, count
        with explained(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, frame: int, /) -> Floats:
        """Raises: IndexError if there is no such frame."""
        if not 0 <= frame < self.count:
            raise IndexError(frame)
        return np.load(self._path(frame), allow_pickle=False)

    def has(self, frame: int) -> bool:
        """Whether a frame is kept."""
        return self._path(frame).is_file()

    def done(self) -> int:
        """How many frames are kept from the first on without a gap."""
        return next((frame for frame in range(self.count) if not self.has(frame)), self.count)

    def write(self, frame: int, values: Floats) -> None:
        """Keep a frame: it appears under its name when whole.

        Raises:
            OutputError: it cannot be written.
        """
        path = self._path(frame)
        temporary = path.with_name(".next.npy")
        with explained(path):
            np.save(temporary, np.ascontiguousarray(values, np.float32), allow_pickle=False)
            os.replace(temporary, path)

    def _path(self, frame: int) -> Path:
        return self.folder / f"{frame:06d}.npy"
