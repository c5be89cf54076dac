"""Model, render and pack the bundled sample (`ex4d_core/sample`).

    python scripts/make_sample.py --out ex4d_core/sample

Needs Python 3.11 with `pip install bpy==4.5.15 av` (Blender as a module, about 400 MB; CPU is enough). Everything is
seeded: the same command makes the same pictures, up to render noise of a level or two between versions of Blender
and of this scene. Takes about half an hour on two idle cores. With `--work FOLDER`, an interrupted run goes on where
it stopped; empty that folder after a change of the scene.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import tempfile
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

NEAR_DISPARITY_MARGIN = 1.02
"""The nearest surface sits this far below the largest stored value."""
DEPTH_BITS = 12
"""Of the stored disparity: steps of 6 mm at 5 m."""


def main() -> int:
    """Parse the command line, render, pack."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for clip.mp4, depth.mp4 and sample.json")
    parser.add_argument("--frames", type=int, default=49, help="number of frames (default: 49)")
    parser.add_argument("--samples", type=int, default=12, help="light paths per pixel (default: 12, denoised)")
    parser.add_argument("--percent", type=int, default=100, help="size in percent of 832x480 (default: 100)")
    parser.add_argument("--work", type=Path, help="folder for single frames (default: a temporary one)")
    parser.add_argument("--orbit", type=float, help="only render the true view at this angle, to OUT/orbit.png")
    parser.add_argument("--at", type=int, default=24, help="frame of --orbit (default: 24)")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        import av  # noqa: F401
        import bpy
    except ImportError as error:
        print(f"{error}. Use Python 3.11 and: pip install bpy==4.5.15 av", file=sys.stderr)
        return 1
    logging.info("Blender %s", bpy.app.version_string)
    options.out.mkdir(parents=True, exist_ok=True)
    if options.orbit is not None:
        _render_orbit(options)
    elif options.work:
        _make(options, options.work)
    else:
        with tempfile.TemporaryDirectory() as work:
            _make(options, Path(work))
    return 0


def _render_orbit(options: argparse.Namespace) -> None:
    import sample_scene
    from sample_scene import view

    quality = view.Quality(options.samples, options.percent)
    movers = sample_scene.build()
    view.settings(quality)
    view.camera(options.orbit)
    for mover in movers:
        mover.pose(options.at / view.FPS)
    view.render_colour(options.out / "orbit.png", quality)


def _make(options: argparse.Namespace, work: Path) -> None:
    import numpy as np
    import sample_scene
    from sample_scene import render, view

    quality = view.Quality(options.samples, options.percent)
    frames = list(render.clip(sample_scene.build(), quality, options.frames, work))
    low = 1 / view.FAR
    disparity = [1 / np.minimum(depth, view.FAR) for _, depth in frames]
    high = round(NEAR_DISPARITY_MARGIN * max(float(d.max()) for d in disparity), 3)
    top = 2**DEPTH_BITS - 1
    codes = (np.round((d - low) / (high - low) * top).astype(np.uint16) for d in disparity)
    width, height = render.image_size(quality)
    _write_clip(options.out / "clip.mp4", (picture for picture, _ in frames), view.FPS)
    _write_depth(options.out / "depth.mp4", codes, view.FPS)
    facts = {
        "clip": "clip.mp4",
        "depth": "depth.mp4",
        "depth_kind": "disparity",
        "depth_range": [low, high],
        "units": "metric",
        "focal_px": view.FOCAL_PX * width / view.WIDTH,
        "width": width,
        "height": height,
        "frames": options.frames,
        "fps": [view.FPS, 1],
        "orbit_radius": view.SUBJECT_DISTANCE,
    }
    (options.out / "sample.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")


def _write_clip(path: Path, pictures: Iterable, fps: int) -> None:
    """H.264, yuv420p, BT.709."""
    import av

    with av.open(str(path), "w", options={"movflags": "faststart"}) as container:
        stream = None
        for picture in pictures:
            if stream is None:
                stream = container.add_stream("libx264", rate=Fraction(fps))
                stream.height, stream.width = picture.shape[:2]
                stream.pix_fmt = "yuv420p"
                stream.options = {"crf": "11", "preset": "veryslow", "threads": "1"}
                _tag_bt709(stream.codec_context, limited=True)
            frame = av.VideoFrame.from_ndarray(picture, "rgb24")
            frame = frame.reformat(
                format="yuv420p", dst_colorspace="ITU709", src_color_range="JPEG", dst_color_range="MPEG"
            )
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def _write_depth(path: Path, codes: Iterable, fps: int) -> None:
    """Lossless HEVC, 12-bit grey, full range: a still background costs nothing after the first frame."""
    import av
    import numpy as np

    with av.open(str(path), "w", options={"movflags": "faststart"}) as container:
        stream = None
        for values in codes:
            if stream is None:
                stream = container.add_stream("libx265", rate=Fraction(fps))
                stream.height, stream.width = values.shape
                stream.pix_fmt = "gray12le"
                stream.codec_context.color_range = 2
                stream.options = {
                    "preset": "slow",
                    "x265-params": "lossless=1:range=full:pools=1:frame-threads=1:log-level=error",
                }
                stream.codec_context.codec_tag = "hvc1"
            frame = av.VideoFrame(values.shape[1], values.shape[0], "gray12le")
            plane = frame.planes[0]
            rows = np.zeros((plane.height, plane.line_size // 2), "<u2")
            rows[:, : values.shape[1]] = values
            plane.update(rows.tobytes())
            frame.color_range = 2
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def _tag_bt709(context, *, limited: bool) -> None:
    context.color_primaries = context.color_trc = context.colorspace = 1
    context.color_range = 1 if limited else 2


if __name__ == "__main__":
    raise SystemExit(main())
