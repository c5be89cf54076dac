"""Writes the `ex4d` wheel: what pip would build from pyproject.toml, but the same bytes from the same sources.

Standard library only, any Python from 3.11; pip and setuptools stamp dates and compress as their versions like.
"""

from __future__ import annotations

import base64
import hashlib
import io
import tomllib
import zipfile
from pathlib import Path
from typing import Any

EPOCH = (1980, 1, 1, 0, 0, 0)  # the first date that a zip can hold
TEXT = (".py", ".md", ".txt", ".toml", ".json", ".glsl", ".typed", "")
"""Written with LF whatever git has checked out."""


def engine_wheel(root: Path) -> tuple[str, bytes]:
    """The wheel of the library and the sidecar.

    Args:
        root: the repository, or a copy of it.

    Returns:
        Its file name and its content.
    """
    document = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))
    project, setuptools = document["project"], document["tool"]["setuptools"]
    name, version = project["name"], project["version"]
    files = _sources(root, setuptools)
    info = f"{name}-{version}.dist-info"
    files[f"{info}/METADATA"] = _metadata(root, project).encode()
    files[f"{info}/WHEEL"] = b"Wheel-Version: 1.0\nGenerator: ex4d\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    files[f"{info}/entry_points.txt"] = _entry_points(project).encode()
    for licence in project["license-files"]:
        files[f"{info}/licenses/{licence}"] = content_of(root / licence)
    record = f"{info}/RECORD"
    files[record] = _record(files, record).encode()
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        for path, content in files.items():  # dist-info last, as the format recommends
            archive.writestr(entry(path), content)
    return f"{name}-{version}-py3-none-any.whl", target.getvalue()


def entry(path: str) -> zipfile.ZipInfo:
    """A file in a zip without date or owner, not compressed: compressors differ between Pythons."""
    found = zipfile.ZipInfo(path, EPOCH)
    found.compress_type, found.create_system, found.external_attr = zipfile.ZIP_STORED, 3, 0o644 << 16
    return found


def content_of(path: Path) -> bytes:
    """A file as it is packed: texts with LF."""
    content = path.read_bytes()
    return content.replace(b"\r\n", b"\n") if path.suffix in TEXT else content


def _sources(root: Path, setuptools: dict[str, Any]) -> dict[str, bytes]:
    """Modules and data files of the packages, as pyproject.toml tells setuptools."""
    found: dict[str, bytes] = {}
    for where in setuptools["packages"]["find"]["where"]:
        for pattern in setuptools["packages"]["find"]["include"]:
            for package in (root / where).glob(pattern.removesuffix("*")):
                data = setuptools["package-data"].get(package.name, [])
                paths = {*package.rglob("*.py"), *(path for glob in data for path in package.glob(glob))}
                for path in paths:
                    if path.is_file():
                        found[path.relative_to(root / where).as_posix()] = content_of(path)
    return dict(sorted(found.items()))


def _metadata(root: Path, project: dict[str, Any]) -> str:
    lines = [
        "Metadata-Version: 2.4",
        f"Name: {project['name']}",
        f"Version: {project['version']}",
        f"Summary: {project['description']}",
        f"License-Expression: {project['license']}",
        *(f"License-File: {licence}" for licence in project["license-files"]),
        f"Requires-Python: {project['requires-python']}",
        "Description-Content-Type: text/markdown",
        *(f"Requires-Dist: {needed}" for needed in project["dependencies"]),
    ]
    for extra, needs in project["optional-dependencies"].items():
        lines.append(f"Provides-Extra: {extra}")
        for needed in needs:
            requirement, _, marker = (part.strip() for part in needed.partition(";"))
            condition = f"({marker}) and " if marker else ""
            lines.append(f"Requires-Dist: {requirement} ; {condition}extra == '{extra}'")
    readme = content_of(root / project["readme"]).decode()
    return "\n".join(lines) + "\n\n" + readme


def _entry_points(project: dict[str, Any]) -> str:
    groups = {"console_scripts": project["scripts"], **project["entry-points"]}
    lines: list[str] = []
    for group, points in groups.items():
        lines += [f"[{group}]", *(f"{name} = {to}" for name, to in points.items()), ""]
    return "\n".join(lines)


def _record(files: dict[str, bytes], record: str) -> str:
    lines: list[str] = []
    for path, content in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
        lines.append(f"{path},sha256={digest},{len(content)}\n")
    return "".join([*lines, f"{record},,\n"])
