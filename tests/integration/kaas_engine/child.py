"""A process that conducts and is killed: `python -m tests.integration.kaas_engine.child MODE URL FILE`.

`hold` takes a job and never ends it; `conduct` works on real tables and hangs in a step, after it made its thing.
"""

import asyncio
import sys
from pathlib import Path

from kaas.db.store import open_store
from kaas.engine.procrastinate import ProcrastinateEngine
from kaas.engine.procrastinate_schema import conninfo_of
from kaas.reconcile.conductor import Conductor
from process.life import Stop
from tests.integration.kaas_engine.rig import Told, engine
from tests.support.kaas_steps import FileWorld, three_steps, tools


class HangAt:
    """Tells that a point is reached, and stays there."""

    async def at(self, point: str) -> None:
        if point == "b:after-apply":
            sys.stdout.write("reached\n")
            sys.stdout.flush()
            await asyncio.Event().wait()


async def hold(url: str) -> None:
    handler = Told(holds=True)
    async with engine(url, handler):
        sys.stdout.write(f"{await handler.next()}\n")
        sys.stdout.flush()
        await asyncio.Event().wait()


async def conduct(url: str, file: Path) -> None:
    store = open_store(url)
    subject = Conductor(
        store.conducting,
        ProcrastinateEngine(conninfo_of(url), store.conducting),
        three_steps(FileWorld(file)),
        tools(store.conducting),
        owner="killed",
        faults=HangAt(),
    )
    await subject.run(Stop())


if __name__ == "__main__":
    mode, url, file = sys.argv[1:]
    asyncio.run(hold(url) if mode == "hold" else conduct(url, Path(file)))
