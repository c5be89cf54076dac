"""Lens distortion: removed from footage at import, put back on results.

The models are OpenCV's (https://docs.opencv.org/4.x/d9/d0c/group__calib3d.html): `opencv` is the rational one with
k1, k2, p1, p2[, k3[, k4, k5, k6]], `opencv-fisheye` the equidistant one with k1, k2, k3, k4. OpenCV counts pixel
centres from 0, we from 0.5: principal points move by half a pixel on the way to it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from ex4d_core.camera import Intrinsics
from ex4d_core.errors import CameraError
from ex4d_core.scene_format import DistortionDocument

Model = Literal["opencv", "opencv-fisheye"]
Floats = NDArray[np.float64]
Picture = NDArray[Any]

WIDEST_DEGREES = 150.0
"""Field of view of the widest picture without distortion that is made of a fisheye's, horizontally: a pinhole shows
no 180 degrees, and stretches the border beyond use long before."""

_LENGTHS: dict[Model, tuple[int, ...]] = {"opencv": (4, 5, 8), "opencv-fisheye": (4,)}
_INVERTED_WITHIN = 0.05
"""How far, in pixels, a point may land from where it began when it is undistorted and distorted again."""


@dataclass(frozen=True)
class Distortion:
    """How a lens bends the picture of a pinhole camera."""

    model: Model
    parameters: tuple[float, ...]
    """In OpenCV's order: see the module."""
    intrinsics: Intrinsics
    """Of the distorted footage, at its size."""

    def __post_init__(self) -> None:
        if self.model not in _LENGTHS or len(self.parameters) not in _LENGTHS[self.model]:
            raise CameraError(
                f"The distortion {self.model} with {len(self.parameters)} parameters is unknown: give opencv with 4, 5 "
                "or 8 of them, or opencv-fisheye with 4."
            )
        if not all(math.isfinite(parameter) for parameter in self.parameters):
            raise CameraError(f"The distortion {self.parameters} is not of finite numbers: solve the lens again.")

    @classmethod
    def from_document(cls, document: DistortionDocument, width: int, height: int) -> Distortion:
        """Of a scene of that size.

        Raises:
            CameraError: the document's numbers are no distortion.
        """
        return cls(document.model, tuple(document.parameters), Intrinsics(*document.intrinsics, width, height))

    def document(self) -> DistortionDocument:
        """For `scene.json`, at this size."""
        return DistortionDocument(
            model=self.model, parameters=list(self.parameters), intrinsics=self.intrinsics.as_tuple()
        )

    def resized(self, width: int, height: int) -> Distortion:
        """The same lens with its picture resampled to another size."""
        return replace(self, intrinsics=self.intrinsics.resized(width, height))

    def distorted(self, rays: Floats) -> Floats:
        """Where the lens shows what a pinhole camera sees.

        Args:
            rays: (N, 2) float64: x / z and y / z in the camera.

        Returns:
            (N, 2) float64 pixels of the footage.
        """
        points = np.concatenate([rays, np.ones((len(rays), 1))], axis=1)[:, None]
        project = cv2.fisheye.projectPoints if self.model == "opencv-fisheye" else cv2.projectPoints
        pixels, _ = project(points, np.zeros(3), np.zeros(3), self.intrinsics.matrix(), np.array(self.parameters))
        return np.asarray(pixels, np.float64).reshape(-1, 2)

    def undistorted(self, pixels: Floats) -> Floats:
        """What a pinhole camera sees where the lens shows it: the inverse of `distorted`.

        Args:
            pixels: (N, 2) float64 of the footage.

        Returns:
            (N, 2) float64 rays; NaN where no ray comes out there.
        """
        stop = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 100, 1e-4)
        k, parameters = self.intrinsics.matrix(), np.array(self.parameters)
        if self.model == "opencv-fisheye":
            rays = cv2.fisheye.undistortPoints(pixels[:, None], k, parameters, criteria=stop)
        else:
            # OpenCV 4 has a name of its own for the function that is told when to stop.
            undistort = getattr(cv2, "undistortPointsIter", cv2.undistortPoints)
            rays = undistort(pixels[:, None], k, parameters, R=np.eye(3), P=np.eye(3), criteria=stop)
        found = np.asarray(rays, np.float64).reshape(-1, 2)
        with np.errstate(all="ignore"):
            known = np.abs(self.distorted(np.nan_to_num(found)) - pixels).max(axis=1) < _INVERTED_WITHIN
        return np.where(known[:, None], found, np.nan)

    def pinhole(self) -> Intrinsics:
        """The lens of the undistorted picture: at the same size as wide as it can be without black borders.

        Its principal point and the ratio of its focal lengths are those of the footage.
        """
        lens = self.intrinsics
        border = _border(lens.width, lens.height)
        rays = (border - [lens.cx, lens.cy]) / [lens.fx, lens.fy]
        limit = lens.width / 2 / math.tan(math.radians(WIDEST_DEGREES / 2)) / lens.fx
        wide, narrow = min(limit, 1.0), 8.0
        for _ in range(40):  # the narrowest that still shows something outside; halved to far below a pixel
            middle = math.sqrt(wide * narrow)
            if self._shows(rays / middle):
                narrow = middle
            else:
                wide = middle
        return replace(lens, fx=lens.fx * narrow, fy=lens.fy * narrow)

    def _shows(self, rays: Floats) -> bool:
        """Whether the footage shows all of these rays, and their order along the border is kept."""
        lens, pixels = self.intrinsics, self.distorted(rays)
        inside = ((pixels >= 0) & (pixels <= [lens.width, lens.height])).all()
        # Beyond the radius where a polynomial turns back it maps outer rays into the picture again.
        outward = ((self.distorted(rays * 0.99) - [lens.cx, lens.cy]) * rays).sum(axis=1)
        return bool(inside and (outward < ((pixels - [lens.cx, lens.cy]) * rays).sum(axis=1)).all())


def undistorter(distortion: Distortion, intrinsics_out: Intrinsics) -> Remap:
    """What removes the distortion.

    Args:
        distortion: of the footage, at the size of the pictures that it will be given.
        intrinsics_out: lens and size of the pictures that it makes, for example `distortion.pinhole()`.

    """
    make = cv2.initUndistortRectifyMap
    if distortion.model == "opencv-fisheye":
        make = cv2.fisheye.initUndistortRectifyMap
    size, parameters = (intrinsics_out.width, intrinsics_out.height), np.array(distortion.parameters)
    k, k_out = _counted_from_0(distortion.intrinsics), _counted_from_0(intrinsics_out)
    x, y = make(k, parameters, np.eye(3), k_out, size, cv2.CV_32FC1)
    return Remap(_pairs(x, y) + 0.5, distortion.intrinsics, intrinsics_out)


def distorter(distortion: Distortion, intrinsics_in: Intrinsics) -> Remap:
    """What puts the distortion back: the inverse of `undistorter`.

    Args:
        distortion: of the pictures that it makes, at their size.
        intrinsics_in: lens and size of the pictures that it will be given, which have no distortion.

    """
    rays = _rays_of_all(distortion)
    pixels = rays * [intrinsics_in.fx, intrinsics_in.fy] + [intrinsics_in.cx, intrinsics_in.cy]
    return Remap(pixels, intrinsics_in, distortion.intrinsics)


class Remap:
    """Takes each pixel of a picture from another place of the one given.

    Pictures (H, W, 3) of any number type are interpolated; planes (H, W), which are masks and depth, keep the very
    values that they have. What the picture given does not show is 0.
    """

    def __init__(self, pixels: Floats, given: Intrinsics, made: Intrinsics) -> None:
        """`pixels`: (H * W, 2) where to look, NaN for nowhere."""
        self._given = (given.height, given.width)
        maps = pixels.reshape(made.height, made.width, 2)
        with np.errstate(invalid="ignore"):
            inside = (maps >= 0) & (maps <= [given.width, given.height])
        self._seen: NDArray[np.bool_] = np.logical_and(inside[..., 0], inside[..., 1])
        indices = np.where(self._seen[..., None], maps - 0.5, 0).astype(np.float32)
        self._x, self._y = np.ascontiguousarray(indices[..., 0]), np.ascontiguousarray(indices[..., 1])

    @property
    def seen(self) -> NDArray[np.bool_]:
        """(H, W) bool, where the picture made shows something."""
        return self._seen

    def __call__(self, image: Picture) -> Picture:
        """Raises: ValueError if the picture has another size than was said."""
        if image.shape[:2] != self._given:
            raise ValueError(f"made for pictures of {self._given}, not {image.shape[:2]}")
        flag = image.dtype == np.bool_
        plain = image.astype(np.uint8) if flag else image
        how = cv2.INTER_NEAREST if image.ndim == 2 else cv2.INTER_CUBIC
        moved = cv2.remap(plain, self._x, self._y, how, borderMode=cv2.BORDER_REPLICATE)
        moved[~self._seen] = 0
        return moved.astype(np.bool_) if flag else moved


def _rays_of_all(distortion: Distortion) -> Floats:
    """(H * W, 2) `undistorted` of every pixel: exact at every eighth, which takes OpenCV long, linear between.

    Measured on strong lenses: within 0.01 pixels.
    """
    lens = distortion.intrinsics
    step = next(step for step in (8, 4, 2, 1) if step == 1 or lens.width >= 160 * step)
    columns, rows = (math.ceil((side - 1) / step) + 1 for side in (lens.width, lens.height))
    x, y = np.meshgrid(np.arange(columns) * step + 0.5, np.arange(rows) * step + 0.5)
    nodes = distortion.undistorted(_pairs(x, y)).reshape(rows, columns, 2)
    across = (np.arange(lens.width) / step).astype(np.float32)  # eighths: exact in OpenCV's steps of 1/32
    down = (np.arange(lens.height) / step).astype(np.float32)
    where = np.meshgrid(across, down)
    rays = cv2.remap(nodes, *where, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(rays, np.float64).reshape(-1, 2)


def _counted_from_0(lens: Intrinsics) -> Floats:
    """(3, 3) K as OpenCV counts pixels."""
    return replace(lens, cx=lens.cx - 0.5, cy=lens.cy - 0.5).matrix()


def _pairs(x: NDArray[Any], y: NDArray[Any]) -> Floats:
    return np.stack([x.ravel(), y.ravel()], axis=1).astype(np.float64)


def _border(width: int, height: int, steps: int = 129) -> Floats:
    """(N, 2) points all around the edge of a picture."""
    x, y = np.linspace(0, width, steps), np.linspace(0, height, steps)
    sides = [(x, 0 * x), (x, 0 * x + height), (0 * y, y), (0 * y + width, y)]
    return np.concatenate([np.stack(side, axis=1) for side in sides])
