"""The examples of docs/python.md run, and name the whole public API."""

import re
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

import ex4d_core
from ex4d_core.clip import write_viewing

PAGE = (Path(__file__).resolve().parents[2] / "docs/python.md").read_text(encoding="utf-8")


def moving_square() -> list[np.ndarray]:
    """Eight frames, 96x64: a bright square walks over a textured ground."""
    rng = np.random.default_rng(5)
    ground = np.kron(rng.integers(60, 160, (16, 24, 3)), np.ones((4, 4, 1))).astype(np.uint8)
    frames: list[np.ndarray] = []
    for t in range(8):
        frame = ground.copy()
        frame[24:44, 20 + 4 * t : 40 + 4 * t] = 230
        frames.append(frame)
    return frames


def test_every_example_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_viewing(Path("clip.mp4"), iter(moving_square()), Fraction(24))
    names: dict[str, object] = {}
    examples = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert len(examples) == 12
    for example in examples:
        exec(compile(example, "docs/python.md", "exec"), names)
    printed = capsys.readouterr().out
    assert "8 24 relative embedded" in printed
    assert "missing.mp4" in printed
    assert Path("shots/orbit/output.mp4").stat().st_size > 0
    assert Path("orbit/output.mp4").stat().st_size > 0
    assert Path("frame0.glb").read_bytes()[:4] == b"glTF"


@pytest.mark.parametrize("name", [n for n in ex4d_core.__all__ if n != "__version__"])
def test_every_public_name_exists_and_is_documented(name: str) -> None:
    assert getattr(ex4d_core, name).__doc__
    assert re.search(rf"import .*\b{name}\b", PAGE)
