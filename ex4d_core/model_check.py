"""Verifies models on disk by the hashes of their files, and removes them."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from ex4d_core.errors import MissingDependencyError
from ex4d_core.model_download import exclusively, explained
from ex4d_core.model_hub import require_hub
from ex4d_core.model_store import (
    FileFacts,
    Record,
    forget_record,
    places,
    read_record,
    repository,
    snapshot,
    write_record,
)
from ex4d_core.models import CATALOGUE, Model, absence, location, revision_of
from ex4d_core.progress import Cancelled, OnProgress, never_cancelled, silent, stop_if

_UNIT = 10**6


@dataclass(frozen=True)
class Verification:
    """What the files of a model are."""

    folder: Path
    """The snapshot."""
    whole: tuple[str, ...]
    damaged: tuple[str, ...]
    """Another content than their hash says."""
    missing: tuple[str, ...]
    unknown: tuple[str, ...]
    """Nobody recorded their hash: files that were put there by hand."""

    @property
    def good(self) -> bool:
        """Whether all is as it should be, as far as anybody knows."""
        return not self.damaged and not self.missing


def verify(
    model: Model,
    folder: Path | None = None,
    *,
    on_progress: OnProgress = silent,
    cancelled: Cancelled = never_cancelled,
) -> Verification:
    """Hash every file of a model; needs no network.

    Args:
        model: one of the catalogue.
        folder: the cache to look in; default: all `places`.
        on_progress: told megabytes.
        cancelled: asked for each piece that is read.

    Raises:
        MissingDependencyError: there is nothing of it, or huggingface_hub is not installed.
        CancelledError: `cancelled` said so.
    """
    require_hub()
    from ex4d_core.model_fetch import feed, hasher

    found = _snapshot(model, folder)
    if found is None:
        raise MissingDependencyError(absence(model))
    expected = _expected(model, found)
    total = sum(facts.bytes for facts in expected.values() if facts is not None)
    done = 0
    states: dict[str, list[str]] = {"whole": [], "damaged": [], "missing": [], "unknown": []}

    def on_bytes(count: int) -> None:
        nonlocal done
        stop_if(cancelled)
        done += count
        on_progress(done // _UNIT, max(total // _UNIT, 1), "verifying (MB)")

    with explained(model, found):
        for path, facts in sorted(expected.items()):
            file = found / path
            if facts is None:
                states["unknown"].append(path)
            elif not file.is_file():
                states["missing"].append(path)
            else:
                digest = hasher(facts)
                feed(digest, file, on_bytes)
                states["whole" if digest.hexdigest() == facts.blob else "damaged"].append(path)
    return Verification(found, **{name: tuple(paths) for name, paths in states.items()})


def drop_damaged(verification: Verification) -> None:
    """Remove files that are not what they should be, so that a download fetches them again."""
    for path in verification.damaged:
        pointer = verification.folder / path
        blob = _blob_of(pointer)
        pointer.unlink()
        if blob is not None:
            blob.unlink(missing_ok=True)


def remove(model: Model, folder: Path | None = None) -> int:
    """Remove the files of a model, and nothing that belongs to others of the same cache or repository.

    Args:
        model: one of the catalogue.
        folder: the cache; default: all `places`.

    Returns:
        Bytes freed.

    Raises:
        MissingDependencyError: huggingface_hub is not installed.
        BusyError: it is being downloaded.
        OutputError: a file cannot be removed.
    """
    require_hub()
    freed = 0
    with exclusively(model):
        for cache in filter(os.path.isdir, places(model.name, folder)):  # impossible names are no folders, too
            with explained(model, cache):
                freed += _remove_partial(model, cache) + _remove_from(model, cache)
        record = read_record(model.name)
        if record is not None and not model.revision:  # the revision is kept to
            write_record(model.name, Record(record.revision, record.folder))
        else:
            forget_record(model.name)
    return freed + _remove_environment(model)


def _remove_from(model: Model, cache: Path) -> int:
    from huggingface_hub import scan_cache_dir

    scanned = scan_cache_dir(cache)
    revisions = [r for repo in scanned.repos if repo.repo_id == model.hub_id for r in repo.revisions]
    revision = next(
        (r for r in revisions if r.snapshot_path == snapshot(cache, model.hub_id, revision_of(model))), None
    )
    if revision is None:
        return 0
    ours = [f for f in revision.files if model.holds(f.file_path.relative_to(revision.snapshot_path).as_posix())]
    # A snapshot that holds nothing else goes with its references, and a repository without snapshots, too.
    all_ours = len(ours) == len(revision.files)
    strategy = scanned.delete_revisions(revision.commit_hash) if all_ours else scanned.delete_files(*ours)
    strategy.execute()
    return strategy.expected_freed_size


def _remove_environment(model: Model) -> int:
    """Remove the Python that a model needed, unless another one that is here needs it, too."""
    others = (m for m in CATALOGUE if m.environment == model.environment and m != model)
    if not model.environment or any(location(other) is not None for other in others):
        return 0
    from ex4d_core.depth.model_environment import remove_environment

    return remove_environment(model.environment)


def _remove_partial(model: Model, cache: Path) -> int:
    """Remove what a download left half-made."""
    record, freed = read_record(model.name), 0
    for facts in record.files.values() if record is not None else ():
        partial = repository(cache, model.hub_id) / "blobs" / f"{facts.blob}.incomplete"
        if partial.is_file():
            freed += partial.stat().st_size
            partial.unlink()
    return freed


def _snapshot(model: Model, folder: Path | None) -> Path | None:
    found = [snapshot(cache, model.hub_id, revision_of(model)) for cache in places(model.name, folder)]
    return next((path for path in found if path is not None and _paths(model, path)), None)


def _expected(model: Model, folder: Path) -> dict[str, FileFacts | None]:
    """What is known of the files that there should be: what was recorded, or else what the cache tells."""
    record = read_record(model.name)
    if record is not None and record.files and record.revision == folder.name:
        return dict(record.files)
    found: dict[str, FileFacts | None] = {path: _named_by_its_blob(folder / path) for path in _paths(model, folder)}
    for path, sha256 in model.sha256.items():
        size = (folder / path).stat().st_size if (folder / path).is_file() else 0
        found[path] = FileFacts(size, sha256)
    return found


def _paths(model: Model, folder: Path) -> list[str]:
    files = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file() or path.is_symlink())
    return [path for path in files if model.holds(path)]


def _named_by_its_blob(pointer: Path) -> FileFacts | None:
    blob = _blob_of(pointer)
    if blob is None:
        return None
    size = pointer.stat().st_size if pointer.is_file() else 0
    if re.fullmatch(r"[0-9a-f]{64}", blob.name):
        return FileFacts(size, sha256=blob.name)
    return FileFacts(size, git_sha1=blob.name) if re.fullmatch(r"[0-9a-f]{40}", blob.name) else None


def _blob_of(pointer: Path) -> Path | None:
    """What a file of a snapshot links to; None where it is a file itself."""
    if not pointer.is_symlink():
        return None
    return Path(os.path.normpath(pointer.parent / os.readlink(pointer)))
