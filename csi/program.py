"""From a command line to a running plugin and its orderly end; both programs' `app.py` call `main`.

What is served is built by the program itself: its `build` is an async context manager, so that what it opens (a
connection pool, a listener for kernel events) is closed in turn after the last call has ended.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass, field
from typing import Any, TypeVar

import grpc.aio

from csi.endpoint import EndpointError, SocketFile, claimed
from csi.errors import CsiError
from csi.health import Answer, HealthServer
from csi.identity import Identity
from csi.interceptor import Interceptor
from csi.metrics import Metrics
from csi.pb import csi_pb2, csi_pb2_grpc, pluginregistration_pb2_grpc
from csi.readiness import Check, Readiness, always_ready
from csi.registrar import GRACE_S as REGISTRATION_GRACE_S
from csi.registrar import Registrar
from csi.registration import Registration, RegistrationError, RegistrationServicer
from csi.server import ROLLBACK_S, AddService, RpcServer
from csi.settings import ShellSettings
from process.address import TcpEndpoint
from process.command_line import settings_or_exit_code
from process.life import Stop, run_until_signal
from process.logs import configure_logging
from process.metrics import CONTENT_TYPE

LOG = logging.getLogger("csi.program")

READY_LIMIT_S = 4.0
"""Time that /readyz waits for a check; below what probes usually allow."""

Task = Callable[[], Coroutine[Any, Any, None]]
"""Begins a piece of background work."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plugin:
    """What a program serves and keeps running."""

    services: Sequence[AddService]
    """Each adds one servicer to the server; Identity is added by the shell."""
    capabilities: Sequence[csi_pb2.PluginCapability] = ()
    """What Identity announces."""
    ready: Check = always_ready
    """Asked by /readyz, with a memory."""
    registration: Registration | None = None
    tasks: Mapping[str, Task] = field(default_factory=dict)
    """Background work by name. It is cancelled at the end; if one raises, the program ends with an error, but for
    ServeAnewError."""


Settings = TypeVar("Settings", bound=ShellSettings)
Build = Callable[[Settings, Metrics], AbstractAsyncContextManager[Plugin]]


class ServeAnewError(Exception):
    """Raised by background work: what is announced has changed. Everything is closed and built again.

    Kubernetes' sidecars ask what is announced only at their start, and start again when their connection is closed.
    """


def main(
    program: str,
    summary: str,
    settings_class: type[Settings],
    build: Build[Settings],
    argv: Sequence[str],
) -> int:
    """Run a program until a signal; give its exit code: 0 after SIGTERM or SIGINT, 1 for a failure, 2 for settings."""
    settings = settings_or_exit_code(program, summary, settings_class, argv)
    if isinstance(settings, int):
        return settings
    configure_logging(level=settings.log_level, form=settings.log_format)

    async def work(stop: Stop) -> None:
        await serve(settings, build, stop=stop)

    return asyncio.run(run_until_signal(work, explained=(EndpointError, RegistrationError, CsiError)))


async def serve(settings: Settings, build: Build[Settings], *, stop: Stop) -> None:
    """Serve until `stop`, then drain and close everything in reverse order.

    Health is served first: it tells a slow start from a dead process. Then the endpoint is claimed, from before `build`
    until after it: an instance that is ending still works on what `build` would bring in order. Raises StoppedError,
    EndpointError, what `build` raises, and an exception group of what failed while serving.
    """
    while await _serve_once(settings, build, stop=stop):
        LOG.info("serving anew")


async def _serve_once(settings: Settings, build: Build[Settings], *, stop: Stop) -> bool:
    """Serve until `stop`, or until background work asks to serve anew, which the answer tells."""
    metrics = Metrics()
    async with AsyncExitStack() as stack:
        async with stop.interrupts_start():
            health = await _serve_health(settings, metrics, stack)
            place = await stack.enter_async_context(
                claimed(settings.endpoint, wait_s=settings.grace_s + ROLLBACK_S, mode=settings.socket_mode)
            )
            plugin = await stack.enter_async_context(build(settings, metrics))
            readiness = await stack.enter_async_context(contextlib.aclosing(Readiness(plugin.ready)))
            await stack.enter_async_context(_rpc_server(settings, place, plugin, metrics))
            tasks = dict(plugin.tasks)
            if plugin.registration is not None:
                registrar = _registrar(settings, plugin.registration, metrics)
                tasks["kubelet registration"] = (await stack.enter_async_context(registrar)).keep
        health.begin(readiness, place, plugin.registration)
        stack.callback(health.stop)
        LOG.info("ready to serve")
        return await _keep_running(tasks, stop)


async def _keep_running(tasks: Mapping[str, Task], stop: Stop) -> bool:
    try:
        async with asyncio.TaskGroup() as group:
            running = [group.create_task(task(), name=name) for name, task in tasks.items()]
            await stop.wait()
            LOG.info("asked to end")
            for task in running:
                task.cancel()
    except ExceptionGroup as failed:
        _, others = failed.split(ServeAnewError)
        if others is not None:
            raise
        return True
    return False


def _rpc_server(
    settings: ShellSettings,
    place: SocketFile | TcpEndpoint,
    plugin: Plugin,
    metrics: Metrics,
) -> RpcServer:
    identity = Identity(capabilities=plugin.capabilities)

    def add_identity(server: grpc.aio.Server) -> None:
        csi_pb2_grpc.add_IdentityServicer_to_server(identity, server)

    return RpcServer(
        place,
        [add_identity, *plugin.services],
        Interceptor(metrics=metrics, default_limit_s=settings.call_limit_s),
        grace_s=settings.grace_s,
    )


def _registrar(settings: ShellSettings, registration: Registration, metrics: Metrics) -> Registrar:
    def make_server(place: SocketFile) -> RpcServer:
        return RpcServer(
            place,
            [
                lambda rpc: pluginregistration_pb2_grpc.add_RegistrationServicer_to_server(
                    RegistrationServicer(registration), rpc
                )
            ],
            Interceptor(metrics=metrics, default_limit_s=settings.call_limit_s),
            grace_s=REGISTRATION_GRACE_S,
        )

    return Registrar(registration, make_server)


class _Health:
    """The pages of the health server. Not ready while the program starts and while it ends."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._readiness: Readiness | None = None
        self._place: SocketFile | TcpEndpoint | None = None
        self._registration: Registration | None = None

    def begin(self, readiness: Readiness, place: SocketFile | TcpEndpoint, registration: Registration | None) -> None:
        """Tell how the program is from now on."""
        self._readiness, self._place, self._registration = readiness, place, registration

    def stop(self) -> None:
        """Be not ready from now on."""
        self._readiness = self._place = self._registration = None

    async def live(self) -> Answer:
        """Say that this process serves; nothing outside of it is asked.

        One that has lost its socket serves nobody, and only a new start gives it another one.
        """
        if isinstance(self._place, SocketFile) and not self._place.is_present():
            return Answer(503, f"the socket {self._place.path} is gone; this process has to start anew\n".encode())
        return Answer(200, b"ok\n")

    async def ready(self) -> Answer:
        """Say whether the plugin can do its work."""
        if self._readiness is None:
            return Answer(503, b"starting or ending\n")
        deadline = asyncio.get_running_loop().time() + READY_LIMIT_S
        problem = await self._readiness.problem(deadline=deadline)
        if not problem and self._registration is not None:
            problem = self._registration.problem
        return Answer(503, f"{problem}\n".encode()) if problem else Answer(200, b"ok\n")

    async def metrics(self) -> Answer:
        """Give the metrics."""
        return Answer(200, self._metrics.render(), CONTENT_TYPE)


async def _serve_health(settings: ShellSettings, metrics: Metrics, stack: AsyncExitStack) -> _Health:
    health = _Health(metrics)
    if settings.http_endpoint is not None:
        pages = {"/healthz": health.live, "/readyz": health.ready, "/metrics": health.metrics}
        await stack.enter_async_context(HealthServer(settings.http_endpoint, pages))
    return health
