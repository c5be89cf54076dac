"""How long-running work reports progress and learns that it should stop."""

from typing import Protocol

from ex4d_core.errors import CancelledError


class OnProgress(Protocol):
    """Called with the work done so far; must return quickly."""

    def __call__(self, done: int, total: int, stage: str) -> None:
        """Report progress.

        Args:
            done: units (usually frames) finished.
            total: units in the whole stage.
            stage: what is being done, for people: "reading", "rendering".
        """
        ...


class Cancelled(Protocol):
    """Asked between units of work; True means stop and raise `CancelledError`."""

    def __call__(self) -> bool: ...


def silent(done: int, total: int, stage: str) -> None:
    """An `OnProgress` that reports nothing."""


def never_cancelled() -> bool:
    """A `Cancelled` that never stops the work."""
    return False


def stop_if(cancelled: Cancelled) -> None:
    """Go on, or stop if asked to.

    Raises:
        CancelledError: `cancelled` said so.
    """
    if cancelled():
        raise CancelledError("Stopped.")
