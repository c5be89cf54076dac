"""The illustrated manual shows the pictures that lie beside it; `scripts/manual.py` takes them."""

import re
from pathlib import Path

DOCS = Path(__file__).resolve().parents[2] / "docs"


def test_every_picture_is_shown_and_there() -> None:
    shown = re.findall(r"\(manual/(\w+\.jpg)\)", (DOCS / "manual.md").read_text("utf-8"))
    files = list((DOCS / "manual").iterdir())
    assert sorted(shown) == sorted(path.name for path in files)
    assert sum(path.stat().st_size for path in files) < 2_500_000


def test_every_link_leads_somewhere() -> None:
    for link in re.findall(r"\]\((\w[^)#]*)\)", (DOCS / "manual.md").read_text("utf-8")):
        assert (DOCS / link).is_file(), link
