"""What ends a command before its time: one plain sentence, and an exit code."""

from enum import IntEnum


class ExitCode(IntEnum):
    """How a command ended."""

    OK = 0
    ERROR = 1
    USAGE = 2
    FAILED_OPERATION = 3
    """The service took the request, and the operation did not succeed."""
    TIMED_OUT = 4
    """The operation goes on; only the watching has ended."""
    NOT_OFFERED = 5
    """The service does not do this yet."""
    INTERRUPTED = 130


class CliError(Exception):
    """A sentence for a person that says what to do; `details` are further lines."""

    def __init__(
        self, message: str, *, exit_code: ExitCode = ExitCode.ERROR, details: tuple[str, ...] = (), code: str = ""
    ) -> None:
        super().__init__(message)
        self.message = message
        self.exit_code = exit_code
        self.details = details
        self.code = code
        """The service's word for it; empty when it did not come from there."""


class SilentServiceError(CliError):
    """The service gave no answer, or none that can be used right now; it may later."""


def printable(text: str) -> str:
    """Take from a text what a terminal would obey instead of showing it; line ends stay."""
    return "".join(mark if mark.isprintable() or mark == "\n" else "�" for mark in text)
