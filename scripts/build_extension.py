"""Builds the Blender extension: dist/ex4d_blender-VERSION.zip and a static repository index for self-hosting.

    python scripts/build_extension.py [--output DIR]

The zip carries the `ex4d` wheel of the same sources, which *Install Engine* installs. Standard library only, any Python
from 3.11. The same sources give the same bytes.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
import tomllib
import zipfile
from pathlib import Path

from engine_wheel import content_of, engine_wheel, entry

ROOT = Path(__file__).resolve().parent.parent
MANIFEST = ROOT / "blender_manifest.toml"
SOURCES = ((ROOT / "ex4d_blender", ""), (ROOT / "server" / "ex4d_server" / "client", "client/"))
SUFFIXES = (".py", ".glsl", ".json", ".md", ".txt")


def staged() -> dict[str, bytes]:
    """Name in the zip -> content, of everything that the extension consists of."""
    files = {"blender_manifest.toml": content_of(MANIFEST), "LICENSE": content_of(ROOT / "LICENSE")}
    for folder, prefix in SOURCES:
        for path in sorted(folder.rglob("*")):
            if path.is_file() and path.suffix in SUFFIXES and "__pycache__" not in path.parts:
                files[prefix + path.relative_to(folder).as_posix()] = content_of(path)
    name, wheel = engine_wheel(ROOT)
    files[f"engine/{name}"] = wheel
    return dict(sorted(files.items()))


def build(output: Path) -> Path:
    """Write the zip and `index.json` beside it.

    Returns:
        The zip.
    """
    manifest = tomllib.loads(MANIFEST.read_text("utf-8"))
    output.mkdir(parents=True, exist_ok=True)
    target = output / f"ex4d_blender-{manifest['version']}.zip"
    partial = target.with_name(target.name + ".partial")
    with zipfile.ZipFile(partial, "w") as archive:
        for name, content in staged().items():
            archive.writestr(entry(name), content)
    os.replace(partial, target)
    index = output / "index.json"
    index_partial = output / "index.json.partial"
    index_partial.write_text(json.dumps(repository_index(manifest, target), indent=2) + "\n", "utf-8")
    os.replace(index_partial, index)
    return target


def repository_index(manifest: dict[str, object], archive: Path) -> dict[str, object]:
    """The index of a static repository with this zip (Blender manual, Creating a Static Extensions Repository)."""
    shown = {name: value for name, value in manifest.items() if name != "build"}
    content = archive.read_bytes()
    found = {
        "archive_url": f"./{archive.name}",
        "archive_size": len(content),
        "archive_hash": f"sha256:{hashlib.sha256(content).hexdigest()}",
    }
    return {"version": "v1", "blocklist": [], "data": [shown | found]}


def main() -> int:
    """Build, and say what was built."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=ROOT / "dist", help="folder to write to (default: dist)")
    try:
        target = build(parser.parse_args().output)
    except OSError as error:
        print(f"error: {error.strerror} ({error.filename}): choose another --output.", file=sys.stderr)
        return 1
    print(f"{target}  {target.stat().st_size} bytes  sha256 {hashlib.sha256(target.read_bytes()).hexdigest()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
