"""What an error tells besides its message."""

import errno
from pathlib import Path

import pytest

from ex4d_core.errors import Ex4dError, InputError, OutputError, SpaceError
from ex4d_core.files import atomic_file, explain_os_error
from ex4d_core.video_in import require_file


def test_the_remedy_is_the_last_part_of_the_message(tmp_path: Path) -> None:
    (tmp_path / "a: b.mp4").touch()
    with pytest.raises(InputError) as caught:
        require_file(tmp_path / "a: b.mp4")
    assert caught.value.remedy == "copy or export it again."
    assert Ex4dError("Stopped.").remedy == ""
    assert Ex4dError("Cannot read C:\\a.mp4").remedy == "", "a colon in a name begins no remedy"


@pytest.mark.parametrize(
    ("number", "kind", "code"),
    [
        (errno.ENOSPC, SpaceError, "no-space"),
        (errno.EDQUOT, SpaceError, "no-space"),
        (errno.EROFS, OutputError, "bad-output"),
    ],
)
def test_a_full_disk_is_told_from_other_failures(tmp_path: Path, number: int, kind: type, code: str) -> None:
    error = explain_os_error(OSError(number, "x"), tmp_path)
    assert type(error) is kind
    assert error.code == code
    assert error.remedy.endswith(".")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a disk that is always full")
def test_a_disk_that_is_really_full(tmp_path: Path) -> None:
    with pytest.raises(SpaceError, match="disk is full"), atomic_file(tmp_path / "a.txt"):
        Path("/dev/full").write_bytes(b"x" * 100_000)
