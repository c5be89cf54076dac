"""Memory that a frame frees stays with the process."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

_FAULTS = """
import resource, sys
import numpy as np
from ex4d_core.memory import keep_memory

if sys.argv[1] == "keep":
    keep_memory()
pages = []
for _ in range(6):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    frame = [np.ones(3 << 20, np.uint8) for _ in range(16)]
    del frame
    pages.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
print(min(pages[1:]))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="nothing to set")
def test_a_second_frame_takes_no_new_pages() -> None:
    def faults(how: str) -> int:
        return int(subprocess.run([sys.executable, "-c", _FAULTS, how], check=True, capture_output=True).stdout)

    assert faults("as it is") > 1000  # else this test says nothing
    assert faults("keep") < 100
