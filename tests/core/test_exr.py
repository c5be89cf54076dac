"""The EXR writer against the reference implementation, and what the reader makes of other people's files."""

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import OpenEXR
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ex4d_core.clip import ClipInfo
from ex4d_core.depth.exr import find_depth_channel, read_exr, write_exr
from ex4d_core.errors import InputError, OutputError
from ex4d_core.exr_out import REC709, encode_exr
from ex4d_core.exr_out import write_exr as write_channels
from ex4d_core.exr_whole import is_cut_short
from ex4d_core.images import read_image
from ex4d_core.lens import read_lens

_SCANLINES = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}


def _write(path: Path, channels: dict[str, np.ndarray], header: dict[str, object] | None = None) -> Path:
    with OpenEXR.File(dict(header or _SCANLINES), dict(channels)) as file:  # it changes what it is given
        file.write(str(path))
    return path


@settings(max_examples=40, deadline=None)
@given(
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    half=st.booleans(),
    smooth=st.booleans(),
    seed=st.integers(0, 999),
)
def test_the_openexr_library_reads_what_we_write(
    tmp_path_factory: pytest.TempPathFactory, height: int, width: int, half: bool, smooth: bool, seed: int
) -> None:
    path = tmp_path_factory.mktemp("exr") / "tiefe ünd 深さ.exr"
    noise = np.random.default_rng(seed).random((height, width)) * 10
    values = (np.linspace(0.1, 9, width)[None] + 0 * noise if smooth else noise).astype(
        np.float16 if half else np.float32
    )
    write_exr(path, values)
    with OpenEXR.File(str(path), separate_channels=True) as file:
        pixels = file.channels()["Y"].pixels
        assert pixels.dtype == values.dtype
        np.testing.assert_array_equal(pixels, values)
    np.testing.assert_array_equal(read_exr(path, "Y"), values.astype(np.float32))


@settings(max_examples=20, deadline=None)
@given(height=st.integers(1, 40), width=st.integers(1, 40), seed=st.integers(0, 999))
def test_channels_of_two_kinds_in_any_order(
    tmp_path_factory: pytest.TempPathFactory, height: int, width: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    channels = {
        name: rng.random((height, width)).astype(np.float32 if name == "depth.Z" else np.float16)
        for name in ("R", "depth.Z", "G", "mask.Y", "B")
    }
    path = tmp_path_factory.mktemp("exr") / "a.exr"
    write_channels(path, channels, REC709)
    with OpenEXR.File(str(path), separate_channels=True) as file:
        found = file.channels()
        assert set(found) == set(channels)
        for name, values in channels.items():
            assert found[name].pixels.dtype == values.dtype
            np.testing.assert_array_equal(found[name].pixels, values)
        np.testing.assert_allclose(file.header()["chromaticities"], REC709)
    assert encode_exr(dict(reversed(channels.items())), REC709) == path.read_bytes()


def test_channels_of_different_sizes_are_no_image() -> None:
    with pytest.raises(ValueError, match="one size"):
        encode_exr({"R": np.zeros((2, 3), np.float16), "G": np.zeros((3, 2), np.float16)})


def test_infinity_and_nan_survive(tmp_path: Path) -> None:
    values = np.array([[np.inf, np.nan, 0.0, 1e-6]], np.float32)
    write_exr(tmp_path / "a.exr", values)
    np.testing.assert_array_equal(read_exr(tmp_path / "a.exr"), values)


def test_smooth_depth_is_stored_smaller_than_raw(tmp_path: Path) -> None:
    values = np.broadcast_to(np.linspace(0.1, 0.5, 256, dtype=np.float16), (256, 256))
    write_exr(tmp_path / "a.exr", np.ascontiguousarray(values))
    assert (tmp_path / "a.exr").stat().st_size < values.nbytes / 4


@pytest.mark.parametrize(
    ("names", "wanted"),
    [
        (["ViewLayer.Depth.Z", "ViewLayer.Combined.R", "ViewLayer.Combined.G"], "ViewLayer.Depth.Z"),
        (["R", "G", "B", "A", "Z"], "Z"),
        (["R", "G", "B", "depth.X"], "depth.X"),
        (["Depth.V", "Image.R"], "Depth.V"),
        (["anything"], "anything"),
        (["confidence", "disparity"], "disparity"),
        (["R", "G", "B", "A", "mask.Y", "depth.Z"], "depth.Z"),
    ],
)
def test_the_depth_channel_is_found_by_name(tmp_path: Path, names: list[str], wanted: str) -> None:
    channels = {name: np.full((5, 7), float(i + 1), np.float32) for i, name in enumerate(names)}
    path = _write(tmp_path / "a.exr", channels)
    np.testing.assert_array_equal(read_exr(path), channels[wanted])


def test_grey_colour_counts_as_depth_and_real_colour_does_not(tmp_path: Path) -> None:
    grey = np.random.default_rng(0).random((5, 7)).astype(np.float32)
    path = _write(tmp_path / "grey.exr", {"R": grey, "G": grey, "B": grey})
    np.testing.assert_array_equal(read_exr(path), grey)
    path = _write(tmp_path / "color.exr", {"R": grey, "G": grey + 1, "B": grey})
    with pytest.raises(InputError, match="no channel that looks like depth"):
        read_exr(path)


def test_a_named_channel_that_is_absent_is_named_with_those_there(tmp_path: Path) -> None:
    path = _write(tmp_path / "a.exr", {"Z": np.ones((2, 2), np.float32)})
    with pytest.raises(InputError, match="no channel 'Y', only Z"):
        read_exr(path, "Y")


def test_a_data_window_is_placed_in_the_display_window(tmp_path: Path) -> None:
    header = {
        **_SCANLINES,
        "dataWindow": (np.array([2, 1], np.int32), np.array([4, 2], np.int32)),
        "displayWindow": (np.array([0, 0], np.int32), np.array([5, 3], np.int32)),
    }
    values = np.arange(1, 7, dtype=np.float32).reshape(2, 3)
    found = read_exr(_write(tmp_path / "a.exr", {"Y": values}, header))
    expected = np.full((4, 6), np.nan, np.float32)
    expected[1:3, 2:5] = values
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("content", [b"", b"hello", b"\x76\x2f\x31\x01" + bytes(100)])
def test_damage_is_one_sentence(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.exr"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"a\.exr"):
        read_exr(path)


def test_a_file_cut_short_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.exr"
    write_exr(path, np.random.default_rng(0).random((64, 64)).astype(np.float32))
    path.write_bytes(path.read_bytes()[:-4000])
    with pytest.raises(InputError, match="cut short"):
        read_exr(path)


def test_a_missing_file_and_a_missing_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.exr"):
        read_exr(tmp_path / "none.exr")
    with pytest.raises(OutputError, match="parent folder does not exist"):
        write_exr(tmp_path / "no" / "a.exr", np.ones((2, 2), np.float16))


BLENDER = Path(__file__).parents[1] / "data" / "blender_depth"


@pytest.mark.parametrize(
    ("name", "channel"),
    [
        ("4.5_all_passes.exr", "ViewLayer.Depth.Z"),
        ("5.2_all_passes.exr", "ViewLayer.Depth.Z"),
        ("4.5_file_output_layers.exr", "Depth.V"),
        ("4.5_file_output_rgb.exr", "B"),
        ("4.5_file_output_bw.exr", "V"),
    ],
)
def test_blenders_own_files_give_its_z(name: str, channel: str) -> None:
    """The camera of the default scene stands 11.3 from the cube, whose nearest corner is at 9.6; behind it is sky."""
    found = find_depth_channel(BLENDER / name)
    assert found.name == channel
    assert not found.by_nuke
    depth = read_exr(BLENDER / name, found.name)
    assert depth.shape == (24, 32)
    seen = depth < 100
    assert 9.6 < depth[seen].min() < depth[seen].max() < 13
    assert (depth[~seen] > 1e9).all()
    assert 0.02 < seen.mean() < 0.3


def test_mist_alone_is_refused_with_the_reason(tmp_path: Path) -> None:
    mist = np.random.default_rng(0).random((5, 7)).astype(np.float32)
    for channels in ({"ViewLayer.Mist.Z": mist}, {"ViewLayer.Mist.Z": mist, "ViewLayer.Combined.R": mist}):
        with pytest.raises(InputError, match="mist, which is fog from 0 to 1 and no depth: render Blender's Z pass"):
            read_exr(_write(tmp_path / "mist.exr", channels))
    with pytest.raises(InputError, match="fog from 0 to 1"):
        find_depth_channel(BLENDER / "4.5_all_passes.exr", "Mist.Z")


@pytest.mark.parametrize(
    ("names", "listed"),
    [
        (["Front.Depth.Z", "Back.Depth.Z", "Front.Combined.R"], "Back.Depth.Z, Front.Depth.Z"),
        (["Z", "depth.Z", "R"], "Z, depth.Z"),
    ],
)
def test_several_depths_are_listed_and_one_can_be_named(tmp_path: Path, names: list[str], listed: str) -> None:
    channels = {name: np.full((5, 7), float(i + 1), np.float32) for i, name in enumerate(names)}
    path = _write(tmp_path / "a.exr", channels)
    with pytest.raises(InputError, match=rf"several channels that look like depth \({listed}\).*--depth-channel"):
        read_exr(path)
    np.testing.assert_array_equal(read_exr(path, names[1]), channels[names[1]])
    same = dict.fromkeys(names, channels[names[0]])
    np.testing.assert_array_equal(read_exr(_write(tmp_path / "b.exr", same)), channels[names[0]])


@pytest.mark.parametrize(
    "names",
    [
        ["ViewLayer.Normal.X", "ViewLayer.Normal.Y", "ViewLayer.Normal.Z", "ViewLayer.Combined.R"],
        ["P.X", "P.Y", "P.Z", "R", "G", "B"],
        ["ViewLayer.Denoising Depth.Z", "ViewLayer.Combined.R"],
    ],
)
def test_vectors_and_denoising_passes_are_no_depth(tmp_path: Path, names: list[str]) -> None:
    channels = {name: np.full((5, 7), float(i), np.float32) for i, name in enumerate(names)}
    with pytest.raises(InputError, match="no channel that looks like depth"):
        read_exr(_write(tmp_path / "a.exr", channels))


def test_other_programs_layers(tmp_path: Path) -> None:
    grey = np.random.default_rng(0).random((5, 7)).astype(np.float32)
    vray = {f"VRayZDepth.{c}": grey for c in "RGB"} | {
        "VRayZDepth.A": grey * 0 + 1,
        "R": grey,
        "G": grey + 1,
        "B": grey,
    }
    np.testing.assert_array_equal(read_exr(_write(tmp_path / "vray.exr", vray)), grey)
    header = {**_SCANLINES, "nuke/version": "15.1v1"}
    nuke = find_depth_channel(_write(tmp_path / "nuke.exr", {"depth.Z": grey, "R": grey, "G": grey, "B": grey}, header))
    assert (nuke.name, nuke.by_nuke) == ("depth.Z", True)


def test_parts_without_layers_in_their_names_are_called_by_their_part(tmp_path: Path) -> None:
    image = np.random.default_rng(0).random((5, 7)).astype(np.float32)
    parts = [
        OpenEXR.Part({**_SCANLINES, "name": "rgba"}, dict.fromkeys("RGB", image)),
        OpenEXR.Part({**_SCANLINES, "name": "depth"}, {"Z": image + 1}),
        OpenEXR.Part({**_SCANLINES, "name": "mist"}, {"Z": image + 2}),
    ]
    path = tmp_path / "parts.exr"
    with OpenEXR.File(parts) as file:
        file.write(str(path))
    assert find_depth_channel(path).name == "depth.Z"
    np.testing.assert_array_equal(read_exr(path), image + 1)
    np.testing.assert_array_equal(read_exr(path, "mist.Z"), image + 2)


@pytest.mark.parametrize("layout", ["lines", "tiles", "parts"])
@pytest.mark.parametrize("share", [0.002, 0.02, 0.3, 0.6, 0.999])
def test_a_file_cut_short_is_our_sentence_alone(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], layout: str, share: float
) -> None:
    """OpenEXR writes lines of its own to the terminal as soon as it looks at such a file."""
    noise = np.random.default_rng(0).random((90, 160)).astype(np.float32)
    header: dict[str, Any] = {"type": OpenEXR.scanlineimage, "compression": OpenEXR.ZIP_COMPRESSION}
    if layout == "tiles":
        header |= {"type": OpenEXR.tiledimage, "tiles": OpenEXR.TileDescription()}
    whole, cut = tmp_path / "a.exr", tmp_path / "b.exr"
    if layout == "parts":
        parts = [OpenEXR.Part(dict(header), {"Z": noise + n}, f"part{n}") for n in range(2)]
        OpenEXR.File(parts).write(str(whole))
    else:
        OpenEXR.File(header, {"Z": noise}).write(str(whole))
    assert not is_cut_short(whole)
    data = whole.read_bytes()
    cut.write_bytes(data[: int(len(data) * share)])
    for read in (read_exr, read_image):
        with pytest.raises(InputError, match="is damaged or"):
            read(cut)
    assert read_lens(cut, ClipInfo(cut, "still", 160, 90, 1, Fraction(24))) is None
    assert capfd.readouterr().err == ""
