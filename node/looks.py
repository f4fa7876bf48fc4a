"""Blocking looks at disks that may hang, at most one for each disk at a time.

A disk that does not answer keeps a thread for each look at it. Health and figures are asked for again and again, so
without this one dead disk would in time take all threads. Not here: what is looked at (`health`, `stats`).
"""

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

from node.model import DeviceNumber

Answer = TypeVar("Answer")


class Looks:
    """The looks that are under way."""

    def __init__(self) -> None:
        self._pending: dict[DeviceNumber, asyncio.Future[Any]] = {}
        self._given_up: set[DeviceNumber] = set()
        """Disks whose pending look took longer than its caller had."""

    async def look(self, disk: DeviceNumber, call: Callable[[], Answer], *, deadline: float) -> Answer:
        """Run the call in a thread, after an earlier one at this disk, and give its answer.

        Raises TimeoutError at the deadline, and at once while a call that was given up still hangs; what the call
        raises.
        """
        while (earlier := self._pending.get(disk)) is not None:
            if disk in self._given_up:
                raise TimeoutError
            await self._wait(disk, earlier, deadline)
        mine = asyncio.get_running_loop().run_in_executor(None, call)
        self._pending[disk] = mine
        mine.add_done_callback(lambda ended: self._forget(disk, ended))
        await self._wait(disk, mine, deadline)
        return mine.result()

    async def _wait(self, disk: DeviceNumber, pending: asyncio.Future[Any], deadline: float) -> None:
        left_s = max(deadline - asyncio.get_running_loop().time(), 0.0)
        await asyncio.wait({pending}, timeout=left_s)
        if not pending.done():
            self._given_up.add(disk)
            raise TimeoutError

    def _forget(self, disk: DeviceNumber, ended: asyncio.Future[Any]) -> None:
        del self._pending[disk]
        self._given_up.discard(disk)
        if not ended.cancelled():
            # Perhaps nobody waits any more; asking for the error keeps it from being reported as lost.
            ended.exception()
