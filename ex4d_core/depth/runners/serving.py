"""The other end of `depth.worker`: requests in on stdin, replies out on stdout, a line of JSON each.

Nothing of ex4d_core may be imported here: the Python that runs this has other packages.
"""

from __future__ import annotations

import json
import os
import queue
import sys
import threading
import traceback
from collections.abc import Callable
from typing import Any

import numpy as np

Request = dict[str, Any]


def serve(answer: Callable[[Request], dict[str, Any]]) -> None:
    """Answer requests until stdin ends; what an error is becomes a reply, and its traceback goes to stderr.

    Args:
        answer: gives the reply to a request.
    """
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # models print: that goes into the log, beside their warnings
    requests: queue.Queue[Request] = queue.Queue()
    threading.Thread(target=_listen, args=[requests], daemon=True).start()
    while True:
        request = requests.get()
        try:
            reply = answer(request)
        except Exception as error:
            traceback.print_exc()
            reply = {"error": _kind(error), "message": str(error).strip().partition("\n")[0] or type(error).__name__}
        replies.write(json.dumps(reply) + "\n")
        replies.flush()


def write_arrays(path: str, **arrays: Any) -> None:
    """Write an NPZ that appears under its name when whole."""
    temporary = f"{path}.partial.npz"
    np.savez(temporary, **arrays)
    os.replace(temporary, path)


def _listen(requests: queue.Queue[Request]) -> None:
    for line in sys.stdin:
        requests.put(json.loads(line))
    os._exit(0)  # whoever asked is gone: nobody wants what is being computed


def _kind(error: Exception) -> str:
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError" or "out of memory" in str(error):
        return "memory"
    return "import" if isinstance(error, ImportError) else "failed"
