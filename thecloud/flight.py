"""One piece of work that several callers wait for, each with his own deadline.

Belongs here: sharing a running read. Does not belong here: what is read, and when it may start (`thecloud.listing`,
`thecloud.capabilities`).
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Generic, Self, TypeVar

from thecloud.errors import DeadlineExceeded, NotSent

T = TypeVar("T")


class Flight(Generic[T]):
    """A task that lives as long as somebody waits for it.

    A caller that gives up or is cancelled leaves the others alone; the last one to leave ends the task.
    """

    def __init__(self, work: Coroutine[Any, Any, T], *, name: str) -> None:
        self._task = asyncio.get_running_loop().create_task(work, name=name)
        self._waiting = 0

    @property
    def is_over(self) -> bool:
        """Whether the work has ended, or was given up; nobody may join then."""
        return self._task.done() or self._task.cancelling() > 0

    def when_over(self, tell: Callable[[Self], None]) -> None:
        """Have `tell` called with this flight once its work has ended."""
        self._task.add_done_callback(lambda _: tell(self))

    async def join(self, *, deadline: float) -> T:
        """Wait for the result; raises what the work raised, or DeadlineExceeded (what is shared changes nothing).

        Raises NotSent when the client is closed meanwhile.
        """
        self._waiting += 1
        try:
            async with asyncio.timeout_at(deadline) as limit:
                return await asyncio.shield(self._task)
        except TimeoutError as error:
            if not limit.expired():
                raise
            raise DeadlineExceeded(f"no answer in time while waiting for {self._task.get_name()}") from error
        except asyncio.CancelledError as error:
            me = asyncio.current_task()
            if self._task.cancelled() and me is not None and not me.cancelling():
                raise NotSent(f"the client was closed while waiting for {self._task.get_name()}") from error
            raise
        finally:
            self._waiting -= 1
            if not self._waiting:
                self._task.cancel()

    async def aclose(self) -> None:
        """End the work and wait until it has ended."""
        self._task.cancel()
        await asyncio.wait([self._task])
