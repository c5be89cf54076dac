"""The memory of a frame kept for the next one."""

from __future__ import annotations

import ctypes

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""Of glibc's `mallopt`."""

_KEPT = 1 << 28
"""At most so many free bytes are kept, by each thread's part of the heap; a frame of 512x512 pixels takes 70 MB."""

_LARGEST = 1 << 25
"""Larger arrays are given back at once: glibc takes no more than this."""


def keep_memory() -> None:
    """Have this process keep the memory that a frame frees; for the mains of programs that render, before they do.

    By default glibc gives the system back what is free at the heap's end, and the next frame asks for it again, page
    by page: a sixth of all cycles of a render. Elsewhere nothing happens.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, TypeError, OSError):  # not glibc; Windows
        return
    mallopt(_TRIM_THRESHOLD, _KEPT)
    mallopt(_MMAP_THRESHOLD, _LARGEST)
