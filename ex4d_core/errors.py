"""Errors that a user can cause.

Every one carries a message of one sentence that says what is wrong, where, and what to do; the command
line prints it and exits with `exit_code`, the sidecar turns it into a problem document with `code`.
"""


class Ex4dError(Exception):
    """Base of every error that a user can cause and mend."""

    code = "error"
    exit_code = 1

    @property
    def remedy(self) -> str:
        """What to do: what follows the last ": " of the message, as all our messages are built; "" without one."""
        _, colon, rest = str(self).rpartition(": ")
        return rest if colon else ""


class InputError(Ex4dError):
    """A file or folder given by the user cannot be used as it is."""

    code = "bad-input"


class OutputError(Ex4dError):
    """A result cannot be written: disk full, folder read-only, name taken."""

    code = "bad-output"


class SpaceError(OutputError):
    """The disk or the user's quota is full: nothing is wrong with the request, and it can go on later."""

    code = "no-space"


class BusyError(OutputError):
    """Another process is writing the same result."""

    code = "busy"


class CameraError(Ex4dError):
    """A camera or trajectory is malformed, or sees nothing of the scene."""

    code = "bad-camera"


class MissingDependencyError(Ex4dError):
    """An optional package, model or device that the chosen engine needs is not there."""

    code = "missing-dependency"


class CancelledError(Ex4dError):
    """The caller asked a running task to stop."""

    code = "cancelled"
    exit_code = 130
