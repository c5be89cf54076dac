"""Downloads models into the hub's cache, or a folder like it; see `model_fetch` for how it goes on after a break."""

from __future__ import annotations

import os
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from filelock import Timeout

from ex4d_core.errors import BusyError, Ex4dError, InputError, SpaceError
from ex4d_core.files import explain_os_error
from ex4d_core.model_hub import address, require_hub
from ex4d_core.model_store import FileFacts, Record, download_lock, places, read_record, repository, write_record
from ex4d_core.models import Model, gigabytes, location, revision_of
from ex4d_core.progress import Cancelled, OnProgress, never_cancelled, silent

if TYPE_CHECKING:
    from ex4d_core.model_fetch import Wanted


class DownloadError(Ex4dError):
    """The hub cannot be reached, or does not give a model."""

    code = "download-failed"


def check_licence(model: Model, accepted: bool) -> None:
    """Refuse a model whose licence has to be accepted first.

    Raises:
        InputError: it was not.
    """
    if not model.commercial and not accepted:
        raise InputError(
            f"{model.title} is not known to be free for commercial work (licence: {model.licence}; see {model.where}): "
            "add --accept if that suits you."
        )


def download(
    model: Model,
    folder: Path | None = None,
    *,
    on_progress: OnProgress = silent,
    cancelled: Cancelled = never_cancelled,
) -> Path:
    """Have a model on disk, and the Python that it needs; at once where both are there already.

    Args:
        model: one of the catalogue.
        folder: the cache to put it into; default: the first of `places`.
        on_progress: told megabytes.
        cancelled: asked ten times a second; what came so far stays for the next call.

    Returns:
        Its folder.

    Raises:
        MissingDependencyError: huggingface_hub is not installed.
        InputError: a setting of it cannot be used.
        BusyError: another process downloads it.
        SpaceError: it does not fit on the disk.
        DownloadError: the hub cannot be reached, or does not give it.
        CancelledError: `cancelled` said so.
    """
    found = location(model, folder)
    if found is None:
        found = _download(model, folder, on_progress, cancelled)
    if model.environment:
        from ex4d_core.depth.model_environment import make_environment

        with exclusively(model):
            make_environment(model.environment, on_progress, cancelled)
    return found


def _download(model: Model, folder: Path | None, on_progress: OnProgress, cancelled: Cancelled) -> Path:
    require_hub()
    from ex4d_core.model_fetch import awaited, fetch

    cache = places(model.name, folder)[0].absolute()
    with explained(model, cache), exclusively(model):
        record = awaited(lambda: listing(model, cache), cancelled)
        write_record(model.name, record)
        missing = _missing(model, cache, record)
        check_space(model, cache, sum(file.facts.bytes - file.done for file in missing))
        fetch(missing, on_progress, cancelled)
    return repository(cache, model.hub_id) / "snapshots" / record.revision


def listing(model: Model, cache: Path) -> Record:
    """The files of a model at the revision that is kept to; asks the hub unless that was recorded before.

    Args:
        model: one of the catalogue.
        cache: where they go.

    Raises:
        DownloadError: the hub has them not, or others.
        httpx2.HTTPError, OSError: see `explained`.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.hf_api import RepoFile

    known = read_record(model.name)
    if known is not None and known.files and known.revision == revision_of(model):
        return replace(known, folder=str(cache))
    hub = HfApi()
    revision = revision_of(model) or str(hub.model_info(model.hub_id).sha)
    files: dict[str, FileFacts] = {}
    for entry in hub.list_repo_tree(model.hub_id, recursive=True, revision=revision):
        if isinstance(entry, RepoFile) and model.holds(entry.path):
            sha256 = entry.lfs.sha256 if entry.lfs is not None else ""
            files[entry.path] = FileFacts(entry.size, sha256, "" if sha256 else entry.blob_id)
    _check_listing(model, revision, files)
    return Record(revision, str(cache), files)


@contextmanager
def exclusively(model: Model) -> Generator[None]:
    """Be the only process that changes a model.

    Raises:
        BusyError: another one does.
    """
    try:
        lock = download_lock(model.name).acquire(timeout=1)
    except Timeout as error:
        raise BusyError(f"Another ex4d downloads or removes {model.name}: wait for it.") from error
    with lock:
        yield


def check_space(model: Model, cache: Path, needed: int) -> None:
    """Refuse before the work what does not fit.

    Raises:
        SpaceError: it does not.
    """
    there = next(path for path in (cache, *cache.parents) if os.path.exists(path))
    free = shutil.disk_usage(there).free
    if needed > free:
        raise SpaceError(
            f"{model.name} needs {gigabytes(needed)} more on the disk of {cache} and {gigabytes(free)} are free: "
            "free some space, or choose another folder with --folder."
        )


@contextmanager
def explained(model: Model, cache: Path) -> Generator[None]:
    """Turn what huggingface_hub and the system raise into one sentence."""
    import httpx2
    from huggingface_hub import errors

    hub, again = address(), "then run the same command again: it goes on where it stopped"
    try:
        yield
    except Ex4dError:
        raise
    except errors.OfflineModeIsEnabled as error:
        raise DownloadError(
            f"{model.name} is not whole on this machine and HF_HUB_OFFLINE forbids the network: unset it, or copy the "
            f"folder {repository(cache, model.hub_id)} from a machine that has it."
        ) from error
    except errors.GatedRepoError as error:
        raise DownloadError(
            f"{model.where} is shown only to those who accepted its terms: accept them on that page, then log in with "
            "`hf auth login`."
        ) from error
    except errors.RevisionNotFoundError as error:
        raise DownloadError(
            f"{hub} has no revision {revision_of(model)} of {model.hub_id}: update EX-4D, or leave out the mirror."
        ) from error
    except (errors.RepositoryNotFoundError, errors.RemoteEntryNotFoundError) as error:
        raise DownloadError(
            f"{hub} has no {model.hub_id}, or hides it from you: check HF_ENDPOINT, or log in with `hf auth login`."
        ) from error
    except errors.HfHubHTTPError as error:
        raise DownloadError(_refusal(model, hub, error.response.status_code, again)) from error
    except httpx2.ProxyError as error:
        raise DownloadError(
            f"The proxy does not let {model.name} through: check HTTPS_PROXY and NO_PROXY, {again}."
        ) from error
    except httpx2.TimeoutException as error:
        raise DownloadError(f"{hub} says nothing any more: check the network, {again}.") from error
    except httpx2.TransportError as error:
        raise DownloadError(
            f"{hub} cannot be reached: check the network, HTTPS_PROXY and HF_ENDPOINT, {again}."
        ) from error
    except UnicodeEncodeError as error:
        raise InputError(
            "Your token of Hugging Face has characters that no token has: set HF_TOKEN anew, or log in with "
            "`hf auth login`."
        ) from error
    except OSError as error:
        raise explain_os_error(error, Path(error.filename or cache)) from error


def _refusal(model: Model, hub: str, status: int, again: str) -> str:
    if status == 401:
        return f"{hub} does not know your token: log in anew with `hf auth login`, or unset HF_TOKEN."
    if status == 403:
        return f"{hub} does not give {model.hub_id} to you: log in with `hf auth login`, with a token that may read it."
    if status == 429:
        return f"{hub} had too many requests from you: wait some minutes, {again}."
    return f"{hub} answers with an error of its own ({status}): wait a while, {again}."


def _check_listing(model: Model, revision: str, files: dict[str, FileFacts]) -> None:
    if not files:
        raise DownloadError(
            f"{model.hub_id} holds none of {', '.join(model.patterns)} at {revision[:12]}: update EX-4D."
        )
    for path in files:
        if PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts or "\\" in path:
            raise DownloadError(
                f"{model.hub_id} has a file that would lie outside its folder, {path!r}: do not use it."
            )
    for path, sha256 in model.sha256.items():
        if path not in files or files[path].sha256 != sha256:
            raise DownloadError(
                f"{model.hub_id} has another {path} than the one that we know: do not use this mirror, unset "
                "HF_ENDPOINT."
            )


def _missing(model: Model, cache: Path, record: Record) -> list[Wanted]:
    from huggingface_hub import hf_hub_url

    from ex4d_core.model_fetch import Wanted

    folder = repository(cache, model.hub_id)
    snapshot = folder / "snapshots" / record.revision
    found: list[Wanted] = []
    for path, facts in record.files.items():
        pointer = snapshot / path
        if pointer.is_file() and pointer.stat().st_size == facts.bytes:
            continue
        url = hf_hub_url(model.hub_id, path, revision=record.revision)
        found.append(Wanted(url, facts, folder / "blobs" / facts.blob, pointer))
    return found
