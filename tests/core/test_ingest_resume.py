"""Imports that die: killed in the middle, without disk space, without permission."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest
from ingest_cases import FRAMES, all_bytes, clip_file, depth_npy

from ex4d_core.errors import OutputError
from ex4d_core.ingest import import_scene
from ex4d_core.progress import OnProgress

# Imports slowly and says aloud what it has done, so that the test can kill it at a known moment.
_CHILD = textwrap.dedent(
    """
    import sys, time
    from pathlib import Path
    from ex4d_core.ingest import import_scene

    def slowly(done, total, stage):
        print(f"{stage} {done}", flush=True)
        if f"{stage} {done}" == sys.argv[4]:
            time.sleep(60)

    import_scene(Path(sys.argv[1]), Path(sys.argv[2]), depth=Path(sys.argv[3]), plate=True, on_progress=slowly)
    """
)


def _die(clip: Path, out: Path, depth: Path, moment: str, how: signal.Signals) -> int:
    """Import in another process and kill it at a moment."""
    arguments = [sys.executable, "-c", _CHILD, str(clip), str(out), str(depth), moment]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True, stderr=subprocess.DEVNULL) as child:
        assert child.stdout is not None
        for line in child.stdout:
            if line.strip() == moment:
                child.send_signal(how)
                break
        return child.wait(30)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")
@pytest.mark.parametrize(
    ("moment", "how", "kept"),
    [
        ("reading 3", signal.SIGKILL, ["color/000000.png", "color/000002.png"]),
        ("keeping the plate 2", signal.SIGINT, ["color/000005.png", "plate/000001.png"]),
        ("writing depth 4", signal.SIGKILL, ["color/000005.png", "depth/000003.exr", "occlusion/000003.png"]),
    ],
)
def test_a_killed_import_goes_on_where_it_stopped(
    tmp_path: Path, moment: str, how: signal.Signals, kept: list[str]
) -> None:
    clip, depth, out = clip_file(tmp_path), depth_npy(tmp_path), tmp_path / "a.ex4d"
    assert _die(clip, out, depth, moment, how) != 0
    partial = tmp_path / "a.ex4d.partial"
    assert not out.exists()
    stamps = {name: (partial / name).stat().st_mtime_ns for name in kept}
    import_scene(clip, out, depth=depth, plate=True)
    assert {name: (out / name).stat().st_mtime_ns for name in kept} == stamps
    assert not partial.exists()
    fresh = import_scene(clip, tmp_path / "b.ex4d", depth=depth, plate=True)
    assert all_bytes(out) == all_bytes(fresh.path)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")
@pytest.mark.parametrize("change", ["options", "clip", "depth"])
def test_other_inputs_start_over(tmp_path: Path, change: str) -> None:
    clip, depth, out = clip_file(tmp_path), depth_npy(tmp_path), tmp_path / "a.ex4d"
    _die(clip, out, depth, "writing depth 3", signal.SIGKILL)
    assert (tmp_path / "a.ex4d.partial" / "depth" / "000002.exr").exists()
    options: dict[str, int] = {}
    if change == "options":
        options = {"start": 1, "frames": 4}
    else:
        file = clip if change == "clip" else depth
        os.utime(file, ns=(1, 1))  # the same bytes, but who could know
        before = (tmp_path / "a.ex4d.partial" / "color" / "000000.png").stat().st_mtime_ns
    import_scene(clip, out, depth=depth, **options)  # type: ignore[arg-type]
    fresh = import_scene(clip, tmp_path / "b.ex4d", depth=depth, **options)  # type: ignore[arg-type]
    assert all_bytes(out) == all_bytes(fresh.path)
    if change != "options":
        assert (out / "color" / "000000.png").stat().st_mtime_ns != before


def test_a_frame_cut_off_by_a_crash_of_the_system_is_made_again(tmp_path: Path) -> None:
    clip, depth, out = clip_file(tmp_path), depth_npy(tmp_path), tmp_path / "a.ex4d"
    seen: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        import_scene(clip, out, depth=depth, on_progress=_interrupt_at(seen, "writing depth", 4))
    partial = tmp_path / "a.ex4d.partial"
    (partial / "depth" / "000002.exr").write_bytes(b"")  # a rename outlived its data
    (partial / "import.json").with_suffix(".tmp").write_text("{")
    import_scene(clip, out, depth=depth)
    fresh = import_scene(clip, tmp_path / "b.ex4d", depth=depth)
    assert all_bytes(out) == all_bytes(fresh.path)


def _interrupt_at(seen: list[str], stage: str, count: int) -> OnProgress:
    def report(done: int, total: int, now: str) -> None:
        seen.append(now)
        if now == stage and done == count:
            raise KeyboardInterrupt

    return report


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own; skips where we may not make one."""
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("mounting a small disk needs root on Linux")
    disk = tmp_path / "disk"
    disk.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)], capture_output=True, text=True, check=False
    )
    if made.returncode != 0:
        pytest.skip(f"cannot mount a small disk here: {made.stderr.strip()}")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def _remount(disk: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", str(disk)], check=True)


def test_a_full_disk_is_said_and_more_space_goes_on(tmp_path: Path, small_disk: Path) -> None:
    clip, depth, out = clip_file(tmp_path), depth_npy(tmp_path), small_disk / "a.ex4d"
    with pytest.raises(OutputError, match="disk is full") as caught:
        import_scene(clip, out, depth=depth)
    assert "\n" not in str(caught.value)
    assert not out.exists()
    first = small_disk / "a.ex4d.partial" / "color" / "000000.png"
    stamp = first.stat().st_mtime_ns
    _remount(small_disk, "size=4m")
    import_scene(clip, out, depth=depth)
    assert (out / "color" / "000000.png").stat().st_mtime_ns == stamp
    fresh = import_scene(clip, tmp_path / "b.ex4d", depth=depth)
    assert all_bytes(out) == all_bytes(fresh.path)


@pytest.mark.parametrize("free", range(72, 128, 8))
def test_a_disk_that_fills_at_any_moment_never_shows_a_result(tmp_path: Path, small_disk: Path, free: int) -> None:
    clip, depth, out = clip_file(tmp_path), depth_npy(tmp_path), small_disk / "a.ex4d"
    _remount(small_disk, f"size={free}k")
    try:
        scene = import_scene(clip, out, depth=depth)
    except OutputError:
        assert not out.exists()
    else:
        assert all_bytes(scene.path) == all_bytes(import_scene(clip, tmp_path / "b.ex4d", depth=depth).path)


def test_a_read_only_disk_is_said(tmp_path: Path, small_disk: Path) -> None:
    _remount(small_disk, "ro")
    with pytest.raises(OutputError, match="disk is read-only") as caught:
        import_scene(clip_file(tmp_path), small_disk / "a.ex4d", depth=depth_npy(tmp_path))
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="permissions do not bind root, nor Windows this way")
def test_a_folder_without_permission_is_said(tmp_path: Path) -> None:
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    with pytest.raises(OutputError, match="may not write there"):
        import_scene(clip_file(tmp_path), locked / "a.ex4d", depth=depth_npy(tmp_path))


def test_a_source_on_a_read_only_disk_is_fine(tmp_path: Path, small_disk: Path) -> None:
    clip, depth = clip_file(tmp_path), depth_npy(tmp_path)
    _remount(small_disk, "size=1m")
    shutil.copy(clip, small_disk / "clip.mp4")
    _remount(small_disk, "ro")
    assert import_scene(small_disk / "clip.mp4", tmp_path / "a.ex4d", depth=depth).frames == FRAMES
