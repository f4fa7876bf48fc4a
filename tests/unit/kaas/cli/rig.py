"""The program against the service: a real server on a port of this machine, in a thread of its own."""

import asyncio
import socket
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Self, TypeVar

import uvicorn
from typer.testing import CliRunner, Result

from kaas.cli.app import make_app
from tests.unit.kaas.api.rig import BLUE, KEYS, Rig, serving

T = TypeVar("T")
_WAIT_S = 20.0


class Service(threading.Thread):
    """The API and its tables; use `do` to be the conductor."""

    def __init__(self, folder: Path, empty: Path) -> None:
        super().__init__(name="service", daemon=True)
        self._folder = folder
        self._empty = empty
        self._up = threading.Event()
        self._ended: asyncio.Event | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.rig: Rig | None = None
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"

    def run(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        self._loop, self._ended = asyncio.get_running_loop(), asyncio.Event()
        async with serving(self._folder, self._empty) as self.rig:
            config = uvicorn.Config(self.rig.app, ws="none", lifespan="off", log_config=None, access_log=False)
            server = uvicorn.Server(config)
            served = asyncio.create_task(server.serve(sockets=[self._socket]))
            self._up.set()
            await self._ended.wait()
            server.should_exit = True
            await served

    def __enter__(self) -> Self:
        self.start()
        assert self._up.wait(_WAIT_S)
        return self

    def __exit__(self, *_: object) -> None:
        assert self._loop is not None
        assert self._ended is not None
        self._loop.call_soon_threadsafe(self._ended.set)
        self.join(_WAIT_S)
        assert not self.is_alive()

    def do(self, work: Callable[[Rig], Awaitable[T]]) -> T:
        """Do something where the service runs."""
        assert self._loop is not None
        assert self.rig is not None

        async def within() -> T:
            assert self.rig is not None
            return await work(self.rig)

        return asyncio.run_coroutine_threadsafe(within(), self._loop).result(_WAIT_S)

    def cloud(self, *words: str, role: str = "admin", tenant: str = BLUE, **environ: str | None) -> Result:
        """Run the program as somebody."""
        given: dict[str, Any] = {
            "CLOUD_API_URL": self.url,
            "CLOUD_API_KEY": KEYS[tenant, role],
            "CLOUD_CONFIG": None,
            "XDG_CONFIG_HOME": str(self._folder),
            **environ,
        }
        return run(*words, **given)


def run(*words: str, **environ: str | None) -> Result:
    """Run the program, which is to end by itself and not by an exception."""
    result = CliRunner().invoke(make_app(), ["--poll-seconds", "0.01", *words], env=environ)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result
