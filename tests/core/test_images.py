"""Image files: pixels survive, damage is named."""

from __future__ import annotations

import struct
import sys
from fractions import Fraction

import cv2
import numpy as np
import OpenEXR
import pytest

from ex4d_core.errors import InputError, OutputError
from ex4d_core.images import (
    over_black,
    pixel_aspect,
    read_image,
    resize,
    srgb_from_linear,
    to_uint8,
    to_uint16,
    write_png,
)


def noise(shape, dtype=np.uint8, seed=0):
    return np.random.default_rng(seed).integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("name", ["plain.png", "ä 映像 #1.png"])
def test_png_round_trip_is_exact(tmp_path, dtype, name):
    image = noise((31, 45, 3), dtype)
    write_png(tmp_path / name, image)
    back = read_image(tmp_path / name)
    assert back.dtype == dtype
    np.testing.assert_array_equal(back, image)


def test_png_of_grey_and_masks(tmp_path):
    grey = noise((9, 7), np.uint16)
    write_png(tmp_path / "grey.png", grey)
    np.testing.assert_array_equal(read_image(tmp_path / "grey.png"), np.repeat(grey[..., None], 3, 2))
    mask = noise((9, 7)) > 100
    write_png(tmp_path / "mask.png", mask)
    stored = cv2.imread(str(tmp_path / "mask.png"), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(stored, mask * 255)


def test_png_channels_are_rgb_on_disk(tmp_path):
    image = np.zeros((4, 4, 3), np.uint8)
    image[..., 0] = 200
    write_png(tmp_path / "red.png", image)
    assert cv2.imread(str(tmp_path / "red.png"))[0, 0].tolist() == [0, 0, 200]  # OpenCV: B, G, R


def test_write_png_refuses_what_a_png_is_not(tmp_path):
    for wrong in (np.zeros((4, 4, 3), np.float32), np.zeros((4, 4, 2), np.uint8), np.zeros(4, np.uint8)):
        with pytest.raises(TypeError):
            write_png(tmp_path / "x.png", wrong)
    with pytest.raises(OutputError, match="parent folder does not exist"):
        write_png(tmp_path / "none" / "x.png", np.zeros((4, 4), np.uint8))


@pytest.mark.skipif(sys.platform != "linux", reason="needs /dev/full")
def test_write_png_on_a_full_disk(tmp_path):
    (tmp_path / "full.png").symlink_to("/dev/full")
    with pytest.raises(OutputError, match="disk is full"):
        write_png(tmp_path / "full.png", noise((64, 64, 3)))


def test_alpha_is_composited_over_black(tmp_path):
    bgra = np.zeros((2, 3, 4), np.uint8)
    bgra[..., :3] = (50, 100, 200)
    bgra[..., 3] = (0, 51, 255)
    cv2.imwrite(str(tmp_path / "a.png"), bgra)
    image = read_image(tmp_path / "a.png")
    assert image[0].tolist() == [[0, 0, 0], [40, 20, 10], [200, 100, 50]]


def test_over_black_at_sixteen_bits_does_not_overflow():
    white = np.full((1, 1, 3), 65535, np.uint16)
    assert over_black(white, white[..., :1]).tolist() == white.tolist()


@pytest.mark.parametrize("suffix", [".jpg", ".tif", ".bmp", ".webp"])
def test_other_formats(tmp_path, suffix):
    at = np.linspace(0, 255, 64)
    image = np.stack([*np.meshgrid(at, at), np.full((64, 64), 90)], axis=-1).astype(np.uint8)
    path = tmp_path / f"image{suffix}"
    cv2.imwrite(str(path), image[..., ::-1])
    assert np.abs(read_image(path).astype(int) - image).max() <= (8 if suffix in (".jpg", ".webp") else 0)


def test_tiff_of_sixteen_bits(tmp_path):
    image = noise((16, 16, 3), np.uint16)
    cv2.imwrite(str(tmp_path / "deep.tiff"), image[..., ::-1])
    np.testing.assert_array_equal(read_image(tmp_path / "deep.tiff"), image)


def test_photo_is_turned_upright(tmp_path):
    stored = np.full((32, 48, 3), 20, np.uint8)
    stored[:16, :24] = 240  # bright top left
    jpeg = cv2.imencode(".jpg", stored)[1].tobytes()
    # EXIF with one tag: orientation (0x0112) 6 = turn clockwise to show.
    tiff = b"MM\0*" + struct.pack(">IHHHIHHI", 8, 1, 0x0112, 3, 1, 6, 0, 0)
    exif = b"Exif\0\0" + tiff
    path = tmp_path / "photo.jpg"
    path.write_bytes(jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + jpeg[2:])
    image = read_image(path)
    assert image.shape == (48, 32, 3)
    bright = image[..., 0] > 128
    assert bright[:24, 16:].all()
    assert not bright[24:].any()
    assert not bright[:, :16].any()


def exr(path, channels, **header):
    channels = {name: np.ascontiguousarray(plane) for name, plane in channels.items()}  # strides are ignored
    OpenEXR.File({"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage, **header}, channels).write(
        str(path)
    )


def test_exr_is_encoded_to_srgb(tmp_path):
    linear = np.zeros((1, 5, 3), np.float32)
    linear[0] = np.array([0.0, 0.002, 0.18, 1.0, 7.0])[:, None]
    linear[..., 1] *= 0.5
    exr(tmp_path / "ü.exr", {"R": linear[..., 0], "G": linear[..., 1], "B": linear[..., 2]})
    image = read_image(tmp_path / "ü.exr")
    assert image.dtype == np.uint16
    # IEC 61966-2-1: 0.002 -> 12.92 * 0.002, 0.18 -> 0.461356, 1 and more -> 1.
    expected = np.array([0, 0.02584, 0.461356, 1, 1]) * 65535
    assert np.abs(image[0, :, 0] - expected).max() <= 1
    assert abs(int(image[0, 2, 1]) - round(0.331830 * 65535)) <= 1  # 0.09


def test_srgb_of_what_is_not_a_number():
    got = srgb_from_linear(np.array([np.nan, -1, np.inf, -np.inf], np.float32))
    assert got.tolist() == [0, 0, 65535, 0]


def test_exr_half_grey_and_layers(tmp_path):
    grey = np.full((3, 4), 0.18, np.float16)
    exr(tmp_path / "grey.exr", {"Y": grey})
    image = read_image(tmp_path / "grey.exr")
    assert (image == image[0, 0, 0]).all()
    assert abs(int(image[0, 0, 0]) - 30235) <= 30
    plane = np.ones((3, 4), np.float32)
    exr(
        tmp_path / "layers.exr",
        {"View.Combined.R": plane, "View.Combined.G": plane * 0, "View.Combined.B": plane, "View.Depth.Z": plane},
    )
    assert read_image(tmp_path / "layers.exr")[0, 0].tolist() == [65535, 0, 65535]
    exr(tmp_path / "both.exr", {**{f"A.{c}": plane * 0 for c in "RGB"}, "R": plane, "G": plane, "B": plane})
    assert read_image(tmp_path / "both.exr")[0, 0].tolist() == [65535] * 3
    exr(tmp_path / "depth.exr", {"Z": plane})
    with pytest.raises(InputError, match=r"no colour.*Z.*export R, G and B"):
        read_image(tmp_path / "depth.exr")


def test_exr_overscan_is_cut_to_the_display_window(tmp_path):
    plane = np.arange(24, dtype=np.float32).reshape(4, 6) / 24
    windows = {
        "dataWindow": (np.array([-1, -1], np.int32), np.array([4, 2], np.int32)),
        "displayWindow": (np.array([0, 0], np.int32), np.array([5, 2], np.int32)),
    }
    exr(tmp_path / "overscan.exr", {"R": plane, "G": plane, "B": plane}, **windows)
    image = read_image(tmp_path / "overscan.exr")
    assert image.shape == (3, 6, 3)
    np.testing.assert_array_equal(image[:, :5, 0], srgb_from_linear(plane[1:, 1:]))
    assert (image[:, 5] == 0).all()


def test_pixel_aspect_of_an_anamorphic_plate(tmp_path):
    plane = np.ones((3, 4), np.float32)
    exr(tmp_path / "wide.exr", {"Y": plane}, pixelAspectRatio=2.0)
    assert pixel_aspect(tmp_path / "wide.exr") == 2
    assert pixel_aspect(tmp_path / "any.png") == Fraction(1)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".exr", ".webp", ".bmp"])
def test_image_cut_in_the_middle(tmp_path, suffix, capfd):
    whole, cut = tmp_path / f"whole{suffix}", tmp_path / f"cut{suffix}"
    if suffix == ".exr":
        plane = np.random.default_rng(0).random((64, 64), np.float32)
        exr(whole, {"R": plane, "G": plane, "B": plane})
    else:
        cv2.imwrite(str(whole), noise((64, 64, 3)))
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    read_image(whole)
    capfd.readouterr()
    with pytest.raises(InputError, match=r"cut.*damaged.*export it again\.$"):
        read_image(cut)
    if suffix != ".exr":  # OpenEXR's C library writes a line of its own that nothing can turn off
        assert capfd.readouterr().err == ""


def test_depth_conversions_round_and_invert():
    deep = np.arange(65536, dtype=np.uint16)
    np.testing.assert_array_equal(to_uint8(deep), np.rint(deep / 257))
    eight = np.arange(256, dtype=np.uint8)
    np.testing.assert_array_equal(to_uint8(to_uint16(eight)), eight)
    assert to_uint16(eight)[[0, 255]].tolist() == [0, 65535]


def test_resize_shrinks_one_axis_and_grows_the_other():
    image = np.repeat(np.repeat(noise((6, 8, 3)), 4, 0), 1, 1)
    wide = resize(image, (16, 6))
    assert wide.shape == (6, 16, 3)
    averaged = image.reshape(6, 4, 8, 3).mean(1)
    np.testing.assert_array_equal(resize(image, (8, 6)), np.rint(averaged))
    # Growing by cubic interpolation keeps the local mean of a constant image.
    assert (resize(np.full((5, 5, 3), 77, np.uint8), (9, 13)) == 77).all()
