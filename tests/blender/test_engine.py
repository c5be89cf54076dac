"""Install Engine: from wheels of our own making, without a network."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bpy
import pytest
from conftest import EXTENSION, module
from engine_cases import Stand, hash_of, marker_of, wheel
from sidecar_steps import as_with_windows, tick_until

NAMES = ("executable", "engine_folder", "engine_wheels", "data_folder", "outputs")


@pytest.fixture
def chosen() -> Iterator[Any]:
    """The preferences; what a test changes in them, and what it left undone, goes."""
    yield module("preferences").preferences()
    module("engine.doing").end()
    found = bpy.context.preferences.addons[EXTENSION].preferences
    for name in NAMES:
        found.property_unset(name)
    module("engine.place").bundled_wheel.cache_clear()


@pytest.fixture
def stand(tmp_path: Path, chosen: Any, monkeypatch: pytest.MonkeyPatch) -> Stand:
    """Wheels, with a uv among them."""
    return Stand(tmp_path, monkeypatch, with_uv=True)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where to, not there yet: with what people have in names of folders."""
    return tmp_path / "Große Dateien" / "engine"


def install(folder: Path, stand: Stand) -> set[str]:
    return bpy.ops.ex4d.install_engine(directory=str(folder), wheels=str(stand.wheels))


def state() -> str:
    return module("engine.place").place().state


def remedy() -> str:
    return module("engine.doing").error().remedy


def said_by(program: str) -> str:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run([program], capture_output=True, text=True, check=True, env=environment).stdout


def test_installs_from_a_wheel_folder(stand: Stand, folder: Path, chosen: Any) -> None:
    assert state() == "none"
    assert install(folder, stand) == {"FINISHED"}
    assert state() == "ready"
    assert chosen.executable == str(folder / "env/bin/ex4d")
    assert said_by(chosen.executable) == "0.1.0\n"
    marker = marker_of(folder)
    assert (marker["complete"], marker["kind"]) == (True, "cpu")
    assert marker["wheel"] == hash_of(stand.data / "ex4d-0.1.0-py3-none-any.whl")
    assert not [path for path in Path(sys.prefix).rglob("ex4d_core*") if "site-packages" in path.parts]


@pytest.mark.parametrize("with_uv", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_installs_from_a_wheel_folder_with_a_comma(
    tmp_path: Path, folder: Path, chosen: Any, monkeypatch: pytest.MonkeyPatch, with_uv: bool
) -> None:
    stand = Stand(tmp_path, monkeypatch, with_uv=with_uv)
    stand.wheels = stand.wheels.rename(tmp_path / "Räder, 100% #1")
    assert install(folder, stand) == {"FINISHED"}
    assert state() == "ready"


def test_installs_with_the_system_s_python_where_there_is_no_uv(
    tmp_path: Path, folder: Path, chosen: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand = Stand(tmp_path, monkeypatch, with_uv=False)
    assert install(folder, stand) == {"FINISHED"}
    assert not (folder / "uv/uv").exists()
    assert "-m venv" in (folder / "install.log").read_text()
    assert said_by(chosen.executable) == "0.1.0\n"


def test_a_wrong_hash(stand: Stand, folder: Path, chosen: Any) -> None:
    made = wheel(stand.wheels, "numba", "1.0", {"numba.py": "evil = 1\n"})
    with pytest.raises(RuntimeError, match="numba in the wheel folder is not the file that this extension knows"):
        install(folder, stand)
    assert state() == "incomplete"
    assert chosen.executable == ""
    assert not list(folder.glob("env/lib/python*/site-packages/numba.py"))
    made.unlink()
    with pytest.raises(RuntimeError, match="There is no numba for this machine"):
        bpy.ops.ex4d.repair_engine()


def test_another_uv_than_ours_is_never_run(stand: Stand, folder: Path) -> None:
    (uv,) = stand.wheels.glob("uv-*.whl")
    uv.write_bytes(uv.read_bytes() + b"x")
    with pytest.raises(RuntimeError, match="uv-0-py3-none-any.whl in the wheel folder is not"):
        install(folder, stand)
    assert not (folder / "uv/uv").exists()


@pytest.mark.timed
def test_goes_on_after_cancel(stand: Stand, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    as_with_windows(monkeypatch)
    stand.misbehave("hang")
    doing = module("engine.doing")
    began = time.monotonic()
    install(folder, stand)
    assert time.monotonic() - began < 2
    tick_until(lambda: (folder / "cache/runs.txt").exists(), what="the packages")
    assert doing.work().stage == "packages"
    bpy.ops.ex4d.cancel_engine()
    tick_until(lambda: doing.work() is None, 20, what="the end")
    assert "Cancelled" in doing.note()
    assert doing.error() is None
    assert state() == "incomplete"
    stand.misbehave("")
    assert bpy.ops.ex4d.repair_engine() == {"FINISHED"}
    tick_until(lambda: doing.work() is None, what="the engine")
    assert state() == "ready"
    assert (folder / "cache/runs.txt").read_text() == "run\n" * 2  # what was in the cache is still there


def test_goes_on_after_the_helper_was_killed(stand: Stand, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    as_with_windows(monkeypatch)
    stand.misbehave("hang")
    doing = module("engine.doing")
    install(folder, stand)
    tick_until(lambda: (folder / "cache/runs.txt").exists(), what="the packages")
    os.kill(doing.work().pid, signal.SIGKILL)
    tick_until(lambda: doing.work() is None, 20, what="the end")
    assert "broke off" in doing.error().said
    assert remedy() == "ex4d.repair_engine"
    assert state() == "incomplete"
    bpy.ops.ex4d.repair_engine()  # the uv that was left behind still works in that folder
    tick_until(lambda: doing.work() is None, 20, what="the refusal")
    assert "wait for its end" in doing.error().said
    (orphan,) = [pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if runs(pid, folder / "uv/uv")]
    os.kill(orphan, signal.SIGKILL)
    stand.misbehave("")
    bpy.ops.ex4d.repair_engine()
    tick_until(lambda: doing.work() is None, what="the engine")
    assert state() == "ready"


def runs(pid: int, program: Path) -> bool:
    try:
        return str(program).encode() in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False


SAID = {
    "hash": (
        "error: Failed to download `six==1.17.0`\n  cause: Hash mismatch for `six==1.17.0`",
        "ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE. If you have ...\n"
        "    numba==1.0 from file:///w/numba-1.0-py3-none-any.whl (from -r r.txt (line 1)):\n"
        "        Expected sha256 00\n             Got        11",
    ),
    "no-wheel": (
        "error: No solution found when resolving dependencies\n  cause: Because annotated-doc was not found in the "
        "provided package locations and you require annotated-doc==0.0.7, we can conclude",
        "error: No solution found when resolving dependencies\n  cause: Because av==18.1.0 has no usable wheels and",
        "ERROR: Could not find a version that satisfies the requirement av==18.1.0 (from versions: none)\n"
        "ERROR: No matching distribution found for av==18.1.0",
    ),
    "network": (
        "error: Failed to fetch: https://pypi.org/simple/annotated-doc/\n  cause: error sending request for url",
        "error: Failed to download `https://github.com/astral-sh/python-build-standalone/releases/x.tar.gz`\n"
        "  cause: error sending request for url (https://github.com/x)\n  cause: client error (Connect)",
    ),
    "no-python": ("error: No interpreter found for Python >=3.11, <3.15 in managed installations or search path",),
    "disk": ("error: Failed to write\n  cause: No space left on device (os error 28)",),
    "in-use": ("error: failed to remove file `numba.pyd`\n  cause: Access is denied. (os error 5)",),
    "files": ("error: failed to create directory\n  cause: Permission denied (os error 13)",),
    "step": ("error: something new",),
}
"""What uv 0.13.9 and pip 23 write, by what it means; all but disk, in-use and files as it came from them."""


@pytest.mark.parametrize(("code", "said"), [(code, said) for code, all_said in SAID.items() for said in all_said])
def test_what_uv_and_pip_write_is_understood(code: str, said: str) -> None:
    found = module("engine.installing.failing").failure(said.splitlines(), "packages")
    assert found.code == code
    error = module("engine.work").error_of({"folder": "/engine", "wheels": ""}, {"code": code, "values": found.values})
    assert "{" not in str(error)
    assert str(error).count(".") >= 1


@pytest.mark.parametrize(
    ("mode", "sentence", "button"),
    [
        ("  cause: error sending request for url (https://pypi.org/simple/av/)", "network could not", "repair"),
        ("error: No space left on device (os error 28)", "disk of .*engine is full", "repair"),
        ("error: something new", r"could not be installed \(error: something new\)", "repair"),
    ],
)
def test_what_goes_wrong_is_a_sentence_with_a_button(
    stand: Stand, folder: Path, mode: str, sentence: str, button: str
) -> None:
    stand.misbehave(mode)
    with pytest.raises(RuntimeError, match=sentence):
        install(folder, stand)
    assert remedy() == f"ex4d.{button}_engine"
    assert state() == "incomplete"


def test_an_engine_that_does_not_run_is_not_ready(stand: Stand, folder: Path, chosen: Any) -> None:
    stand.bundle("raise SystemExit('it is broken')")
    with pytest.raises(RuntimeError, match="it is broken"):
        install(folder, stand)
    assert (state(), chosen.executable) == ("incomplete", "")


def test_no_network(stand: Stand, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")  # nothing listens there, and nothing else is asked
    monkeypatch.setattr(bpy.context.preferences.system, "use_online_access", True)
    assert bpy.app.online_access
    with pytest.raises(RuntimeError, match="network could not be reached"):
        bpy.ops.ex4d.install_engine(directory=str(folder))
    assert remedy() == "ex4d.repair_engine"


def test_offline_means_offline(stand: Stand, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bpy.context.preferences.system, "use_online_access", False)
    with pytest.raises(RuntimeError, match="switch on Allow Online Access"):
        bpy.ops.ex4d.install_engine(directory=str(folder))
    assert remedy() == "extensions.userpref_allow_online"
    assert hasattr(bpy.ops.extensions, "userpref_allow_online")
    assert not folder.parent.exists()


def test_a_folder_with_other_files_is_left_alone(stand: Stand, folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "film.blend").write_text("mine")
    for act in (lambda: install(folder, stand), bpy.ops.ex4d.remove_engine):
        with pytest.raises(RuntimeError, match="choose an empty or a new one|There is no engine in"):
            act()
        assert remedy() == "ex4d.install_engine"
    assert [path.name for path in folder.iterdir()] == ["film.blend"]


def test_a_folder_that_cannot_be_written(stand: Stand, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RuntimeError, match=r"cannot be written \(.+\): choose another folder"):
        install(tmp_path / "file" / "engine", stand)


def test_too_little_room(stand: Stand, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    room = type("Usage", (), {"free": 5e6})()
    monkeypatch.setattr(module("engine.place").shutil, "disk_usage", lambda path: room)
    with pytest.raises(RuntimeError, match="0.0 GB free and the engine needs 0.0"):
        install(folder, stand)
    assert not folder.parent.exists()


def test_no_python(tmp_path: Path, folder: Path, chosen: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    stand = Stand(tmp_path, monkeypatch, with_uv=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RuntimeError, match=r"no Python 3\.11 to 3\.14 here"):
        install(folder, stand)


def test_a_wheel_folder_that_is_not_there(stand: Stand, folder: Path) -> None:
    with pytest.raises(RuntimeError, match="no wheel folder .*nowhere"):
        bpy.ops.ex4d.install_engine(directory=str(folder), wheels=str(folder / "nowhere"))


def test_what_is_refused_is_not_kept_in_the_preferences(stand: Stand, folder: Path, chosen: Any) -> None:
    folder.mkdir(parents=True)
    (folder / "film.blend").write_text("mine")
    for given in ({"wheels": str(stand.wheels)}, {"wheels": str(folder / "nowhere")}):
        with pytest.raises(RuntimeError, match="choose an empty or a new one|There is no wheel folder"):
            bpy.ops.ex4d.install_engine(directory=str(folder), **given)
        assert (chosen.engine_folder, chosen.engine_wheels) == ("", "")


def test_removes_what_is_ours_and_nothing_else(stand: Stand, folder: Path, tmp_path: Path, chosen: Any) -> None:
    install(folder, stand)
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "film.blend").write_text("mine")
    (folder / "cache/link").symlink_to(outside)
    (folder / "notes.txt").write_text("mine")
    assert bpy.ops.ex4d.remove_engine() == {"FINISHED"}
    assert module("engine.doing").note().endswith("stay: notes.txt.")
    assert module("engine.doing").error() is None
    assert [path.name for path in folder.iterdir()] == ["notes.txt"]
    assert (outside / "film.blend").read_text() == "mine"
    assert chosen.executable == ""
    (folder / "notes.txt").unlink()
    install(folder, stand)
    assert bpy.ops.ex4d.remove_engine() == {"FINISHED"}
    assert not folder.exists()
    assert folder.parent.exists()


def test_an_executable_of_the_artist_s_own_stays(stand: Stand, folder: Path, chosen: Any) -> None:
    install(folder, stand)
    chosen.executable = "/opt/ex4d"
    bpy.ops.ex4d.remove_engine()
    assert chosen.executable == "/opt/ex4d"


def test_another_extension_offers_an_update(stand: Stand, folder: Path, chosen: Any) -> None:
    from test_panels import drawn

    install(folder, stand)
    assert "ex4d.update_engine" not in drawn()
    stand.bundle("print('newer')")
    module("engine.place").forget()
    assert state() == "outdated"
    assert "ex4d.update_engine" in drawn()
    assert bpy.ops.ex4d.update_engine() == {"FINISHED"}
    assert state() == "ready"
    assert said_by(chosen.executable) == "newer\n"


def test_a_sidecar_of_another_interface_offers_an_update(
    stand: Stand, folder: Path, own_sidecar: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from test_panels import drawn

    library = own_sidecar.executable
    install(folder, stand)
    own_sidecar.executable = library
    monkeypatch.setattr(module("sidecar.watch"), "API", 99)
    with pytest.raises(RuntimeError, match="update the sidecar"):
        bpy.ops.ex4d.start_sidecar()
    assert module("sidecar").connection().outdated
    assert "ex4d.update_engine" in drawn()
    bpy.ops.ex4d.update_engine()
    assert own_sidecar.executable == str(folder / "env/bin/ex4d")
    assert not module("sidecar.process").living()  # it would be found again, and be as old
    assert not module("sidecar").connection().outdated


def test_a_sidecar_that_runs_from_the_engine_is_ended_first(
    stand: Stand, folder: Path, own_sidecar: Any, library_python: str, tmp_path: Path
) -> None:
    install(folder, stand)
    own_sidecar.executable = library_python
    bpy.ops.ex4d.start_sidecar()
    bpy.ops.ex4d.repair_engine()  # of another program: that one is left alone
    (server,) = module("client").discover(tmp_path / "state")
    own_sidecar.executable = str(folder / "env/bin/ex4d")  # from here: as if it had been started by that
    bpy.ops.ex4d.repair_engine()
    assert not module("client").discover(tmp_path / "state")
    with pytest.raises(ProcessLookupError):
        os.kill(server.pid, 0)
    assert state() == "ready"


def test_the_panel_in_every_state(stand: Stand, folder: Path, chosen: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from test_panels import drawn

    assert {"Not Installed", "Folder", "Wheels", "ex4d.install_engine"} <= set(drawn())
    problems = module("engine.problems")
    for code in problems.PROBLEMS:
        names = "folder path reason name wheels free needed seconds machine model licence"
        error = problems.EngineError(code, **dict.fromkeys(names.split(), "x"))
        module("engine.doing").blocked(error)
        seen = drawn()
        assert not error.remedy or {error.remedy, "Go On"} & set(seen), code
        assert "ex4d.dismiss_engine" in seen
    bpy.ops.ex4d.dismiss_engine()
    as_with_windows(monkeypatch)
    stand.misbehave("hang")
    install(folder, stand)
    seen = drawn()
    assert "ex4d.cancel_engine" in seen
    assert "ex4d.install_engine" not in seen
    with pytest.raises(RuntimeError, match="is being worked on"):
        bpy.ops.ex4d.remove_engine()


def test_disabling_the_extension_ends_the_helper(stand: Stand, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    as_with_windows(monkeypatch)
    stand.misbehave("hang")
    install(folder, stand)
    tick_until(lambda: (folder / "cache/runs.txt").exists(), what="the packages")
    helper = module("engine.doing").work()._process
    bpy.ops.preferences.addon_disable(module=EXTENSION)
    try:
        assert helper.wait(20) == 2
    finally:
        bpy.ops.preferences.addon_enable(module=EXTENSION)
    assert not [pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if runs(pid, folder / "uv/uv")]
    assert marker_of(folder)["complete"] is False


def test_a_tick_never_waits_for_the_helper(stand: Stand, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    as_with_windows(monkeypatch)
    install(folder, stand)
    doing, longest = module("engine.doing"), 0.0
    while doing.work():
        began = time.perf_counter()
        doing.step()
        longest = max(longest, time.perf_counter() - began)
        time.sleep(0.01)
    assert state() == "ready"
    assert longest < 0.25  # making the process; on a machine that does more than this


def test_the_report_names_what_matters_and_nobody(
    stand: Stand, folder: Path, tmp_path: Path, chosen: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = tmp_path / "Secret Client"
    project.mkdir()
    bpy.ops.wm.save_as_mainfile(filepath=str(project / "hero_shot.blend"))
    monkeypatch.setattr(module("engine.report").getpass, "getuser", lambda: "jane.doe")
    stand.misbehave(f"error: {project}/x {Path.home()}/y jane.doe token=abcdefgh12345678 {project}\\\\z hero_shot")
    with pytest.raises(RuntimeError):
        install(folder, stand)
    text = module("engine.report").report()
    for wanted in (
        bpy.app.version_string,
        "Extension 0.1.0",
        "Engine incomplete, cpu, 0.1.0",
        "(project)/(path)",
        "(file)",
    ):
        assert wanted in text, text
    for hidden in ("Secret Client", "jane", "abcdefgh", "hero_shot", str(folder), str(stand.wheels)):
        assert hidden not in text, text
    assert bpy.ops.ex4d.copy_report() == {"FINISHED"}


SECRETS = {
    "job X: failed, /mnt/SECRET DISK/SECRET film.v2 b.mp4 is no video: check": "failed, (path).mp4 is no video:",
    "at:/mnt/SECRET.mov": "at:(path).mov",
    "[Errno 2] No such file: '/mnt/SECRET X/SECRET Y'": "No such file: '(path)'",
    '"C:\\\\Users\\\\SECRET\\\\a b.exr" is gone': '"(path).exr" is gone',
    "D:/SECRET/x.png, bad": "(path).png, bad",
    r"\\SECRET\share\SECRET.exr!": "(path).exr!",
    "(from file:///tmp/SECRET/ex4d-0.1.0-py3-none-any.whl)": "(from (path).whl)",
    "{home}/SECRET/a.mp4 is bad": "~/(path).mp4 is bad",
    "{project}/SECRET.ex4d/depth/000001.npz": "(project)/(path).npz",
    "{code}/engine/report.py:7": "(extension)/engine/report.py:7",
    "{engine}/env/bin/python -m x {engine}/y": "(engine)/env/bin/python -m x (engine)/y",
    "job SECRET-take_001-2a3c3e: succeeded": "job (job)-2a3c3e: succeeded",
    "SECRET_SHOT of SECRET CLIP: wait": "(shot) of (footage): wait",
    "https://pypi.org/simple/av/ 64 x 48 / 2, and/or": "https://pypi.org/simple/av/ 64 x 48 / 2, and/or",
    "Blender Extension engine e.blend": "Blender Extension engine e.blend",
}
"""What may stand in a log, and what of it the report has."""


def test_what_is_the_artist_s_is_not_in_the_report(small_scene: Path, tmp_path: Path) -> None:
    project, report = tmp_path / "SECRET Client", module("engine.report")
    shutil.copytree(small_scene, project / "SECRET CLIP.ex4d")
    bpy.ops.wm.save_as_mainfile(filepath=str(project / "e.blend"))
    bpy.ops.ex4d.import_scene(directory=str(project / "SECRET CLIP.ex4d"))
    bpy.ops.ex4d.new_shot(preset="ARC", angle=0.3)
    bpy.context.scene.ex4d_shots[-1].name = "SECRET_SHOT"
    code, engine = Path(report.__file__).parent.parent, module("engine.place").chosen_folder()
    for line, wanted in SECRETS.items():
        hidden = report.hidden(line.format(home=Path.home(), project=project, code=code, engine=engine))
        assert wanted in hidden
        assert "SECRET" not in hidden
