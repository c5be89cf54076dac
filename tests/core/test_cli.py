"""The command line as its user meets it: results, exit codes, one sentence for each mistake, nothing half-written."""

import json
import logging
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from ex4d_core.camera import load_trajectory
from ex4d_core.cli import main
from ex4d_core.clip import probe_clip, read_lossless, write_viewing
from ex4d_core.scene import Scene

WIDTH, HEIGHT, FRAMES = 96, 64, 8


@dataclass(frozen=True)
class Outcome:
    code: int
    out: str
    err: str


@pytest.fixture
def ex4d(capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    def run(*arguments: object) -> Outcome:
        with pytest.raises(SystemExit) as exit_:
            main([str(a) for a in arguments])
        captured = capsys.readouterr()
        return Outcome(int(exit_.value.code or 0), captured.out, captured.err)

    return run


def refused(outcome: Outcome, *says: str) -> None:
    """One sentence on stderr that names the trouble, and a non-zero exit."""
    assert outcome.code == 1, outcome
    line = outcome.err.strip().splitlines()[-1]
    assert line.startswith("ex4d: "), outcome.err
    assert "Traceback" not in outcome.err
    assert line.endswith("."), line
    for word in says:
        assert re.search(word, line), f"{word!r} not in {line!r}"
    assert outcome.out == ""


@pytest.fixture(scope="module")
def footage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with clip.mp4 (a square walks over a textured ground) and true depth in depth.npy, metres."""
    folder = tmp_path_factory.mktemp("footage")
    rng = np.random.default_rng(5)
    ground = np.kron(rng.integers(60, 160, (16, 24, 3)), np.ones((4, 4, 1))).astype(np.uint8)
    frames, depth = [], np.full((FRAMES, HEIGHT, WIDTH), 4.0, np.float32)
    for t in range(FRAMES):
        frame = ground.copy()
        frame[24:44, 20 + 4 * t : 40 + 4 * t] = 230
        depth[t, 24:44, 20 + 4 * t : 40 + 4 * t] = 2.0
        frames.append(frame)
    write_viewing(folder / "clip.mp4", iter(frames), Fraction(24))
    np.save(folder / "depth.npy", depth)
    return folder


@pytest.fixture(scope="module")
def scene(footage: Path) -> Path:
    """The footage, imported."""
    path = footage / "clip.ex4d"
    with pytest.raises(SystemExit) as exit_:
        main(["import", str(footage / "clip.mp4"), "-o", str(path), *metric_depth(footage)])
    assert exit_.value.code == 0
    return path


def metric_depth(footage: Path) -> list[str]:
    return ["--depth", str(footage / "depth.npy"), "--depth-kind", "metric"]


def poses(*eyes: tuple[float, float, float], turn: bool = False) -> dict:
    """A trajectory document with cameras at these points, looking ahead or back."""
    frames = []
    for eye in eyes:
        c2w = np.diag([-1.0, 1, -1, 1]) if turn else np.eye(4)
        c2w[:3, 3] = eye
        frames.append({"c2w": c2w.tolist(), "intrinsics": [94, 94, 48, 32], "source_time": 0})
    head = {"schema": "ex4d.trajectory/1", "width": WIDTH, "height": HEIGHT, "fps": [24, 1], "frame_start": 0}
    return head | {"scene_hash": None, "frames": frames}


# --- what works


def test_the_whole_way_in_single_steps(footage: Path, tmp_path: Path, ex4d) -> None:
    scene = tmp_path / "s.ex4d"
    done = ex4d("import", footage / "clip.mp4", "-o", scene, *metric_depth(footage), "--fov", 60, "--json")
    assert done.code == 0
    assert json.loads(done.out)["frames"] == FRAMES
    assert Scene.open(scene, verify=True).intrinsics(0).fov_x_degrees == pytest.approx(60)

    assert ex4d("camera", scene, "--preset", "orbit", "--yaw", 20, "-o", tmp_path / "c.json").code == 0
    trajectory = load_trajectory(tmp_path / "c.json", 1, 1, Fraction(1))
    assert np.degrees(np.arccos(trajectory.c2w[-1, 0, 0])) == pytest.approx(20)

    shot = scene / "shots" / "orbit"
    done = ex4d("render", scene, "--trajectory", tmp_path / "c.json", "-o", shot, "--passes", "depth,risk", "--json")
    assert done.code == 0
    assert {p.name for p in shot.iterdir()} == {
        *("color.mp4", "mask.mp4", "trajectory.json", "shot.json", "depth", "risk")
    }
    mask = read_lossless(shot / "mask.mp4")
    assert set(np.unique(mask)) == {0, 255}
    unseen = json.loads((shot / "shot.json").read_text())["frames"]
    np.testing.assert_allclose([f["unseen"] for f in unseen], (mask[..., 0] == 0).mean(axis=(1, 2)), atol=1e-6)
    assert unseen[-1]["unseen"] > 0.05
    stretched = [frame["stretched"] for frame in unseen]
    assert json.loads(done.out)["stretched"] == stretched
    assert json.loads(ex4d("info", shot, "--json").out)["stretched_worst"] == max(stretched)

    assert ex4d("generate", shot, "--engine", "draft").code == 0
    assert probe_clip(shot / "output.mp4").frames == FRAMES
    assert len(list((shot / "output").glob("*.png"))) == FRAMES
    out = tmp_path / "pair.mp4"
    assert ex4d("generate", "--color", shot / "color.mp4", "--mask", shot / "mask.mp4", "-o", out).code == 0
    assert probe_clip(out).frames == FRAMES


def test_reshoot_keeps_what_is_finished(footage: Path, tmp_path: Path, ex4d) -> None:
    request = (
        "reshoot",
        footage / "clip.mp4",
        "--preset",
        "60",
        "-o",
        tmp_path / "out",
        *metric_depth(footage),
        "--json",
    )
    done = ex4d(*request)
    assert done.code == 0, done.err
    written = json.loads(done.out)
    assert probe_clip(Path(written["output"])).frames == FRAMES
    assert Path(written["contact"]).read_bytes()[:4] == b"\x89PNG"
    made = {p: p.stat().st_mtime_ns for p in (tmp_path / "out").rglob("*") if p.is_file()}
    assert ex4d(*request).code == 0
    kept = {p for p, when in made.items() if p.stat().st_mtime_ns == when}
    assert kept == set(made) - {tmp_path / "out/output.mp4", tmp_path / "out/contact.png"}

    other = [*request, "--amount", "0.1"]
    other[3] = "dolly"
    refused(ex4d(*[a for a in other if a != "--json"]), "another request", "--overwrite")
    assert kept == {p for p in kept if p.stat().st_mtime_ns == made[p]}, "the first result is untouched"
    assert ex4d(*other, "--overwrite").code == 0
    after = {p for p, when in made.items() if p.stat().st_mtime_ns == when}
    assert tmp_path / "out/scene.ex4d/scene.json" in after, "the depth is not made again"
    assert tmp_path / "out/shot/color.mp4" not in after
    (tmp_path / "out/shot/shot.json").write_text("damaged")
    refused(ex4d(*[a for a in other if a != "--json"]), "exists already", "--overwrite")
    assert ex4d(*other, "--overwrite").code == 0, "a damaged shot of ours can be replaced"


def test_npz_matches_the_reference_through_the_command_line(shared: Path, scene: Path, tmp_path: Path, ex4d) -> None:
    out = tmp_path / "c.npz"
    assert ex4d("camera", scene, "--preset", "180", "--frames", 49, "--radius", 2.7401, "-o", out).code == 0
    truth = np.load(shared / "data/flower/camera_180.npz")["extrinsics"]
    np.testing.assert_allclose(np.load(out)["extrinsics"], truth, atol=1e-5)


def test_a_photo_becomes_a_path_of_49_frames(footage: Path, tmp_path: Path, ex4d) -> None:
    from ex4d_core.images import write_png

    write_png(tmp_path / "photo.png", Scene.open(make_scene(footage, tmp_path)).color(0))
    assert ex4d("import", tmp_path / "photo.png", "-o", tmp_path / "photo.ex4d").code == 0
    assert ex4d("camera", tmp_path / "photo.ex4d", "--preset", "dolly", "-o", tmp_path / "c.json").code == 0
    assert len(load_trajectory(tmp_path / "c.json", 1, 1, Fraction(1))) == 49


def make_scene(footage: Path, tmp_path: Path) -> Path:
    target = tmp_path / "copy.ex4d"
    with pytest.raises(SystemExit):
        main(["import", str(footage / "clip.mp4"), "-o", str(target), *metric_depth(footage), "--quiet"])
    return target


@pytest.mark.parametrize("suffix", [".ply", ".obj", ".glb"])
def test_meshes(scene: Path, tmp_path: Path, ex4d, suffix: str) -> None:
    import trimesh

    whole, visible = tmp_path / f"whole{suffix}", tmp_path / f"visible{suffix}"
    assert ex4d("mesh", scene, "--frame", 2, "-o", whole).code == 0
    assert ex4d("mesh", scene, "--frame", 2, "-o", visible, "--visible").code == 0
    faces = [len(trimesh.load(p, force="mesh", process=False).faces) for p in (whole, visible)]
    assert faces[0] == 2 * (WIDTH - 1) * (HEIGHT - 1) + 2 * (WIDTH + HEIGHT) - 4
    assert 0 < faces[1] < 2 * (WIDTH - 1) * (HEIGHT - 1)


def test_quads_are_a_mesh_file_too(scene: Path, tmp_path: Path, ex4d) -> None:
    import trimesh

    whole, visible = tmp_path / "whole.glb", tmp_path / "visible.glb"
    assert ex4d("mesh", scene, "--method", "quads", "-o", whole).code == 0
    assert ex4d("mesh", scene, "--method", "quads", "-o", visible, "--visible").code == 0
    faces = [len(trimesh.load(p, force="mesh", process=False).faces) for p in (whole, visible)]
    assert faces[0] >= faces[1] + 2 * 2 * (WIDTH + HEIGHT)  # flaps at least
    assert faces[1] == 2 * WIDTH * HEIGHT


def test_all_meshes_get_numbered_names(scene: Path, tmp_path: Path, ex4d) -> None:
    done = ex4d("mesh", scene, "--frame", "all", "-o", tmp_path / "m.ply", "--json")
    assert json.loads(done.out)["files"] == [str(tmp_path / f"m.{t:06d}.ply") for t in range(FRAMES)]
    assert all(Path(f).stat().st_size for f in json.loads(done.out)["files"])


def test_info_knows_all_kinds(footage: Path, scene: Path, tmp_path: Path, ex4d) -> None:
    ex4d("camera", scene, "--preset", "truck", "-o", tmp_path / "c.json")
    ex4d("camera", scene, "--preset", "truck", "-o", tmp_path / "c.npz")
    ex4d("render", scene, "--trajectory", tmp_path / "c.json", "-o", tmp_path / "shot")
    for path, kind in (
        (footage / "clip.mp4", "video"),
        (scene, "scene"),
        (tmp_path / "c.json", "trajectory"),
        (tmp_path / "c.npz", "trajectory"),
        (tmp_path / "shot", "shot"),
    ):
        done = ex4d("info", path, "--json")
        assert done.code == 0
        assert json.loads(done.out)["kind"] == kind
        assert kind in ex4d("info", path).out


def test_doctor_finds_this_machine_fit_for_the_core(ex4d) -> None:
    done = ex4d("doctor", "--json")
    report = json.loads(done.out)
    assert done.code == 0
    assert report["healthy"]
    names = {check["name"]: check for check in report["checks"]}
    assert {"machine", "disk", "video", "rasterizer", "engines", "depth estimators", "gpu"} <= set(names)
    assert "draft" in names["engines"]["detail"]
    assert all(check["remedy"] for check in report["checks"] if check["state"] != "ok")


def test_quiet_says_nothing(scene: Path, tmp_path: Path, ex4d) -> None:
    level = logging.getLogger().level
    done = ex4d("camera", scene, "--preset", "crane", "-o", tmp_path / "c.json", "--quiet")
    assert (done.code, done.out, done.err) == (0, "", "")
    assert logging.getLogger().level == level  # for this command alone


@pytest.mark.parametrize("name", ["reshoot", "import", "camera", "render", "generate", "mesh", "info", "doctor"])
def test_help_has_examples(ex4d, name: str) -> None:
    done = ex4d(name, "--help")
    assert done.code == 0
    assert f"ex4d {name}" in done.out.split("Examples:")[1]
    assert f"  {name} " in ex4d("--help").out


# --- what is refused


@pytest.mark.parametrize("seed", [-1, 2**63])
def test_a_seed_that_the_sidecar_refuses(ex4d, seed: int) -> None:
    done = ex4d("generate", "shot", "--seed", seed)
    assert done.code != 0
    assert f"'--seed': {seed} is not in the range" in done.err


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("case", ["missing", "empty", "text", "truncated", "random", "no images", "dangling"])
def test_bad_footage(footage: Path, tmp_path: Path, ex4d, case: str) -> None:
    whole = (footage / "clip.mp4").read_bytes()
    bad = tmp_path / "bad.mp4"
    if case == "empty":
        write(bad, b"")
    elif case == "text":
        write(bad, b"hello, I am not a video\n" * 40)
    elif case == "truncated":
        write(bad, whole[: len(whole) * 2 // 3])
    elif case == "random":
        write(bad, np.random.default_rng(0).bytes(4096))
    elif case == "no images":
        bad = tmp_path / "frames"
        bad.mkdir()
        write(bad / "notes.txt", b"x")
    elif case == "dangling":
        bad.symlink_to(tmp_path / "gone.mp4")
    refused(ex4d("import", bad, "-o", tmp_path / "s.ex4d"), re.escape(bad.name))
    assert not list(tmp_path.glob("s.ex4d*"))
    refused(ex4d("reshoot", bad, "--preset", "60", "-o", tmp_path / "out"), re.escape(bad.name))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda d: d[:-1], "7.*8"),
        (lambda d: d[:, :, :-30], "66x64"),
        (lambda d: np.where(np.arange(FRAMES)[:, None, None] == 3, np.nan, d), "3"),
        (lambda d: np.where(np.arange(FRAMES)[:, None, None] == 3, 0, d), "3"),
        (lambda d: -d, "0"),
    ],
    ids=["frame count", "size", "nan", "zero", "negative"],
)
def test_bad_depth(footage: Path, tmp_path: Path, ex4d, spoil, says: str) -> None:
    np.save(tmp_path / "d.npy", spoil(np.load(footage / "depth.npy")).astype(np.float32))
    depth = ("--depth", tmp_path / "d.npy", "--depth-kind", "metric")
    refused(ex4d("import", footage / "clip.mp4", "-o", tmp_path / "s.ex4d", *depth), says)
    assert not list(tmp_path.glob("s.ex4d*"))


@pytest.mark.parametrize(
    ("document", "says"),
    [
        (poses((0, 0, 0), (0, 0, 4.5)), "Frame 1 .* (behind|inside)"),
        (poses((0, 0, 60.0), turn=True), "Frame 0 .* nothing"),
        (poses((0, 0, 0), turn=True), "Frame 0 .* nothing"),
        (poses((0, 0, 0), (float("nan"), 0, 0)), "Frame 1 .* finite"),
    ],
    ids=["inside the surface", "behind the mesh", "looking away", "nan"],
)
def test_bad_cameras(scene: Path, tmp_path: Path, ex4d, document: dict, says: str) -> None:
    (tmp_path / "c.json").write_text(json.dumps(document))
    refused(ex4d("render", scene, "--trajectory", tmp_path / "c.json", "-o", tmp_path / "shot"), says)
    assert not list(tmp_path.glob("shot*"))


def test_names_taken_are_kept(scene: Path, footage: Path, tmp_path: Path, ex4d) -> None:
    ex4d("camera", scene, "--preset", "static", "-o", tmp_path / "c.json")
    render = ("render", scene, "--trajectory", tmp_path / "c.json", "-o", tmp_path / "shot")
    assert ex4d(*render).code == 0
    refused(ex4d(*render), "exists", "--overwrite")
    assert ex4d(*render, "--overwrite").code == 0
    refused(ex4d("import", footage / "clip.mp4", "-o", scene), "exists", "--overwrite")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("camera", "SCENE", "--preset", "orbti", "-o", "c.json"), "no preset 'orbti'"),
        (("camera", "SCENE", "-o", "c.json"), "--preset"),
        (("camera", "SCENE", "--preset", "orbit", "-o", "c.csv"), r"\.json or \.npz"),
        (("render", "nowhere.ex4d", "--trajectory", "c.json", "-o", "shot"), "nowhere.ex4d"),
        (("render", "SCENE", "--trajectory", "nope.json", "-o", "shot"), "nope.json"),
        (("generate", "nowhere", "--engine", "draft"), "nowhere"),
        (("generate",), "--color"),
        (("generate", "nowhere", "--engine", "ex4d", "--model-dir", ""), "--model-dir is empty"),
        (("reshoot", "SCENE", "-o", "x"), "--preset or --trajectory"),
        (("reshoot", "SCENE", "--preset", "60", "--engine", "drafft", "-o", "x"), "drafft.*draft"),
        (("mesh", "SCENE", "--frame", "8", "-o", "m.ply"), "no frame '8'"),
        (("mesh", "SCENE", "-o", "m.stl"), r"m\.stl"),
        (("info", "nowhere.mp4"), "nowhere.mp4"),
    ],
)
def test_wrong_requests(scene: Path, tmp_path: Path, monkeypatch, ex4d, arguments: tuple, says: str) -> None:
    monkeypatch.chdir(tmp_path)
    refused(ex4d(*[scene if a == "SCENE" else a for a in arguments]), says)
    assert not list(tmp_path.iterdir())


def test_what_is_not_ours_is_never_replaced(scene: Path, tmp_path: Path, ex4d) -> None:
    ex4d("camera", scene, "--preset", "static", "-o", tmp_path / "c.json")
    mine = tmp_path / "mine"
    (mine / "shot").mkdir(parents=True)
    for name in ("notes.txt", "output.mp4", "shot/notes.txt"):
        (mine / name).write_text("precious")
    render = ("render", scene, "--trajectory", tmp_path / "c.json", "-o", mine, "--overwrite")
    refused(ex4d(*render), "not a shot folder")
    refused(ex4d("reshoot", scene, "--preset", "static", "-o", mine), "not a shot folder")
    shutil.rmtree(mine / "shot")
    refused(ex4d("reshoot", scene, "--preset", "static", "-o", mine), "output.mp4 exists already")
    refused(ex4d("camera", scene, "--preset", "static", "-o", write(mine / "a.json", b"mine")), "not readable")
    refused(ex4d("generate", "--color", mine / "a.mp4", "--mask", mine / "a.mp4", "-o", mine / "a.mp4"), "input")
    assert (mine / "notes.txt").read_text() == (mine / "output.mp4").read_text() == "precious"
    assert ex4d("camera", scene, "--preset", "truck", "-o", tmp_path / "c.json").code == 0, "an older path may go"


def test_two_at_once_do_not_share_a_folder(footage: Path, tmp_path: Path, ex4d) -> None:
    from ex4d_core.files import partial_folder

    out = tmp_path / "s.ex4d"
    with partial_folder(out) as partial:
        refused(ex4d("import", footage / "clip.mp4", "-o", out, *metric_depth(footage)), "Another ex4d is writing")
        assert partial.is_dir()
    shutil.rmtree(out)
    assert ex4d("import", footage / "clip.mp4", "-o", out, *metric_depth(footage)).code == 0
    assert [p.name for p in tmp_path.iterdir()] == ["s.ex4d"], "no lock file stays"


def test_wrong_usage_exits_with_2(scene: Path, ex4d) -> None:
    for arguments in (
        ("render", scene),
        ("nonsense",),
        ("import", "x", "-o", "y", "--size", "12"),
        ("camera", "--bogus"),
    ):
        done = ex4d(*arguments)
        assert done.code == 2
        assert "Traceback" not in done.err
        assert done.err


def test_errors_are_json_for_machines(tmp_path: Path, ex4d) -> None:
    done = ex4d("info", tmp_path / "none.mp4", "--json")
    assert done.code == 1
    error = json.loads(done.out)["error"]
    assert error["code"] == "bad-input"
    assert "none.mp4" in error["message"]


def mounted(folder: Path, options: str) -> Path:
    """A small disk of its own, where the machine lets us have one."""
    folder.mkdir()
    if os.name == "nt" or os.geteuid() != 0 or not shutil.which("mount"):
        pytest.skip("mounting a small disk needs root on Linux")
    if subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], capture_output=True).returncode:
        pytest.skip("this machine does not let us mount a small disk")
    return folder


def test_a_full_disk(footage: Path, tmp_path: Path, ex4d) -> None:
    disk = mounted(tmp_path / "disk", "size=96k")
    try:
        refused(ex4d("import", footage / "clip.mp4", "-o", disk / "s.ex4d", *metric_depth(footage)), "disk is full")
        assert not (disk / "s.ex4d").exists()
        subprocess.run(["mount", "-o", "remount,size=20m", disk], check=True)
        assert ex4d("import", footage / "clip.mp4", "-o", disk / "s.ex4d", *metric_depth(footage)).code == 0
        ex4d("camera", disk / "s.ex4d", "--preset", "60", "-o", tmp_path / "c.json")
        used = sum(f.stat().st_blocks * 512 for f in disk.rglob("*"))
        subprocess.run(["mount", "-o", f"remount,size={used + 16384}", disk], check=True)
        refused(
            ex4d("render", disk / "s.ex4d", "--trajectory", tmp_path / "c.json", "-o", disk / "shot"), "disk is full"
        )
        assert not (disk / "shot").exists()
    finally:
        subprocess.run(["umount", disk], check=True)


def test_a_read_only_folder(footage: Path, scene: Path, tmp_path: Path, ex4d) -> None:
    disk = mounted(tmp_path / "disk", "size=1m,ro")
    try:
        refused(ex4d("import", footage / "clip.mp4", "-o", disk / "s.ex4d", *metric_depth(footage)), "read-only")
        refused(ex4d("camera", scene, "--preset", "60", "-o", disk / "c.json"), "read-only")
        refused(ex4d("mesh", scene, "-o", disk / "m.glb"), "read-only")
    finally:
        subprocess.run(["umount", disk], check=True)


@pytest.mark.skipif(os.name == "nt", reason="sends SIGINT")
def test_ctrl_c_and_the_rerun_goes_on(footage: Path, tmp_path: Path) -> None:
    out = tmp_path / "s.ex4d"
    command = [sys.executable, "-m", "ex4d_core.cli", "import", str(footage / "clip.mp4"), "-o", str(out)]
    command += [*metric_depth(footage), "--size", "1600x1200"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    partial = out.with_name("s.ex4d.partial")
    deadline = time.monotonic() + 60
    while len(list(partial.glob("color/*.png"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "run the same command again to go on" in err
    assert "Traceback" not in err
    assert not out.exists()
    first = partial / "color/000000.png"
    before = first.stat().st_mtime_ns
    assert subprocess.run(command, capture_output=True).returncode == 0
    assert (out / "color/000000.png").stat().st_mtime_ns == before, "finished frames are kept"
    assert not partial.exists()
    Scene.open(out, verify=True)
