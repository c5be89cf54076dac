"""The sidecar: a local server that does the work for Blender, and never loses a shot.

One process answers HTTP (`app`), one worker process per device runs the stages (`worker`), and a SQLite file
remembers every job (`store`). Started by `ex4d serve`.
"""

from ex4d_core import __version__

API_VERSION = 1
"""Raised when a client of the old version could no longer talk to the server."""

__all__ = ["API_VERSION", "__version__"]
