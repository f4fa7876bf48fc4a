"""Runs one of our programs so that it dies by SIGKILL right before (or after) its Nth side effect.

    python -m tests.faults.crashing MODULE AT REPORT serve …

`MODULE` is the program's entry module, `AT` the number of the side effect (0 = never), `REPORT` a file that receives a
line per side effect, so that a test knows where it died and when there were no more. Side effects are what the host or
the platform can see: files written, renamed or removed, folders made, devices written and flushed, commands started,
requests sent and answers received.
"""

import importlib
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

_FILE_EVENTS = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.chmod", "subprocess.Popen", "os.truncate"}


class CrashPoint:
    """Counts side effects once armed and ends the process at the chosen one."""

    def __init__(self, at: int, report: Path, armed: Path) -> None:
        self._at = at
        self._report = os.open(report, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._armed = armed
        self._count = 0

    def passed(self, what: str) -> None:
        """Count one side effect; does not return from the one that was chosen."""
        if not os.access(self._armed, os.F_OK):
            return
        self._count += 1
        os.write(self._report, f"{self._count} {what}\n".encode())
        if self._count == self._at:
            os.kill(os.getpid(), signal.SIGKILL)

    def audit(self, event: str, args: tuple[Any, ...]) -> None:
        """Receive the interpreter's audit events."""
        if event in _FILE_EVENTS:
            self.passed(f"{event} {args[0] if args else ''}")
        elif event == "open" and isinstance(args[2], int) and args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            self.passed(f"open for writing {args[0]}")


def watch_calls(point: CrashPoint, names: tuple[str, ...]) -> None:
    """Count system calls that raise no audit event, before each of them."""
    for name in names:
        original: Callable[..., Any] = getattr(os, name)

        def counted(*args: Any, _original: Callable[..., Any] = original, _name: str = name, **kwargs: Any) -> Any:
            point.passed(f"os.{_name}")
            return _original(*args, **kwargs)

        setattr(os, name, counted)


def watch_requests(point: CrashPoint) -> None:
    """Count platform calls: before the request is sent and after the answer has come."""
    import httpx

    original = httpx.AsyncHTTPTransport.handle_async_request

    async def counted(self: httpx.AsyncHTTPTransport, request: httpx.Request) -> httpx.Response:
        point.passed(f"before {request.method} {request.url.path}")
        answer = await original(self, request)
        point.passed(f"after {request.method} {request.url.path}")
        return answer

    httpx.AsyncHTTPTransport.handle_async_request = counted  # type: ignore[method-assign]


def main() -> int:
    """Arm the crash point and hand over to the program."""
    module, at, report = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
    point = CrashPoint(at, report, report.with_suffix(".armed"))
    entry = importlib.import_module(module).main
    if module.startswith("controller"):
        watch_requests(point)
    else:
        watch_calls(point, ("pwrite", "fsync"))
        sys.addaudithook(point.audit)
    sys.argv = [module, *sys.argv[4:]]
    return int(entry() or 0)


if __name__ == "__main__":
    sys.exit(main())
