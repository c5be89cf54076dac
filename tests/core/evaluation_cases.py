"""A small ground truth for tests: made by the benchmark's rays, with noise for colours."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from ex4d_core.images import write_png

ROOT = Path(__file__).resolve().parent.parent.parent
SIZE, FRAMES = 64, 5


@contextmanager
def benchmark_modules() -> Iterator[None]:
    """`scripts/benchmark` can be imported."""
    pytest.importorskip("embreex")
    sys.path.insert(0, str(ROOT / "scripts"))
    try:
        yield
    finally:
        sys.path.remove(str(ROOT / "scripts"))


def write_person(work: Path, out: Path, **options: Any) -> Any:
    """Ground truth of the person in `out`; gives its plan. Call within `benchmark_modules`."""
    from benchmark import person
    from benchmark.truth import Plan, write_truth

    plan = Plan("person", person.scene(), SIZE, FRAMES, **options)
    draw = np.random.default_rng(0)
    picture = cv2.GaussianBlur(draw.integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8), (0, 0), 2)
    for view in plan.views(work):
        write_png(Path(str(view["file"])), picture)
    write_truth(plan, work, out)
    return plan
