"""A start and an orderly end: the wish to end, the signals that bring it, and the exit code that says how it went."""

import asyncio
import contextlib
import logging
import signal
from collections.abc import AsyncIterator, Awaitable, Callable

from process.command_line import EXIT_FAILED, EXIT_OK

LOG = logging.getLogger("process.life")


class Stop:
    """The wish to end, from a signal or a test. Also ends a start that is still under way."""

    def __init__(self) -> None:
        self._wish = asyncio.Event()
        self._start: asyncio.Timeout | None = None

    def __call__(self) -> None:
        """Ask for the end; asking again changes nothing."""
        if not self._wish.is_set():
            self._wish.set()
            if self._start is not None:
                self._start.reschedule(asyncio.get_running_loop().time())

    async def wait(self) -> None:
        """Wait until somebody asks."""
        await self._wish.wait()

    @contextlib.asynccontextmanager
    async def interrupts_start(self) -> AsyncIterator[None]:
        """Raise StoppedError out of the block when the end is asked for while it runs."""
        if self._wish.is_set():
            raise StoppedError
        try:
            async with asyncio.timeout(None) as self._start:
                yield
        except TimeoutError:
            if self._start is not None and self._start.expired():
                raise StoppedError from None
            raise
        finally:
            self._start = None


class StoppedError(Exception):
    """The program was asked to end before it served."""


async def run_until_signal(
    work: Callable[[Stop], Awaitable[None]], *, explained: tuple[type[Exception], ...] = ()
) -> int:
    """Run `work` until SIGTERM or SIGINT makes its `Stop` ask for the end; give the exit code.

    What `work` raises becomes a log line: its text alone for the errors in `explained`, which say to people what is
    wrong, and a traceback for all others.
    """
    stop = Stop()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    try:
        await work(stop)
    except StoppedError:
        LOG.info("asked to end before anything was served")
    except Exception as error:  # noqa: BLE001 - the edge of the program: everything becomes a log line and an exit code
        _report(error, explained)
        return EXIT_FAILED
    return EXIT_OK


def _report(error: BaseException, explained: tuple[type[Exception], ...]) -> None:
    if isinstance(error, BaseExceptionGroup):
        for member in error.exceptions:
            _report(member, explained)
    elif isinstance(error, explained):
        LOG.error("the program ends: %s", error)
    else:
        LOG.error("the program ends on an unexpected error", exc_info=error)
