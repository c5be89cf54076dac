"""Generate, cancel and reload, again and again: nothing is left over."""

from __future__ import annotations

import ctypes
import gc
import os
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bpy
import pytest
from conftest import EXTENSION, module
from shot_cases import add_camera, add_shot
from sidecar_steps import as_with_windows, let_go, started, tick_for, tick_until
from test_generating import stage_of, takes, until_stage, wished

WAYS = ("finished", "sending", "render", "generate", "exr", "fetching", "disabled")
"""How a cycle ends, one after another: with its take, cancelled at a stage, given up while it is fetched, or with the
extension switched off in the middle."""
WARM = len(WAYS)
"""Cycles until all is made that is only made once."""
GROWTH_KB = 150
"""Of a process, for each cycle: its allocator never gives all back, a worker is another one after a cancel, and the
list of jobs has one more. In 200 cycles on 4.5: Blender 20, the sidecar 110, its worker 75."""


def family(pid: int) -> list[int]:
    """A process and all below it, oldest first."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:  # it has ended meanwhile
                continue
    found = {pid}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return sorted(found)


def kilobytes(pid: int) -> int:
    """Memory that a process has."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0])


def memory(pid: int) -> dict[str, int]:
    """Kilobytes of Blender, of the sidecar and of its worker."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    sidecar, worker = family(pid)
    return {"Blender": kilobytes(os.getpid()), "sidecar": kilobytes(sidecar), "worker": kilobytes(worker)}


def files_open(pid: int) -> int:
    """Files and connections of a process, without the job store's: SQLite closes those late, to keep its locks."""
    return sum("sqlite3" not in os.readlink(file) for file in Path(f"/proc/{pid}/fd").iterdir())


class Registered:
    """What is registered with Blender and cannot be listed there: timers, and what is drawn over the editors."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._timers: set[Callable[[], float | None]] = set()
        self.drawn: set[Any] = set()
        register = bpy.app.timers.register
        monkeypatch.setattr(bpy.app.timers, "register", lambda f, **how: (self._timers.add(f), register(f, **how))[1])
        for space in (bpy.types.SpaceView3D, bpy.types.SpaceDopeSheetEditor):
            self._watch(space, monkeypatch)

    def _watch(self, space: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        add, remove = space.draw_handler_add, space.draw_handler_remove

        def added(*arguments: Any) -> Any:
            handle = add(*arguments)
            self.drawn.add(id(handle))
            return handle

        def removed(handle: Any, region: str) -> None:
            self.drawn.discard(id(handle))
            remove(handle, region)

        monkeypatch.setattr(space, "draw_handler_add", added)
        monkeypatch.setattr(space, "draw_handler_remove", removed)

    @property
    def timers(self) -> int:
        """How many run."""
        return sum(map(bpy.app.timers.is_registered, self._timers))


def counted(pid: int, registered: Registered) -> dict[str, int]:
    """Everything that could grow, in a file that has just been opened."""
    gc.collect()
    kinds = [name for name in dir(bpy.data) if isinstance(getattr(bpy.data, name), bpy.types.bpy_prop_collection)]
    found = {name: len(getattr(bpy.data, name)) for name in kinds}
    handlers = [name for name in dir(bpy.app.handlers) if isinstance(getattr(bpy.app.handlers, name), list)]
    found |= {name: len(getattr(bpy.app.handlers, name)) for name in handlers}
    arriving, previews, ticking = (
        module("generating.arriving"),
        module("generating.previews"),
        module("sidecar.ticking"),
    )
    return found | {
        "timers": registered.timers,
        "drawn": len(registered.drawn),
        "files open": len(os.listdir("/proc/self/fd")),
        "files open in the sidecar": sum(map(files_open, family(pid))),
        "threads": threading.active_count(),
        "processes": len(family(os.getpid())),
        "processes of the sidecar": len(family(pid)),
        "tasks": len(module("sidecar.running")._running) + len(arriving.awaited._tasks) + len(arriving.awaited._moving),
        "listeners": len(ticking._listeners),
        "thumbnails": len(previews._collection) + len(previews._shown) + len(previews._files),
        "files": len(list(Path(bpy.app.tempdir).iterdir())) + len(list(Path(tempfile.gettempdir()).iterdir())),
    }


def differences(pid: int, registered: Registered, before: dict[str, int]) -> dict[str, tuple[int, int]]:
    """What is not as it was."""
    now = counted(pid, registered)
    return {name: (before[name], now[name]) for name in now if now[name] != before[name]}


def switched_off_and_on() -> None:
    """The extension is disabled, and enabled again with the same preferences."""
    chosen = bpy.context.preferences.addons[EXTENSION].preferences
    kept = {name: getattr(chosen, name) for name in ("executable", "data_folder", "outputs")}
    bpy.ops.preferences.addon_disable(module=EXTENSION)
    bpy.ops.preferences.addon_enable(module=EXTENSION)
    for name, value in kept.items():
        setattr(bpy.context.preferences.addons[EXTENSION].preferences, name, value)
    tick_until(lambda: module("sidecar").connection().state == "ready", what="the sidecar")


def the_shot_over(folder: Path) -> Any:
    """A shot of a camera of its own over footage with mesh and pictures."""
    bpy.ops.ex4d.import_scene(directory=str(folder), frame_start=1)
    camera = add_camera()
    bpy.context.scene.camera = camera
    return add_shot(camera)


def one_cycle(way: str) -> None:
    """Generate, and end it in one of the `WAYS`."""
    sidecar = module("sidecar")
    bpy.ops.ex4d.generate()
    job = wished()[0].job
    if way == "finished":
        tick_until(takes, what="the take")
        bpy.ops.ex4d.accept_take(use={"PLANE", "BACKGROUND", "COMPOSITOR", "SEQUENCER"})
    elif way == "fetching":
        until_stage(job, way)
        bpy.ops.ex4d.forget_take(job=job)
    else:
        if way == "sending":
            tick_until(lambda: sidecar.connection().job(job), what="the job")
        elif way == "disabled":
            tick_until(lambda: sidecar.connection().refresh() or stage_of(job), what="a stage")
        else:
            until_stage(job, way)
        bpy.ops.ex4d.cancel_job(job=job)
        if way == "render":
            let_go()  # Blender is killed, and finds the sidecar again
            tick_until(lambda: sidecar.connection().state == "ready", what="the sidecar")
        elif way != "disabled":
            tick_until(lambda: sidecar.connection().job(job).finished, what="the cancel")


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="counts processes as Linux lists them")
@pytest.mark.parametrize("cycles", [len(WAYS), pytest.param(200, marks=pytest.mark.slow)])
def test_nothing_is_left_over(
    own_sidecar: Any, small_scene: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cycles: int
) -> None:
    temporary, data = tmp_path / "temporary", Path(own_sidecar.data_folder)
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))  # the sidecar's
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    registered = Registered(monkeypatch)
    sidecar = module("sidecar")
    started()
    as_with_windows(monkeypatch)
    shot = the_shot_over(small_scene)
    shot.frame_start, shot.frame_end, shot.width, shot.height = 1, 60, 64, 48
    bpy.context.scene.ex4d_generate.use_exr = True
    blend = tmp_path / "shot.blend"
    bpy.ops.wm.save_as_mainfile(filepath=str(blend))
    counts: dict[str, int] = {}
    sizes: dict[str, int] = {}
    for cycle in range(WARM + cycles):
        way = WAYS[cycle % len(WAYS)]
        bpy.data.objects["Camera"].data.lens = 40 + cycle / 8  # another picture each time: nothing is found on disk
        one_cycle(way)
        bpy.ops.wm.open_mainfile(filepath=str(blend))
        if way == "disabled":
            switched_off_and_on()
        assert not takes()
        assert not wished()
        sidecar.tick()
        pid = sidecar.connection().server.pid
        if cycle % 25 == WARM % 25:
            print(cycle, memory(pid))
        if cycle == WARM - 1:
            all_at_rest()
            counts, sizes = counted(pid, registered), memory(pid)
    all_at_rest()
    pid = sidecar.connection().server.pid
    tick_until(lambda: not differences(pid, registered, counts), 30, f"{differences(pid, registered, counts)} (undone)")
    grown = {name: size - sizes[name] for name, size in memory(pid).items()}
    print(f"{cycles} cycles: {sizes} KB grew by {grown}; {counts}")
    for job in sidecar.jobs():  # what was cancelled could be retried: what it had made goes with it
        bpy.ops.ex4d.remove_job(job=job.id)
    tick_until(lambda: not sidecar.jobs(), what="the end of the list")
    assert not list(tmp_path.rglob("*.partial"))
    assert not list(temporary.iterdir())
    assert not list((data / "uploads").iterdir())
    finished = sum(WAYS[cycle % len(WAYS)] == "finished" for cycle in range(WARM + cycles))
    assert len(list((tmp_path / "small.shots" / "Shot 010").iterdir())) == finished
    if cycles > 100:
        assert max(grown.values()) < cycles * GROWTH_KB


def all_at_rest() -> None:
    """Until nothing is under way any more, here or in the sidecar."""
    tick_until(lambda: all(job.finished for job in module("sidecar").jobs()), what="the last cancels")
    tick_until(lambda: not module("generating.previews")._shown, what="the end of the thumbnails")
    tick_for(2.0)  # what the sidecar still does about a connection that was closed
