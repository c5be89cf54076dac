"""The lens that metadata tells: real files with the tags that cameras write, and what must not be believed."""

from __future__ import annotations

import math
import struct
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import OpenEXR
import pytest
from PIL import Image
from PIL.TiffImagePlugin import IFDRational

from ex4d_core.clip import probe_clip
from ex4d_core.errors import InputError
from ex4d_core.lens import FULL_FRAME_DIAGONAL_MM, FoundLens, read_lens
from ex4d_core.quicktime import read_keys
from ex4d_core.sensors import SENSORS, find_sensor, sensor_width_mm

EQUIVALENT_KEY = "com.apple.quicktime.camera.focal_length.35mm_equivalent"


def _found(path: Path) -> FoundLens | None:
    return read_lens(path, probe_clip(path))


def _fov(focal: float, sensor: float) -> float:
    return math.degrees(2 * math.atan(sensor / 2 / focal))


def _photo(
    path: Path, size: tuple[int, int] = (400, 300), model: str = "", top: dict[int, Any] | None = None, **tags: Any
) -> Path:
    exif = Image.Exif()
    exif[0x010F] = "Maker"
    if model:
        exif[0x0110] = model
    for tag, value in (top or {}).items():
        exif[tag] = value
    names = {"focal": 0x920A, "equivalent": 0xA405, "width": 0xA002, "height": 0xA003, "plane": 0xA20E, "unit": 0xA210}
    exif[0x8769] = {
        names[name]: IFDRational(round(value * 1000), 1000) if name in ("focal", "plane") else value
        for name, value in tags.items()
    }
    Image.new("RGB", size, (90, 120, 30)).save(path, exif=exif.tobytes())
    return path


@pytest.mark.parametrize("suffix", [".jpg", ".tif", ".png", ".webp"])
def test_equivalents_compare_diagonals(tmp_path: Path, suffix: str) -> None:
    found = _found(_photo(tmp_path / f"a{suffix}", focal=4.25, equivalent=26))
    assert found is not None
    diagonal = math.degrees(2 * math.atan(math.hypot(400, 300) / 2 / found.intrinsics.fx))
    assert diagonal == pytest.approx(_fov(26, FULL_FRAME_DIAGONAL_MM))
    assert found.note == (
        f"The lens is told by the EXIF data of a{suffix} (26 mm as of full frame): a horizontal field of view of 67.3 "
        "degrees, give or take 2."
    )


def test_the_sensors_own_pixels_are_better(tmp_path: Path) -> None:
    """A camera of 36 mm with 600 pixels across."""
    facts = {"focal": 50, "equivalent": 51, "width": 600, "height": 400, "plane": 600 / 36 * 25.4, "unit": 2}
    found = _found(_photo(tmp_path / "a.jpg", (600, 400), **facts))
    assert found is not None
    assert found.intrinsics.fov_x_degrees == pytest.approx(_fov(50, 36), abs=0.01)
    assert "(50 mm on a sensor of 36.0 mm)" in found.note
    assert "give or take 0.7" in found.note
    centimetres = facts | {"plane": 600 / 3.6, "unit": 3}
    again = _found(_photo(tmp_path / "b.jpg", (600, 400), **centimetres))
    assert again is not None
    assert again.intrinsics.fx == pytest.approx(found.intrinsics.fx, rel=1e-4)


def test_a_photo_on_its_side_has_its_short_side_across(tmp_path: Path) -> None:
    facts = {"focal": 50, "width": 6720, "height": 4480, "plane": 6720 / 36 * 25.4, "unit": 2}
    found = _found(_photo(tmp_path / "a.jpg", (600, 400), top={0x0112: 6}, **facts))
    assert found is not None
    assert (found.intrinsics.width, found.intrinsics.height) == (400, 600)
    assert found.intrinsics.fov_x_degrees == pytest.approx(_fov(50, 24), abs=0.01)


def test_a_crop_makes_it_unsure(tmp_path: Path) -> None:
    whole = _found(_photo(tmp_path / "a.jpg", (400, 300), equivalent=26))
    cropped = _found(_photo(tmp_path / "b.jpg", (400, 170), equivalent=26))
    assert whole is not None
    assert cropped is not None
    assert "give or take 2" in whole.note
    assert "give or take 8" in cropped.note


@pytest.mark.parametrize("tags", [{"equivalent": 26}, {"focal": 5.7, "model": "iPhone 13 Pro"}])
@pytest.mark.parametrize("noted", [(400, 225), (800, 600)])
def test_another_size_than_the_camera_noted_makes_it_unsure(
    tmp_path: Path, tags: dict[str, Any], noted: tuple[int, int]
) -> None:
    """Cut out of a picture of another shape, or of a larger one of the same: or scaled down, which looks alike."""
    turned = _found(_photo(tmp_path / "a.jpg", width=300, height=400, **tags))
    other = _found(_photo(tmp_path / "b.jpg", width=noted[0], height=noted[1], **tags))
    assert turned is not None
    assert other is not None
    degrees = [float(found.note.removesuffix(".").split()[-1]) for found in (turned, other)]
    assert degrees[1] > degrees[0] + 3


def test_cropped_pixels_of_the_sensor_are_not_believed(tmp_path: Path) -> None:
    facts = {"focal": 50, "width": 6720, "height": 4480, "plane": 6720 / 36 * 25.4, "unit": 2}
    assert _found(_photo(tmp_path / "a.jpg", (600, 600), **facts)) is None
    absurd = facts | {"plane": 72.0}  # a resolution of the screen, as some programs write it
    assert _found(_photo(tmp_path / "b.jpg", (600, 400), **absurd)) is None


def test_a_camera_of_the_list_tells_its_sensor(tmp_path: Path) -> None:
    found = _found(_photo(tmp_path / "a.jpg", (400, 300), "iPhone 13 Pro", focal=5.7))
    assert found is not None
    assert found.intrinsics.fov_x_degrees == pytest.approx(_fov(5.7, SENSORS["iPhone 13 Pro"]), abs=0.01)
    assert "(5.7 mm on iPhone 13 Pro)" in found.note


@pytest.mark.parametrize(
    "tags", [{}, {"focal": 0}, {"equivalent": 0}, {"focal": 5.7}, {"equivalent": 60000}, {"plane": 0, "focal": 50}]
)
def test_photos_that_do_not_tell(tmp_path: Path, tags: dict[str, Any]) -> None:
    assert _found(_photo(tmp_path / "a.jpg", **tags)) is None


def test_tags_that_pillow_warns_about_bring_no_lines_of_its_own(
    tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    path = _photo(tmp_path / "a.jpg", equivalent=26)
    data = path.read_bytes()
    tags = data.index(b"MM\0*") + 8
    path.write_bytes(data[:tags] + struct.pack(">H", 200) + data[tags + 2 :])  # as if there were 200
    with Image.open(path) as image:
        image.getexif()
    assert len(recwarn) > 0
    recwarn.clear()
    _found(path)
    assert len(recwarn) == 0


def test_damaged_tags_are_no_reason_to_refuse_a_clip(tmp_path: Path) -> None:
    path = _photo(tmp_path / "a.jpg", equivalent=26)
    data = path.read_bytes()
    start = data.index(b"Exif\0\0") + 6
    path.write_bytes(data[:start] + bytes(255 - b for b in data[start : start + 30]) + data[start + 30 :])
    assert _found(path) is None


def test_the_first_image_of_a_sequence_tells(tmp_path: Path) -> None:
    for number in (10, 9):
        _photo(tmp_path / f"s_{number}.jpg", equivalent=24 if number == 9 else 80)
    found = _found(tmp_path)
    assert found is not None
    assert "s_9.jpg (24 mm" in found.note


def _video(path: Path, tags: dict[str, str] | None = None) -> Path:
    with av.open(str(path), "w", options={"movflags": "use_metadata_tags"} if tags else {}) as container:
        container.metadata.update(tags or {})
        stream = container.add_stream("libx264", rate=24)
        stream.width, stream.height, stream.pix_fmt = 160, 90, "yuv420p"
        for _ in range(3):
            container.mux(stream.encode(av.VideoFrame(160, 90, "yuv420p")))
        container.mux(stream.encode(None))
    return path


def _atom(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(content), kind) + content


def _meta(key: str, kind: int, value: bytes) -> bytes:
    """As an iPhone writes it: QuickTime's plain `meta` with handler, keys and values."""
    handler = _atom(b"hdlr", bytes(8) + b"mdta" + bytes(13))
    keys = _atom(b"keys", struct.pack(">II", 0, 1) + _atom(b"mdta", key.encode()))
    data = _atom(b"data", struct.pack(">II", kind, 0) + value)
    return _atom(b"meta", handler + keys + _atom(b"ilst", _atom(struct.pack(">I", 1), data)))


def _with_track_meta(path: Path, meta: bytes) -> Path:
    """Put an atom at the end of the only track; the index lies after the pictures, whose places stay."""
    data = path.read_bytes()
    moov = data.index(b"moov") - 4
    assert moov > data.index(b"mdat")
    trak = data.index(b"trak", moov) - 4
    end = trak + struct.unpack(">I", data[trak : trak + 4])[0]
    grown = bytearray(data[:end] + meta + data[end:])
    for place in (moov, trak):
        grown[place : place + 4] = struct.pack(">I", struct.unpack(">I", grown[place : place + 4])[0] + len(meta))
    path.write_bytes(bytes(grown))
    return path


@pytest.mark.parametrize(
    ("kind", "value", "read"),
    [
        (1, b"27.00mm", "27.00mm"),
        (21, struct.pack(">i", 27), "27"),
        (23, struct.pack(">f", 27), "27"),
        (22, b"\x1b", "27"),
    ],
)
def test_iphones_tell_in_the_track(tmp_path: Path, kind: int, value: bytes, read: str) -> None:
    path = _with_track_meta(_video(tmp_path / "IMG_1.mov"), _meta(EQUIVALENT_KEY, kind, value))
    assert read_keys(path)[EQUIVALENT_KEY] == read
    found = _found(path)
    assert found is not None
    assert found.intrinsics.fx == pytest.approx(27 / FULL_FRAME_DIAGONAL_MM * math.hypot(160, 90))
    assert "told by the metadata of IMG_1.mov (27 mm as of full frame)" in found.note
    assert "give or take 5" in found.note


def test_keys_of_the_movie_tell_too(tmp_path: Path) -> None:
    found = _found(_video(tmp_path / "a.mp4", {EQUIVALENT_KEY: "52"}))
    assert found is not None
    assert "(52 mm as of full frame)" in found.note
    app = _found(_video(tmp_path / "b.mov", {"com.blackmagic-design.camera.lensType": "iPhone 16 Pro 24mm"}))
    assert app is not None
    assert app.intrinsics.fx == pytest.approx(24 / FULL_FRAME_DIAGONAL_MM * math.hypot(160, 90))


def test_videos_that_do_not_tell(tmp_path: Path) -> None:
    assert _found(_video(tmp_path / "a.mp4")) is None
    assert _found(_video(tmp_path / "b.mkv")) is None
    assert _found(_video(tmp_path / "c.mp4", {EQUIVALENT_KEY: "none"})) is None


@pytest.mark.parametrize("seed", range(6))
def test_damaged_atoms_are_read_as_far_as_they_go(tmp_path: Path, seed: int) -> None:
    data = bytearray(_with_track_meta(_video(tmp_path / "a.mov"), _meta(EQUIVALENT_KEY, 1, b"27")).read_bytes())
    rng = np.random.default_rng(seed)
    moov = data.index(b"moov")
    for place in rng.integers(moov - 4, len(data), 40):
        data[place] = rng.integers(0, 256)
    (tmp_path / "b.mov").write_bytes(bytes(data))
    assert isinstance(read_keys(tmp_path / "b.mov"), dict)


def _exr(path: Path, **attributes: Any) -> Path:
    image = np.full((90, 160), 0.5, np.float32)
    header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage, **attributes}
    with OpenEXR.File(header, dict.fromkeys("RGB", image)) as file:
        file.write(str(path))
    return path


def test_openexrs_standard_attributes(tmp_path: Path) -> None:
    size = np.array([28.0, 19.0], np.float32)
    found = _found(_exr(tmp_path / "a.exr", nominalFocalLength=35.0, sensorOverallDimensions=size))
    assert found is not None
    assert found.intrinsics.fov_x_degrees == pytest.approx(_fov(35, 28), abs=1e-3)
    assert "the header of a.exr (35 mm on 28 mm)" in found.note
    used = (np.array([0, 0], np.int32), np.array([3423, 2201], np.int32))
    exact = _found(
        _exr(
            tmp_path / "b.exr",
            nominalFocalLength=35.0,
            pinholeFocalLength=35.4,
            sensorPhotositePitch=8.25,
            sensorAcquisitionRectangle=used,
        )
    )
    assert exact is not None
    assert exact.intrinsics.fov_x_degrees == pytest.approx(_fov(35.4, 3424 * 0.00825), abs=1e-3)
    upright = np.full((160, 90), 0.5, np.float32)
    with OpenEXR.File(
        {"type": OpenEXR.scanlineimage, "nominalFocalLength": 35.0, "sensorOverallDimensions": size},
        dict.fromkeys("RGB", upright),
    ) as file:
        file.write(str(tmp_path / "d.exr"))
    turned = _found(tmp_path / "d.exr")
    assert turned is not None
    assert turned.intrinsics.fx == pytest.approx(35 / 28 * 160)
    named = _found(_exr(tmp_path / "c.exr", nominalFocalLength=50.0, cameraMake="ARRI", cameraModel="Alexa Mini LF"))
    assert named is not None
    assert named.intrinsics.fov_x_degrees == pytest.approx(_fov(50, 36.70), abs=1e-3)


def test_v_ray_knows_its_field_of_view(tmp_path: Path) -> None:
    found = _found(_exr(tmp_path / "a.exr", cameraAperture=36.0, cameraFov=54.4204, cameraFocalLength=35.0))
    assert found is not None
    assert found.intrinsics.fov_x_degrees == pytest.approx(54.42, abs=0.01)
    assert found.note.endswith("exactly.")


def test_an_exr_that_does_not_tell(tmp_path: Path) -> None:
    assert _found(_exr(tmp_path / "a.exr")) is None
    assert _found(_exr(tmp_path / "b.exr", nominalFocalLength=35.0)) is None
    assert _found(_exr(tmp_path / "c.exr", cameraFov=0.0)) is None


def test_anamorphic_and_resampled_clips_are_read_at_their_displayed_size(tmp_path: Path) -> None:
    path = _photo(tmp_path / "a.jpg", equivalent=26)
    info = probe_clip(path, fps=Fraction(24))
    narrow = read_lens(path, replace(info, width=800, height=600))
    wide = read_lens(path, info)
    assert narrow is not None
    assert wide is not None
    assert narrow.intrinsics.fov_x_degrees == pytest.approx(wide.intrinsics.fov_x_degrees)


@pytest.mark.parametrize("name", ["Full Frame", "full-frame", "SUPER 35", "super35", "arri alexa mini lf", "Sony FX-3"])
def test_sensors_are_found_however_they_are_written(name: str) -> None:
    assert sensor_width_mm(name) == find_sensor(name)


def test_close_names_are_offered() -> None:
    with pytest.raises(InputError, match=r"no camera 'Alexa Mini'.*such as ARRI Alexa Mini.*--sensor-mm"):
        sensor_width_mm("Alexa Mini")
    with pytest.raises(InputError, match="Blackmagic Pocket 6K"):
        sensor_width_mm("Blackmagic Poket 6K")
    with pytest.raises(InputError, match="such as full frame"):
        sensor_width_mm("???")


def test_the_list_is_of_sensible_widths_and_unambiguous() -> None:
    assert all(4 < width < 75 for width in SENSORS.values())
    assert all(find_sensor(name) == width for name, width in SENSORS.items())
    assert len(SENSORS) > 60
