"""The example of docs/sidecar.md runs, and docs/api.md is what the server does."""

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]


def test_the_example_runs(
    start: Callable[[], Any],
    tiny_clip: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    running = start()
    monkeypatch.setenv("EX4D_STATE_DIR", str(running.state))
    monkeypatch.chdir(tmp_path)
    Path("clip.mp4").write_bytes(tiny_clip.read_bytes())
    page = (ROOT / "docs/sidecar.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    exec(compile(example, "docs/sidecar.md", "exec"), {})
    assert "succeeded ['scene', 'render', 'generate']" in capsys.readouterr().out
    assert Path("orbit/output.mp4").stat().st_size > 0
    assert len(list(Path("orbit/output").glob("*.png"))) == 6


def test_the_api_page_is_up_to_date() -> None:
    script = ROOT / "scripts/make_api_page.py"
    done = subprocess.run([sys.executable, str(script), "--check"], check=False)
    assert done.returncode == 0, "run scripts/make_api_page.py and commit docs/api.md"
