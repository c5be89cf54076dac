"""The overlay's own readers of depth and bridges, against the library's."""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import numpy as np
import pytest
from conftest import library, module

WRITE_PNGS = """
import sys
from pathlib import Path
import cv2, numpy as np
from ex4d_core.images import write_png
random = np.random.default_rng(0)
for k, shape in enumerate([(1, 1), (1, 9), (9, 1), (48, 64), (31, 57, 3), (1, 7, 3), (5, 1, 3)]):
    noise = random.integers(0, 256, shape, np.uint8)
    smooth = (np.add.outer(np.arange(shape[0]) * 3, np.arange(shape[1]) * 2) % 256).astype(np.uint8)
    smooth = smooth if len(shape) == 2 else np.stack([smooth, smooth // 2, 255 - smooth], axis=-1)
    for name, image in (("noise", noise), ("smooth", np.ascontiguousarray(smooth))):
        np.save(Path(sys.argv[1]) / f"{name}{k}.npy", image)
        write_png(Path(sys.argv[1]) / f"{name}{k}.png", image)
        for filter in range(5):
            flag = [cv2.IMWRITE_PNG_FILTER, [8, 16, 32, 64, 128][filter]]
            bgr = image if image.ndim == 2 else image[..., ::-1]
            done, data = cv2.imencode(".png", np.ascontiguousarray(bgr), flag)
            (Path(sys.argv[1]) / f"{name}{k}_{filter}.png").write_bytes(data.tobytes())
"""

READ_SCENE = """
import sys
from pathlib import Path
import numpy as np
from ex4d_core.mesh import build_mesh, occlusion_bits
from ex4d_core.scene import Scene
scene = Scene.open(Path(sys.argv[1]))
for frame in map(int, sys.argv[3:]):
    depth = scene.depth(frame)
    np.save(Path(sys.argv[2]) / f"depth{frame}.npy", depth)
    np.save(Path(sys.argv[2]) / f"bits{frame}.npy", occlusion_bits(build_mesh(depth, scene.intrinsics(frame))))
"""


def test_pngs_with_every_filter_read_as_the_library_wrote_them(library_python: str, tmp_path: Path) -> None:
    library(library_python, WRITE_PNGS, tmp_path)
    read = module("coverage.png").read_png
    files = sorted(tmp_path.glob("*.png"))
    assert len(files) == 84
    for file in files:
        truth = np.load(tmp_path / f"{file.stem.split('_')[0]}.npy")
        np.testing.assert_array_equal(read(file), truth.reshape(*truth.shape[:2], -1), str(file))


@pytest.mark.parametrize("frame", [0, 7])
def test_a_frame_is_the_library_s(library_python: str, small_scene: Path, tmp_path: Path, frame: int) -> None:
    library(library_python, READ_SCENE, small_scene, tmp_path, frame)
    facts = module("scene_folder").read_scene(small_scene)
    found = module("coverage.source").source_frame(facts, frame)
    np.testing.assert_array_equal(found.depth, np.load(tmp_path / f"depth{frame}.npy"))
    np.testing.assert_array_equal(found.bridges, np.load(tmp_path / f"bits{frame}.npy"))
    assert found.bridges.any()
    # The files say more than that: where the library's other method cuts surfaces.
    assert (module("coverage.png").read_png(facts.file(facts.occlusion, frame)) & 12).any()
    assert found.nearest == found.depth.min()


def test_both_encodings_and_the_sky(tmp_path: Path, small_scene: Path) -> None:
    decode = module("coverage.source")._decode
    facts = module("scene_folder").read_scene(small_scene)
    from dataclasses import replace

    disparity = np.array([[0.0, 0.5, 0.25]], np.float32)
    half = replace(facts, depth_encoding="half-disparity", far=600.0)
    np.testing.assert_array_equal(decode(disparity, half), [[600.0, 2.0, 4.0]])
    plain = replace(facts, depth_encoding="float-depth", far=600.0)
    np.testing.assert_array_equal(decode(np.array([[3.0, 2e9, np.inf]], np.float32), plain), [[3.0, 600.0, 600.0]])


def test_frames_are_kept_within_bounds(small_scene: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = module("coverage.source")
    source.forget()
    facts = module("scene_folder").read_scene(small_scene)
    one = source.source_frame(facts, 0)
    assert source.source_frame(facts, 0) is one
    monkeypatch.setattr(source, "_MOST_BYTES", 3 * (one.depth.nbytes + one.bridges.nbytes))
    for frame in range(5):
        source.source_frame(facts, frame)
    assert [key[2] for key in source._frames] == [2, 3, 4]
    assert source.source_frame(facts, 0) is not one
    source.forget()


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("depth/000001.exr", None, "Cannot read"),
        ("depth/000001.exr", b"v/1\x01\x02\x00\x00\x00", "cannot be read"),
        ("depth/000001.exr", b"no EXR at all", "not a single-part"),
        ("occlusion/000001.png", None, "Cannot read"),
        ("occlusion/000001.png", b"\x89PNG\r\n\x1a\n", "is damaged"),
        ("occlusion/000001.png", "short", "ends early"),
        ("occlusion/000001.png", "bomb", "has 4096x4096 pixels and the scene 64x48"),
    ],
)
def test_damaged_files_are_one_sentence(
    small_scene: Path, tmp_path: Path, name: str, content: bytes | str | None, said: str
) -> None:
    import shutil

    folder = tmp_path / "broken.ex4d"
    shutil.copytree(small_scene, folder)
    file = folder / name
    if content is None:
        file.unlink()
    elif isinstance(content, str):
        side = 4096 if content == "bomb" else 64
        pixels = bytes(side * (side + 1)) if content == "bomb" else bytes(10)
        file.write_bytes(_png(side, side, pixels))
    else:
        file.write_bytes(content)
    facts = module("scene_folder").read_scene(folder)
    with pytest.raises(module("errors").UserError, match=said) as error:
        module("coverage.source").source_frame(facts, 1)
    assert str(error.value).endswith(".")


def test_any_cut_or_flipped_byte_of_depth_is_a_sentence_or_a_picture(small_scene: Path, tmp_path: Path) -> None:
    whole = (small_scene / "depth/000000.exr").read_bytes()
    read, user_error = module("coverage.exr").read_exr, module("errors").UserError
    random = np.random.default_rng(1)
    file = tmp_path / "damaged.exr"
    refused = 0
    for k in range(300):
        data = bytearray(whole)
        if k % 2:
            data = data[: int(random.integers(0, len(whole)))]
        else:
            data[int(random.integers(0, min(len(whole), 700)))] ^= int(random.integers(1, 256))
        file.write_bytes(bytes(data))
        try:
            assert read(file, "Y").ndim == 2
        except user_error:
            refused += 1
    assert refused > 150


def _png(width: int, height: int, pixels: bytes) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return len(body).to_bytes(4, "big") + kind + body + zlib.crc32(kind + body).to_bytes(4, "big")

    head = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes([8, 0, 0, 0, 0])
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(pixels)) + chunk(b"IEND", b"")


def test_the_scene_document_is_what_these_tests_assume(small_scene: Path) -> None:
    assert json.loads((small_scene / "scene.json").read_text())["depth"]["encoding"] == "half-disparity"
