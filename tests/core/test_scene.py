"""Scene folders: round trips, the content hash, and folders that are not what they say."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ingest_cases import HEIGHT, WIDTH, colors, depths, small_scene

from ex4d_core.camera import Intrinsics, look_at
from ex4d_core.depth.encoding import choose_encoding, decode_depth, encode_depth
from ex4d_core.depth.exr import write_exr
from ex4d_core.errors import InputError
from ex4d_core.quads.cuts import find_cuts
from ex4d_core.quads.ramps import steepen
from ex4d_core.scene import Scene, write_scene

LENS = Intrinsics.unknown_lens(WIDTH, HEIGHT)


def _edit(scene: Scene, change: dict[str, Any]) -> Path:
    """Change fields of scene.json; a dotted key reaches inside."""
    file = scene.path / "scene.json"
    raw = json.loads(file.read_text(encoding="utf-8"))
    for key, value in change.items():
        target, *rest = key.split(".")
        if rest:
            raw[target][rest[0]] = value
        else:
            raw[target] = value
    file.write_text(json.dumps(raw), encoding="utf-8")
    return scene.path


def test_colour_comes_back_exactly_and_depth_within_half_precision(tmp_path: Path) -> None:
    scene = small_scene(tmp_path)
    assert (scene.width, scene.height, scene.frames, scene.fps) == (WIDTH, HEIGHT, 3, Fraction(24))
    assert scene.document.depth.encoding == "half-disparity"
    for t in range(3):
        np.testing.assert_array_equal(scene.color(t), colors(3)[t])
        np.testing.assert_allclose(scene.depth(t), depths(3)[t], rtol=2**-11)
        assert scene.depth(t).dtype == np.float32


def test_sixteen_bit_colour_is_reduced(tmp_path: Path) -> None:
    deep = np.random.default_rng(0).integers(0, 65536, (2, HEIGHT, WIDTH, 3), np.uint16)
    scene = write_scene(tmp_path / "a.ex4d", deep, depths(2), fps=Fraction(24), intrinsics=LENS)
    assert cv2.imread(str(scene.path / "color/000001.png"), cv2.IMREAD_UNCHANGED).dtype == np.uint16
    assert scene.color(1).dtype == np.uint8
    np.testing.assert_array_equal(scene.color(1), np.rint(deep[1] / 257).astype(np.uint8))


def test_cameras_come_back_exactly(tmp_path: Path) -> None:
    eyes = np.array([[0.1 * t, 0, -3.0] for t in range(3)])
    poses = look_at(eyes, np.zeros((3, 3)))
    lens = [Intrinsics(60 + t, 61 + t, 31.3, 18.7, WIDTH, HEIGHT) for t in range(3)]
    scene = write_scene(
        tmp_path / "a.ex4d", colors(3), depths(3), fps=Fraction(30000, 1001), intrinsics=lens, source_c2w=poses
    )
    assert scene.fps == Fraction(30000, 1001)
    for t in range(3):
        camera = scene.source_camera(t)
        np.testing.assert_array_equal(camera.c2w, poses[t])
        assert camera.intrinsics == lens[t]


def test_without_a_solve_the_source_camera_is_the_world(tmp_path: Path) -> None:
    scene = small_scene(tmp_path)
    np.testing.assert_array_equal(scene.source_camera(2).c2w, np.eye(4))
    assert scene.source_camera(2).intrinsics == LENS


def test_sky_comes_back_finite_and_farther_than_everything(tmp_path: Path) -> None:
    depth = depths(2)
    depth[:, :4] = np.inf
    scene = write_scene(tmp_path / "a.ex4d", colors(2), depth, fps=Fraction(24), intrinsics=LENS)
    sky = scene.depth(0)[:4]
    np.testing.assert_allclose(sky, 10 * depth[np.isfinite(depth)].max(), rtol=2**-11)
    assert sky.min() > 9 * scene.depth(0)[4:].max()


def test_disparity_zero_from_another_writer_reads_as_far(tmp_path: Path) -> None:
    scene = small_scene(tmp_path)
    stored = np.full((HEIGHT, WIDTH), 0.25, np.float16)
    stored[0] = 0
    write_exr(scene.path / "depth/000000.exr", stored)
    depth = scene.depth(0)
    assert (depth[0] == np.float32(scene.document.depth.far)).all()
    assert (depth[1:] == 4).all()


@pytest.mark.parametrize(("nearest", "farthest"), [(1e-6, 1.0), (1.0, 20_000.0)])
def test_depth_that_half_disparity_would_lose_is_kept_as_float(tmp_path: Path, nearest: float, farthest: float) -> None:
    depth = np.geomspace(nearest, farthest, HEIGHT * WIDTH).astype(np.float32).reshape(1, HEIGHT, WIDTH)
    scene = write_scene(tmp_path / "a.ex4d", colors(1), depth, fps=Fraction(24), intrinsics=LENS)
    assert scene.document.depth.encoding == "float-depth"
    np.testing.assert_array_equal(scene.depth(0), depth[0])


@settings(max_examples=200, deadline=None)
@given(a=st.floats(1e-8, 1e8), b=st.floats(1e-8, 1e8), seed=st.integers(0, 99))
def test_any_depth_survives_within_two_to_the_minus_eleven(a: float, b: float, seed: int) -> None:
    nearest, farthest = np.float32(min(a, b)), np.float32(max(a, b))
    logs = np.random.default_rng(seed).uniform(np.log(nearest), np.log(farthest), (4, 4))
    depth = np.clip(np.exp(logs).astype(np.float32), nearest, farthest)
    far = 10 * float(farthest)
    encoding = choose_encoding(float(nearest), float(farthest))
    stored = encode_depth(depth, encoding, far)
    back = decode_depth(stored.astype(np.float32), encoding, far)
    np.testing.assert_allclose(back, depth, rtol=2**-11 * 1.001)


def test_occlusion_bits_flag_the_box_outline_and_not_the_floor(tmp_path: Path) -> None:
    scene = small_scene(tmp_path)
    bits = cv2.imread(str(scene.path / "occlusion/000000.png"), cv2.IMREAD_UNCHANGED)
    assert bits.dtype == np.uint8
    assert bits.shape == (HEIGHT, WIDTH)
    top, bottom, left, right = HEIGHT // 3, 2 * HEIGHT // 3, 10, 20
    assert (bits[top - 1, left : right - 1] & 3).all()
    assert (bits[top : bottom - 1, left - 1] & 3).all()
    assert not bits[:, 30:].any()
    assert not bits[top : bottom - 1, left : right - 1].any()


def test_occlusion_bits_have_the_cuts_of_quads_on_the_depth_as_it_is_stored(tmp_path: Path) -> None:
    scene = small_scene(tmp_path)
    bits = cv2.imread(str(scene.path / "occlusion/000000.png"), cv2.IMREAD_UNCHANGED)
    top, bottom, left, right = HEIGHT // 3, 2 * HEIGHT // 3, 10, 20
    expected = np.zeros((HEIGHT, WIDTH), np.uint8)
    expected[top:bottom, [left - 1, right - 1]] |= 4
    expected[[top - 1, bottom - 1], left:right] |= 8
    np.testing.assert_array_equal(bits & 12, expected)
    np.testing.assert_array_equal(bits >> 2, find_cuts(steepen(1 / scene.depth(0))))
    assert not (bits >> 4).any()


def test_the_hash_follows_its_published_definition(tmp_path: Path) -> None:
    scene = small_scene(tmp_path)
    raw = json.loads((scene.path / "scene.json").read_text(encoding="utf-8"))
    stated = raw.pop("content_hash")
    canonical = json.dumps(raw, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    lines = [f"{hashlib.sha256(canonical).hexdigest()}  scene.json\n"]
    for folder in ("color", "depth"):
        for file in (scene.path / folder).iterdir():
            lines.append(f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {folder}/{file.name}\n")
    lines.sort(key=lambda line: line.split("  ")[1])
    assert hashlib.sha256("".join(lines).encode()).hexdigest() == stated == scene.content_hash


def test_the_hash_is_the_same_for_the_same_content_and_other_for_other(tmp_path: Path) -> None:
    def make(name: str, color_seed: int = 0, focal: float = 50.0) -> str:
        lens = Intrinsics.from_focal_px(focal, WIDTH, HEIGHT)
        scene = write_scene(tmp_path / name, colors(2, seed=color_seed), depths(2), fps=Fraction(24), intrinsics=lens)
        return scene.content_hash

    first = make("a.ex4d")
    assert make("b.ex4d") == first
    assert make("c.ex4d", color_seed=1) != first
    assert make("d.ex4d", focal=51.0) != first


def test_verify_finds_a_changed_frame_and_ignores_what_does_not_count(tmp_path: Path) -> None:
    scene = small_scene(tmp_path)
    (scene.path / "shots" / "a").mkdir(parents=True)
    (scene.path / "color" / "Thumbs.db").write_bytes(b"x")
    (scene.path / "occlusion" / "000001.png").write_bytes(b"other")
    Scene.open(scene.path, verify=True)
    shutil.copy(scene.path / "color/000000.png", scene.path / "color/000001.png")
    Scene.open(scene.path)
    with pytest.raises(InputError, match="content hash differs"):
        Scene.open(scene.path, verify=True)


def test_verify_finds_a_changed_document(tmp_path: Path) -> None:
    path = _edit(small_scene(tmp_path), {"fps": [25, 1]})
    with pytest.raises(InputError, match="content hash differs"):
        Scene.open(path, verify=True)


def test_a_moved_scene_opens(tmp_path: Path) -> None:
    scene = small_scene(tmp_path)
    moved = tmp_path / "Ünïcode 場面" / "x.ex4d"
    moved.parent.mkdir()
    shutil.move(scene.path, moved)
    assert Scene.open(moved, verify=True).content_hash == scene.content_hash


@pytest.mark.parametrize(
    "pattern",
    [
        "../color/%06d.png",
        "color/../../%06d.png",
        "/etc/%06d.png",
        "//server/share/%06d.png",
        "C:/color/%06d.png",
        "C:color%06d.png",
        "color\\%06d.png",
        "..\\%06d.png",
        "./color/%06d.png",
        "color//%06d.png",
        "color/000000.png",
        "color/%06d_%06d.png",
        "color/%s.png",
        "color/%06d%n.png",
        "%06d/color.png",
        "color/%06d.png\n",
        "color/%06d.png\u0000",
        "",
    ],
)
@pytest.mark.parametrize("key", ["files.color", "files.depth", "files.occlusion", "files.plate", "files.proxy"])
def test_names_that_lead_out_of_the_folder_are_refused(tmp_path: Path, key: str, pattern: str) -> None:
    path = _edit(small_scene(tmp_path, frames=1), {key: pattern})
    with pytest.raises(InputError, match="stay inside the scene folder"):
        Scene.open(path)


@pytest.mark.skipif(os.name == "nt", reason="links need privileges on Windows")
def test_links_that_lead_out_of_the_folder_are_refused(tmp_path: Path) -> None:
    scene = small_scene(tmp_path)
    outside = tmp_path / "secret.png"
    shutil.copy(scene.path / "color/000001.png", outside)
    (scene.path / "color/000001.png").unlink()
    (scene.path / "color/000001.png").symlink_to(outside)
    with pytest.raises(InputError, match="link that leaves the scene folder"):
        Scene.open(scene.path)
    (scene.path / "color/000001.png").unlink()
    (scene.path / "color/000001.png").symlink_to("000000.png")
    Scene.open(scene.path)
    shutil.move(scene.path / "depth", tmp_path / "depth")
    (scene.path / "depth").symlink_to(tmp_path / "depth")
    with pytest.raises(InputError, match="link that leaves the scene folder"):
        Scene.open(scene.path)


@pytest.mark.skipif(os.name == "nt", reason="links need privileges on Windows")
@pytest.mark.parametrize("name", ["color/000001.png", "depth", "occlusion/000000.png", "scene.json", "shots/new", ""])
def test_a_confined_scene_holds_no_link_at_all(tmp_path: Path, name: str) -> None:
    scene = small_scene(tmp_path)
    Scene.open(scene.path, confined=True)
    entry, hidden = scene.path / name, tmp_path / "hidden"
    if name == "shots/new":
        entry.parent.mkdir()
        hidden.mkdir()
    else:
        shutil.move(entry, hidden)
    entry.symlink_to(hidden)
    with pytest.raises(InputError, match=" is a link") as caught:
        Scene.open(scene.path, confined=True)
    assert str(entry) in str(caught.value)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_confined_scene_holds_no_pipe(tmp_path: Path) -> None:
    scene = small_scene(tmp_path)
    os.mkfifo(scene.path / "color/extra.png")
    with pytest.raises(InputError, match="no ordinary file"):
        Scene.open(scene.path, confined=True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": "ex4d.scene/2"}, "schema"),
        ({"width": 0}, "width"),
        ({"frames": 0}, "frames"),
        ({"fps": [24, 0]}, "fps"),
        ({"intrinsics": [1, 2, 3]}, "intrinsics"),
        ({"intrinsics": [-5, 5, 1, 1]}, "focal length that is not positive"),
        ({"intrinsics": [[50, 50, 32, 18]]}, "3 frames but 1 intrinsics"),
        ({"source_c2w": [np.eye(4).tolist()]}, "3 frames but 1 source_c2w"),
        ({"source_c2w": [np.diag([2.0, 2, 2, 1]).tolist()] * 3}, "scaled, mirrored or sheared"),
        ({"depth.encoding": "png"}, "encoding"),
        ({"depth.far": 0}, "far"),
        ({"depth.units": "feet"}, "units"),
        ({"content_hash": "abc"}, "content_hash"),
        ({"content_hash": ""}, "content_hash"),
        ({"frames": 4}, r"lacks the colour of 1 of 4 frames \(first color/000003\.png\)"),
    ],
)
def test_documents_that_are_wrong_say_where(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    path = _edit(small_scene(tmp_path), change)
    with pytest.raises(InputError, match=message):
        Scene.open(path)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"far": NaN}', "9" * 5000, "[" * 100_000, "\ud800"])
def test_documents_that_are_no_scene_are_one_sentence(tmp_path: Path, text: str) -> None:
    scene = small_scene(tmp_path, frames=1)
    (scene.path / "scene.json").write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(InputError, match=r"scene\.json") as caught:
        Scene.open(scene.path)
    assert "\n" not in str(caught.value)


def test_a_folder_without_a_scene_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="ex4d import"):
        Scene.open(tmp_path)
    with pytest.raises(InputError, match="nowhere"):
        Scene.open(tmp_path / "nowhere")


@pytest.mark.parametrize("name", ["color/000001.png", "depth/000002.exr", "occlusion/000000.png"])
def test_missing_and_empty_frames_are_named(tmp_path: Path, name: str) -> None:
    scene = small_scene(tmp_path)
    (scene.path / name).write_bytes(b"")
    with pytest.raises(InputError, match=name.replace(".", r"\.")):
        Scene.open(scene.path)
    (scene.path / name).unlink()
    with pytest.raises(InputError, match=name.replace(".", r"\.")):
        Scene.open(scene.path)


def test_frames_of_another_size_or_with_bad_depth_are_refused_when_read(tmp_path: Path) -> None:
    scene = small_scene(tmp_path)
    write_exr(scene.path / "depth/000000.exr", np.ones((3, 5), np.float16))
    with pytest.raises(InputError, match="5x3 pixels, the scene 64x36"):
        scene.depth(0)
    bad = np.ones((HEIGHT, WIDTH), np.float16)
    bad[0, :16] = np.nan
    bad[1, :16] = -1
    write_exr(scene.path / "depth/000001.exr", bad)
    with pytest.raises(InputError, match=r"not a positive number in 1\.4%"):
        scene.depth(1)
    cv2.imwrite(str(scene.path / "color/000000.png"), np.zeros((3, 5, 3), np.uint8))
    with pytest.raises(InputError, match="5x3 pixels, the scene 64x36"):
        scene.color(0)


@pytest.mark.parametrize("frame", [-1, 3])
def test_frames_beyond_the_clip_are_refused(tmp_path: Path, frame: int) -> None:
    scene = small_scene(tmp_path)
    for read in (scene.color, scene.depth, scene.intrinsics, scene.source_camera):
        with pytest.raises(InputError, match=f"no frame {frame}: give 0 to 2"):
            read(frame)


def test_writing_refuses_what_is_no_scene_and_leaves_nothing(tmp_path: Path) -> None:
    out = tmp_path / "a.ex4d"
    bad = depths(2)
    bad[1, 0, 0] = np.nan
    with pytest.raises(InputError, match="positive everywhere"):
        write_scene(out, colors(2), bad, fps=Fraction(24), intrinsics=LENS)
    with pytest.raises(InputError, match="has 1 frames, the depth 2"):
        write_scene(out, colors(1), depths(2), fps=Fraction(24), intrinsics=LENS)
    with pytest.raises(InputError, match="2 frames of 64x36"):
        write_scene(out, colors(3), depths(2), fps=Fraction(24), intrinsics=LENS)
    with pytest.raises(InputError, match="one lens and pose per frame"):
        write_scene(out, colors(2), depths(2), fps=Fraction(24), intrinsics=[LENS])
    assert list(tmp_path.iterdir()) == []
    small_scene(tmp_path)
    with pytest.raises(InputError, match="exists already"):
        write_scene(out, colors(2), depths(2), fps=Fraction(24), intrinsics=LENS)
