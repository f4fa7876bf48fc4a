"""The embedded platform for tests: in this process without a socket, on a socket, or as a process of its own."""

import asyncio
import contextlib
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from devcloud.api.trouble import AnswerLostError
from devcloud.app import App, create_app
from devcloud.balancing.path import DataPath
from devcloud.cloud import Cloud, build
from devcloud.faults import Faults
from devcloud.machines import Machines
from devcloud.reconcile import take_down
from devcloud.rows import INSTANCES
from devcloud.server import Server, open_socket, url_of
from devcloud.settings import Backend, HostInstance, Settings, Tier

BASE_URL = "http://devcloud.invalid"
NODES = ("node-a", "node-b")
_START_S = 20.0


class LossyTransport(httpx.AsyncBaseTransport):
    """Calls the application without a socket; answers that a fault loses look like a closed connection."""

    def __init__(self, app: App) -> None:
        self._inner = httpx.ASGITransport(app)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        try:
            return await self._inner.handle_async_request(request)
        except AnswerLostError as error:
            seen = "without sending a response" if error.sent is None else "without sending complete message body"
            raise httpx.RemoteProtocolError(f"Server disconnected {seen}", request=request) from error


@dataclass(frozen=True)
class RunningCloud:
    """A platform that runs: how to reach it, and its inside."""

    app: App
    transport: httpx.AsyncBaseTransport
    base_url: str
    api_key: str
    cloud: Cloud
    instances: Mapping[str, str]
    """Ids of the seeded instances by name."""

    @property
    def faults(self) -> Faults:
        return self.cloud.faults

    @property
    def disks_dir(self) -> Path:
        return self.cloud.settings.disks_dir

    def client(self, **options: Any) -> httpx.AsyncClient:
        """Give a plain HTTP client with the key; the caller closes it."""
        headers = {"X-API-Key": self.api_key, **options.pop("headers", {})}
        return httpx.AsyncClient(transport=self.transport, base_url=self.base_url, headers=headers, **options)


@contextlib.asynccontextmanager
async def devcloud_app(
    data_dir: Path,
    *,
    tier: str = "extended",
    backend: str = "none",
    nodes: tuple[str, ...] = NODES,
    machines: Machines | None = None,
    path: DataPath | None = None,
    **options: Any,
) -> AsyncIterator[RunningCloud]:
    """Run a platform in this process, without a socket and without rate limits (unless given in `options`)."""
    settings = make_settings(data_dir, tier=tier, backend=backend, nodes=nodes, **options)
    app = create_app(settings, machines, path)
    async with app.running() as cloud:
        yield await _describe(app, cloud, LossyTransport(app), BASE_URL)
        await take_down(cloud)


def make_settings(
    data_dir: Path, *, tier: str = "extended", backend: str = "none", nodes: tuple[str, ...] = NODES, **options: Any
) -> Settings:
    """Give settings that suit tests: no rate limit, no fsync."""
    return Settings(
        **{
            "data_dir": data_dir,
            "tier": Tier(tier),
            "backend": Backend(backend),
            "host_instances": tuple(HostInstance(name) for name in nodes),
            "rate_limit_rps": 0.0,
            "durable": False,
            **options,
        }
    )


@dataclass
class ServedCloud:
    """A platform on a socket, in this process or in one of its own."""

    base_url: str
    api_key: str
    data_dir: Path
    instances: Mapping[str, str]
    cloud: Cloud | None
    """The inside, when it runs in this process."""
    process: asyncio.subprocess.Process | None
    _start: Any

    @property
    def disks_dir(self) -> Path:
        return self.data_dir / "disks"

    def client(self, **options: Any) -> httpx.AsyncClient:
        """Give a plain HTTP client with the key; the caller closes it."""
        headers = {"X-API-Key": self.api_key, **options.pop("headers", {})}
        return httpx.AsyncClient(base_url=self.base_url, headers=headers, **options)

    async def kill(self) -> None:
        """End the process with SIGKILL."""
        assert self.process is not None
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGKILL)
        await self.process.wait()

    async def restart(self) -> None:
        """Start the process again on the same data and the same port, after `kill`."""
        self.process, self.base_url = await self._start(int(self.base_url.rpartition(":")[2]))


@contextlib.asynccontextmanager
async def devcloud_server(
    data_dir: Path,
    *,
    tier: str = "extended",
    backend: str = "none",
    nodes: tuple[str, ...] = NODES,
    subprocess: bool = False,
    arguments: tuple[str, ...] = (),
    machines: Machines | None = None,
    **options: Any,
) -> AsyncIterator[ServedCloud]:
    """Run a platform on a free port of 127.0.0.1.

    In this loop (with `machines` and settings in `options`), or with `subprocess=True` as a process (with command-line
    `arguments`) that can be killed. Ends it in any case; disks that were presented are taken away.
    """
    if subprocess:
        async with _serve_as_process(data_dir, tier, backend, nodes, arguments) as served:
            yield served
        return
    app = create_app(make_settings(data_dir, tier=tier, backend=backend, nodes=nodes, **options), machines)
    with open_socket("127.0.0.1", 0) as listening:
        async with app.running(listening.getsockname()[1]) as cloud:
            server = Server(app, handles_signals=False)
            task = asyncio.create_task(server.serve(sockets=[listening, *app.state.sockets]))
            try:
                known = await _describe(app, cloud, LossyTransport(app), url_of(listening))
                yield ServedCloud(known.base_url, known.api_key, data_dir, known.instances, cloud, None, None)
                await take_down(cloud)
            finally:
                server.should_exit = True
                await task


@contextlib.asynccontextmanager
async def _serve_as_process(
    data_dir: Path, tier: str, backend: str, nodes: tuple[str, ...], arguments: tuple[str, ...]
) -> AsyncIterator[ServedCloud]:
    async def start(port: int) -> tuple[asyncio.subprocess.Process, str]:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", "from devcloud.app import main; raise SystemExit(main())", "serve"),
            *("--tier", tier, "--backend", backend, "--data-dir", str(data_dir), "--listen", f"127.0.0.1:{port}"),
            *(word for name in nodes for word in ("--host-instance", name)),
            *("--rate-limit", "0", *arguments),
            stdout=asyncio.subprocess.PIPE,
            cwd=Path(__file__).parents[2],
        )
        assert process.stdout is not None
        async with asyncio.timeout(_START_S):
            line = (await process.stdout.readline()).decode()
            url = line.rpartition(" on ")[2].strip()
            await _wait_for_first_answer(url, asyncio.ensure_future(process.wait()))
        return process, url

    process, url = await start(0)
    served = ServedCloud(url, "", data_dir, {}, None, process, start)
    try:
        served.api_key = (data_dir / "api-key").read_text().strip()
        async with served.client() as client:
            rows = (await client.get("/instances")).json()["data"]
        served.instances = {row["name"]: row["id"] for row in rows}
        yield served
    finally:
        await served.kill()
        await take_down(build(make_settings(data_dir, tier=tier, backend=backend, nodes=nodes)))


async def _wait_for_first_answer(url: str, ended: asyncio.Future[Any]) -> None:
    """Wait for an answer; the socket listens already, so one request is enough. Raises when the server ends instead."""
    async with httpx.AsyncClient(base_url=url) as client:
        asking = asyncio.ensure_future(client.get("/health/live", timeout=_START_S))
        await asyncio.wait({asking, ended}, return_when=asyncio.FIRST_COMPLETED)
        if ended.done():
            asking.cancel()
            raise RuntimeError(f"devcloud ended at its start: {ended.result()}")
        await asking


async def _describe(app: App, cloud: Cloud, transport: httpx.AsyncBaseTransport, base_url: str) -> RunningCloud:
    rows = await cloud.store.read(INSTANCES.all)
    return RunningCloud(
        app=app,
        transport=transport,
        base_url=base_url,
        api_key=app.state.api_key,
        cloud=cloud,
        instances={row.name: row.id for row in rows},
    )
