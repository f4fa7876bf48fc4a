"""The wish that steps come to their next boundary and stop there."""

import asyncio
from collections.abc import Coroutine
from enum import Enum
from typing import Any, TypeVar

Value = TypeVar("Value")


class Reason(Enum):
    """Why steps stop."""

    DRAIN = "the conductor ends, and another one goes on"
    WITHDRAWN = "the operation was cancelled, superseded or ran out of time"


class HaltedError(Exception):
    """A step stopped at a boundary because it was asked to."""


class Halt:
    """Asked once, for good."""

    def __init__(self) -> None:
        self._event = asyncio.Event()
        self._reason: Reason | None = None

    def __call__(self, reason: Reason) -> None:
        """Ask; the first reason stays."""
        if self._reason is None:
            self._reason = reason
            self._event.set()

    @property
    def reason(self) -> Reason | None:
        """Why, once somebody asked."""
        return self._reason

    def boundary(self) -> None:
        """Raise HaltedError when somebody asked."""
        if self._reason is not None:
            raise HaltedError(self._reason.value)

    async def wait(self) -> None:
        """Wait until somebody asks."""
        await self._event.wait()

    async def pause(self, time_s: float) -> None:
        """Wait for a time, or until somebody asks."""
        try:
            async with asyncio.timeout(time_s):
                await self._event.wait()
        except TimeoutError:
            return

    async def ends(self, work: Coroutine[Any, Any, Value]) -> Value:
        """Do what only looks and waits; cancelled, with HaltedError, when somebody asks."""
        if self._reason is not None:
            work.close()
            self.boundary()
        task = asyncio.ensure_future(work)
        asked = asyncio.ensure_future(self._event.wait())
        try:
            await asyncio.wait((task, asked), return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                self.boundary()
            return await task
        finally:
            for each in (task, asked):
                each.cancel()
            await asyncio.gather(task, asked, return_exceptions=True)
