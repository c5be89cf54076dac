"""Kills, lived through in a real Blender window. Runs inside Blender, started by `test_kills.py` with a JSON file.

The script goes from round to round: it has a take generated, gives the order to kill the sidecar, its worker or
Blender itself at a stage, which a process outside carries out (see `executioner.py`), and sees to it that the take
arrives. What it has been through stands in `story.json`: a new window goes on with it, in the .blend that the last one
had saved.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

import bpy
from buttons import PAGE, press, scroll, sidebar
from screen import save_screen

TASK = json.loads(Path(sys.argv[sys.argv.index("--") + 1]).read_text("utf-8"))
OUT = Path(TASK["out"])
BLEND = OUT / "project" / "shot.blend"
STORY = OUT / "story.json"
EXTENSION = "bl_ext.user_default.ex4d"
PATIENCE_SECONDS = 150.0
HELPLESS_SECONDS = 3.0
"""How long nothing must go on by itself before the artist presses a button."""
TRIES = 4
bpy.context.preferences.view.show_splash = False
story: dict[str, Any] = {"next": 0, "orders": 0, "tries": 1, "jobs": [], "rounds": [], "ticks": []}


def module(name: str) -> Any:
    """A module of the installed extension."""
    return importlib.import_module(f"{EXTENSION}.{name}")


def connection() -> Any:
    """Blender's connection to the sidecar."""
    return module("sidecar").connection()


def wished() -> list[str]:
    """The jobs that the scene waits for, of takes and of footage."""
    scene = bpy.context.scene
    return [wish.job for wish in (*scene.ex4d_imports, *scene.ex4d_wished_takes)]


def takes() -> int:
    """How many the shot has."""
    return sum(len(shot.takes) for shot in bpy.context.scene.ex4d_shots)


def until(condition: Callable[[], object], what: str, every: float = 0.05) -> Iterator[float]:
    """Give Blender's main loop time until something holds."""
    stop = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < stop, f"waited in vain for {what}: {seen()}"
        yield every


def seen() -> str:
    """What the artist sees of it all."""
    now = connection()
    jobs = [(job.id, job.state, job.stage, job.message, job.problem) for job in now.jobs]
    said = module("sidecar.running").complaints()
    return f"{now.state} {now.message} {jobs} {wished()} {said} {story | {'ticks': []}}"


def save_story() -> None:
    """Nothing of it may be lost by a kill."""
    partial = STORY.with_suffix(".new")
    partial.write_text(json.dumps(story, indent=1))
    os.replace(partial, STORY)


class Ticks:
    """The extension's tick, timed: how long each holds up Blender's main thread.

    Python's garbage collector runs whenever it likes, over all of Blender's Python: its time is taken off. A tick that
    puts something into the scene, with an undo step, is no tick that nobody should notice.
    """

    def __init__(self) -> None:
        self._collecting = 0.0
        self._timer = module("sidecar.ticking").timer
        bpy.app.timers.unregister(self._timer)
        gc.callbacks.append(self._on_collection)
        bpy.app.timers.register(self.tick, persistent=True)

    def _on_collection(self, phase: str, _info: dict[str, int]) -> None:
        self._collecting += -time.thread_time() if phase == "start" else time.thread_time()

    def tick(self) -> float:
        """Called by Blender's timer."""
        waited, began = wished(), time.thread_time() - self._collecting
        pause = self._timer()
        busy = (time.thread_time() - self._collecting - began) * 1000
        if wished() == waited:
            story["ticks"].append(round(busy, 3))
        return pause


def steps() -> Iterator[float]:
    """All rounds that are left."""
    bpy.ops.extensions.package_install_files(repo="user_default", filepath=TASK["zip"], enable_on_install=True)
    chosen = bpy.context.preferences.addons[EXTENSION].preferences
    chosen.executable, chosen.data_folder = TASK["executable"], TASK["data"]
    Ticks()
    if STORY.exists():
        story.update(json.loads(STORY.read_text()))
        yield from come_back()
    else:
        yield from begin()
    while story["next"] < len(TASK["rounds"]):
        yield from one_round(TASK["rounds"][story["next"]])
    save_story()


def begin() -> Iterator[float]:
    """An empty file with a name, and a sidecar."""
    for thing in list(bpy.data.objects):
        bpy.data.objects.remove(thing)
    yield from sidebar()
    BLEND.parent.mkdir(parents=True, exist_ok=True)
    bpy.ops.wm.save_as_mainfile(filepath=str(BLEND))
    if TASK["scene"]:
        bpy.ops.ex4d.import_scene("EXEC_DEFAULT", True, directory=TASK["scene"], frame_start=1)
    yield from reach()


def come_back() -> Iterator[float]:
    """Blender was killed: the file that was saved has the list of what is waited for, and that arrives."""
    bpy.ops.wm.open_mainfile(filepath=str(BLEND))
    yield from sidebar()
    assert set(wished()) == set(story["jobs"]), f"the list did not come back: {seen()}"
    yield from scroll(PAGE)  # to what is waited for
    yield from picture("back")
    if bpy.context.mode != "OBJECT":  # as it was when Blender was killed; nothing is put into the scene meanwhile
        with viewport():
            bpy.ops.object.mode_set(mode="OBJECT")
    if TASK["address"]:
        yield from reach()
    yield from arrive()


def reach() -> Iterator[float]:
    """Have a sidecar: the one at the address, or one that Start starts."""
    if TASK["address"]:
        bpy.ops.ex4d.connect_sidecar(address=TASK["address"], token=TASK["token"])
    else:
        yield from press("ex4d.start_sidecar")
    yield from until(lambda: connection().state == "ready", "the sidecar")


def picture(name: str) -> Iterator[float]:
    """Let Blender draw, and take a picture of the screen."""
    yield 0.5
    save_screen(OUT / f"{story['next']}_{name}.png")


def one_round(round: dict[str, str]) -> Iterator[float]:
    """Ask for a take, and have something killed on the way."""
    story["begun"], story["pressed"], story["had"] = time.time(), [], takes()
    victim, stage = round["victim"], round["stage"]
    if stage == "queued":
        order({"victim": "", "stage": "hold"})  # the worker: the first job stays the one that runs
        yield from answered()
    if victim in ("sidecar", "worker"):
        order(round)
    if stage == "sending" and victim == "sidecar":
        yield from answered()  # it is frozen now: whatever is sent to it, it has not read
    yield from ask_for(stage)
    story["jobs"] = wished()
    bpy.ops.wm.save_mainfile()
    save_story()
    if victim == "blender":
        if stage == "sending":
            os.kill(os.getpid(), signal.SIGKILL)
        order(round)
    elif stage == "sending":
        order({"victim": "sidecar", "stage": "now"})
    if victim:
        yield from answered()
    yield from arrive()


def ask_for(stage: str) -> Iterator[float]:
    """Press the button: the scene waits for it then."""
    if stage == "scene":
        with viewport():
            bpy.ops.ex4d.import_footage("EXEC_DEFAULT", True, filepath=TASK["footage"], **TASK["options"])
        return
    if not len(bpy.context.scene.ex4d_shots):
        with viewport():
            bpy.ops.ex4d.new_shot("EXEC_DEFAULT", True, preset="ORBIT", angle=0.5)
        shot = bpy.context.scene.ex4d_shots[0]
        shot.frame_start, shot.frame_end, (shot.width, shot.height) = 1, TASK["frames"], TASK["size"]
    for count in (1, 2) if stage == "queued" else (1,):
        with viewport():
            bpy.ops.ex4d.generate("INVOKE_DEFAULT")
        yield from until(lambda count=count: len(wished()) == count, "what is waited for", 0.01)
    if stage == "fetched":  # nothing is put into the scene while somebody edits
        bpy.context.view_layer.objects.active = next(o for o in bpy.context.scene.objects if o.type == "MESH")
        bpy.ops.object.mode_set(mode="EDIT")


def viewport() -> Any:
    """The context of the 3D viewport."""
    window = bpy.context.window_manager.windows[0]
    area = next(area for area in window.screen.areas if area.type == "VIEW_3D")
    region = next(region for region in area.regions if region.type == "WINDOW")
    return bpy.context.temp_override(window=window, screen=window.screen, area=area, region=region)


def order(round: dict[str, str]) -> None:
    """Tell the executioner what to do; it answers."""
    story["orders"] += 1
    save_story()
    partial = OUT / "order.new"
    there = {"number": story["orders"], "blender": os.getpid(), "takes": takes()}
    partial.write_text(json.dumps({**round, **there}))
    os.replace(partial, OUT / "order.json")


def answer() -> Path:
    """What the executioner says to the last order."""
    return OUT / f"answer_{story['orders']}.json"


def answered() -> Iterator[float]:
    """Until the last order was carried out."""
    yield from until(answer().exists, "the executioner", 0.01)


def arrive() -> Iterator[float]:
    """The list comes back, and what is waited for arrives: by itself, or by a button that the panel then shows."""
    jobs, quiet_since = story["jobs"], time.monotonic()
    stop = time.monotonic() + PATIENCE_SECONDS
    shown, changes = False, -1
    while wished():
        assert time.monotonic() < stop, f"it never arrived: {seen()}"
        now = connection()
        views = [now.job(job) for job in wished()]
        works = now.state == "ready" and any(view is not None and not view.finished for view in views)
        if works or now.state in ("starting", "lost"):
            quiet_since = time.monotonic()
        if any(moving(job) for job in wished()) or now.changes != changes:
            quiet_since, changes = time.monotonic(), now.changes
        if now.state == "ready" and not shown and all(views):
            shown = True
            save_screen(OUT / f"{story['next']}_list.png")
        if time.monotonic() - quiet_since > HELPLESS_SECONDS:
            yield from help_it(wished()[0])
            quiet_since = time.monotonic()
        yield 0.05
    assert not set(jobs) & set(wished())
    yield from end_round()


def moving(job: str) -> bool:
    """Whether files of a job are under way."""
    return any(module(name).awaited.moving(job) for name in ("generating.arriving", "footage.filling"))


def help_it(job: str) -> Iterator[float]:
    """Press what the panels offer now."""
    now = connection()
    view = now.job(job)
    if now.state in ("off", "failed"):
        button = "ex4d.start_sidecar"
    elif view is None:
        button = "ex4d.send_take" if job in {w.job for w in bpy.context.scene.ex4d_wished_takes} else "ex4d.send_import"
    else:
        button = "ex4d.retry_job" if view.state in ("failed", "cancelled") else "ex4d.keep_take"
    story["pressed"].append(button)
    yield from picture(button.replace(".", "_"))
    yield from press(button, "" if button == "ex4d.start_sidecar" else job)
    yield 1.0


def end_round() -> Iterator[float]:
    """What was asked for is there; was anything killed when it was meant to be?"""
    round = TASK["rounds"][story["next"]]
    number, hit = story["orders"], True
    if round["victim"] == "blender" and round["stage"] == "sending":
        pass  # it has killed itself
    elif round["victim"]:
        yield from until(answer().exists, f"the answer to order {number}")
        hit = json.loads(answer().read_text())["hit"]
    told = {**round, "tries": story["tries"], "pressed": story["pressed"], "came": takes() - story["had"]}
    told["seconds"] = float(f"{time.time() - story['begun']:.1f}")
    assert hit or (story["tries"] < TRIES and round["stage"] != "scene"), f"{round} was missed: {seen()}"
    if hit:
        story["rounds"].append(told)
    story["next"], story["tries"] = (story["next"] + 1, 1) if hit else (story["next"], story["tries"] + 1)
    story["jobs"] = []
    bpy.ops.wm.save_mainfile()
    save_story()
    order({"victim": "", "stage": "reset"})  # the next one finds nothing on disk
    yield from answered()


def tick() -> float:
    """Called by Blender's timer."""
    try:
        return next(_running)
    except StopIteration:
        code = 0
    except BaseException:
        traceback.print_exc(file=sys.stdout)
        save_screen(OUT / "failed.png")
        code = 1
    sys.stdout.flush()
    os._exit(code)


_running = steps()
bpy.app.timers.register(tick, first_interval=1.0, persistent=True)
