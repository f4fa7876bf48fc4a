"""Ends a program at its Nth side effect, for every N, and repeats the call against a fresh process."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import grpc
import grpc.aio

from tests.support.orchestrator import Orchestrator, orchestrator
from tests.support.stack import Stack

MOST_SIDE_EFFECTS = 80
Call = Callable[[Orchestrator], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class CrashRun:
    """A program of the stack that is started with a crash point, which does nothing until it is armed."""

    stack: Stack
    program: str

    async def restart(self, at: int) -> None:
        """Start the program again, to die at side effect `at` once armed."""
        await self.stack.kill(self.program)
        report = self._report(at)
        report.unlink(missing_ok=True)
        module = "controller.app" if self.program == "controller" else "node.app"
        launcher = ("-m", "tests.faults.crashing", module, str(at), str(report))
        if self.program == "controller":
            await self.stack.start_controller(launcher=launcher)
        else:
            await self.stack.start_node(self.program, launcher=launcher)

    async def dies_at(self, at: int, call: Call) -> str | None:
        """Arm the process that was started for `at` and run the call.

        Gives where it died, or None when it met fewer side effects.
        """
        report = self._report(at)
        armed = report.with_suffix(".armed")
        armed.touch()
        try:
            async with orchestrator(self.stack) as kube:
                await call(kube)
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.UNAVAILABLE:
                raise
        finally:
            armed.unlink()
        lines = report.read_text().splitlines()
        return lines[at - 1] if len(lines) >= at else None

    def _report(self, at: int) -> Path:
        return self.stack.root / f"crash-{self.program}-{at}.txt"


async def each_side_effect(run: CrashRun, call: Call, settle: Callable[[Orchestrator, str], Awaitable[None]]) -> int:
    """Kill at every side effect of `call`; gives how many there were.

    `settle` repeats the call against a fresh process, checks that it converged, and undoes it.
    """
    await run.restart(1)
    for at in range(1, MOST_SIDE_EFFECTS):
        where = await run.dies_at(at, call)
        # The fresh process that settles is the one that dies next.
        await run.restart(at + 1)
        async with orchestrator(run.stack) as kube:
            await settle(kube, where or "nowhere")
        if where is None:
            return at - 1
    raise AssertionError(f"more than {MOST_SIDE_EFFECTS} side effects")
