"""A result takes its place whole: what was there before is whole until then, however a run ends."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from safetensors import SafetensorError

from ex4d_core.errors import SpaceError
from ex4d_core.files import explained, partial_folder

FILES = ("a.txt", "b.txt", "deep/c.txt")


class Killed(BaseException):
    """What stands for kill -9: nothing handles it."""


def write(folder: Path, text: str) -> None:
    for name in FILES:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")


def read(folder: Path) -> set[str]:
    """What its files say; all of them are there."""
    return {(folder / name).read_text(encoding="utf-8") for name in FILES}


def replace(final: Path, text: str) -> None:
    with partial_folder(final) as folder:
        write(folder, text)


@pytest.mark.parametrize("at", [0, 1, 2])
def test_killed_while_it_replaces_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int) -> None:
    final = tmp_path / "out"
    replace(final, "old")
    calls: list[Path] = []

    def killed(real: Any) -> Any:
        def call(path: Path, *arguments: Any, **options: Any) -> None:
            if path.exists():
                if len(calls) == at:
                    raise Killed
                calls.append(path)
            real(path, *arguments, **options)

        return call

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", killed(os.replace))
        patch.setattr(shutil, "rmtree", killed(shutil.rmtree))
        with pytest.raises(Killed):
            replace(final, "new")
    if final.exists():
        assert read(final) == {"new" if at == 2 else "old"}
    else:
        with pytest.raises(ValueError, match="bad input"), partial_folder(final):
            raise ValueError("bad input")
        assert read(final) == {"old"}, "a run that fails gives it back"
    replace(final, "newest")
    assert read(final) == {"newest"}
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_link_to_a_folder_stays_one(tmp_path: Path) -> None:
    (tmp_path / "large disk").mkdir()
    link = tmp_path / "out"
    link.symlink_to(tmp_path / "large disk", target_is_directory=True)
    for text in ("old", "new"):
        replace(link, text)
        assert link.is_symlink()
        assert read(tmp_path / "large disk") == {text}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["large disk", "out"]


def test_a_full_disk_as_safetensors_says_it(tmp_path: Path) -> None:
    error = SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")
    with pytest.raises(SpaceError, match="the disk is full: free some space"), explained(tmp_path):
        raise error
    with pytest.raises(SafetensorError), explained(tmp_path):
        raise SafetensorError("Error while serializing: another one")
