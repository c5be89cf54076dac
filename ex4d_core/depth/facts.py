"""What there is to know about each depth estimator, in the order in which they are listed."""

from __future__ import annotations

from ex4d_core.depth import EstimatorFacts

_OURS = "GPL-3.0-or-later"

FACTS = (
    EstimatorFacts(
        name="file",
        summary="depth that another program made, read from EXR, PNG, NPY, NPZ or a grey video",
        licence=_OURS,
        commercial=True,
        units="as given",
        per_frame=False,
        intrinsics=False,
        poses=False,
        device="CPU",
        parity="own",
    ),
    EstimatorFacts(
        name="embedded",
        summary="a rough guess from parallax and position in the picture: no weights, no GPU",
        licence=_OURS,
        commercial=True,
        units="relative",
        per_frame=False,
        intrinsics=False,
        poses=False,
        device="CPU",
        parity="own",
    ),
    EstimatorFacts(
        name="depth-anything-v2-small",
        summary="Depth Anything V2 Small: good shapes from single frames, made steady here",
        licence="Apache-2.0",
        commercial=True,
        units="relative",
        per_frame=True,
        intrinsics=False,
        poses=False,
        device="CPU or GPU",
        parity="library",
        packages=("torch", "transformers", "safetensors"),
    ),
    EstimatorFacts(
        name="depth-pro",
        summary="Depth Pro: sharp metric depth and the lens from single frames, made steady here",
        licence="Apple AMLR (weights): for research alone",
        commercial=False,
        units="metric",
        per_frame=True,
        intrinsics=True,
        poses=False,
        device="GPU",
        parity="library",
        packages=("torch", "transformers", "safetensors"),
    ),
)
