# SPDX-License-Identifier: GPL-3.0-or-later
"""Gets uv: from its wheel on PyPI, or from the offline folder, and only if it is the one whose hash we know."""

import contextlib
import hashlib
import os
import shutil
import ssl
import sys
import urllib.error
import urllib.request
import zipfile
from pathlib import Path

from .failing import Failed
from .telling import progress, require_wanted

TIMEOUT_SECONDS = 60.0
PIECE_BYTES = 1 << 20


def uv_program(folder: Path, url: str, sha256: str, wheels: str) -> Path | None:
    """The uv in the engine's folder, fetched if it is not there.

    Args:
        folder: the engine's.
        url: of its wheel on PyPI.
        sha256: of that wheel.
        wheels: the offline folder; empty: from the network.

    Returns:
        None where the offline folder has no uv.

    Raises:
        Failed: it could not be fetched, or it is another one.
    """
    target = folder / "uv" / ("uv.exe" if sys.platform == "win32" else "uv")
    stamp = target.with_name("sha256")
    if target.is_file() and stamp.is_file() and stamp.read_text("utf-8") == sha256:
        return target
    name = url.rsplit("/", 1)[1]
    target.parent.mkdir(exist_ok=True)
    wheel = target.with_name("uv.whl")
    if not wheels:
        _download(url, wheel)
    elif (Path(wheels) / name).is_file():
        shutil.copyfile(Path(wheels) / name, wheel)
    else:
        return None
    if hashlib.sha256(wheel.read_bytes()).hexdigest() != sha256:
        wheel.unlink()
        raise Failed("hash", name=name)
    with zipfile.ZipFile(wheel) as archive:
        member = next(m for m in archive.namelist() if m.endswith(f".data/scripts/{target.name}"))
        partial = target.with_name(f"{target.name}.partial")
        with archive.open(member) as source, partial.open("wb") as written:
            shutil.copyfileobj(source, written)
    partial.chmod(0o755)
    os.replace(partial, target)
    stamp.write_text(sha256, "utf-8")
    wheel.unlink()
    return target


def _download(url: str, target: Path) -> None:
    """Through the proxies of environment and system, as urllib finds them."""
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_SECONDS) as reply, target.open("wb") as file:
            total, done = int(reply.headers.get("Content-Length") or 0), 0
            while piece := reply.read(PIECE_BYTES):
                require_wanted()
                file.write(piece)
                done += len(piece)
                progress("uv", 0.05 * done / max(total, done), done)
    except (urllib.error.URLError, ssl.SSLError, TimeoutError, ConnectionError) as error:
        with contextlib.suppress(OSError):
            target.unlink()
        raise Failed("network", reason=str(getattr(error, "reason", error))) from error
