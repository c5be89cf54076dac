"""The estimator `file`: depth that another program made, checked and brought to the clip's size."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ex4d_core.camera import Intrinsics
from ex4d_core.depth import DEPTH_KINDS, ColorFrames, DepthKind, DepthRequest, DepthResult
from ex4d_core.depth.depthcrafter.conversion import FACTOR, FARTHEST, NEAREST, NUMERATOR, REFERENCE
from ex4d_core.depth.encoding import SKY_DEPTH
from ex4d_core.depth.readers import DepthFile, Values, open_depth
from ex4d_core.depth.resample import resample_depth
from ex4d_core.errors import CancelledError, InputError
from ex4d_core.progress import Cancelled, OnProgress

if TYPE_CHECKING:
    from ex4d_core.distortion import Distortion

FLAT_RATIO = 1 + 1e-6
"""Farthest over nearest depth of a frame that is a flat card."""


class FileEstimator:
    """Reads depth from disk."""

    name = "file"
    revision = 1

    def __init__(self, request: DepthRequest) -> None:
        self._request = request
        self._checked: _Checked | None = None

    def check(self, frames: int, size: tuple[int, int], on_progress: OnProgress, cancelled: Cancelled) -> None:
        """Read every frame of the file once. See `DepthEstimator.check`.

        Raises:
            InputError: the file cannot be read, its size or number of frames does not fit the clip, or a depth
                is missing (NaN), zero or negative.
            CancelledError: `cancelled` said so.
        """
        request = self._request
        if request.path is None:
            raise InputError("The depth estimator 'file' needs a file or folder: name it with --depth.")
        if request.kind not in DEPTH_KINDS:
            raise InputError(f"There is no depth kind {request.kind!r}: choose one of {', '.join(DEPTH_KINDS)}.")
        source = open_depth(request.path, request.channel)
        scale = _scale(source, request.value_range)
        _check_size(source, request.clip_size or size, size)
        if source.count is not None:  # before the long reading
            _first_frame(source, source.count, frames, request)
        survey = _survey(source, request.kind, scale, on_progress, cancelled)
        _first_frame(source, survey.count, frames, request)
        if not survey.farthest > 0:
            raise InputError(
                f"The depth {source.path} is infinitely far everywhere: check --depth-kind and --depth-range."
            )
        self._checked = _Checked(source, scale, survey)

    def estimate(
        self,
        frames: ColorFrames,
        intrinsics: list[Intrinsics],
        source_c2w: NDArray[np.float64] | None,
        on_progress: OnProgress,
        cancelled: Cancelled,
    ) -> DepthResult:
        """Check the file, unless done; the depth itself is read again when it is asked for.

        See `DepthEstimator.estimate`.

        Raises:
            InputError, CancelledError: as `check`.
        """
        size = (intrinsics[0].width, intrinsics[0].height)
        if self._checked is None:
            self.check(len(frames), size, on_progress, cancelled)
        assert self._checked is not None
        source, scale, survey = self._checked.source, self._checked.scale, self._checked.survey
        request = self._request
        first = _first_frame(source, survey.count, len(frames), request)
        return DepthResult(
            depth=_FileDepth(source, request.kind, scale, first, len(frames), size, request.distortion),
            nearest=survey.nearest,
            farthest=survey.farthest,
            units="metric" if request.kind == "metric" else "relative",
            conversion=_conversion(source, request, scale),
            warnings=_warnings(source, request, survey),
            intrinsics=_lenses(source, first, len(frames), size, request.distortion),
            exact=request.kind == "depthcrafter",
        )


@dataclass(frozen=True)
class _Checked:
    source: DepthFile
    scale: tuple[float, float] | None
    survey: _Survey


@dataclass(frozen=True)
class _FileDepth:
    """The frames of a depth file that belong to the clip, at its size."""

    source: DepthFile
    kind: DepthKind
    scale: tuple[float, float] | None
    first: int
    count: int
    size: tuple[int, int]
    distortion: Distortion | None

    def __len__(self) -> int:
        return self.count

    def iterate(self, start: int = 0) -> Iterator[NDArray[np.float32]]:
        """See `DepthFrames.iterate`."""
        undistort = None
        if self.distortion is not None:
            from ex4d_core.distortion import undistorter

            undistort = undistorter(self.distortion, self.distortion.pinhole())
        values = self.source.iterate(self.first + start)
        for _, frame in zip(range(start, self.count), values, strict=False):
            depth = resample_depth(_to_depth(frame, self.kind, self.scale), *self.size)
            yield depth if undistort is None else undistort(depth)


@dataclass
class _Survey:
    count: int = 0
    nearest: float = math.inf
    farthest: float = 0.0
    flat: int = 0
    """Frames with the same depth everywhere."""


def _scale(source: DepthFile, value_range: tuple[float, float] | None) -> tuple[float, float] | None:
    """What 0 and the largest integer stand for; None for floating point."""
    if source.integer_bits is None:
        if value_range is not None:
            raise InputError(f"The depth {source.path} is floating point and needs no range: leave out --depth-range.")
        return None
    if value_range is None:
        raise InputError(
            f"The depth {source.path} holds {source.integer_bits}-bit integers: say with --depth-range LO HI what "
            "0 and the largest value stand for."
        )
    low, high = value_range
    if not (math.isfinite(low) and math.isfinite(high)) or low == high:
        raise InputError(f"The depth range {low} {high} is not usable: give two different finite numbers.")
    return value_range


def _check_size(source: DepthFile, clip: tuple[int, int], working: tuple[int, int]) -> None:
    """Depth has the size of the clip, or the size that is worked at."""
    width, height = source.size
    if source.size not in (clip, working):
        raise InputError(
            f"The depth {source.path} has {width}x{height} pixels and the clip {clip[0]}x{clip[1]}: give depth of the "
            f"whole frame at that size, or add --size {width}x{height} to work at the depth's."
        )


def _first_frame(source: DepthFile, count: int, wanted: int, request: DepthRequest) -> int:
    """Which frame of the file belongs to the first frame taken from the clip."""
    if count == wanted:
        return 0
    whole = request.clip_frames or wanted
    if count == whole:
        return request.clip_start
    clip = f"{wanted} frames" if whole == wanted else f"{whole} frames, of which {wanted} are taken"
    raise InputError(
        f"The depth {source.path} has {count} frame{'s' if count != 1 else ''}, but the clip has {clip}: "
        "give one depth per frame."
    )


def _survey(
    source: DepthFile,
    kind: DepthKind,
    scale: tuple[float, float] | None,
    on_progress: OnProgress,
    cancelled: Cancelled,
) -> _Survey:
    """Read every frame once: refuse what is no depth, and find the range."""
    found = _Survey()
    width, height = source.size
    for values in source.iterate():
        if cancelled():
            raise CancelledError("Stopped while checking the depth.")
        if values.shape != (height, width):
            raise InputError(
                f"{source.frame_name(found.count)} has {values.shape[1]}x{values.shape[0]} pixels, the frames "
                f"before it {width}x{height}: export them all at one size."
            )
        _refuse_no_depth(values, kind, scale, source.frame_name(found.count))
        depth = _to_depth(values, kind, scale)
        finite = depth[np.isfinite(depth)]
        if finite.size:
            found.nearest = min(found.nearest, float(finite.min()))
            found.farthest = max(found.farthest, float(finite.max()))
        found.flat += finite.size == depth.size and float(finite.max()) <= float(finite.min()) * FLAT_RATIO
        found.count += 1
        on_progress(found.count, source.count or found.count, "checking depth")
    return found


def _refuse_no_depth(values: Values, kind: DepthKind, scale: tuple[float, float] | None, where: str) -> None:
    """NaN and negative numbers are no depth; zero is one only as the disparity of sky."""
    numbers = _scaled(values, scale)
    what = "disparity" if kind in ("disparity", "depthcrafter") else "depth"
    remedy_zero = (
        "fill those pixels, write infinity where there is only sky, or add --depth-kind disparity if 0 is the "
        "farthest, as DepthCrafter and Video-Depth-Anything save it"
    )
    if scale is not None:
        remedy_zero = "fill those pixels, or check --depth-range"
    faults = [
        ("missing (NaN)", np.isnan(numbers), "fill those pixels before importing"),
        ("negative", numbers < 0, "check --depth-kind and --depth-range, and that depth grows away from the camera"),
    ]
    if kind == "disparity":
        faults.append(("infinite", np.isposinf(numbers), "fill those pixels, or check that it is disparity"))
    elif kind == "depthcrafter":
        faults.append(("over 1", numbers > 1, "DepthCrafter's goes from 0 to 1: give its NPZ, or another --depth-kind"))
    else:
        faults.append(("zero", numbers == 0, remedy_zero))
    for fault, mask, remedy in faults:
        if mask.any():
            raise InputError(f"The {what} of {where} is {fault} in {_percent(mask)} of its pixels: {remedy}.")


def _scaled(values: Values, scale: tuple[float, float] | None) -> Values:
    if scale is None:
        return values
    low, high = scale
    return low + values * (high - low)


def _to_depth(values: Values, kind: DepthKind, scale: tuple[float, float] | None) -> NDArray[np.float32]:
    """(H, W) float32 z-depth, infinite for sky."""
    numbers = _scaled(values, scale)
    if kind == "depthcrafter":
        return REFERENCE.depth(numbers.astype(np.float32))
    if kind == "disparity":
        with np.errstate(divide="ignore"):
            numbers = 1.0 / numbers
    with np.errstate(over="ignore"):
        depth = numbers.astype(np.float32)
    return np.where(depth >= np.float32(SKY_DEPTH), np.float32(np.inf), depth)


def _conversion(source: DepthFile, request: DepthRequest, scale: tuple[float, float] | None) -> dict[str, object]:
    facts: dict[str, object] = {"kind": request.kind, "file": source.path.name, "size": list(source.size)}
    if source.channel is not None:
        facts["channel"] = source.channel
    if scale is not None:
        facts |= {"bits": source.integer_bits, "range": list(scale)}
    if request.kind == "depthcrafter":
        facts |= {"numerator": NUMERATOR, "factor": FACTOR, "clipped": [NEAREST, FARTHEST]}
    return facts


def _lenses(
    source: DepthFile, first: int, count: int, size: tuple[int, int], distortion: Distortion | None
) -> tuple[Intrinsics, ...] | None:
    """The lens of each frame at the frames' size, where the file tells; a distortion that was removed changed it."""
    if source.lenses is None or distortion is not None:
        return None
    rows = source.lenses if len(source.lenses) == 1 else source.lenses[first : first + count]
    lenses: list[Intrinsics] = []
    for fx, fy, cx, cy in rows.tolist():
        lenses.append(Intrinsics(fx, fy, cx, cy, *source.size).resized(*size))
    return tuple(lenses * count if len(lenses) == 1 else lenses)


def _warnings(source: DepthFile, request: DepthRequest, survey: _Survey) -> tuple[str, ...]:
    name = source.path.name
    found: list[str] = []
    if source.integer_bits is not None and source.integer_bits <= 8:
        found.append(f"The depth {name} has 8 bits, 256 steps: surfaces will be terraced; 16-bit PNG or EXR is smooth.")
    if source.disparity_hint and request.kind not in ("disparity", "depthcrafter"):
        found.append(
            f"The depth {name} may be disparity (1/depth), as {source.disparity_hint}: add --depth-kind disparity if "
            "near things come out far."
        )
    if survey.flat:
        which = "every frame" if survey.flat == survey.count else f"{survey.flat} of {survey.count} frames"
        found.append(
            f"The depth {name} is the same everywhere in {which}, so that the picture stands there as a flat card: "
            "check that the depth was exported."
        )
    return tuple(found)


def _percent(mask: NDArray[np.bool_]) -> str:
    percent = 100 * float(mask.mean())
    return f"{percent:.0f} %" if percent >= 10 else f"{percent:.2g} %"
