"""Generate, cancel and reload, again and again: nothing is left over."""

from __future__ import annotations

import gc
import os
import threading
from pathlib import Path
from typing import Any

import bpy
import pytest
from conftest import module
from sidecar_steps import as_with_windows, let_go, started, tick_until
from test_generating import make_shot, stage_of, takes, wished


def family(pid: int) -> set[int]:
    """A process and all below it."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:  # it has ended meanwhile
                continue
    found = {pid}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found


def counted(pid: int) -> dict[str, int]:
    """Everything that could grow, in a file that has just been opened."""
    gc.collect()
    kinds = [name for name in dir(bpy.data) if isinstance(getattr(bpy.data, name), bpy.types.bpy_prop_collection)]
    found = {name: len(getattr(bpy.data, name)) for name in kinds}
    handlers = [name for name in dir(bpy.app.handlers) if isinstance(getattr(bpy.app.handlers, name), list)]
    found |= {name: len(getattr(bpy.app.handlers, name)) for name in handlers}
    previews, ticking = module("generating.previews"), module("sidecar.ticking")
    return found | {
        "files open": len(os.listdir("/proc/self/fd")),
        "threads": threading.active_count(),
        "processes": len(family(os.getpid())),
        "processes of the sidecar": len(family(pid)),
        "tasks": len(module("sidecar.running")._running),
        "listeners": len(ticking._listeners),
        "thumbnails": len(previews._collection) + len(previews._shown) + len(previews._files),
        "files": len(list(Path(bpy.app.tempdir).iterdir())),
    }


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="counts processes as Linux lists them")
@pytest.mark.parametrize("cycles", [6, pytest.param(200, marks=pytest.mark.slow)])
def test_nothing_is_left_over(
    own_sidecar: Any, small_scene: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cycles: int
) -> None:
    sidecar = module("sidecar")
    started()
    as_with_windows(monkeypatch)
    shot = make_shot(small_scene)
    shot.frame_start, shot.frame_end, shot.width, shot.height = 1, 60, 64, 48
    blend = tmp_path / "shot.blend"
    bpy.ops.wm.save_as_mainfile(filepath=str(blend))
    before: dict[str, int] = {}
    for cycle in range(cycles + 3):  # what is only made once is made in the first three
        bpy.data.objects["Camera"].data.lens = 40 + cycle / 8  # another picture each time: nothing is found on disk
        bpy.ops.ex4d.generate()
        job = wished()[0].job
        if cycle % 3 == 0:
            tick_until(takes, what=f"take {cycle}")
        else:
            tick_until(lambda job=job: sidecar.connection().refresh() or stage_of(job), what=f"job {cycle}")
            bpy.ops.ex4d.cancel_job(job=job)
            if cycle % 3 == 1:
                let_go()  # Blender is killed, and finds the sidecar again
                tick_until(lambda: sidecar.connection().state == "ready", what="the sidecar")
            else:
                tick_until(lambda job=job: sidecar.connection().job(job).finished, what=f"the cancel {cycle}")
        bpy.ops.wm.open_mainfile(filepath=str(blend))
        assert not takes()
        assert not wished()
        sidecar.tick()
        if cycle == 2:
            before = counted(sidecar.connection().server.pid)
    tick_until(lambda: all(job.finished for job in sidecar.jobs()), what="the last cancels")
    tick_until(lambda: not module("generating.previews")._shown, what="the end of the thumbnails")
    assert counted(sidecar.connection().server.pid) == before
