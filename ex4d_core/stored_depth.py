"""One frame's depth and occlusion as a scene folder holds them: encoded, written whole, read back."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ex4d_core.camera import Intrinsics
from ex4d_core.depth.encoding import decode_depth, encode_depth
from ex4d_core.depth.exr import read_exr, write_exr
from ex4d_core.depth_proxy import depth_proxy, proxy_step
from ex4d_core.files import explained
from ex4d_core.images import read_image, to_uint8, write_png
from ex4d_core.scene_format import CUTS_SHIFT, OCCLUSION_PATTERN, DepthDocument, FilePatterns


def write_depth_frame(
    folder: Path,
    document: DepthDocument,
    files: FilePatterns,
    frame: int,
    depth: NDArray[np.float32],
    intrinsics: Intrinsics,
) -> None:
    """Store one frame's depth, and its occlusion as the stored depth has it.

    Args:
        folder: the scene folder, or what is to become one.
        document: how depth is stored.
        files: where.
        frame: from 0.
        depth: (H, W) float32 z-depth, scene units, > 0; infinite is sky.
        intrinsics: of the frame's source camera.

    Raises:
        OutputError: a file cannot be written.
    """
    stored_depth_frame(document, depth, intrinsics).write(folder, document, files, frame)


@dataclass(frozen=True)
class StoredDepth:
    """One frame's depth and occlusion, ready to be written."""

    depth: NDArray[np.float16] | NDArray[np.float32]
    """(H, W), encoded as the document says."""
    occlusion: NDArray[np.uint8]
    """(H, W) uint8, see DESIGN section 3."""

    def write(self, folder: Path, document: DepthDocument, files: FilePatterns, frame: int) -> None:
        """Write the files of a frame; see `write_depth_frame`.

        Raises:
            OutputError: a file cannot be written.
        """
        # A frame under its name is a whole frame, and a new file: an old one may be the depth cache's too.
        if files.occlusion is not None:
            path = folder / (files.occlusion % frame)
            temporary = path.with_name(".next" + path.suffix)
            write_png(temporary, self.occlusion)
            with explained(path):
                os.replace(temporary, path)
        if files.proxy is not None:
            self.write_proxy(folder, document, files.proxy, frame)
        path = folder / (files.depth % frame)
        temporary = path.with_name(".next" + path.suffix)
        write_exr(temporary, self.depth, document.channel)
        with explained(path):
            os.replace(temporary, path)

    def write_proxy(self, folder: Path, document: DepthDocument, pattern: str, frame: int) -> None:
        """Write the depth proxy of a frame alone; see `write_depth_frame`.

        Raises:
            OutputError: the file cannot be written.
        """
        height, width = self.depth.shape
        path = folder / (pattern % frame)
        temporary = path.with_name(".next" + path.suffix)
        write_exr(temporary, depth_proxy(self.depth, self.occlusion, proxy_step(width, height)), document.channel)
        with explained(path):
            os.replace(temporary, path)


def stored_depth_frame(document: DepthDocument, depth: NDArray[np.float32], intrinsics: Intrinsics) -> StoredDepth:
    """Encode one frame's depth and find its occlusion; arguments as `write_depth_frame`."""
    from ex4d_core.mesh import build_mesh, occlusion_bits  # compiles kernels: only where a mesh is made
    from ex4d_core.quads.cuts import find_cuts
    from ex4d_core.quads.ramps import steepen

    stored = encode_depth(depth, document.encoding, document.far)
    read_back = decode_depth(stored.astype(np.float32), document.encoding, document.far)
    bridges = occlusion_bits(build_mesh(read_back, intrinsics))
    cuts = find_cuts(steepen(np.float32(1) / read_back))
    return StoredDepth(stored, bridges | cuts << np.uint8(CUTS_SHIFT))


def read_stored_depth(folder: Path, document: DepthDocument, files: FilePatterns, frame: int) -> StoredDepth:
    """One frame's depth and occlusion as they lie in a scene folder that has both.

    Raises:
        InputError: a file is missing or damaged.
    """
    read = read_exr(folder / (files.depth % frame), document.channel)
    depth = read.astype(np.float16) if document.encoding == "half-disparity" else read
    occlusion = to_uint8(read_image(folder / ((files.occlusion or OCCLUSION_PATTERN) % frame)))
    return StoredDepth(depth, np.ascontiguousarray(occlusion[..., 0]))
