"""The whole service in this process, on the simulator, driven as people drive it."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import httpx
from typer.testing import CliRunner, Result

from kaas import people
from kaas.app import Parts
from kaas.cli.app import make_app
from kaas.crypto.keyring import new_keyring
from kaas.domain.policy import Role
from kaas.drivers.simulator.life import Report
from kaas.drivers.simulator.simulator import Simulator
from kaas.service import serve
from kaas.settings import ServiceSettings
from process.life import Stop
from process.settings import read_settings
from tests.support.ports import free_port

SIMULATED = ("--driver=simulator", "--listen=127.0.0.1:0")
QUICK = ("--simulated-pace=0", "--poll=0.05", "--health-period=0.3", "--repair-after=0", "--repair-dead-after=0")
NO_SECRETS: Mapping[str, str] = {}
BOTH = Parts(api=True, conductor=True)
_LIMIT_S = 40.0

Found = TypeVar("Found")


def settings_of(folder: Path, *flags: str, **secrets: str) -> ServiceSettings:
    """Give settings for a state folder."""
    return read_settings(ServiceSettings, [f"--state-dir={folder}", *flags], secrets)


def furnish(folder: Path) -> str:
    """Make what a first start needs; gives the key of an admin."""
    folder.mkdir(mode=0o700, exist_ok=True)
    new_keyring(folder / "keyring.json")
    return people.add(folder / "users.yaml", people.Person("ada", "blue", Role.ADMIN))


@contextlib.contextmanager
def world_of(folder: Path) -> Iterator[Simulator]:
    """Look into the simulated world of a service, and change it."""
    simulator = Simulator(_nobody_calls, path=folder / "simulator.db")
    try:
        yield simulator
    finally:
        simulator.world.ground.close()


@contextlib.contextmanager
def logging_kept() -> Iterator[None]:
    """Give the loggers back as they were after a program has set them up."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    try:
        yield
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)


async def until(look: Callable[[], Awaitable[Found | None]]) -> Found:
    """Give what is seen at last."""
    async with asyncio.timeout(_LIMIT_S):
        while not (found := await look()):  # noqa: ASYNC110 - what is waited for is in another process, or behind HTTP
            await asyncio.sleep(0.1)
        return found


@dataclass
class Running:
    """A service that runs."""

    folder: Path
    http: httpx.AsyncClient
    url: str
    key: str
    stop: Stop

    async def ask(self, method: str, path: str, body: Any = None) -> httpx.Response:
        return await self.http.request(method, f"{self.url}{path}", json=body, headers={"X-API-Key": self.key})

    async def get(self, path: str) -> Any:
        answer = await self.ask("GET", path)
        assert answer.status_code == 200, answer.text
        return answer.json()["data"]

    async def nodes(self, ref: str = "dev") -> dict[str, str]:
        """Give the nodes that are not gone, with their states."""
        found = await self.get(f"/clusters/{ref}/nodes")
        return {node["name"]: node["status"] for node in found if node["status"] != "gone"}

    async def cloud(self, *words: str) -> Result:
        """Run the command line, which is to end by itself."""
        environ: dict[str, str | None] = {
            "CLOUD_API_URL": self.url,
            "CLOUD_API_KEY": self.key,
            "CLOUD_CONFIG": None,
            "XDG_CONFIG_HOME": str(self.folder),
        }
        command = ["--poll-seconds", "0.2", "k8s", *words]
        # In a thread, since it brings its own event loop.
        result = await asyncio.to_thread(CliRunner().invoke, make_app(), command, env=environ)
        assert result.exit_code == 0, result.output
        return result


@contextlib.asynccontextmanager
async def running(
    folder: Path, *flags: str, key: str = "", parts: Parts = BOTH, secrets: Mapping[str, str] = NO_SECRETS
) -> AsyncIterator[Running]:
    """Run the service, and end it in order; with a `key`, on a folder that is furnished already."""
    key = key or furnish(folder)
    stop, told = Stop(), asyncio.Queue[str]()
    settings = settings_of(
        folder, *SIMULATED, *QUICK, f"--phone-home-listen=127.0.0.1:{free_port()}", *flags, **secrets
    )
    task = asyncio.create_task(serve(settings, parts, stop=stop, tell=told.put_nowait, environ={}))
    first = asyncio.create_task(told.get())
    await asyncio.wait((task, first), return_when=asyncio.FIRST_COMPLETED)
    if not first.done():
        first.cancel()
        await task
    try:
        async with httpx.AsyncClient(verify=False, timeout=_LIMIT_S) as http:
            yield Running(folder, http, first.result().rpartition(" ")[2], key, stop)
    finally:
        stop()
        await task


async def _nobody_calls(report: Report) -> bool:
    raise AssertionError("this face of the world lets no machine boot")
