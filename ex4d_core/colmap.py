"""COLMAP's sparse models: cameras, images and points, as text or binary.

Format: https://colmap.github.io/format.html. Poses there are world-to-camera in OpenCV axes, a quaternion (w, x, y, z)
and a translation; pixel centres lie at +0.5, as ours do.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from ex4d_core.errors import CameraError

Floats = NDArray[np.float64]
Ids = NDArray[np.int64]

_MODELS = (  # in the order of their numbers in binary files, with the number of their parameters
    ("SIMPLE_PINHOLE", 3),
    ("PINHOLE", 4),
    ("SIMPLE_RADIAL", 4),
    ("RADIAL", 5),
    ("OPENCV", 8),
    ("OPENCV_FISHEYE", 8),
    ("FULL_OPENCV", 12),
    ("FOV", 5),
    ("SIMPLE_RADIAL_FISHEYE", 4),
    ("RADIAL_FISHEYE", 5),
    ("THIN_PRISM_FISHEYE", 12),
)
_OBSERVATION = np.dtype([("x", "<f8"), ("y", "<f8"), ("point", "<i8")])
_NO_POINT = -1


@dataclass(frozen=True)
class ColmapCamera:
    """A lens and the size of its pictures."""

    model: str
    width: int
    height: int
    parameters: tuple[float, ...]
    """In COLMAP's order for the model: focal lengths, principal point (pixels), distortion."""


@dataclass(frozen=True)
class ColmapImage:
    """A picture that was solved."""

    name: str
    """Its file, relative to the folder of the pictures."""
    camera: int
    """Key in `ColmapModel.cameras`."""
    w2c: Floats
    """(4, 4) float64 world-to-camera."""
    points: Ids
    """(N,) int64: the points seen in it, as `ColmapModel.point_ids` has them."""


@dataclass(frozen=True)
class ColmapModel:
    """A sparse model."""

    cameras: dict[int, ColmapCamera]
    images: tuple[ColmapImage, ...]
    point_ids: Ids
    """(P,) int64, rising."""
    point_positions: Floats
    """(P, 3) float64, in the solve's world."""


def is_colmap(path: Path) -> bool:
    """Whether a folder holds a sparse model, or a project with one."""
    return bool(_model_folders(path))


def model_files(path: Path) -> list[Path]:
    """The files of the model, or models, that a folder holds; none if it holds no model."""
    return sorted(file for folder in _model_folders(path) for file in folder.iterdir() if file.is_file())


def read_colmap(path: Path) -> ColmapModel:
    """Read a sparse model.

    Args:
        path: a folder with `cameras`, `images` and, if there are any, `points3D`, all `.bin` or all `.txt`; or the
            project's folder, with the one model in `sparse/` or `sparse/0`.

    Raises:
        CameraError: there is none, there are several, or it is damaged.
    """
    folders = _model_folders(path)
    if not folders:
        raise CameraError(f"{path} holds no COLMAP model: give the folder with cameras.bin and images.bin, or .txt.")
    if len(folders) > 1:
        names = ", ".join(str(folder.relative_to(path)) for folder in folders)
        raise CameraError(f"{path} holds several COLMAP models ({names}), each with a part of the clip: give one.")
    folder = folders[0]
    binary = (folder / "images.bin").is_file()
    try:
        model = _read_binary(folder) if binary else _read_text(folder)
    except (OSError, ValueError, IndexError, struct.error, OverflowError, MemoryError) as error:
        raise CameraError(f"The COLMAP model {folder} is damaged or cut short: export it again.") from error
    for image in model.images:
        if image.camera not in model.cameras:
            raise CameraError(f"The COLMAP model {folder} lacks the camera of {image.name}: export it again.")
    if not model.images:
        raise CameraError(f"The COLMAP model {folder} has no images: nothing was solved, solve it again.")
    return model


def _model_folders(path: Path) -> list[Path]:
    """The folder itself if it is a model, else those below it where COLMAP puts them."""
    for place in (path, path / "sparse"):
        if _is_model(place):
            return [place]
        numbered = [f for f in place.iterdir() if f.name.isdigit() and _is_model(f)] if place.is_dir() else []
        if numbered:
            return sorted(numbered, key=lambda folder: int(folder.name))
    return []


def _is_model(folder: Path) -> bool:
    return any(all((folder / (name + end)).is_file() for name in ("cameras", "images")) for end in (".bin", ".txt"))


def _pose(quaternion: Floats, translation: Floats) -> Floats:
    """(4, 4) of a quaternion (w, x, y, z), which need not have length 1, and a translation."""
    length = float(np.linalg.norm(quaternion))
    if len(translation) != 3 or not 0 < length < np.inf or not np.isfinite(translation).all():
        raise ValueError("no rotation")
    w, x, y, z = quaternion / length
    pose = np.eye(4)
    pose[:3, :3] = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    pose[:3, 3] = translation
    return pose


def _model(cameras: dict[int, ColmapCamera], images: list[ColmapImage], ids: Ids, positions: Floats) -> ColmapModel:
    order = np.argsort(ids)
    return ColmapModel(cameras, tuple(images), ids[order], positions[order])


def _read_text(folder: Path) -> ColmapModel:
    cameras: dict[int, ColmapCamera] = {}
    for line in _lines(folder / "cameras.txt"):
        number, model, width, height, *parameters = line.split()
        if len(parameters) != dict(_MODELS).get(model, len(parameters)):
            raise ValueError("cut short")
        cameras[int(number)] = ColmapCamera(model, int(width), int(height), tuple(map(float, parameters)))
    images: list[ColmapImage] = []
    lines = _lines(folder / "images.txt", blank=True)
    for line in lines:
        if not line:
            continue
        _, *pose, camera, name = line.split(maxsplit=9)
        q = np.array(pose, np.float64)
        seen = np.array(next(lines, "").split()[2::3], np.int64)  # x, y, point; x, y, point ...
        images.append(ColmapImage(name, int(camera), _pose(q[:4], q[4:]), seen[seen != _NO_POINT]))
    path = folder / "points3D.txt"
    rows = [line.split(maxsplit=4)[:4] for line in _lines(path)] if path.is_file() else []
    ids = np.array([int(row[0]) for row in rows], np.int64)
    return _model(cameras, images, ids, np.array([row[1:] for row in rows], np.float64).reshape(-1, 3))


def _lines(path: Path, blank: bool = False) -> Iterator[str]:
    """The lines without comments; a picture without points has a blank one, which counts there."""
    with path.open(encoding="utf-8") as file:
        for line in file:
            text = line.strip()
            if not text.startswith("#") and (text or blank):
                yield text


def _read_binary(folder: Path) -> ColmapModel:
    cameras: dict[int, ColmapCamera] = {}
    with (folder / "cameras.bin").open("rb") as file:
        for _ in range(_unpack(file, "<Q")[0]):
            number, model, width, height = _unpack(file, "<iiQQ")
            if not 0 <= model < len(_MODELS):
                raise CameraError(
                    f"{file.name} has a camera model of number {model}, which is not known here: solve with "
                    "PINHOLE, OPENCV or OPENCV_FISHEYE."
                )
            name, length = _MODELS[model]
            cameras[number] = ColmapCamera(name, width, height, _unpack(file, f"<{length}d"))
    images: list[ColmapImage] = []
    with (folder / "images.bin").open("rb") as file:
        for _ in range(_unpack(file, "<Q")[0]):
            _, *pose, camera = _unpack(file, "<i7di")
            name = b"".join(iter(lambda: _byte(file), b"\0")).decode()
            seen = np.frombuffer(_bytes(file, _unpack(file, "<Q")[0] * _OBSERVATION.itemsize), _OBSERVATION)["point"]
            q = np.array(pose, np.float64)
            images.append(ColmapImage(name, camera, _pose(q[:4], q[4:]), seen[seen != _NO_POINT].astype(np.int64)))
    ids: list[int] = []
    positions: list[tuple[float, ...]] = []
    if (folder / "points3D.bin").is_file():
        with (folder / "points3D.bin").open("rb") as file:
            for _ in range(_unpack(file, "<Q")[0]):
                number, x, y, z, _, _, _, _, track = _unpack(file, "<Q3d3BdQ")
                _bytes(file, track * 8)
                ids.append(number)
                positions.append((x, y, z))
    return _model(cameras, images, np.array(ids, np.int64), np.array(positions, np.float64).reshape(-1, 3))


def _bytes(file: BinaryIO, count: int) -> bytes:
    data = file.read(count)
    if len(data) != count:
        raise ValueError("cut short")
    return data


def _byte(file: BinaryIO) -> bytes:
    return _bytes(file, 1)


def _unpack(file: BinaryIO, layout: str) -> tuple[Any, ...]:
    return struct.unpack(layout, _bytes(file, struct.calcsize(layout)))
