"""Which videos a dataset is made of, where they are cut into clips, and what is left out and why."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
from footage_cases import take, video

from ex4d_core import sample
from ex4d_core.errors import InputError
from ex4d_core.training.filters import FLAT, FROZEN, TOO_DARK, Filters
from ex4d_core.training.footage import UNKNOWN, Footage, Told, find_footage, read_manifest, slug
from ex4d_core.training.scan import DAMAGED, TOO_SHORT, TOO_SMALL, Cut, Piece, cover, scan

CUT = Cut((64, 64), 9, 9, None, Filters())


def scanned(path: Path, cut: Cut = CUT) -> list[tuple[int, int, str]]:
    pieces, _ = scan(Footage(path, path.name), cut)
    return [(piece.first, piece.frames, piece.fault) for piece in pieces]


def test_clips_reach_over_no_cut_and_what_remains_is_told(tmp_path: Path) -> None:
    path = video(tmp_path / "a.mp4", np.concatenate([take(1, 20), take(2, 9), take(3, 5)]))
    assert scanned(path) == [(0, 9, ""), (9, 9, ""), (18, 2, TOO_SHORT), (20, 9, ""), (29, 5, TOO_SHORT)]


def test_clips_may_overlap(tmp_path: Path) -> None:
    path = video(tmp_path / "a.mp4", take(1, 20))
    assert [first for first, _, fault in scanned(path, replace(CUT, stride=4)) if not fault] == [0, 4, 8]


def test_frames_count_at_the_rate_that_is_asked_for(tmp_path: Path) -> None:
    path = video(tmp_path / "a.mp4", take(1, 36), fps=48)
    pieces, fps = scan(Footage(path, "a"), replace(CUT, fps=Fraction(24)))
    assert fps == 24
    assert pieces == (Piece(0, 9), Piece(9, 9))


@pytest.mark.parametrize(
    ("frames", "fault"),
    [
        (take(1, 9) // 12, TOO_DARK),
        (120 + take(1, 9) // 32, FLAT),
        (take(1, 9, speed=0), FROZEN),
        (np.repeat(take(1, 1), 9, axis=0), FROZEN),
        (take(1, 9), ""),
    ],
    ids=["dark", "flat", "frozen but for grain", "a still", "moving"],
)
def test_what_teaches_nothing_is_left_out_with_its_reason(tmp_path: Path, frames: np.ndarray, fault: str) -> None:
    path = video(tmp_path / "a.mp4", frames)
    assert scanned(path) == [(0, 9, fault)]
    assert scanned(path, replace(CUT, filters=Filters(0, 0, 0))) == [(0, 9, "")]


def test_a_small_thing_that_moves_is_motion(tmp_path: Path) -> None:
    frames = take(1, 9, speed=0)
    for t in range(9):
        cv2.circle(frames[t], (45 + 4 * t, 36), 5, (255, 255, 255), -1)
    assert scanned(video(tmp_path / "a.mp4", frames)) == [(0, 9, "")]


def test_what_lies_outside_of_the_middle_does_not_count(tmp_path: Path) -> None:
    frames = take(1, 9, speed=0)
    frames[:, :, :20] = take(2, 9, speed=3)[:, :, :20]
    assert scanned(video(tmp_path / "a.mp4", frames)) == [(0, 9, FROZEN)]
    assert scanned(tmp_path / "a.mp4", replace(CUT, size=(128, 64))) == [(0, 9, "")]


def test_too_short_too_small_and_broken(tmp_path: Path) -> None:
    path = video(tmp_path / "a.mkv", take(1, 30))
    assert scanned(path, replace(CUT, frames=33)) == [(0, 30, TOO_SHORT)]
    assert scanned(path, replace(CUT, size=(512, 512))) == [(0, 30, TOO_SMALL)]
    data = bytearray(path.read_bytes())
    half = len(data) // 2
    (tmp_path / "cut.mkv").write_bytes(data[:half])
    pieces = scanned(tmp_path / "cut.mkv")
    assert [p for p in pieces if not p[2]] in ([(0, 9, "")], [(0, 9, ""), (9, 9, "")])
    assert sum(frames for _, frames, _ in pieces) < 30
    (tmp_path / "text.mp4").write_text("no video")
    with pytest.raises(InputError, match="text.mp4"):
        scanned(tmp_path / "text.mp4")


def test_a_sequence_with_a_broken_image_is_used_up_to_it(tmp_path: Path) -> None:
    for t, frame in enumerate(take(1, 14)):
        cv2.imwrite(str(tmp_path / f"f_{t:03d}.png"), frame)
    (tmp_path / "f_011.png").write_bytes(b"broken")
    assert scanned(tmp_path) == [(0, 9, ""), (9, 2, TOO_SHORT), (11, 3, DAMAGED)]


def test_a_video_just_covers_the_size() -> None:
    assert cover(832, 480, (512, 512)) == (887, 512)
    assert cover(480, 832, (512, 512)) == (512, 887)
    assert cover(832, 480, (832, 480)) == (832, 480)


def test_videos_folders_sequences_and_the_sample_are_found_once(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "images").mkdir()
    for name in ("b.MP4", "deep/a.mov", "notes.txt", ".hidden.mp4", "images/i_0001.png"):
        (tmp_path / name).write_bytes(b"x")
    found = find_footage([tmp_path, tmp_path / "b.MP4", tmp_path / "images", Path("sample")])
    paths = [tmp_path / "b.MP4", tmp_path / "deep/a.mov", tmp_path / "images", sample.clip_path()]
    assert [one.path for one in found] == paths
    assert found[-1].depth == sample.depth_path()
    assert found[-1].licence == "CC0-1.0"
    assert found[0].licence == UNKNOWN
    (tmp_path / "empty").mkdir()
    for given, said in ((tmp_path / "none.mp4", "There is no file"), (tmp_path / "empty", "holds no video")):
        with pytest.raises(InputError, match=said):
            find_footage([given])
    with pytest.raises(InputError, match="No video is given"):
        find_footage([])


def test_what_is_told_of_videos(tmp_path: Path) -> None:
    for name in ("a.mp4", "b.mp4", "c.mp4"):
        (tmp_path / name).write_bytes(name.encode())
    (tmp_path / "b.txt").write_text("a street\n in  rain ")
    (tmp_path / "c.txt").write_text("a caption")
    (tmp_path / "facts.csv").write_text(
        "file,licence,credit,prompt,depth,depth_kind,depth_range,fov\n"
        'c.mp4,CC-BY-4.0,"Doe, Jane",a harbour,z/,disparity,0 12.5,60\n'
    )
    told = Told("own", "me", "footage", 45.0)
    a, b, c = find_footage([tmp_path / name for name in ("a.mp4", "b.mp4", "c.mp4")], tmp_path / "facts.csv", told)
    assert (a.licence, a.credit, a.prompt, a.fov_degrees) == ("own", "me", "footage", 45.0)
    assert b.prompt == "a street in rain"
    assert (c.licence, c.credit, c.prompt, c.fov_degrees) == ("CC-BY-4.0", "Doe, Jane", "a harbour", 60.0)
    assert (c.depth, c.depth_kind, c.depth_range) == (tmp_path / "z", "disparity", (0.0, 12.5))
    assert find_footage([], tmp_path / "facts.csv", told) == [c]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name,licence\na,b\n", "a column 'name'"),
        ("licence\nb\n", "no column 'file'"),
        ("file\n", "lists no video"),
        ("file,licence\n,b\n", "line 2, names no file"),
        ("file,depth_kind\na,metres\n", "depth_kind 'metres'"),
        ("file,fov\na,wide\n", "fov 'wide'"),
        ("file,depth_range\na,3\n", "depth_range '3'"),
        ('file\n"a\n', "no table"),
        ("file;licence\na;b\n", "a column 'file;licence': name columns .*with commas between them"),
        ("file,file\na,b\n", "two columns 'file'"),
        ("file,prompt\na,a street, in the rain\n", "line 2, has more cells .* put text that has commas in quotes"),
        ("file,licence\na,CC0\n./a,own\n", "lists a in line 2 and in line 3"),
        ("file,fov\na,400\n", "line 2, has the fov 400: give 1 to 175 degrees"),
        ("file,fov\na,nan\n", "fov 'nan': write a number"),
        ("file,depth,depth_range\na,z,0 inf\n", "depth_range '0 inf'"),
        ("file,depth_kind\na,metric\n", "line 2, has a depth_kind and no depth"),
        ("file,depth_range\na,0 1\n", "line 2, has a depth_range and no depth"),
        ("file\n" + "a" * 300, "Cannot read .*File name too long"),
        ("file,depth\na,z\0z\n", "Cannot read .*null"),
    ],
)
def test_a_manifest_that_cannot_be_used(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "m.csv").write_text(text)
    with pytest.raises(InputError, match=said):
        read_manifest(tmp_path / "m.csv")


def test_an_impossible_name_is_told() -> None:
    for name in ("a" * 300 + ".mp4", "a" * 300 + "_####.png", "a\0b"):
        with pytest.raises(InputError, match="Cannot read .*: check the name"):
            find_footage([Path(name)])


def test_names_of_clips_are_names_everywhere() -> None:
    assert slug("Über uns: 2. Take (final)") == "ber-uns-2-take-final"
    assert slug("你好") == "clip"
    assert len(slug("x" * 300)) == 60
