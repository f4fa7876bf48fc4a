"""Time that passes only when everybody waits, for tests whose client and server talk over loopback in one event loop.

Pauses of minutes take no time, and a busy machine makes nothing late: before time is let pass, the sockets get a moment
of real time to deliver what is under way.
"""

import asyncio
import functools
import selectors
from collections.abc import Awaitable, Callable

_DELIVERY_S = 0.003
_STUCK_AFTER_S = 10.0


class _JumpingSelector(selectors.DefaultSelector):
    """Instead of waiting for time to pass, lets it pass."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0

    def select(self, timeout=None):
        ready = super().select(0)
        if ready or (timeout is not None and timeout <= 0):
            return ready
        ready = super().select(_STUCK_AFTER_S if timeout is None else _DELIVERY_S)
        if ready:
            return ready
        if timeout is None:
            raise RuntimeError("every task waits and no timer is set: a waiter was lost")
        self.now += timeout
        return ready


class SocketTimeLoop(asyncio.SelectorEventLoop):
    """An event loop on virtual time; starts at 1000."""

    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.now

    def jump(self, seconds: float) -> None:
        """Let time pass while nothing runs, as for a process that was stopped."""
        self._jumping.now += seconds


def on_virtual_time(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """Run an async test on virtual time."""

    @functools.wraps(test)
    def run(*args, **kwargs) -> None:
        with asyncio.Runner(loop_factory=SocketTimeLoop) as runner:
            runner.run(test(*args, **kwargs))

    return run


def now() -> float:
    """The time of the loop that runs."""
    return asyncio.get_running_loop().time()


def jump(seconds: float) -> None:
    """Let time pass while nothing runs."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, SocketTimeLoop)
    loop.jump(seconds)
