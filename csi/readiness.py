"""Whether what this program depends on can be reached, asked at most once in a while.

Probes come every few seconds and from several sides; each would otherwise be a call of the platform. Whether this
process itself serves is not decided here.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Protocol

from csi.errors import CsiError

LOG = logging.getLogger("csi.readiness")

GOOD_FOR_S = 10.0
BAD_FOR_S = 2.0


class Check(Protocol):
    """Asks whether the dependency works."""

    def __call__(self, *, deadline: float) -> Awaitable[None]:
        """Return when it works; raise CsiError, whose text says what does not, otherwise."""
        ...


class Readiness:
    """A check with a memory. `aclose` ends a check that still runs."""

    def __init__(
        self,
        check: Check,
        *,
        limit_s: float = 5.0,
        now: Callable[[], float] | None = None,
    ) -> None:
        self._check = check
        self._limit_s = limit_s
        self._now = now or asyncio.get_running_loop().time
        self._problem: str | None = None
        self._fresh_until = float("-inf")
        self._running: asyncio.Task[None] | None = None

    async def problem(self, *, deadline: float) -> str:
        """Say what is wrong; empty when all is well. Errors of the check never get out.

        All callers share one running check. A caller whose deadline passes first gets a text that says so, and the
        check goes on for the next one.
        """
        if self._problem is not None and self._now() < self._fresh_until:
            return self._problem
        if self._running is None:
            self._running = asyncio.create_task(self._refresh(), name="readiness check")
        running = self._running
        await asyncio.wait({running}, timeout=max(0.0, deadline - asyncio.get_running_loop().time()))
        if not running.done() or self._problem is None:
            return "the check has not answered yet"
        return self._problem

    async def aclose(self) -> None:
        """Cancel a running check and wait for its end."""
        running = self._running
        if running is not None:
            running.cancel()
            await asyncio.wait({running})

    async def _refresh(self) -> None:
        try:
            problem = await self._ask()
        finally:
            self._running = None
        self._report(problem)
        self._problem = problem
        self._fresh_until = self._now() + (BAD_FOR_S if problem else GOOD_FOR_S)

    async def _ask(self) -> str:
        deadline = asyncio.get_running_loop().time() + self._limit_s
        try:
            async with asyncio.timeout_at(deadline):
                await self._check(deadline=deadline)
        except CsiError as error:
            return error.message
        except TimeoutError:
            return f"no answer within {self._limit_s:g} s"
        except Exception:
            # A probe is a boundary: a defect in the check must read as "not ready", not end the program.
            LOG.exception("the readiness check failed unexpectedly")
            return "the check failed unexpectedly; the log has the error"
        return ""

    def _report(self, problem: str) -> None:
        if problem and problem != self._problem:
            LOG.warning("not ready", extra={"fields": {"problem": problem}})
        elif not problem and self._problem:
            LOG.info("ready again")


async def always_ready(*, deadline: float) -> None:
    """Be the check of a program that depends on nothing outside of its host."""
    del deadline
