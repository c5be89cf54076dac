"""Takes the pictures of the illustrated manual (`docs/manual.md`) anew, from the walk through a real Blender window.

    python scripts/manual.py [--release sid]      (as root, on Debian or Ubuntu; minutes)
    python scripts/manual.py --pictures FOLDER    of a walk that ran, see EX4D_PICTURES in tests/gui/test_windows.py

The text is written by hand. The manual shows every picture that the walk takes, and no other: else this ends with an
error that names them, and changes nothing. Needs an environment with the library.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
from pathlib import Path

from environment import ROOT, fail, in_environment, say

in_environment()

import cv2
from blender_walk import walk
from blender_window import RELEASES, why_not

MANUAL, PICTURES = ROOT / "docs/manual.md", ROOT / "docs/manual"
WIDEST = 960
"""Of a picture, pixels; a sidebar stays as it is."""
QUALITY = 78
MOST_BYTES = 2_500_000
"""Of all of them: they are in the repository."""


def named() -> set[str]:
    """The pictures that the manual shows."""
    return set(re.findall(r"\(manual/(\w+)\.jpg\)", MANUAL.read_text("utf-8")))


def check(taken: set[str]) -> None:
    """Stop unless the manual shows just these."""
    if unknown := sorted(named() - taken):
        fail(f"docs/manual.md shows {', '.join(unknown)}, which tests/gui/walk.py does not take: rename or remove it")
    if unshown := sorted(taken - named()):
        fail(f"tests/gui/walk.py takes {', '.join(unshown)}, which docs/manual.md does not show: write a step for it")


def shrunk(path: Path) -> bytes:
    """A picture as a JPEG file."""
    picture = cv2.imread(str(path))
    if picture is None:
        fail(f"{path} cannot be read: take the pictures again")
    height, width = picture.shape[:2]
    if width > WIDEST:
        picture = cv2.resize(picture, (WIDEST, round(height * WIDEST / width)), interpolation=cv2.INTER_AREA)
    done, data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    assert done, path
    return data.tobytes()


def take_over(folder: Path) -> None:
    """Put the pictures of a walk into docs/manual, in place of those that are there."""
    paths = sorted(folder.glob("*.png"))
    check({path.stem for path in paths})
    files = {path.stem: shrunk(path) for path in paths}
    size = sum(map(len, files.values()))
    if size > MOST_BYTES:
        fail(f"the pictures have {size / 1e6:.1f} MB, more than {MOST_BYTES / 1e6:.1f}: take fewer, or lower QUALITY")
    PICTURES.mkdir(exist_ok=True)
    for old in PICTURES.glob("*.jpg"):
        old.unlink()
    for name, data in files.items():
        (PICTURES / f"{name}.jpg").write_bytes(data)
    say(f"{len(files)} pictures in {PICTURES}, {size / 1e6:.1f} MB")


def main() -> int:
    """Walk, unless there are pictures, and take them over."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--release", choices=RELEASES, default="sid", help="sid has Blender 5.2, trixie 4.3")
    parser.add_argument("--pictures", type=Path, help="a folder with the PNG files of a walk that ran")
    options = parser.parse_args()
    if options.pictures:
        take_over(options.pictures)
        return 0
    if reason := why_not():
        fail(reason)
    with tempfile.TemporaryDirectory(prefix="ex4d-manual-") as name:
        say("An artist walks through Blender; this takes minutes ...")
        done = walk(options.release, Path(name), frozen_seconds=10)
        if done.returncode:
            say(done.stdout[-6000:])
            fail("the walk did not get to its end, see above")
        take_over(Path(name))
    return 0


if __name__ == "__main__":
    sys.exit(main())
