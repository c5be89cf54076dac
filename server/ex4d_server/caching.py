"""The cache of a data folder for the command line, whether its sidecar runs or not."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from ex4d_core.errors import InputError
from ex4d_server.cache import Cache
from ex4d_server.folders import DataFolder, default_data
from ex4d_server.store import Store


@contextmanager
def open_cache(data: Path | None) -> Generator[Cache]:
    """Open the cache of a data folder.

    Args:
        data: the folder; None: the default one.

    Raises:
        InputError: no sidecar has worked there.
        OutputError: its store is damaged or may not be written.
    """
    folder = DataFolder((data or default_data()).absolute())
    if not folder.database.is_file():
        raise InputError(f"No sidecar has worked in {folder.root}: give the --data folder of `ex4d serve`.")
    store = Store(folder.database)
    try:
        yield Cache(folder, store, limit_bytes=0)
    finally:
        store.close()
