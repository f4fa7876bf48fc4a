"""The life of the cloud controller manager: start, stand by, lead, end.

What is done is built by the caller: its `build` is an async context manager, so that what it opens is closed in turn
after all work has ended. A process that stands by keeps its caches warm, so that it can lead at once.
"""

import asyncio
import functools
import logging
import os
import socket
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass, field
from importlib.metadata import version

from ccm.kube.client import KubeClient, RequestObserver, Unusable, open_client
from ccm.kube.events import EventRecorder
from ccm.kube.leader import LeadershipLost
from ccm.leadership import Leadership, Task
from ccm.metrics import Metrics
from ccm.names import MANAGER
from ccm.serving.access import Access, Memory
from ccm.serving.certificate import CertificateError, CertificateFiles, ServingCertificate
from ccm.serving.health import Check, Health
from ccm.serving.reviews import KubeReviews
from ccm.serving.server import ListenError, Renewal, SecureServer
from ccm.settings import ManagerSettings
from process.command_line import EXIT_FAILED, EXIT_OK, settings_or_exit_code
from process.life import Stop, run_until_signal
from process.logs import configure_logging
from process.settings import shown_values

LOG = logging.getLogger("ccm.program")

PROGRAM = "tc-ccm"
SUMMARY = "The cloud controller manager of The Cloud: nodes, load balancers, routes, and the autoscaler's bridge."
DISTRIBUTION = "thecloud-kubernetes"
FLUSH_LIMIT_S = 2.0
"""Time for the last events to be written at the end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Manager:
    """What the program does."""

    standing: Mapping[str, Task] = field(default_factory=dict)
    """Work of every process, such as keeping caches, by name."""
    leading: Mapping[str, Task] = field(default_factory=dict)
    """Work of the leader alone, by the name of the controller. If one raises, the program ends with an error."""
    alive: Mapping[str, Check] = field(default_factory=dict)
    """When one of these fails for long, the process is started anew."""
    ready: Mapping[str, Check] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What `build` gets to work with."""

    client: KubeClient
    """Writes only while this process leads."""
    standing_client: KubeClient
    """Writes at any time: for work that does not depend on who leads."""
    events: EventRecorder
    metrics: Metrics


Build = Callable[[ManagerSettings, Surroundings], AbstractAsyncContextManager[Manager]]
OpenKube = Callable[[ManagerSettings, RequestObserver], Awaitable[KubeClient]]


def main(build: Build, argv: Sequence[str] | None = None, *, explained: tuple[type[Exception], ...] = ()) -> int:
    """Run until a signal; give the exit code: 0 after SIGTERM or SIGINT, 1 for a failure, 2 for settings.

    `explained` are errors of `build` whose text says to people what is wrong.
    """
    words = _plain(sys.argv[1:] if argv is None else argv)
    if "--version" in words:
        sys.stdout.write(f"{PROGRAM} {version(DISTRIBUTION)}\n")
        return EXIT_OK
    settings = settings_or_exit_code(PROGRAM, SUMMARY, ManagerSettings, words)
    if isinstance(settings, int):
        return settings
    configure_logging(level=settings.level, form=settings.form)
    errors = (Unusable, ListenError, CertificateError, LeadershipLost, *explained)
    return asyncio.run(run_until_signal(lambda stop: serve(settings, build, stop=stop), explained=errors))


async def open_kube(settings: ManagerSettings, observer: RequestObserver) -> KubeClient:
    """Give the client of Kubernetes that the settings name; `observer` is told of its requests. Raises Unusable."""
    return await open_client(
        settings.kubeconfig,
        master=settings.master,
        user_agent=f"{MANAGER}/{version(DISTRIBUTION)}",
        qps=settings.kube_api_qps,
        burst=settings.kube_api_burst,
        observer=observer,
    )


async def serve(
    settings: ManagerSettings,
    build: Build,
    *,
    stop: Stop,
    connect: OpenKube = open_kube,
    die: Callable[[int], object] = os._exit,
) -> None:
    """Work until `stop`, then end the leader's work, give the lease back, and close everything in reverse order.

    Health is served first: it tells a slow start from a dead process. `die` ends the process when work does not end in
    time. Raises StoppedError, LeadershipLost, what `build` raises, and an exception group of what failed later.
    """
    for flag in settings.without_effect():
        LOG.warning("%s has no effect here; %s --help says why", flag, PROGRAM)
    metrics, health, phase = Metrics(), Health(), _Phase(settings.grace_s, die)
    async with AsyncExitStack() as stack:
        stack.enter_context(health.ready("phase", phase.check))
        stack.callback(phase.gone)
        async with stop.interrupts_start():
            client = await stack.enter_async_context(await connect(settings, metrics.kube_called))
            pages = await _serve_pages(settings, client, health, metrics, stack)
            events = EventRecorder(client, component=MANAGER, host=socket.gethostname())
            leadership = Leadership(settings, client, events, metrics)
            stack.enter_context(health.alive("leaderElection", leadership.check))
            around = Surroundings(
                client=leadership.guarded(client), standing_client=client, events=events, metrics=metrics
            )
            manager = await stack.enter_async_context(build(settings, around))
            for name, check in manager.alive.items():
                stack.enter_context(health.alive(name, check))
            for name, check in manager.ready.items():
                stack.enter_context(health.ready(name, check))
        phase.works()
        LOG.info("ready to work")
        standing = {"events": events.run, **pages, **manager.standing}
        async with asyncio.TaskGroup() as group:
            running = [group.create_task(task(), name=name) for name, task in standing.items()]
            leading = group.create_task(_lead(leadership, manager.leading, die), name="leadership")
            try:
                await stop.wait()
                LOG.info("asked to end")
            finally:
                # Also when a task has failed, and the others are being cancelled.
                phase.ends()
            leading.cancel()
            await asyncio.wait({leading})
            await events.flush(asyncio.get_running_loop().time() + FLUSH_LIMIT_S)
            for task in running:
                task.cancel()


async def _lead(leadership: Leadership, tasks: Mapping[str, Task], die: Callable[[int], object]) -> None:
    try:
        await leadership.run(tasks)
    except LeadershipLost as lost:
        if not lost.has_stopped:
            # Another process may lead by now: nothing of this one may go on, not even an orderly end.
            LOG.critical("the process ends at once: %s", lost)
            die(EXIT_FAILED)
        raise


async def _serve_pages(
    settings: ManagerSettings, client: KubeClient, health: Health, metrics: Metrics, stack: AsyncExitStack
) -> Mapping[str, Task]:
    """Serve HTTPS, unless it is off; gives the work that belongs to it."""
    address = settings.http_endpoint
    if address is None:
        return {}
    files = None
    if settings.tls_cert_file is not None and settings.tls_private_key_file is not None:
        files = CertificateFiles(settings.tls_cert_file, settings.tls_private_key_file)
    certificate = await asyncio.to_thread(functools.partial(ServingCertificate, files, address=address.host))
    reviews = KubeReviews(client)
    access = Access(
        reviews,
        open_paths=settings.authorization_always_allow_paths,
        memory=Memory(token_s=settings.token_ttl_s, allowed_s=settings.allowed_ttl_s, denied_s=settings.denied_ttl_s),
        clock=asyncio.get_running_loop().time,
    )
    server = SecureServer(address, certificate, access, health, metrics=metrics.render, config=shown_values(settings))
    await stack.enter_async_context(server)
    renewal = Renewal(
        certificate,
        reviews,
        authorities_file=settings.client_ca_file,
        asks_cluster=not settings.authentication_skip_lookup,
    )
    return {"certificates": renewal.keep}


class _Phase:
    """How far the program is: it is not ready before it works and while it ends, and its end is limited."""

    def __init__(self, grace_s: float, die: Callable[[int], object]) -> None:
        self._grace_s = grace_s
        self._die = die
        self._problem = "starting"
        self._timer: asyncio.TimerHandle | None = None

    def check(self) -> str:
        """Say why it is not ready; empty when it is."""
        return self._problem

    def works(self) -> None:
        """Note that the start is over."""
        self._problem = ""

    def ends(self) -> None:
        """Note that the end has begun."""
        self._problem = "ending"
        self._timer = asyncio.get_running_loop().call_later(self._grace_s, self._force)

    def gone(self) -> None:
        """Note that everything has ended."""
        if self._timer is not None:
            self._timer.cancel()

    def _force(self) -> None:
        LOG.critical("the work has not ended within %g s; the process ends with it", self._grace_s)
        self._die(EXIT_FAILED)


def _plain(words: Sequence[str]) -> list[str]:
    """Write `-v` as Kubernetes' programs take it as the option that it is here."""
    return [f"-{word}" if word == "-v" or word.startswith("-v=") else word for word in words]
