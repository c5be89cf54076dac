"""What there is to know about weights that can be downloaded."""

from __future__ import annotations

from dataclasses import dataclass, field
from fnmatch import fnmatch
from typing import Literal

Part = Literal["base", "transformer", "adapter", "distilled", "preview"]


@dataclass(frozen=True)
class Model:
    """Weights that are downloaded and removed as one."""

    name: str
    """For commands and requests."""
    title: str
    """For people."""
    hub_id: str
    """Owner and name on huggingface.co."""
    revision: str
    """Commit hash; empty where none could be established: the first download's is kept to (`model_store.Record`)."""
    patterns: tuple[str, ...]
    """Which files of the repository, as in `fnmatch`."""
    bytes: int
    """Of the download."""
    licence: str
    """SPDX identifier, or what is known."""
    commercial: bool
    """Whether the licence is known to allow commercial work; else it has to be accepted."""
    engines: tuple[str, ...]
    part: Part = "base"
    """Models of one engine with the same part take each other's place; the first is the default."""
    optional: bool = False
    """The engine runs without it."""
    approximate: bool = False
    """`bytes` is an estimate, from counts of parameters."""
    environment: str = ""
    """A Python of its own that it needs and that comes with its download; see `depth.model_environment`."""
    sha256: dict[str, str] = field(default_factory=dict[str, str], hash=False)
    """Hashes of files, where they are known from elsewhere than the hub that serves them."""

    @property
    def where(self) -> str:
        """The page that tells more about it."""
        return f"https://huggingface.co/{self.hub_id}"

    def holds(self, path: str) -> bool:
        """Whether a file of the repository belongs to it."""
        return any(fnmatch(path, pattern) for pattern in self.patterns)
