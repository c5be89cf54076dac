"""Makes small videos with known pixels for the clip tests, straight through PyAV."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.video.frame import VideoFrame

# Saturated and muted colours, RGB.
BARS = np.array(
    [
        (255, 255, 255), (255, 255, 0), (0, 255, 255), (0, 255, 0), (255, 0, 255), (255, 0, 0),
        (0, 0, 255), (0, 0, 0), (128, 128, 128), (200, 30, 60), (17, 130, 250), (90, 60, 20),
    ]
)  # fmt: skip
BAR = 8
"""Width of one bar, pixels."""

# Luma weights from the standards themselves: BT.709 3.2, BT.601 2.5.1, BT.2020 table 4.
LUMA = {"709": (0.2126, 0.7152, 0.0722), "601": (0.299, 0.587, 0.114), "2020": (0.2627, 0.678, 0.0593)}
AVCOL_SPC = {"709": 1, "601": 6, "2020": 9}


def bars(height: int = 32) -> np.ndarray:
    """(height, 96, 3) uint8 RGB colour bars."""
    return np.repeat(np.repeat(BARS[None], height, 0), BAR, 1).astype(np.uint8)


def yuv_planes(rgb: np.ndarray, matrix: str, full: bool, bits: int, subsample: int) -> list[np.ndarray]:
    """Quantised Y, Cb, Cr of an RGB image, by the formulas of the standards."""
    red, green, blue = (rgb[..., i] / 255 for i in range(3))
    kr, kg, kb = LUMA[matrix]
    luma = kr * red + kg * green + kb * blue
    cb, cr = (blue - luma) / (2 * (1 - kb)), (red - luma) / (2 * (1 - kr))
    unit = 2 ** (bits - 8)
    if full:
        top = 2**bits - 1
        scaled = [luma * top, cb * top + 128 * unit, cr * top + 128 * unit]
    else:
        scaled = [(219 * luma + 16) * unit, (224 * cb + 128) * unit, (224 * cr + 128) * unit]
    planes = [np.clip(np.rint(p), 0, 2**bits - 1).astype(np.uint8 if bits == 8 else np.uint16) for p in scaled]
    return [planes[0], planes[1][::subsample, ::subsample], planes[2][::subsample, ::subsample]]


def frame_from_planes(planes: Iterable[np.ndarray], width: int, height: int, pix_fmt: str) -> VideoFrame:
    """A frame whose planes hold exactly these numbers."""
    frame = VideoFrame(width, height, pix_fmt)
    for plane, values in zip(frame.planes, planes, strict=True):
        padded = np.zeros((plane.height, plane.line_size // values.itemsize), values.dtype)
        padded[:, : values.shape[1]] = values
        plane.update(padded.tobytes())
    return frame


def write_frames(
    path: Path,
    frames: Iterable[VideoFrame],
    *,
    codec: str = "libx264rgb",
    pix_fmt: str = "rgb24",
    rate: Fraction | int = 24,
    pts: list[int] | None = None,
    time_base: Fraction | None = None,
    options: dict[str, str] | None = None,
    setup: Callable[[Any], None] | None = None,
    container_options: dict[str, str] | None = None,
) -> Path:
    """Encode frames as they are; lossless by default. `setup` may change the stream before encoding."""
    frames = list(frames)
    with av.open(str(path), "w", options=container_options or {}) as container:
        stream = container.add_stream(codec, rate=rate, options={"qp": "0"} if options is None else options)
        stream.width, stream.height, stream.pix_fmt = frames[0].width, frames[0].height, pix_fmt
        if time_base is not None:
            stream.codec_context.time_base = time_base
        if setup is not None:
            setup(stream)
        for index, frame in enumerate(frames):
            frame.pts = index if pts is None else pts[index]
            frame.time_base = time_base if time_base is not None else 1 / Fraction(rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def write_rgb(path: Path, frames: Iterable[np.ndarray], **options: Any) -> Path:
    """Encode (H, W, 3) uint8 arrays, by default without any loss; options as `write_frames`."""
    return write_frames(path, [VideoFrame.from_ndarray(f, "rgb24") for f in frames], **options)


def numbered(count: int, width: int = 64, height: int = 48, step: int = 8) -> list[np.ndarray]:
    """Plain frames whose grey level says which one they are: `step` times the index, plus 5."""
    return [np.full((height, width, 3), 5 + step * i, np.uint8) for i in range(count)]


def indices(frames: Iterable[np.ndarray], step: int = 8) -> list[int]:
    """The index that each frame made by `numbered` carries."""
    return [round((float(f.mean()) - 5) / step) for f in frames]


def asymmetric(width: int = 64, height: int = 48) -> np.ndarray:
    """An image that looks different under each turn and mirror: three corners of different colour."""
    image = np.full((height, width, 3), 40, np.uint8)
    image[: height // 2, : width // 2] = (250, 10, 10)
    image[: height // 2, width // 2 :] = (10, 250, 10)
    image[height // 2 :, : width // 2] = (10, 10, 250)
    return image


def write_sound(path: Path, seconds: float, codec: str, *, video_frames: int = 0, rate: int = 48000) -> Path:
    """A clip with a click (a short burst of 1 kHz) at each whole tenth of a second, and optionally a picture."""
    time = np.arange(round(seconds * rate)) / rate
    since_click = time - np.floor(time * 10 + 1e-6) / 10
    samples = (0.8 * np.sin(2 * np.pi * 1000 * time) * (since_click < 0.01)).astype(np.float32)
    with av.open(str(path), "w") as container:
        video = None
        if video_frames:
            video = container.add_stream("libx264", rate=24, options={"g": "12"})
            video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        audio = container.add_stream(codec, rate=rate, layout="mono")
        if video is not None:
            for index, image in enumerate(numbered(video_frames, step=1)):
                frame = VideoFrame.from_ndarray(image, "rgb24")
                frame.pts = index
                container.mux(video.encode(frame))
            container.mux(video.encode(None))
        for start in range(0, len(samples), 1024):
            block = samples[None, start : start + 1024]
            frame = AudioFrame.from_ndarray(block, format="fltp", layout="mono")
            frame.sample_rate, frame.time_base, frame.pts = rate, Fraction(1, rate), start
            container.mux(audio.encode(frame))
        container.mux(audio.encode(None))
    return path
