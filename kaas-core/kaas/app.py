"""The composition root: settings → tables, keys, platform → API, conductor, phone-home listener.

Belongs here: wiring. Does not belong here: any rule, and when what was built begins and ends (`kaas.program`).
"""

import contextlib
import functools
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta
from importlib.metadata import version
from urllib.parse import urlsplit

import httpx
from fastapi import FastAPI
from prometheus_client import generate_latest
from starlette.applications import Starlette

from kaas.access import PlatformNetworks, open_accounts
from kaas.api.app import create_app
from kaas.api.platform_users import PlatformUsers
from kaas.api.ports import Authenticator, Ready
from kaas.api.sealed_access import SealedAccess
from kaas.api.settings import ApiSettings
from kaas.bootstrap.phone_home import phone_home
from kaas.bootstrap.ssh import Ssh
from kaas.bootstrap.tls import listener_tls
from kaas.crypto.envelope import Envelope
from kaas.crypto.keyring import KeyRing
from kaas.crypto.keys import KeyProvider
from kaas.crypto.vault import Transit, VaultKeys
from kaas.db.store import Store, open_store
from kaas.domain.breaker import Breaker
from kaas.domain.errors import StoreUnavailableError
from kaas.domain.ports import Driver, Kube, Remote, Sealed
from kaas.domain.repair import Limits
from kaas.domain.store import Boots
from kaas.drivers.simulator.life import over_https
from kaas.drivers.simulator.simulator import Simulator
from kaas.drivers.simulator.world import Timing as Pace
from kaas.drivers.thecloud.driver import TheCloudDriver
from kaas.drivers.thecloud.options import DriverOptions
from kaas.engine.advisory_lock import Alone
from kaas.engine.inprocess import InProcessEngine
from kaas.engine.port import Engine, Wakeups
from kaas.engine.procrastinate import ProcrastinateEngine, ProcrastinateWakeups
from kaas.engine.procrastinate_schema import conninfo_of
from kaas.inputs import Inputs, read_inputs
from kaas.kube.api import KubeApi
from kaas.options import Authentication
from kaas.reconcile.accesses import Accesses
from kaas.reconcile.conductor import Conductor
from kaas.reconcile.metrics import ConductorMetrics
from kaas.reconcile.operation import Timing
from kaas.reconcile.plans.flow import FlowPlanner
from kaas.reconcile.step import Tools
from kaas.reconcile.steps.addons import ShippedAddons
from kaas.reconcile.steps.base import Recipe
from kaas.settings import EngineName, SealingSettings, ServiceSettings
from kaas.status_pages import status_app
from kaas.unfit import UnfitError
from kaas.upkeep import Upkeep, conductor_name
from process.life import Stop
from process.request import request_id
from thecloud.client import Client

DISTRIBUTION = "thecloud-kubernetes"
_SIMULATED_PLATFORM = "https://platform.invalid"
_RENEWALS_OF_LEASE = 4


@dataclass(frozen=True, slots=True)
class Parts:
    """What a process does."""

    api: bool
    conductor: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """What was built; what does not belong to the process is None."""

    api: FastAPI | None = None
    conduct: Callable[[Stop], Awaitable[None]] | None = None
    """Works until asked to end; raises StoreUnavailableError when the tables do not answer at its begin."""
    phone_home: Starlette | None = None
    status: Starlette | None = None


@dataclass(frozen=True, slots=True)
class Ground:
    """What all parts stand on."""

    settings: ServiceSettings
    inputs: Inputs
    store: Store
    sealed: Sealed
    engine: Engine
    wakeups: Wakeups
    metrics: ConductorMetrics
    platform: Client | None

    @property
    def boots(self) -> Boots:
        """Where machines' reports are written."""
        return self.store.boots(self.wakeups)

    @property
    def ready(self) -> Ready:
        """Says whether the tables answer."""
        return functools.partial(_ready, self.store)


@contextlib.asynccontextmanager
async def build(
    settings: ServiceSettings, parts: Parts, *, phone_home_url: str, alone: Alone | None = None
) -> AsyncIterator[Service]:
    """Open everything and wire it; closes it afterwards. Raises UnfitError, KaasError.

    `phone_home_url`: where machines report to. The tables are there and new enough. With `alone`, leases that are still
    written are those of the dead; its lock is held for as long as the service works.
    """
    async with AsyncExitStack() as stack:
        inputs = await read_inputs(settings, serves=parts.api)
        ground = await _ground(settings, inputs, stack)
        api = await _api(ground, stack) if parts.api else None
        if not parts.conductor:
            yield Service(api=api)
            return
        conduct = await _conductor(ground, phone_home_url, stack, alone)
        yield Service(
            api=api,
            conduct=conduct,
            phone_home=phone_home(ground.boots),
            status=status_app(ground.ready, functools.partial(generate_latest, ground.metrics.registry)),
        )


@contextlib.asynccontextmanager
async def open_keys(settings: SealingSettings, keyring: KeyRing | None) -> AsyncIterator[Envelope]:
    """Give what seals and opens secrets: a key ring, or Vault with a key ring for what was sealed before."""
    if not settings.vault_key:
        if keyring is None:
            raise UnfitError("there is neither a key ring nor a key in Vault")
        yield Envelope(keyring)
        return
    if settings.vault_token_file is None:
        raise UnfitError("--vault-token-file is missing")
    transit = Transit(
        settings.vault_address,
        settings.vault_key,
        settings.vault_token_file,
        mount=settings.vault_mount,
        namespace=settings.vault_namespace,
    )
    older: tuple[KeyProvider, ...] = () if keyring is None else (keyring,)
    trust = ssl.create_default_context(cafile=settings.vault_ca_file)
    async with httpx.AsyncClient(verify=trust, trust_env=False) as client:
        yield Envelope(VaultKeys(client, transit), older=older)


async def _ground(settings: ServiceSettings, inputs: Inputs, stack: AsyncExitStack) -> Ground:
    sealed = await stack.enter_async_context(open_keys(settings, inputs.keyring))
    store = open_store(settings.database)
    stack.push_async_callback(store.close)
    platform = None
    if settings.needs_platform:
        platform = await stack.enter_async_context(Client(settings.platform(), request_id=request_id.get))
    metrics = ConductorMetrics()
    engine: Engine
    wakeups: Wakeups
    if settings.engine is EngineName.PROCRASTINATE:
        engine = ProcrastinateEngine(conninfo_of(settings.database), store.conducting, observer=metrics)
        wakeups = ProcrastinateWakeups()
    else:
        engine = wakeups = InProcessEngine(store.conducting, observer=metrics)
    return Ground(settings, inputs, store, sealed, engine, wakeups, metrics, platform)


async def _api(ground: Ground, stack: AsyncExitStack) -> FastAPI:
    settings = ground.settings
    requests = ground.store.requests(ground.wakeups)
    real = not settings.is_simulated and ground.platform is not None
    return create_app(
        requests=requests,
        authenticator=await _authenticator(ground, stack),
        access=SealedAccess(requests, ground.sealed),
        rules=ground.inputs.rules,
        networks=_networks(settings, ground.platform) if real and ground.platform is not None else None,
        settings=ApiSettings(kubeconfig_ttl_s=settings.kubeconfig_ttl_s),
        ready=ground.ready,
        registry=ground.metrics.registry,
    )


def _networks(settings: ServiceSettings, platform: Client) -> PlatformNetworks:
    knows_tenants = settings.authentication is Authentication.PLATFORM
    return PlatformNetworks(platform, shared=settings.default_vpc, knows_tenants=knows_tenants)


async def _authenticator(ground: Ground, stack: AsyncExitStack) -> Authenticator:
    if ground.settings.authentication is Authentication.PLATFORM:
        accounts = await stack.enter_async_context(open_accounts(ground.settings.platform()))
        return PlatformUsers(accounts.look_up)
    if ground.inputs.users is None:
        raise UnfitError("there is nobody who may call the API")
    return ground.inputs.users


async def _conductor(
    ground: Ground, phone_home_url: str, stack: AsyncExitStack, alone: Alone | None
) -> Callable[[Stop], Awaitable[None]]:
    settings = ground.settings
    tools = await _tools(ground, stack)
    owner = conductor_name()
    conductor = Conductor(
        ground.store.conducting,
        ground.engine,
        await _planner(ground, phone_home_url),
        tools,
        owner=owner,
        concurrency=settings.concurrency,
        timing=Timing(lease_s=settings.lease_s, renew_s=settings.lease_s / _RENEWALS_OF_LEASE),
        observer=ground.metrics,
        steps=ground.metrics,
    )
    upkeep = Upkeep(ground.store, owner, version(DISTRIBUTION), settings.keep_events_s, settings.keep_audit_s)

    async def conduct(stop: Stop) -> None:
        async with upkeep.running(alone=alone):
            await conductor.run(stop)

    return conduct


async def _tools(ground: Ground, stack: AsyncExitStack) -> Tools:
    settings = ground.settings
    driver: Driver
    remote: Remote
    kube: Kube
    accesses = Accesses()
    stack.callback(accesses.clear)
    if ground.platform is not None and not settings.is_simulated:
        options = DriverOptions(
            conductor_sources=settings.conductor_sources, balancer_sources=settings.balancer_sources
        )
        driver = TheCloudDriver(ground.platform, options)
        remote = await stack.enter_async_context(Ssh())
        kube = await stack.enter_async_context(KubeApi(refused=accesses.refused))
    else:
        world = settings.state("simulator.db")
        times = simulated_times(settings.simulated_pace)
        simulator = Simulator(over_https, path=world, timing=times, refused=accesses.refused)
        await stack.enter_async_context(simulator.running())
        driver, remote, kube = simulator.driver, simulator.remote, simulator.kube
    return Tools(
        driver=driver,
        remote=remote,
        kube=kube,
        sealed=ground.sealed,
        store=ground.store.conducting,
        boots=ground.boots,
        accesses=accesses,
    )


async def _planner(ground: Ground, phone_home_url: str) -> FlowPlanner:
    settings, inputs = ground.settings, ground.inputs
    host = urlsplit(phone_home_url).hostname or ""
    tls = await listener_tls(settings.tls_dir, [host])
    recipe = Recipe(
        phone_home_url=phone_home_url,
        phone_home_ca_pem=tls.ca_pem,
        quirks=inputs.quirks,
        proxy_mode=settings.proxy_mode,
        image_repository=settings.image_repository,
        dns_image_tag=settings.dns_image_tag,
        etcd_image_tag=settings.etcd_image_tag,
        poll_s=settings.poll_s,
    )
    url = settings.cluster_platform_url or settings.platform_url or _SIMULATED_PLATFORM
    return FlowPlanner(
        recipe,
        ShippedAddons(inputs.addons, url, inputs.cluster_ca_pem),
        Limits(
            patience=timedelta(seconds=settings.repair_after_s),
            patience_dead=timedelta(seconds=settings.repair_dead_after_s),
            patience_api=timedelta(seconds=settings.repair_after_s),
        ),
        Breaker(share=settings.repair_breaker_share, floor=settings.repair_breaker_floor),
        ground.metrics,
        look_s=settings.health_period_s,
        repairs=settings.auto_repair,
    )


def simulated_times(pace: float) -> Pace:
    """Give the simulator's times: roughly those of small real machines."""
    return Pace(
        call_s=0.02 * pace,
        machine_s=2 * pace,
        boot_s=3 * pace,
        endpoint_s=2 * pace,
        delete_s=2 * pace,
        init_s=8 * pace,
        join_s=4 * pace,
        node_ready_s=3 * pace,
        node_grace_s=10 * pace,
    )


async def _ready(store: Store) -> str:
    try:
        await store.conductors.list()
    except StoreUnavailableError:
        return "the database does not answer"
    return ""
